import Primitives
import Synchronization

/// What tells one series of requests from another.
public struct MetricLabels {
    /// Request method; others than HTTP's nine become `_OTHER`.
    public var method = ByteView.empty
    /// `1.0`, `1.1` or `2.0`; at most 7 bytes.
    public var protocolVersion = ByteView.empty
    /// Whether the connection is a TLS one.
    public var isTLS = false
    /// `Host` of the request, with its port. A stranger chooses it: see `RequestMetrics.seriesLimit`.
    public var host = ByteView.empty
    /// `kn.route.tag`, from `RouteTag.name`.
    public var routeTag = ByteView.empty
    /// Status of the response; 500 if the exchange failed inside the proxy.
    public var status: UInt16 = 0
    /// Whose request it is, in a role that serves many revisions; nil in a sidecar.
    public var revision: RevisionLabels?

    /// Labels that say nothing yet.
    public init() {}
}

/// The request metrics of one worker: it adds, the control side reads, and neither waits.
///
/// Series are made when first met, which allocates; then nothing does. Owner of the adding calls: one worker.
public final class RequestMetrics: Sendable {
    /// Most series a worker tells apart; all beyond share one, with the label `otel_metric_overflow="true"`.
    public static let seriesLimit = 256
    /// The same for a role that serves many revisions.
    public static let manyRevisionsSeriesLimit = 4_096
    /// Most bytes of a host or a route tag in a label; longer ones are cut off.
    public static let labelLimit = 128

    /// The measurements of one series.
    enum Measure: Int, CaseIterable {
        /// From the request's arrival to the response's end, in nanoseconds.
        case serverDuration
        /// Bytes of bodies.
        case requestBytes, responseBytes
        /// From sending to the upstream to the end of its answer, in nanoseconds, without the wait for a slot.
        case upstreamDuration
        /// Bytes sent to the upstream.
        case upstreamRequestBytes
        /// The two durations again, in buckets of milliseconds; only where the old names are on.
        case legacyDuration, legacyUpstreamDuration

        var bounds: MetricBounds {
            switch self {
            case .serverDuration, .upstreamDuration: .seconds
            case .requestBytes, .responseBytes, .upstreamRequestBytes: .bytes
            case .legacyDuration, .legacyUpstreamDuration: .milliseconds
            }
        }
    }

    /// One series: its key, which never changes, and its cells.
    final class Series: Sendable {
        let key: [UInt8]
        let hash: UInt64
        let isOverflow: Bool
        let revision: RevisionLabels?
        let cells: MetricCells

        init(key: [UInt8], hash: UInt64, isOverflow: Bool, revision: RevisionLabels? = nil) {
            self.key = key
            self.hash = hash
            self.isOverflow = isOverflow
            self.revision = revision
            cells = MetricCells(count: RequestMetrics.offsets[Measure.allCases.count])
        }
    }

    /// Where the cells of each measure begin.
    static let offsets: [Int] = Measure.allCases.reduce(into: [0]) { offsets, measure in
        offsets.append(offsets[offsets.count - 1] + measure.bounds.cellCount)
    }
    /// Bounds of each measure, by its number.
    private let bounds = Measure.allCases.map(\.bounds)
    private let offsets = RequestMetrics.offsets
    private let table: SeriesTable
    private let includesLegacy: Bool

    /// Metrics of a worker without a series.
    ///
    /// - Parameters:
    ///   - includesLegacy: whether the histograms of the `revision_*` names are kept as well.
    ///   - seriesLimit: most series that are told apart.
    public init(includesLegacy: Bool = false, seriesLimit: Int = RequestMetrics.seriesLimit) {
        self.includesLegacy = includesLegacy
        table = SeriesTable(limit: seriesLimit)
    }

    /// A request is over. Not for probes, which count nowhere.
    ///
    /// - Parameters:
    ///   - nanoseconds: from its arrival to the end of the response.
    ///   - requestBytes: bytes of its body that came; `responseBytes`: of the response's body that went.
    public func recordServer(
        _ labels: MetricLabels, nanoseconds: UInt64, requestBytes: UInt64, responseBytes: UInt64
    ) {
        recordServer(
            in: table.series(for: labels), nanoseconds: nanoseconds, requestBytes: requestBytes,
            responseBytes: responseBytes)
    }

    /// The exchange with the user's container is over.
    ///
    /// - Parameter nanoseconds: from leaving the queue to the end of the response.
    public func recordUpstream(_ labels: MetricLabels, nanoseconds: UInt64, requestBytes: UInt64) {
        recordUpstream(in: table.series(for: labels), nanoseconds: nanoseconds, requestBytes: requestBytes)
    }

    /// Both at once, which looks for the series once. `upstreamNanoseconds` is nil if the request never left the queue.
    public func record(
        _ labels: MetricLabels, nanoseconds: UInt64, upstreamNanoseconds: UInt64?, requestBytes: UInt64,
        responseBytes: UInt64
    ) {
        let series = table.series(for: labels)
        recordServer(in: series, nanoseconds: nanoseconds, requestBytes: requestBytes, responseBytes: responseBytes)
        guard let upstreamNanoseconds else { return }
        recordUpstream(in: series, nanoseconds: upstreamNanoseconds, requestBytes: requestBytes)
    }

    private func recordServer(in series: Series, nanoseconds: UInt64, requestBytes: UInt64, responseBytes: UInt64) {
        record(nanoseconds, .serverDuration, in: series)
        record(requestBytes, .requestBytes, in: series)
        record(responseBytes, .responseBytes, in: series)
        if includesLegacy { record(nanoseconds, .legacyDuration, in: series) }
    }

    private func recordUpstream(in series: Series, nanoseconds: UInt64, requestBytes: UInt64) {
        record(nanoseconds, .upstreamDuration, in: series)
        record(requestBytes, .upstreamRequestBytes, in: series)
        if includesLegacy { record(nanoseconds, .legacyUpstreamDuration, in: series) }
    }

    private func record(_ value: UInt64, _ measure: Measure, in series: Series) {
        let bounds = bounds[measure.rawValue]
        let start = offsets[measure.rawValue]
        series.cells.add(1, to: start + bounds.bucket(of: value))
        series.cells.add(value, to: start + bounds.cellCount - 1)
    }

    /// The series there are. Any thread.
    func forEach(_ body: (Series) -> Void) { table.forEach(body) }
}

/// The series of one worker by their keys: open addressing, never removed, published one by one.
///
/// Safe to share: one worker writes; a slot goes from nothing to its series once, with release, and readers acquire.
final class SeriesTable: @unchecked Sendable {
    private let slots: UnsafeMutablePointer<Atomic<UInt>>
    private let capacity: Int
    private let limit: Int
    private let overflow: RequestMetrics.Series
    /// Of the writer alone.
    private var count = 0
    private let overflowUsed = Atomic(false)
    private let key: UnsafeMutableRawBufferPointer

    init(limit: Int) {
        self.limit = limit
        capacity = max(4, limit * 2)
        slots = .allocate(capacity: capacity)
        for index in 0..<capacity { (slots + index).initialize(to: Atomic(0)) }
        overflow = RequestMetrics.Series(key: [], hash: 0, isOverflow: true)
        key = .allocate(byteCount: 3 * RequestMetrics.labelLimit, alignment: 8)
    }

    deinit {
        forEach { if !$0.isOverflow { Unmanaged.passUnretained($0).release() } }
        slots.deinitialize(count: capacity)
        slots.deallocate()
        key.deallocate()
    }

    /// The series of those labels, made if need be. Owner: the worker.
    func series(for labels: MetricLabels) -> RequestMetrics.Series {
        var writer = ByteWriter(key)
        writer.append(key: labels)
        assert(!writer.overflowed)
        let key = writer.written
        let hash = SeriesTable.hash(key)
        var index = Int(hash % UInt64(capacity))
        for _ in 0..<capacity {
            guard let found = SeriesTable.series((slots + index).pointee.load(ordering: .relaxed)) else { break }
            if found.hash == hash, found.key.withUnsafeBytes({ ByteView($0).equals(key) }) { return found }
            index = (index + 1) % capacity
        }
        guard count < limit else {
            overflowUsed.store(true, ordering: .relaxed)
            return overflow
        }
        count += 1
        let copy = Array(UnsafeBufferPointer(start: key.base, count: key.count))
        let series = RequestMetrics.Series(
            key: copy, hash: hash, isOverflow: false, revision: labels.revision)
        let bits = UInt(bitPattern: Unmanaged.passRetained(series).toOpaque())
        (slots + index).pointee.store(bits, ordering: .releasing)
        return series
    }

    /// Calls `body` with each series. Any thread.
    func forEach(_ body: (RequestMetrics.Series) -> Void) {
        for index in 0..<capacity {
            if let series = SeriesTable.series((slots + index).pointee.load(ordering: .acquiring)) { body(series) }
        }
        if overflowUsed.load(ordering: .relaxed) { body(overflow) }
    }

    private static func series(_ bits: UInt) -> RequestMetrics.Series? {
        guard let pointer = UnsafeRawPointer(bitPattern: bits) else { return nil }
        return Unmanaged<RequestMetrics.Series>.fromOpaque(pointer).takeUnretainedValue()
    }

    /// FNV-1a, which is enough for a table that cannot grow: at worst a stranger makes it search all of its slots.
    private static func hash(_ key: ByteView) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for index in 0..<key.count { hash = (hash ^ UInt64(key.base[index])) &* 0x100_0000_01B3 }
        return hash
    }
}

extension ByteWriter {
    /// Appends labels as the key of their series: status, flags, then the texts with an LF between them; last the
    /// number of the revision, if there is one.
    fileprivate mutating func append(key labels: MetricLabels) {
        append(decimal: UInt64(labels.status))
        append(ASCII.lf)
        append(labels.isTLS ? "https" : "http")
        append(ASCII.lf)
        append(KnownMethod.isKnown(labels.method) ? labels.method : ByteView("_OTHER"))
        append(ASCII.lf)
        append(cut: labels.protocolVersion, limit: 7)
        append(ASCII.lf)
        append(cut: labels.host, limit: RequestMetrics.labelLimit)
        append(ASCII.lf)
        append(cut: labels.routeTag, limit: RequestMetrics.labelLimit)
        guard let revision = labels.revision else { return }
        append(ASCII.lf)
        append(decimal: revision.number)
    }

    private mutating func append(cut text: ByteView, limit: Int) {
        for index in 0..<min(text.count, limit) {
            let byte = text.base[index]
            append(byte == ASCII.lf ? UInt8(ascii: "?") : byte)
        }
    }
}
