import Activator
import DataPlane
import QueueProxy
import TLS
import Telemetry

/// Everything an activator reads of its environment: its own variables, and those that it shares with queue-proxies.
public struct ActivatorSettings: Sendable {
    /// Everything that is wrong, a line each: the variable, what was found, what is allowed.
    public struct Failure: Error, Equatable, Sendable {
        /// At least one.
        public let problems: [String]
    }

    /// Its own.
    public let configuration: ActivatorConfiguration
    /// What was passed over, a line each.
    public let warnings: [String]
    /// Request log, metrics, spans.
    let telemetry: TelemetryPlan
    /// Of the listener with TLS: `ACTIVATOR_TLS_…`. Default TLS 1.3.
    let tls: TLSServerSettings

    /// Reads an environment. `resolver` is the text of /etc/resolv.conf.
    public init(_ environment: [String: String], resolver: String = "") throws(Failure) {
        var problems: [String] = []
        var configuration = ActivatorConfiguration()
        do throws(ActivatorConfiguration.Failure) {
            configuration = try ActivatorConfiguration(environment, resolver: resolver)
        } catch {
            problems += error.problems
        }
        let variables = RoleVariables(environment, role: "activator", tlsPrefix: "ACTIVATOR_")
        problems += variables.problems.map(\.description)
        var plan: TelemetryPlan?
        do throws(TelemetryPlan.Failure) {
            plan = try TelemetryPlan(ofRole: variables.observability, identity: Self.identity(configuration, variables))
        } catch {
            problems += error.problems.map(\.description)
        }
        guard problems.isEmpty, let plan else { throw Failure(problems: problems) }
        self.configuration = configuration
        telemetry = plan
        tls = variables.tls
        warnings = (variables.warnings + plan.warnings).map(\.description) + Self.warnings(plan)
    }

    private static func identity(
        _ configuration: ActivatorConfiguration, _ variables: RoleVariables
    ) -> TelemetryIdentity {
        var identity = TelemetryIdentity()
        identity.container = "activator"
        identity.namespace = configuration.systemNamespace
        identity.pod = configuration.podName
        identity.serviceName = variables.serviceName
        identity.version = QueueCommand.versionNumber
        return identity
    }

    /// The page for Prometheus has a listener already.
    private static func warnings(_ plan: TelemetryPlan) -> [String] {
        guard plan.prometheus?.security != nil else { return [] }
        return ["METRICS_PROMETHEUS_TLS_CERT is set; the page is plain, at MARTLET_METRICS_LISTEN"]
    }
}
