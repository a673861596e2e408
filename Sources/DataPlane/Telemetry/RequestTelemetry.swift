import EventLoop
import Primitives
import Synchronization
import Telemetry

/// What the workers keep and tell of each request besides the access log: a line of the request log, metrics, spans.
/// Shared by all workers and the control side; any thread.
///
/// Each part is off unless it is asked for. Probes are no requests (spec/dataplane 1.4): they are in none of the three,
/// but in the log if it asks for them.
public final class RequestTelemetry: Sendable {
    /// What is to be kept. The default is nothing.
    public struct Settings: Sendable {
        /// The template of the request log's lines, which go where the access log goes. Nil: no lines. Default nil.
        public var logTemplate: GoTemplate?
        /// Whether probes have lines. Default false.
        public var logsProbes = false
        /// Whose telemetry it is.
        public var identity = TelemetryIdentity()
        /// Address of the pod, for the request log.
        public var podIP = ""
        /// Whether metrics are kept. Default false.
        public var keepsMetrics = false
        /// Series of metrics that a worker tells apart. Default 256.
        public var seriesLimit = RequestMetrics.seriesLimit
        /// Whether those of the old names (`revision_…`) are kept as well. Default false.
        public var keepsLegacyMetrics = false
        /// Whether the page of metrics has the names of Knative from 1.19 on. Default yes.
        public var showsCurrentMetrics = true
        /// Which traces are recorded. Nil: no spans are made, and what a request says of its trace is passed on as it
        /// came. Default nil.
        public var sampler: TraceSampler?
        /// How long a span may wait for others, in milliseconds. Default 5,000 (OpenTelemetry's). At least 1.
        public var spanDelayMilliseconds: UInt64 = 5_000

        /// Nothing is kept.
        public init() {}
    }

    /// Batches of spans that may wait for the control side. At the limit spans wait with their worker, and then are
    /// dropped and counted.
    public static let batchLimit = 8

    /// Spans on their way out: one `ExportTraceServiceRequest` of OTLP.
    public struct SpanExport: Sendable {
        /// The message, encoded.
        public let message: [UInt8]
        /// How many spans it holds; at most `SpanBatch.spanLimit`.
        public let spanCount: Int
    }

    /// What was asked for.
    public let settings: Settings
    /// Each worker's metrics, in their order; empty if none are kept. The control side may read them at any time.
    public let metrics: [RequestMetrics]
    /// Readable while batches wait: watch its descriptor, then call `takeSpans`.
    public let spans: Mailbox<SpanExport>
    let resource: TraceResource
    private let waitingBatches = Atomic<Int>(0)
    private let dropped = Atomic<UInt64>(0)
    private let depth = Atomic<Int>(-1)

    /// Telemetry for so many workers. Throws if the system has no descriptor left.
    public init(_ settings: Settings, workerCount: Int) throws(SystemError) {
        self.settings = settings
        metrics =
            settings.keepsMetrics
            ? (0..<workerCount).map { _ in
                RequestMetrics(includesLegacy: settings.keepsLegacyMetrics, seriesLimit: settings.seriesLimit)
            } : []
        resource = TraceResource(attributes: settings.identity.attributes)
        spans = try Mailbox()
    }

    // MARK: The control side

    /// The batches that wait, oldest first. One thread, the one that watches `spans`.
    public func takeSpans() -> [SpanExport] {
        let taken = spans.takeAll()
        waitingBatches.subtract(taken.count, ordering: .relaxed)
        return taken
    }

    /// Spans for which there was no room, since the start.
    public var droppedSpans: UInt64 { dropped.load(ordering: .relaxed) }

    /// Requests that were served or waiting when one last left the queue (`kn.serving.queue.depth`); nil before the
    /// first, and where concurrency is not limited.
    public var queueDepth: Int? {
        let value = depth.load(ordering: .relaxed)
        return value < 0 ? nil : value
    }

    // MARK: Workers

    /// Takes a batch, unless too many wait.
    func hand(over batch: inout SpanBatch) {
        let count = batch.count
        guard waitingBatches.add(1, ordering: .relaxed).newValue <= RequestTelemetry.batchLimit,
            let message = batch.take(resource: resource)
        else {
            waitingBatches.subtract(1, ordering: .relaxed)
            return
        }
        spans.post(SpanExport(message: message, spanCount: count))
    }

    func countDroppedSpan() { dropped.add(1, ordering: .relaxed) }

    func note(queueDepth: Int) { depth.store(queueDepth, ordering: .relaxed) }
}
