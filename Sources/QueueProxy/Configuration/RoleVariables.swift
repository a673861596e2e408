import TLS

/// What a role other than the sidecar reads of its environment by the sidecar's rules: telemetry of requests, and a
/// listener with TLS.
public struct RoleVariables: Sendable {
    /// Metrics, spans, request log: `OBSERVABILITY_CONFIG` and OpenTelemetry's variables.
    public let observability: ObservabilitySettings
    /// `service.name`: OTEL_SERVICE_NAME, else the role's.
    public let serviceName: String
    /// Versions, ciphers, groups of the listener: `<prefix>TLS_MIN_VERSION` and its companions. Default TLS 1.3.
    public let tls: TLSServerSettings
    /// What keeps the role from starting. All of it.
    public let problems: [ConfigurationProblem]
    /// What was passed over.
    public let warnings: [ConfigurationProblem]

    /// Reads an environment.
    ///
    /// - Parameters:
    ///   - environment: names and values.
    ///   - role: the role's name, `service.name` if nothing else is said.
    ///   - tlsPrefix: what its TLS variables begin with, `ACTIVATOR_`.
    public init(_ environment: [String: String], role: String, tlsPrefix: String) {
        var reader = VariableReader(environment)
        // The variables of Knative up to 1.18 were a queue-proxy's alone.
        observability = ObservabilityReader.read(.current, &reader)
        serviceName = reader.text("OTEL_SERVICE_NAME", default: role, empty: .isAbsent)
        tls = TLSReader.read(prefix: tlsPrefix, &reader)
        if observability.isProfilingAsked {
            reader.warn("profiling", found: "is asked for", "there is no profiler of Go here, nothing listens on 8008")
        }
        (problems, warnings) = (reader.problems, reader.warnings)
    }
}
