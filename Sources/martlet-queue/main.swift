import Glibc
import QueueProxy

// The queue-proxy: a sidecar that Knative starts without arguments. The command line is read by hand, because the usual
// library for it links Foundation, and start-up time is what this program is about.

func write(_ text: String, to stream: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
        let written = bytes.withUnsafeBytes { Glibc.write(stream, $0.baseAddress, $0.count) }
        guard written > 0 || errno == EINTR else { return }
        bytes = bytes.dropFirst(max(0, written))
    }
}

switch QueueCommand(Array(CommandLine.arguments.dropFirst())) {
case .help: write(QueueCommand.helpText, to: STDOUT_FILENO)
case .version: write(QueueCommand.versionText + "\n", to: STDOUT_FILENO)
case .check:
    let report = CheckReport(
        QueueConfiguration.read(ProcessEnvironment.all(), certificatesAreMounted: CertificateMount.exists))
    write(report.output, to: STDOUT_FILENO)
    write(report.messages, to: STDERR_FILENO)
    exit(report.exitCode)
case .run:
    exit(
        QueueSidecar.serve(
            QueueConfiguration.read(ProcessEnvironment.all(), certificatesAreMounted: CertificateMount.exists)))
case .unknown(let argument):
    write("martlet-queue: unknown argument \(argument)\n\(QueueCommand.usage)\n", to: STDERR_FILENO)
    exit(64)
}
