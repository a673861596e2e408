import Activator
import ArgumentParser
import ClusterLink
import EventLoop
import Roles
import Telemetry

/// `martlet activator`.
struct ActivatorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "activator",
        abstract: "Hold requests of revisions without capacity, wake them, and balance over their pods.",
        discussion: """
            EXAMPLES
              martlet activator --cluster objects/ --autoscaler 127.0.0.1:8080
              martlet activator --cluster unix:/run/martlet/cluster.sock --autoscaler 127.0.0.1:8080 \\
                --http 127.0.0.2:8012 --http2 127.0.0.2:8013 --metrics 127.0.0.2:9090

            The objects are Revision (serving.knative.dev/v1), Endpoints and Service (v1), as YAML in a folder or
            from the socket of martlet run --split. Knative's variables are read too (POD_NAME, POD_IP,
            SYSTEM_NAMESPACE, PROBE_TIMEOUT, …); an option goes before its variable. SIGTERM drains and ends.
            """)

    @Option(
        name: .long, help: ArgumentHelp("Where the objects come from: a folder, or unix:PATH.", valueName: "SOURCE"))
    var cluster: String?

    @Option(
        name: .long,
        help: ArgumentHelp("The autoscaler's stat server (default: none, and health is bad).", valueName: "HOST:PORT"))
    var autoscaler: String?

    @Option(name: .long, help: ArgumentHelp("Where HTTP/1.1 and h2c are taken (default :8012).", valueName: "ADDR"))
    var http: String?

    @Option(name: .long, help: ArgumentHelp("The same, for services of h2c (default :8013).", valueName: "ADDR"))
    var http2: String?

    @Option(name: .long, help: ArgumentHelp("Where TLS is taken, with --certs (default :8112).", valueName: "ADDR"))
    var tls: String?

    @Option(name: .long, help: ArgumentHelp("Metrics for Prometheus (default :9090).", valueName: "ADDR"))
    var metrics: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "tls.crt and tls.key for TLS; ca.crt and bundle.crt to speak TLS to pods. Looked at now and then.",
            valueName: "DIR"))
    var certs: String?

    @Option(name: .long, help: ArgumentHelp("Data-plane threads (default: one a core).", valueName: "N"))
    var workers: Int?

    @Option(name: .long, help: "Access log on standard output: envoy, common, combined, json or off.")
    var accessLog = "off"

    @OptionGroup var ownLog: LogOptions

    func validate() throws {
        var problems: [String] = []
        _ = OptionValue.accessLog(accessLog, &problems)
        ownLog.check(&problems)
        guard problems.isEmpty else { throw ValidationError(problems.joined(separator: "\n")) }
    }

    func run() throws {
        let logger = ownLog.logger
        let settings = try resolved()
        guard let place = ClusterPlace(settings.configuration.cluster) else {
            return try refuse(["--cluster: expected a folder or unix:PATH; or set MARTLET_CLUSTER"])
        }
        do {
            let role = try ActivatorRole(
                settings, accessLog: AccessLogFormat(rawValue: accessLog) ?? .off, logger: logger
            ) { try place.source(loop: $0, log: logger) }
            throw ExitCode(try role.run())
        } catch let error as SystemError where error.call.hasPrefix("listen") {
            complain("error: \(error); choose another address with --http, --http2, --tls or --metrics")
            throw ExitCode(ExitCodes.cannotBind)
        } catch let error as ActivatorCertificates.Failure {
            try refuse(error.problems)
        }
    }

    /// The environment, and the options in the place of its variables: one place says what is allowed.
    private func resolved() throws -> ActivatorSettings {
        var environment = Self.environment()
        let options: [(String, String?)] = [
            ("MARTLET_CLUSTER", cluster), ("MARTLET_AUTOSCALER", autoscaler), ("MARTLET_HTTP_LISTEN", http),
            ("MARTLET_HTTP2_LISTEN", http2), ("MARTLET_TLS_LISTEN", tls), ("MARTLET_METRICS_LISTEN", metrics),
            ("MARTLET_CERTIFICATES", certs), ("MARTLET_WORKERS", workers.map { "\($0)" }),
        ]
        for (name, value) in options { if let value { environment[name] = value } }
        let resolver = SystemFile.read("/etc/resolv.conf", atMost: 64 << 10) ?? ""
        do throws(ActivatorSettings.Failure) {
            return try ActivatorSettings(environment, resolver: resolver)
        } catch {
            try refuse(error.problems)
            throw ExitCode(ExitCodes.badConfiguration)
        }
    }

    /// Of a name that occurs twice the first counts, as in Go.
    private static func environment() -> [String: String] {
        var variables: [String: String] = [:]
        for entry in ProcessTable.environment(of: ProcessTable.ownPID) {
            guard let equals = entry.firstIndex(of: "="), equals != entry.startIndex else { continue }
            let name = String(entry[..<equals])
            if variables[name] == nil { variables[name] = String(entry[entry.index(after: equals)...]) }
        }
        return variables
    }

    private func refuse(_ problems: [String]) throws {
        for problem in problems { complain("error: \(problem)") }
        throw ExitCode(ExitCodes.badConfiguration)
    }
}
