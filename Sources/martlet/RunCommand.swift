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

    @OptionGroup var serving: ServingFlags

    @Option(name: .long, help: "Domain of the services' hosts.")
    var domain = "localhost"

    @Option(name: .long, help: "Name of the service made of the command after --.")
    var name: String?

    @Flag(name: .long, help: "Run ingress, activator, autoscaler and a queue-proxy a pod as processes of their own.")
    var split = false

    @Option(name: .long, help: ArgumentHelp("Activators to start with --split (default: 1).", valueName: "N"))
    var activators: Int?

    @OptionGroup var manifests: ManifestOptions

    @OptionGroup var ownLog: LogOptions

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
        serving.apply(to: &options.serving, &problems)
        OptionValue.checkDistinct(
            [("--http", options.serving.http), ("--https", options.serving.https)], &problems)
        if let certs = serving.certs { options.certificates = .folder(certs) }
        options.redirectsToHTTPS = serving.redirectHttps
        checkSplit(&problems)
        ownLog.check(&problems)
        manifests.apply(to: &options, &problems)
        options.control.domain = domain
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
        split.ingressArguments = serving.words + ["--workers", "\(options.serving.workers)"]
        if serving.https != nil {
            // The authority has been opened here, and made if there was none; the ingress signs what it serves.
            split.ingressArguments += serving.certs.map { ["--certs", $0] } ?? ["--local-authority", domain]
        }
        do {
            return try SplitRun(options, split: split, logger: logger)
        } catch {
            complain("error: \(error)")
            throw ExitCode(ExitCodes.failure)
        }
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
