import EventLoop
import Glibc
import QueueProxy

// The queue-proxy: a sidecar that Knative starts without arguments. The command line is read by hand, because the usual
// library for it links Foundation, and start-up time is what this program is about.

switch QueueCommand(Array(CommandLine.arguments.dropFirst())) {
case .help: WholeBytes.write(QueueCommand.helpText, to: STDOUT_FILENO)
case .version: WholeBytes.write(QueueCommand.versionText + "\n", to: STDOUT_FILENO)
case .check:
    let report = CheckReport(
        QueueConfiguration.read(ProcessEnvironment.all(), certificatesAreMounted: CertificateMount.exists))
    WholeBytes.write(report.output, to: STDOUT_FILENO)
    WholeBytes.write(report.messages, to: STDERR_FILENO)
    exit(report.exitCode)
case .run:
    exit(
        QueueSidecar.serve(
            QueueConfiguration.read(ProcessEnvironment.all(), certificatesAreMounted: CertificateMount.exists)))
case .unknown(let argument):
    WholeBytes.write("martlet-queue: unknown argument \(argument)\n\(QueueCommand.usage)\n", to: STDERR_FILENO)
    exit(64)
}
