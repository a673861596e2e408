import DataPlane
import EventLoop
import Primitives
import TLS
import Telemetry

/// What is done of the settings for observability: for the workers, and for the control side. Made once, at the start.
public struct TelemetryPlan: Sendable {
    /// Where something goes.
    public enum Destination: Equatable, Sendable {
        /// Nowhere.
        case off
        /// To a collector.
        case collector(OTLPEndpoint)
        /// To standard output, as lines of JSON.
        case standardOutput
    }

    /// For `RequestTelemetry`.
    public private(set) var requests = RequestTelemetry.Settings()
    /// Whether the workers have anything to keep; if not, hand them no `RequestTelemetry`.
    public var isNeeded: Bool { requests.logTemplate != nil || requests.keepsMetrics || requests.sampler != nil }
    /// Where spans go.
    public private(set) var spans = Destination.off
    /// Where metrics are pushed to.
    public private(set) var metrics = Destination.off
    /// How often, in milliseconds.
    public private(set) var metricsIntervalMilliseconds = 60_000
    /// Where metrics can be fetched; nil if they cannot.
    public private(set) var prometheus: PrometheusListener?
    /// Whom collectors with TLS must be trusted by; nil if there are none.
    let trust: TrustBundle?
    /// What is passed over, and what happens instead: for the log at the start.
    public private(set) var warnings: [ConfigurationProblem] = []

    /// What keeps the sidecar from starting.
    public struct Failure: Error, Sendable {
        /// All of it; never empty.
        public let problems: [ConfigurationProblem]
    }

    /// The plan for a configuration. `trustFiles` are looked at in their order if a collector has TLS.
    /// - Throws: everything that is wrong with the template and with what TLS needs.
    public init(
        _ configuration: QueueConfiguration, trustFiles: [String] = TrustFiles.usual
    ) throws(Failure) {
        try self.init(
            configuration.observability, identity: Self.identity(configuration),
            podIP: configuration.revision.podIP, names: configuration.metricNames,
            isCurrent: configuration.generation == .current, trustFiles: trustFiles)
    }

    /// The plan of a role that serves many revisions, in whose log and metrics each request's own names stand.
    ///
    /// - Parameters:
    ///   - identity: whose telemetry it is, without a revision.
    ///   - trustFiles: as above.
    /// - Throws: as above.
    public init(
        ofRole settings: ObservabilitySettings, identity: TelemetryIdentity, trustFiles: [String] = TrustFiles.usual
    ) throws(Failure) {
        try self.init(
            settings, identity: identity, podIP: "", names: .current, isCurrent: true, trustFiles: trustFiles)
        requests.seriesLimit = Telemetry.RequestMetrics.manyRevisionsSeriesLimit
    }

    private init(
        _ settings: ObservabilitySettings, identity: TelemetryIdentity, podIP: String, names: MetricNames,
        isCurrent: Bool, trustFiles: [String]
    ) throws(Failure) {
        var problems: [ConfigurationProblem] = []
        var draft = Draft(isCurrent: isCurrent)
        draft.requests.identity = identity
        draft.requests.podIP = podIP
        draft.take(settings.requestLog, &problems)
        draft.take(settings.requestMetrics, names: names)
        draft.take(settings.tracing, settings.sampling)
        (requests, spans, metrics, prometheus) = (draft.requests, draft.spans, draft.metrics, draft.prometheus)
        (metricsIntervalMilliseconds, warnings) = (draft.intervalMilliseconds, draft.warnings)
        var found: TrustBundle?
        if spans.hasTLS || metrics.hasTLS {
            do throws(ConfigurationProblem) {
                found = try TrustFiles.read(trustFiles)
            } catch {
                problems.append(error)
            }
        }
        trust = found
        if !problems.isEmpty { throw Failure(problems: problems) }
    }

    private static func identity(_ configuration: QueueConfiguration) -> TelemetryIdentity {
        var identity = TelemetryIdentity()
        identity.namespace = configuration.revision.namespace
        identity.service = configuration.revision.service
        identity.configuration = configuration.revision.configuration
        identity.revision = configuration.revision.name
        identity.pod = configuration.revision.pod
        identity.serviceName = configuration.resource.serviceName
        identity.version = QueueCommand.versionNumber
        identity.upstreamPort = configuration.userPort
        return identity
    }

    /// The plan in the making.
    private struct Draft {
        let isCurrent: Bool
        var requests = RequestTelemetry.Settings()
        var spans = Destination.off
        var metrics = Destination.off
        var intervalMilliseconds = 60_000
        var prometheus: PrometheusListener?
        var warnings: [ConfigurationProblem] = []

        init(isCurrent: Bool) { self.isCurrent = isCurrent }

        mutating func take(_ log: RequestLogSettings, _ problems: inout [ConfigurationProblem]) {
            guard log.isEnabled else { return }
            requests.logsProbes = log.includesProbes
            do throws(GoTemplate.Failure) {
                requests.logTemplate = try GoTemplate(log.template)
            } catch {
                let variable =
                    isCurrent ? "OBSERVABILITY_CONFIG.requestLogTemplate" : "SERVING_REQUEST_LOG_TEMPLATE"
                problems += error.problems.map {
                    ConfigurationProblem(
                        variable: variable, found: "is wrong at \($0.line):\($0.column)", remedy: $0.message)
                }
            }
        }

        mutating func take(_ metrics: RequestMetrics, names: MetricNames) {
            switch metrics {
            case .off: break
            case .prometheus(let listener):
                requests.keepsMetrics = true
                requests.keepsLegacyMetrics = names != .current
                requests.showsCurrentMetrics = names != .previous
                prometheus = listener
            case .otlp(let endpoint, let interval):
                guard endpoint.transport == .http else {
                    return warn(
                        "OBSERVABILITY_CONFIG.requestMetrics.protocol", "is \"grpc\"",
                        "there are no request metrics; http/protobuf and prometheus are spoken")
                }
                requests.keepsMetrics = true
                self.metrics = .collector(endpoint)
                intervalMilliseconds = interval
            case .openCensus:
                warn(
                    "SERVING_REQUEST_METRICS_BACKEND", "is \"opencensus\"",
                    "there are no request metrics; prometheus is spoken")
            }
        }

        mutating func take(_ tracing: TraceExport, _ sampling: TraceSampling) {
            let instead = "there are no spans, and trace contexts are passed on as they come"
            switch tracing {
            case .off: return
            case .otlp(let endpoint):
                guard endpoint.transport == .http else {
                    return warn(
                        "OBSERVABILITY_CONFIG.tracing.protocol", "is \"grpc\"",
                        "\(instead); http/protobuf and stdout are spoken")
                }
                spans = .collector(endpoint)
            case .standardOutput: spans = .standardOutput
            case .zipkin: return warn("TRACING_CONFIG_BACKEND", "is \"zipkin\"", instead)
            }
            requests.sampler = TraceSampler(rate: sampling.ratio, followsParent: sampling.followsParent)
        }

        private mutating func warn(_ variable: String, _ found: String, _ remedy: String) {
            warnings.append(ConfigurationProblem(variable: variable, found: found, remedy: remedy))
        }
    }
}

extension TelemetryPlan.Destination {
    /// Whether TLS is spoken to it.
    fileprivate var hasTLS: Bool {
        if case .collector(let endpoint) = self { endpoint.isTLS } else { false }
    }
}

/// The system's list of those who sign certificates.
public enum TrustFiles {
    /// Where Go looks for it too: Debian, Fedora, OpenSUSE, Alpine.
    public static let usual = [
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
    ]
    /// Most bytes of it.
    static let limit = 2 << 20

    /// The first that is there.
    static func read(_ files: [String]) throws(ConfigurationProblem) -> TrustBundle {
        for file in files {
            guard let text = SystemFile.read(file, atMost: limit) else { continue }
            do throws(CertificateProblem) {
                return try TrustBundle(pem: Array(text.utf8), file: file)
            } catch {
                throw ConfigurationProblem(
                    variable: file, found: "cannot be used (\(error))",
                    remedy: "certificates in PEM are needed to verify a collector at https://")
            }
        }
        throw ConfigurationProblem(
            variable: "https://", found: "is the scheme of a collector's endpoint",
            remedy: "it cannot be verified, as there is none of \(files.joined(separator: ", ")); use http://")
    }
}
