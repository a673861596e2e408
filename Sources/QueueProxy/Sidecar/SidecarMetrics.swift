import Admission
import DataPlane
import EventLoop
import Primitives
import TLS
import Telemetry

/// The metrics of requests: one set of counters a worker, and the page that shows their sums.
///
/// Workers add to `workers`, the control thread reads. Owner of the page: the control thread.
struct SidecarMetrics {
    /// What the workers count, by their numbers.
    let workers: [Telemetry.RequestMetrics]
    private let exposition: PrometheusExposition
    private let hasLimit: Bool

    /// Nil if nobody fetches them.
    init?(_ configuration: QueueConfiguration) {
        guard case .prometheus = configuration.observability.requestMetrics else { return nil }
        let includesLegacy = configuration.metricNames != .current
        workers = (0..<configuration.workers).map { _ in Telemetry.RequestMetrics(includesLegacy: includesLegacy) }
        exposition = PrometheusExposition(identity: Self.identity(configuration), includesLegacy: includesLegacy)
        hasLimit = configuration.concurrency > 0
    }

    /// What telemetry calls this process.
    static func identity(_ configuration: QueueConfiguration) -> TelemetryIdentity {
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

    /// The page, with the queue of `gate` as it is now.
    func answer(of gate: RevisionGate) -> Answer {
        let depth = hasLimit ? gate.inFlight + gate.waiting : nil
        return Answer(
            status: 200, contentType: .prometheus, body: exposition.page(of: workers, queueDepth: depth).body)
    }

    /// The certificate of the page's listener, and who may read it. Nil: plain.
    static func security(
        of listener: PrometheusListener
    ) throws(SidecarFailure) -> (settings: TLSServerSettings, certificates: CertificateSet)? {
        guard let security = listener.security else { return nil }
        do {
            var settings = security.settings
            if let file = security.clientAuthorityFile {
                settings.clientAuthorities = try TrustBundle(pem: read(file), file: file)
            }
            let source = CertificateSource(
                certificateFile: security.certificateFile, certificate: try read(security.certificateFile),
                keyFile: security.keyFile, key: try read(security.keyFile), isDefault: true)
            let now = Int64(MonotonicClock.wallNanoseconds() / 1_000_000_000)
            let loaded = CertificateSet.load([source], now: now)
            if let problem = loaded.problems.first { throw problem }
            return (settings, loaded.set)
        } catch {
            let fields = [("listener", "metrics"), ("error", "\(error)")]
            throw SidecarFailure(reasons: [("certificate refused", fields)])
        }
    }

    private static func read(_ path: String) throws(SystemError) -> [UInt8] {
        try SmallFile.read(path, atMost: CertificateWatch.fileLimit)
    }
}
