import ArgumentParser
import EventLoop
import Knative
import Logging
import Roles

/// `martlet run`.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Serve Knative Services on this machine, with processes as pods.",
        discussion: """
            EXAMPLES
              martlet run service.yaml
              martlet run config/ --http :80 --domain example.com
              martlet run service.yaml --image docker.io/me/app="python3 app.py"
              martlet run --name hello -- python3 app.py
              martlet run service.yaml --https :8443
              martlet run config/ --http :80 --https :443 --certs certs/ --redirect-https

            A service is reached as http://NAME.NAMESPACE.DOMAIN:PORT/, for example
            http://hello.default.localhost:8080/. Each process gets its port in PORT.
            Without --certs an authority of this user signs the certificates for --https; see martlet cert.
            Changed files and SIGHUP apply anew; SIGTERM drains and ends.
            """)

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

    @Option(name: .long, help: "Domain of the services' hosts.")
    var domain = "localhost"

    @Option(name: .long, help: "Name of the service made of the command after --.")
    var name: String?

    @Flag(name: .long, help: "Run ingress, activator, autoscaler and a queue-proxy a pod as processes of their own.")
    var split = false

    @Option(name: .long, help: ArgumentHelp("Activators to start with --split (default: 1).", valueName: "N"))
    var activators: Int?

    @OptionGroup var manifests: ManifestOptions

    @Option(name: .long, help: "Access log on standard output: envoy, common, combined, json or off.")
    var accessLog = "envoy"

    @OptionGroup var ownLog: LogOptions

    @Flag(name: .long, help: "Believe X-Forwarded-* and X-Request-Id from clients: another proxy stands in front.")
    var trustForwarded = false

    @Argument(
        parsing: .remaining,
        help: ArgumentHelp("Service files or folders, - for standard input; or a command.", valueName: "FILE|DIR"))
    var arguments: [String] = []

    /// Here and not in `run`, so that a complaint comes with this command's usage.
    func validate() throws { _ = try resolved() }

    func run() throws {
        let logger = ownLog.logger
        let options = try resolved()
        let (services, certificates) = try load(options)
        if split {
            let role = try makeSplit(options, logger)
            throw ExitCode(try role.run(services))
        }
        let role = try makeRole(options, certificates, logger)
        throw ExitCode(try role.run(services))
    }

    private func resolved() throws -> AllInOneOptions {
        var options = AllInOneOptions()
        var problems: [String] = []
        if let address = OptionValue.address("--http", http, example: "127.0.0.1:8080", &problems) {
            options.serving.http = address
        }
        addHTTPS(to: &options, &problems)
        checkSplit(&problems)
        if let workers, let count = OptionValue.workers(workers, &problems) { options.serving.workers = count }
        if let format = OptionValue.accessLog(accessLog, &problems) { options.serving.accessLog = format }
        ownLog.check(&problems)
        manifests.apply(to: &options, &problems)
        if let milliseconds = OptionValue.drainDeadline(seconds: drainDeadline, &problems) {
            options.serving.drainDeadlineMilliseconds = milliseconds
        }
        options.control.domain = domain
        options.serving.trustsForwarded = trustForwarded
        addWorkload(to: &options, &problems)
        guard problems.isEmpty else { throw ValidationError(problems.joined(separator: "\n")) }
        return options
    }

    private func checkSplit(_ problems: inout [String]) {
        if let activators, !split { problems.append("--activators \(activators): nothing uses it; give --split too") }
        if let activators, !(1...16).contains(activators) {
            problems.append("--activators \(activators): expected 1 to 16")
        }
    }

    private func makeSplit(_ options: AllInOneOptions, _ logger: Logger) throws -> SplitRun {
        var split = SplitOptions()
        split.activators = activators ?? 1
        split.configAutoscaler = manifests.configAutoscaler
        if manifests.allowZeroInitialScale { split.configAutoscaler.append("allow-zero-initial-scale=true") }
        split.logLevel = ownLog.logLevel
        split.logForm = ownLog.log
        split.ingressArguments = [
            "--http", http, "--access-log", accessLog, "--drain-deadline", "\(drainDeadline)", "--workers",
            "\(options.serving.workers)",
        ]
        if let https {
            split.ingressArguments += ["--https", https]
            // The authority has been opened here, and made if there was none; the ingress signs what it serves.
            split.ingressArguments += certs.map { ["--certs", $0] } ?? ["--local-authority", domain]
        }
        if redirectHttps { split.ingressArguments.append("--redirect-https") }
        if withoutSessionTickets { split.ingressArguments.append("--no-session-tickets") }
        if trustForwarded { split.ingressArguments.append("--trust-forwarded") }
        do {
            return try SplitRun(options, split: split, logger: logger)
        } catch {
            complain("error: \(error)")
            throw ExitCode(ExitCodes.failure)
        }
    }

    private func addHTTPS(to options: inout AllInOneOptions, _ problems: inout [String]) {
        guard let https else {
            if certs != nil { problems.append("--certs: nothing uses it; give --https ADDR too") }
            if redirectHttps {
                problems.append("--redirect-https: there is no place to redirect to; give --https ADDR")
            }
            if withoutSessionTickets { problems.append("--no-session-tickets: nothing uses it; give --https ADDR too") }
            return
        }
        if let address = OptionValue.address("--https", https, example: "127.0.0.1:8443", &problems) {
            options.serving.https = address
            // The kernel would share one port between both.
            if address == options.serving.http, address.port != 0 {
                problems.append("--https \(https): the same as --http; each needs an address of its own")
            }
        }
        if let certs { options.certificates = .folder(certs) }
        options.redirectsToHTTPS = redirectHttps
        options.serving.issuesSessionTickets = !withoutSessionTickets
    }

    private func addWorkload(to options: inout AllInOneOptions, _ problems: inout [String]) {
        let rest = arguments.first == "--" ? Array(arguments.dropFirst()) : arguments
        if let name {
            options.workload.command = (name, rest)
            if rest.isEmpty { problems.append("--name \(name): a command is missing; write it after --") }
        } else if rest.isEmpty {
            problems.append("nothing to run: give a FILE or DIR, or --name NAME -- COMMAND")
        } else {
            options.workload.files = ManifestFiles(paths: rest)
        }
    }

    /// Reads the files, certificates included; prints every problem of all, and ends with 78 if one is an error.
    private func load(_ options: AllInOneOptions) throws -> ([ServiceObject], OpenedCertificates?) {
        let result = options.workload.read()
        for diagnostic in result.diagnostics { complain("\(diagnostic)") }
        var certificates: OpenedCertificates?
        var isRefused = result.diagnostics.hasErrors
        if options.serving.https != nil {
            do throws(CertificateFailure) {
                certificates = try OpenedCertificates(options.certificates, domain: options.control.domain)
            } catch {
                for problem in error.problems { complain(problem) }
                isRefused = true
            }
        }
        guard !isRefused else { throw ExitCode(ExitCodes.badConfiguration) }
        return (result.services, certificates)
    }

    private func makeRole(
        _ options: AllInOneOptions, _ certificates: OpenedCertificates?, _ logger: Logger
    ) throws -> AllInOne {
        do {
            return try AllInOne(options, certificates: certificates, logger: logger)
        } catch let error as SystemError where error.call.hasPrefix("listen") {
            let isHTTPS = options.serving.https.map { error.call.hasSuffix(" \($0)") } ?? false
            complainOfAddress(error, options: isHTTPS ? "--https" : "--http")
            throw ExitCode(ExitCodes.cannotBind)
        }
    }
}
