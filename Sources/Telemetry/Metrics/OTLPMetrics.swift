import Primitives

/// Knative's request metrics as one `ExportMetricsServiceRequest` of OTLP 1.x, to be posted to `/v1/metrics`: summed
/// over the workers, cumulative since the start. For the control side: it allocates.
///
/// The instruments are those of `PrometheusExposition` by their own names; those of Knative until 1.18 were never
/// pushed this way.
public struct OTLPMetrics: Sendable {
    /// Path of the request if the endpoint has none.
    public static let path: StaticString = "/v1/metrics"
    /// Most bytes of a message. Series that would go beyond are left out.
    public static let messageLimit = 4 << 20
    private static let firstRoom = 64 << 10

    private let identity: TelemetryIdentity
    private let resource: TraceResource
    private let startUnixNanoseconds: UInt64

    /// Metrics of that process, counted since `startUnixNanoseconds` (since 1970).
    public init(identity: TelemetryIdentity, startUnixNanoseconds: UInt64) {
        self.identity = identity
        self.startUnixNanoseconds = startUnixNanoseconds
        resource = TraceResource(attributes: identity.attributes)
    }

    /// The message.
    ///
    /// - Parameters:
    ///   - workers: the metrics of all workers; they may go on counting.
    ///   - queueDepth: requests in flight and waiting, nil without a concurrency limit.
    ///   - unixNanoseconds: the time, since 1970.
    /// - Returns: nil if there is nothing to tell; whether series were left out.
    public func message(
        of workers: [RequestMetrics], queueDepth: Int?, unixNanoseconds: UInt64
    ) -> (bytes: [UInt8], isTruncated: Bool)? {
        let scopes = Scope.allCases.map { scope in
            (scope, OTLPMetrics.families.filter { $0.scope == scope }.map { ($0, points(of: workers, $0)) })
        }
        guard queueDepth != nil || scopes.contains(where: { $0.1.contains { !$0.1.isEmpty } }) else { return nil }
        var room = OTLPMetrics.firstRoom
        while true {
            let isLast = room >= OTLPMetrics.messageLimit
            let found = withUnsafeTemporaryAllocation(byteCount: room, alignment: 8) { memory -> ([UInt8], Bool)? in
                var writer = ByteWriter(memory)
                let isWhole = write(scopes, queueDepth: queueDepth, unixNanoseconds, to: &writer)
                guard isWhole || isLast else { return nil }
                return (Array(UnsafeBufferPointer(start: writer.base, count: writer.count)), !isWhole)
            }
            if let found { return found }
            room *= 4
        }
    }

    // MARK: Instruments

    /// Where OpenTelemetry's instruments come from.
    private enum Scope: CaseIterable {
        case http, queue

        var name: StaticString {
            switch self {
            case .http: "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
            case .queue: "knative.dev/serving/pkg/queue"
            }
        }

        var version: StaticString { self == .http ? "0.69.0" : "" }
    }

    private enum Attributes { case server, client, status }

    private struct Family {
        let scope: Scope
        let name: StaticString
        let unit: StaticString
        let help: StaticString
        let measure: RequestMetrics.Measure
        let attributes: Attributes
    }

    private static let families = [
        Family(
            scope: .http, name: "http.server.request.duration", unit: "s", help: "Duration of HTTP server requests.",
            measure: .serverDuration, attributes: .server),
        Family(
            scope: .http, name: "http.server.request.body.size", unit: "By",
            help: "Size of HTTP server request bodies.", measure: .requestBytes, attributes: .server),
        Family(
            scope: .http, name: "http.server.response.body.size", unit: "By",
            help: "Size of HTTP server response bodies.", measure: .responseBytes, attributes: .server),
        Family(
            scope: .http, name: "http.client.request.duration", unit: "s", help: "Duration of HTTP client requests.",
            measure: .upstreamDuration, attributes: .client),
        Family(
            scope: .http, name: "http.client.request.body.size", unit: "By",
            help: "Size of HTTP client request bodies.", measure: .upstreamRequestBytes, attributes: .client),
        Family(
            scope: .queue, name: "kn.serving.invocation.duration", unit: "s", help: "The duration of task execution",
            measure: .upstreamDuration, attributes: .status),
    ]

    /// An attribute of a point; numbers are told as such.
    fileprivate enum AttributeValue {
        case text(String), number(UInt64), yes
    }

    /// The cells of one set of attributes.
    private struct Point {
        var attributes: [(name: StaticString, value: AttributeValue)]
        var cells: [UInt64]
    }

    /// The points of a family, added up where the attributes are the same, in a fixed order.
    private func points(of workers: [RequestMetrics], _ family: Family) -> [Point] {
        var sums: [String: Point] = [:]
        for series in MetricSnapshot.series(of: workers) {
            let cells = series.cells(of: family.measure)
            // The durations of invocations are a queue-proxy's.
            guard series.revision == nil || family.attributes != .status else { continue }
            guard cells.dropLast().contains(where: { $0 > 0 }) else { continue }
            let attributes = attributes(family.attributes, of: series)
            let key = attributes.map { "\($0.name)=\($0.value)" }.joined(separator: "\n")
            guard let sum = sums[key] else {
                sums[key] = Point(attributes: attributes, cells: cells)
                continue
            }
            sums[key]?.cells = zip(sum.cells, cells).map { $0 &+ $1 }
        }
        return sums.sorted { $0.key < $1.key }.map(\.value)
    }

    private func attributes(_ kind: Attributes, of series: MetricSnapshot) -> [(
        name: StaticString, value: AttributeValue
    )] {
        guard !series.isOverflow else { return [("otel.metric.overflow", .yes)] }
        let status = UInt64(series.status) ?? 0
        // No response came: OpenTelemetry leaves the status out.
        let statuses: [(name: StaticString, value: AttributeValue)] =
            status == 0 ? [] : [("http.response.status_code", .number(status))]
        if kind == .status { return statuses }
        let isServer = kind == .server
        var port = isServer ? series.port : identity.upstreamPort == 80 ? 0 : UInt64(identity.upstreamPort)
        var attributes: [(name: StaticString, value: AttributeValue)] = [
            ("http.request.method", .text(series.method)), ("network.protocol.name", .text("http")),
            ("network.protocol.version", .text(series.protocolVersion)),
        ]
        if let revision = series.revision {
            attributes += revision.attributes.map { (name: $0.name, value: AttributeValue.text($0.value)) }
            // The pods of a revision are many; it stands for them.
            if !isServer { port = 0 }
        } else {
            attributes.append(("kn.route.tag", .text(series.routeTag)))
        }
        if isServer {
            attributes += [("server.address", .text(series.host)), ("url.scheme", .text(series.scheme))]
        } else if series.revision == nil {
            attributes += [("server.address", .text("127.0.0.1")), ("url.scheme", .text("http"))]
        }
        if port != 0 { attributes.append(("server.port", .number(port))) }
        if status == 0, !isServer { attributes.append(("error.type", .text("_OTHER"))) }
        return attributes + statuses
    }

    // MARK: Writing

    /// Writes the message. False if points were left out for want of room.
    private func write(
        _ scopes: [(Scope, [(Family, [Point])])], queueDepth: Int?, _ now: UInt64, to writer: inout ByteWriter
    ) -> Bool {
        var isWhole = true
        let metrics = writer.beginMessage(field: 1)
        resource.encoded.withUnsafeBytes { writer.append(field: 1, bytes: ByteView($0)) }
        for (scope, families) in scopes {
            let message = writer.beginMessage(field: 2)
            let own = writer.beginMessage(field: 1)
            writer.append(field: 1, bytes: ByteView(scope.name))
            writer.append(field: 2, bytes: ByteView(scope.version))
            writer.endMessage(at: own)
            for (family, points) in families where !points.isEmpty {
                isWhole = write(family, points, now, to: &writer) && isWhole
            }
            if scope == .queue, let queueDepth { writeGauge(queueDepth, now, to: &writer) }
            writer.endMessage(at: message)
        }
        writer.endMessage(at: metrics)
        return isWhole && !writer.overflowed
    }

    private func write(_ family: Family, _ points: [Point], _ now: UInt64, to writer: inout ByteWriter) -> Bool {
        let metric = writer.beginMessage(field: 2)
        writer.append(field: 1, bytes: ByteView(family.name))
        writer.append(field: 2, bytes: ByteView(family.help))
        writer.append(field: 3, bytes: ByteView(family.unit))
        let histogram = writer.beginMessage(field: 9)
        var isWhole = true
        for point in points {
            let mark = writer.count
            write(point, family.measure.bounds, now, to: &writer)
            // What comes behind, and the lengths before, must still fit.
            guard writer.overflowed || writer.capacity - writer.count < 1024 else { continue }
            writer.rewind(to: mark)
            isWhole = false
            break
        }
        writer.append(field: 2, varint: 2)  // cumulative
        writer.endMessage(at: histogram)
        writer.endMessage(at: metric)
        return isWhole
    }

    private func write(_ point: Point, _ bounds: MetricBounds, _ now: UInt64, to writer: inout ByteWriter) {
        let buckets = point.cells.dropLast()
        let message = writer.beginMessage(field: 1)
        writer.append(field: 2, fixed64: startUnixNanoseconds)
        writer.append(field: 3, fixed64: now)
        writer.append(field: 4, fixed64: buckets.reduce(0, &+))
        // The sum is an optional field: zero is said too.
        writer.append(tag: 5, .fixed64)
        writer.append(raw64: (Double(point.cells[point.cells.count - 1]) / bounds.scale).bitPattern)
        writer.append(tag: 6, .bytes)
        writer.append(varint: UInt64(8 * buckets.count))
        for count in buckets { writer.append(raw64: count) }
        writer.append(tag: 7, .bytes)
        writer.append(varint: UInt64(8 * bounds.ends.count))
        for index in bounds.ends.indices { writer.append(raw64: bounds.end(index).bitPattern) }
        for (name, value) in point.attributes { writer.append(name, value) }
        writer.endMessage(at: message)
    }

    private func writeGauge(_ depth: Int, _ now: UInt64, to writer: inout ByteWriter) {
        let metric = writer.beginMessage(field: 2)
        writer.append(field: 1, bytes: ByteView("kn.serving.queue.depth"))
        writer.append(field: 2, bytes: ByteView("Number of current requests in the queue"))
        writer.append(field: 3, bytes: ByteView("{request}"))
        let gauge = writer.beginMessage(field: 5)
        let point = writer.beginMessage(field: 1)
        writer.append(field: 3, fixed64: now)
        writer.append(tag: 6, .fixed64)
        writer.append(raw64: UInt64(bitPattern: Int64(depth)))
        writer.endMessage(at: point)
        writer.endMessage(at: gauge)
        writer.endMessage(at: metric)
    }
}

extension ByteWriter {
    /// Appends eight bytes, the lowest first.
    fileprivate mutating func append(raw64 value: UInt64) {
        guard let place = reserve(8) else { return }
        UnsafeMutableRawPointer(place).storeBytes(of: value.littleEndian, as: UInt64.self)
    }

    /// Appends an attribute of a histogram's point.
    fileprivate mutating func append(_ name: StaticString, _ value: OTLPMetrics.AttributeValue) {
        let attribute = beginMessage(field: 9)
        append(field: 1, bytes: ByteView(name))
        let message = beginMessage(field: 2)
        switch value {
        case .text(var text):
            append(tag: 1, .bytes)
            text.withUTF8 { utf8 in
                append(varint: UInt64(utf8.count))
                append(ByteView(UnsafeRawBufferPointer(utf8)))
            }
        case .number(let number):
            append(tag: 3, .varint)
            append(varint: number)
        case .yes:
            append(tag: 2, .varint)
            append(varint: 1)
        }
        endMessage(at: message)
        endMessage(at: attribute)
    }
}
