import ArgumentParser
import ClusterLink
import EventLoop
import Ingress
import Logging
import Roles

/// `martlet ingress`.
struct IngressCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ingress",
        abstract: "Serve the hosts of Knative's Ingress objects: routes, splits, headers, TLS.",
        discussion: """
            EXAMPLES
              martlet ingress --cluster objects/
              martlet ingress --cluster unix:/run/martlet/cluster.sock --http :80 --local 127.0.0.1:8081
              martlet ingress --cluster objects/ --http :80 --https :443 --certs certs/ --redirect-https

            The objects are Ingress (networking.internal.knative.dev/v1alpha1) and Endpoints (v1), as YAML in a watched
            folder or from the socket of martlet run --split. Cluster-local hosts are served at --local alone; without
            it they are served at --http if that is a loopback address. SIGTERM drains and ends.
            """)

    @Option(
        name: .long, help: ArgumentHelp("Where the objects come from: a folder, or unix:PATH.", valueName: "SOURCE"))
    var cluster: String

    @Option(
        name: .long, help: ArgumentHelp("Where clients connect: ADDRESS:PORT, :PORT or PORT.", valueName: "ADDR"))
    var http = "127.0.0.1:8080"

    @Option(
        name: .long,
        help: ArgumentHelp("Where clients connect with TLS as well (default: nowhere).", valueName: "ADDR"))
    var https: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Certificates for --https: tls.crt and tls.key, and NAME.crt with NAME.key for further hosts. Watched.",
            valueName: "DIR"))
    var certs: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "In place of --certs: certificates for hosts below DOMAIN, signed as martlet run does; see martlet cert.",
            valueName: "DOMAIN"))
    var localAuthority: String?

    @Flag(name: .long, help: "Answer requests at --http with a redirect to --https, whatever their Ingress says.")
    var redirectHttps = false

    @Flag(name: .customLong("no-session-tickets"), help: "Every connection at --https makes a full handshake.")
    var withoutSessionTickets = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Where parts of the cluster connect; cluster-local hosts are served only there.", valueName: "ADDR"))
    var local: String?

    @Option(name: .long, help: "The cluster's domain, for short names of its hosts.")
    var clusterDomain = "cluster.local"

    @Option(name: .long, help: ArgumentHelp("Data-plane threads (default: one a core).", valueName: "N"))
    var workers: Int?

    @Option(
        name: .long,
        help: ArgumentHelp("How long requests may still take after SIGTERM.", valueName: "SECONDS"))
    var drainDeadline = 30.0

    @Option(name: .long, help: "Access log on standard output: envoy, common, combined, json or off.")
    var accessLog = "envoy"

    @OptionGroup var ownLog: LogOptions

    @Flag(name: .long, help: "Believe X-Forwarded-* and X-Request-Id from clients: another proxy stands in front.")
    var trustForwarded = false

    /// Here and not in `run`, so that a complaint comes with this command's usage.
    func validate() throws { _ = try resolved() }

    func run() throws {
        let logger = ownLog.logger
        let options = try resolved()
        let role = try makeRole(options, try openCertificates(), logger)
        throw ExitCode(try role.run())
    }

    private func resolved() throws -> IngressRoleOptions {
        var options = IngressRoleOptions()
        var problems: [String] = []
        switch ClusterPlace(cluster) {
        case .socket: options.ingress.writesStatus = true
        // Files are somebody else's.
        case .folder: break
        case nil:
            problems.append("--cluster \(cluster): expected a folder or unix:PATH")
        }
        addAddresses(to: &options, &problems)
        if let workers, let count = OptionValue.workers(workers, &problems) { options.serving.workers = count }
        if let format = OptionValue.accessLog(accessLog, &problems) { options.serving.accessLog = format }
        ownLog.check(&problems)
        if let milliseconds = OptionValue.drainDeadline(seconds: drainDeadline, &problems) {
            options.serving.drainDeadlineMilliseconds = milliseconds
        }
        options.ingress.clusterDomain = clusterDomain
        options.ingress.redirectsToHTTPS = redirectHttps
        options.serving.issuesSessionTickets = !withoutSessionTickets
        options.serving.trustsForwarded = trustForwarded
        guard problems.isEmpty else { throw ValidationError(problems.joined(separator: "\n")) }
        return options
    }

    private func addAddresses(to options: inout IngressRoleOptions, _ problems: inout [String]) {
        func read(_ text: String, _ option: String) -> SocketAddress? {
            OptionValue.address(option, text, example: "127.0.0.1:8080", &problems)
        }
        if let address = read(http, "--http") { options.serving.http = address }
        options.serving.https = https.flatMap { read($0, "--https") }
        options.local = local.flatMap { read($0, "--local") }
        // The kernel would share one port between both.
        let all = [("--http", options.serving.http), ("--https", options.serving.https), ("--local", options.local)]
        for (index, (option, address)) in all.enumerated() {
            guard let address, address.port != 0 else { continue }
            for (earlier, other) in all[..<index] where other == address {
                problems.append("\(option) \(address): the same as \(earlier); each needs an address of its own")
            }
        }
        checkCertificates(&problems)
    }

    private func checkCertificates(_ problems: inout [String]) {
        if https != nil, certs == nil, localAuthority == nil {
            problems.append("--https: certificates are missing; give --certs DIR or --local-authority DOMAIN")
        }
        if certs != nil, localAuthority != nil {
            problems.append("--local-authority: --certs DIR has the certificates already; give one of both")
        }
        guard https == nil else { return }
        if certs != nil { problems.append("--certs: nothing uses it; give --https ADDR too") }
        if withoutSessionTickets { problems.append("--no-session-tickets: nothing uses it; give --https ADDR too") }
        if localAuthority != nil { problems.append("--local-authority: nothing uses it; give --https ADDR too") }
        if redirectHttps {
            problems.append("--redirect-https: there is no place to redirect to; give --https ADDR")
        }
    }

    /// Reads the certificates, or opens the local authority; prints every problem, and ends with 78 if there is one.
    private func openCertificates() throws -> OpenedCertificates? {
        guard https != nil else { return nil }
        do throws(CertificateFailure) {
            if let certs { return try OpenedCertificates(.folder(certs), domain: clusterDomain) }
            return try OpenedCertificates(.localAuthority, domain: localAuthority ?? clusterDomain)
        } catch {
            for problem in error.problems { complain(problem) }
            throw ExitCode(ExitCodes.badConfiguration)
        }
    }

    private func makeRole(
        _ options: IngressRoleOptions, _ certificates: OpenedCertificates?, _ logger: Logger
    ) throws -> IngressRole {
        guard let place = ClusterPlace(cluster) else { throw ValidationError("--cluster \(cluster): no place") }
        do {
            return try IngressRole(options, certificates: certificates, logger: logger) { loop in
                try place.source(loop: loop, log: logger)
            }
        } catch let error as SystemError where error.call.hasPrefix("listen") {
            complainOfAddress(error, options: "--http, --https or --local")
            throw ExitCode(ExitCodes.cannotBind)
        }
    }
}
