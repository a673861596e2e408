import ArgumentParser
import EventLoop
import Roles

/// Options of the commands that take the requests of clients: `martlet run` and `martlet ingress`.
struct ServingFlags: ParsableArguments {
    @Option(
        name: .long, help: ArgumentHelp("Where clients connect: ADDRESS:PORT, :PORT or PORT.", valueName: "ADDR"))
    var http = "127.0.0.1:8080"

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Where clients connect with TLS as well: ADDRESS:PORT, :PORT or PORT (default: nowhere).",
            valueName: "ADDR"))
    var https: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Certificates for --https: tls.crt and tls.key, and NAME.crt with NAME.key for further hosts. Watched.",
            valueName: "DIR"))
    var certs: String?

    @Flag(name: .long, help: "Answer requests at --http with a redirect to --https.")
    var redirectHttps = false

    @Flag(name: .customLong("no-session-tickets"), help: "Every connection at --https makes a full handshake.")
    var withoutSessionTickets = false

    @Option(name: .long, help: ArgumentHelp("Data-plane threads (default: one a core).", valueName: "N"))
    var workers: Int?

    @Option(
        name: .long,
        help: ArgumentHelp("How long requests may still take after SIGTERM.", valueName: "SECONDS"))
    var drainDeadline = 30.0

    @Option(name: .long, help: "Access log on standard output: envoy, common, combined, json or off.")
    var accessLog = "envoy"

    @Flag(name: .long, help: "Believe X-Forwarded-* and X-Request-Id from clients: another proxy stands in front.")
    var trustForwarded = false

    /// Sets what they say, and appends what is wrong with them.
    func apply(to options: inout ServingOptions, _ problems: inout [String]) {
        if let address = OptionValue.address("--http", http, example: "127.0.0.1:8080", &problems) {
            options.http = address
        }
        options.https = https.flatMap { OptionValue.address("--https", $0, example: "127.0.0.1:8443", &problems) }
        if let workers, let count = OptionValue.workers(workers, &problems) { options.workers = count }
        if let format = OptionValue.accessLog(accessLog, &problems) { options.accessLog = format }
        if let milliseconds = OptionValue.drainDeadline(seconds: drainDeadline, &problems) {
            options.drainDeadlineMilliseconds = milliseconds
        }
        options.issuesSessionTickets = !withoutSessionTickets
        options.trustsForwarded = trustForwarded
        if https == nil { checkUnused(&problems) }
    }

    private func checkUnused(_ problems: inout [String]) {
        if certs != nil { problems.append("--certs: nothing uses it; give --https ADDR too") }
        if withoutSessionTickets { problems.append("--no-session-tickets: nothing uses it; give --https ADDR too") }
        if redirectHttps {
            problems.append("--redirect-https: there is no place to redirect to; give --https ADDR")
        }
    }

    /// The words that give them to another command, but for `--certs` and `--workers`.
    var words: [String] {
        var words = ["--http", http, "--access-log", accessLog, "--drain-deadline", "\(drainDeadline)"]
        if let https { words += ["--https", https] }
        if redirectHttps { words.append("--redirect-https") }
        if withoutSessionTickets { words.append("--no-session-tickets") }
        if trustForwarded { words.append("--trust-forwarded") }
        return words
    }
}
