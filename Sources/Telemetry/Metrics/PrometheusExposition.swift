import Primitives

/// The page of `/metrics` on port 9091 (an activator's: 9090): Knative's request metrics summed over the workers.
///
/// Names, labels, help and order are those that OpenTelemetry's exporter for Prometheus gives Knative's instruments,
/// and behind a setting those of Knative until 1.18. For the control side: it allocates.
public struct PrometheusExposition: Sendable {
    /// Most bytes of a page. Series that would go beyond are left out.
    public static let pageLimit = 8 << 20
    /// `Content-Type` of the page.
    public static let contentType: StaticString = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"

    private let identity: TelemetryIdentity
    private let includesCurrent: Bool
    private let includesLegacy: Bool

    /// An exposition for that process.
    ///
    /// - Parameters:
    ///   - includesCurrent: whether OpenTelemetry's names are there.
    ///   - includesLegacy: whether the `revision_*` names are there; workers must keep them as well.
    public init(identity: TelemetryIdentity, includesCurrent: Bool = true, includesLegacy: Bool = false) {
        self.identity = identity
        self.includesCurrent = includesCurrent
        self.includesLegacy = includesLegacy
    }

    /// The page.
    ///
    /// - Parameters:
    ///   - workers: the metrics of all workers; they may go on counting.
    ///   - queueDepth: requests in flight and waiting, nil without a concurrency limit.
    /// - Returns: the page, and whether series were left out.
    public func page(of workers: [RequestMetrics], queueDepth: Int?) -> (body: [UInt8], isTruncated: Bool) {
        let series = MetricSnapshot.series(of: workers)
        var text = PrometheusText(limit: PrometheusExposition.pageLimit)
        if includesCurrent {
            for family in PrometheusExposition.current { write(family, series, to: &text) }
        }
        if includesCurrent, let queueDepth {
            text.family("kn_serving_queue_depth", .gauge, help: "Number of current requests in the queue")
            let labels = PrometheusText.labels(Scope.queue.labels)
            text.sample("kn_serving_queue_depth", labels: labels, value: Double(queueDepth))
        }
        if includesLegacy { writeLegacy(series, queueDepth: queueDepth, to: &text) }
        if includesCurrent {
            text.family("target_info", .gauge, help: "Target metadata")
            let target = identity.attributes.map { (name: $0.name.replacingDots, value: $0.value) }
            text.sample("target_info", labels: PrometheusText.labels(target), value: 1)
        }
        return (text.bytes, text.isTruncated)
    }

    // MARK: Families

    /// Which of the labels of a request a family has.
    private enum Labels { case server, client, status, legacy }

    /// Where OpenTelemetry's instruments come from, in the labels of their series.
    private enum Scope {
        case http, queue

        var labels: [PrometheusText.Label] {
            let name =
                switch self {
                case .http: "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
                case .queue: "knative.dev/serving/pkg/queue"
                }
            return [
                ("otel_scope_name", name), ("otel_scope_schema_url", ""),
                ("otel_scope_version", self == .http ? "0.69.0" : ""),
            ]
        }
    }

    private struct Family {
        let name: String
        let help: String
        let measure: RequestMetrics.Measure
        let labels: Labels
    }

    /// By ascending names; the gauge of the queue comes after them.
    private static let current = [
        Family(
            name: "http_client_request_body_size_bytes", help: "Size of HTTP client request bodies.",
            measure: .upstreamRequestBytes, labels: .client),
        Family(
            name: "http_client_request_duration_seconds", help: "Duration of HTTP client requests.",
            measure: .upstreamDuration, labels: .client),
        Family(
            name: "http_server_request_body_size_bytes", help: "Size of HTTP server request bodies.",
            measure: .requestBytes, labels: .server),
        Family(
            name: "http_server_request_duration_seconds", help: "Duration of HTTP server requests.",
            measure: .serverDuration, labels: .server),
        Family(
            name: "http_server_response_body_size_bytes", help: "Size of HTTP server response bodies.",
            measure: .responseBytes, labels: .server),
        Family(
            name: "kn_serving_invocation_duration_seconds", help: "The duration of task execution",
            measure: .upstreamDuration, labels: .status),
    ]

    private func write(_ family: Family, _ series: [MetricSnapshot], to text: inout PrometheusText) {
        let sums = grouped(series, by: family.labels, family.measure)
        guard !sums.isEmpty else { return }
        text.family(family.name, .histogram, help: family.help)
        for (labels, cells) in sums {
            text.histogram(
                family.name, labels: labels, bounds: family.measure.bounds, counts: Array(cells.dropLast()),
                sum: cells[cells.count - 1])
        }
    }

    private func writeLegacy(_ series: [MetricSnapshot], queueDepth: Int?, to text: inout PrometheusText) {
        let app = "The number of requests that are routed to user-container"
        write(legacy: "revision_app_request", countHelp: app, series, .legacyUpstreamDuration, to: &text)
        if let queueDepth {
            let help = "The current number of items in the serving and waiting queue, "
            text.family("revision_queue_depth", .gauge, help: help + "or not reported if unlimited concurrency.")
            let labels = PrometheusText.labels(legacyIdentity)
            text.sample("revision_queue_depth", labels: labels, value: Double(queueDepth))
        }
        let requests = "The number of requests that are routed to queue-proxy"
        write(legacy: "revision_request", countHelp: requests, series, .legacyDuration, to: &text)
    }

    private func write(
        legacy name: String, countHelp: String, _ series: [MetricSnapshot], _ measure: RequestMetrics.Measure,
        to text: inout PrometheusText
    ) {
        let sums = grouped(series, by: .legacy, measure)
        guard !sums.isEmpty else { return }
        text.family("\(name)_count", .counter, help: countHelp)
        for (labels, cells) in sums {
            text.sample("\(name)_count", labels: labels, value: Double(cells.dropLast().reduce(0, &+)))
        }
        text.family("\(name)_latencies", .histogram, help: "The response time in millisecond")
        for (labels, cells) in sums {
            text.histogram(
                "\(name)_latencies", labels: labels, bounds: measure.bounds, counts: Array(cells.dropLast()),
                sum: cells[cells.count - 1])
        }
    }

    // MARK: Labels

    /// The cells of a measure, added up where the labels of the family are the same, by ascending labels.
    private func grouped(
        _ series: [MetricSnapshot], by kind: Labels, _ measure: RequestMetrics.Measure
    ) -> [(labels: String, cells: [UInt64])] {
        var sums: [String: [UInt64]] = [:]
        for series in series {
            let cells = series.cells(of: measure)
            // The durations of invocations, and all old names, are a queue-proxy's.
            guard series.revision == nil || kind == .server || kind == .client else { continue }
            guard cells.dropLast().contains(where: { $0 > 0 }) else { continue }
            let labels = PrometheusText.labels(labels(kind, of: series))
            guard let sum = sums[labels] else {
                sums[labels] = cells
                continue
            }
            sums[labels] = zip(sum, cells).map { $0 &+ $1 }
        }
        return sums.sorted { $0.key < $1.key }.map { (labels: $0.key, cells: $0.value) }
    }

    private func labels(_ kind: Labels, of series: MetricSnapshot) -> [PrometheusText.Label] {
        let scope = kind == .status ? Scope.queue : Scope.http
        if series.isOverflow {
            let overflow: [PrometheusText.Label] = [("otel_metric_overflow", "true")]
            return overflow + (kind == .legacy ? legacyIdentity : scope.labels)
        }
        switch kind {
        case .status: return scope.labels + [("http_response_status_code", series.status)]
        case .legacy:
            return legacyIdentity + [
                ("response_code", series.status), ("response_code_class", "\(series.status.prefix(1))xx"),
                ("route_tag", RouteTag.legacyName(series.routeTag)),
            ]
        case .server, .client: return requestLabels(of: series, scope, isServer: kind == .server)
        }
    }

    /// In a sidecar the upstream is the container; in an activator it is one of many pods, which the revision stands
    /// for.
    private func requestLabels(
        of series: MetricSnapshot, _ scope: Scope, isServer: Bool
    ) -> [PrometheusText.Label] {
        var labels =
            scope.labels + [
                ("http_request_method", series.method), ("network_protocol_name", "http"),
                ("network_protocol_version", series.protocolVersion),
            ]
        var port = isServer ? series.port : identity.upstreamPort == 80 ? 0 : UInt64(identity.upstreamPort)
        if let revision = series.revision {
            labels += revision.attributes.map { (name: "\($0.name)".replacingDots, value: $0.value) }
            if !isServer { port = 0 }
        } else {
            labels.append(("kn_route_tag", series.routeTag))
        }
        if isServer {
            labels += [("server_address", series.host), ("url_scheme", series.scheme)]
        } else if series.revision == nil {
            labels += [("server_address", "127.0.0.1"), ("url_scheme", "http")]
        }
        // No response came: OpenTelemetry leaves the status out, and a client names the error.
        if series.status != "0" {
            labels.append(("http_response_status_code", series.status))
        } else if !isServer {
            labels.append(("error_type", "_OTHER"))
        }
        if port != 0 { labels.append(("server_port", String(port))) }
        return labels
    }

    private var legacyIdentity: [PrometheusText.Label] {
        [
            ("configuration_name", identity.configuration), ("container_name", "queue-proxy"),
            ("namespace_name", identity.namespace), ("pod_name", identity.pod), ("revision_name", identity.revision),
            ("service_name", identity.service),
        ]
    }
}

/// A series as it stood when it was read.
struct MetricSnapshot {
    var status = ""
    var scheme = ""
    var method = ""
    var protocolVersion = ""
    var host = ""
    var port: UInt64 = 0
    var routeTag = ""
    let revision: RevisionLabels?
    let isOverflow: Bool
    private var values: [UInt64]

    private init(_ series: RequestMetrics.Series) {
        isOverflow = series.isOverflow
        revision = series.revision
        values = (0..<series.cells.count).map { series.cells[$0] }
        guard !isOverflow else { return }
        let parts = series.key.split(separator: ASCII.lf, omittingEmptySubsequences: false)
        assert(parts.count == (revision == nil ? 6 : 7))
        let texts = parts.map { String(decoding: $0, as: UTF8.self) }
        (status, scheme, method, protocolVersion, routeTag) = (texts[0], texts[1], texts[2], texts[3], texts[5])
        parts[4].withUnsafeBytes { bytes in
            let address = HostAndPort(ByteView(bytes))
            host = address.host.string
            port = address.port(isTLS: scheme == "https")
        }
    }

    /// All series of all workers; the same one of two workers comes twice.
    static func series(of workers: [RequestMetrics]) -> [MetricSnapshot] {
        var all: [MetricSnapshot] = []
        for worker in workers { worker.forEach { all.append(MetricSnapshot($0)) } }
        return all
    }

    /// Buckets and sum of a measure.
    func cells(of measure: RequestMetrics.Measure) -> [UInt64] {
        Array(values[RequestMetrics.offsets[measure.rawValue]..<RequestMetrics.offsets[measure.rawValue + 1]])
    }
}

extension String {
    /// A name of OpenTelemetry as one of Prometheus.
    fileprivate var replacingDots: String { String(map { $0 == "." ? "_" : $0 }) }
}
