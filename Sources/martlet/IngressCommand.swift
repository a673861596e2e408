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

    @OptionGroup var serving: ServingFlags

    @Option(
        name: .long,
        help: ArgumentHelp(
            "In place of --certs: certificates for hosts below DOMAIN, signed as martlet run does; see martlet cert.",
            valueName: "DOMAIN"))
    var localAuthority: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Where parts of the cluster connect; cluster-local hosts are served only there.", valueName: "ADDR"))
    var local: String?

    @Option(name: .long, help: "The cluster's domain, for short names of its hosts.")
    var clusterDomain = "cluster.local"

    @OptionGroup var ownLog: LogOptions

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
        serving.apply(to: &options.serving, &problems)
        options.local = local.flatMap { OptionValue.address("--local", $0, example: "127.0.0.1:8081", &problems) }
        OptionValue.checkDistinct(
            [("--http", options.serving.http), ("--https", options.serving.https), ("--local", options.local)],
            &problems)
        checkCertificates(&problems)
        ownLog.check(&problems)
        options.ingress.clusterDomain = clusterDomain
        options.ingress.redirectsToHTTPS = serving.redirectHttps
        guard problems.isEmpty else { throw ValidationError(problems.joined(separator: "\n")) }
        return options
    }

    private func checkCertificates(_ problems: inout [String]) {
        if serving.https != nil, serving.certs == nil, localAuthority == nil {
            problems.append("--https: certificates are missing; give --certs DIR or --local-authority DOMAIN")
        }
        guard localAuthority != nil else { return }
        if serving.certs != nil {
            problems.append("--local-authority: --certs DIR has the certificates already; give one of both")
        }
        if serving.https == nil { problems.append("--local-authority: nothing uses it; give --https ADDR too") }
    }

    /// Reads the certificates, or opens the local authority; prints every problem, and ends with 78 if there is one.
    private func openCertificates() throws -> OpenedCertificates? {
        guard serving.https != nil else { return nil }
        do throws(CertificateFailure) {
            if let certs = serving.certs { return try OpenedCertificates(.folder(certs), domain: clusterDomain) }
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
