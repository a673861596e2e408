import DataPlane
import EventLoop
import Primitives
import TLS
import Telemetry

/// The control side's part of telemetry: takes the spans of the workers and the metrics, and sends them where the plan
/// says. Owned by the thread of its loop.
public final class TelemetryExport {
    private let plan: TelemetryPlan
    private let telemetry: RequestTelemetry
    private let loop: Loop
    private let print: ([UInt8]) -> Void
    private let spanExporter: OTLPExporter?
    private let metricExporter: OTLPExporter?
    private let metrics: OTLPMetrics
    private let exposition: PrometheusExposition
    private var watch: Loop.WatchToken?
    private var timer: TimerHandle?
    private var saidDrops: UInt64 = 0
    private var nextDropLine: Instant
    private let lineMilliseconds: UInt64
    private let say: (String) -> Void

    /// Begins to export.
    ///
    /// - Parameters:
    ///   - print: writes lines, complete with their ends, to standard output.
    ///   - say: takes a line for the log, without its end.
    /// - Throws: a setting of TLS that cannot be used, or the call that failed.
    public init(
        _ plan: TelemetryPlan, _ telemetry: RequestTelemetry, loop: Loop, limits: OTLPExporter.Limits = .init(),
        print: @escaping ([UInt8]) -> Void, say: @escaping (String) -> Void
    ) throws {
        self.plan = plan
        self.telemetry = telemetry
        self.loop = loop
        self.print = print
        self.say = say
        nextDropLine = loop.now
        lineMilliseconds = limits.lineMilliseconds
        let identity = plan.requests.identity
        metrics = OTLPMetrics(identity: identity, startUnixNanoseconds: MonotonicClock.wallNanoseconds())
        exposition = PrometheusExposition(
            identity: identity, includesCurrent: plan.requests.showsCurrentMetrics,
            includesLegacy: plan.requests.keepsLegacyMetrics)
        func exporter(_ name: String, _ destination: TelemetryPlan.Destination) throws(TLSSetupFailure) -> OTLPExporter?
        {
            guard case .collector(let endpoint) = destination else { return nil }
            var settings = TLSSettings()
            settings.protocols = [.http1]
            let context = endpoint.isTLS ? try TLSClientContext(settings, trust: plan.trust) : nil
            return OTLPExporter(name, to: endpoint, loop: loop, context: context, limits: limits, say: say)
        }
        spanExporter = try exporter("spans", plan.spans)
        metricExporter = try exporter("metrics", plan.metrics)
        if plan.requests.sampler != nil {
            watch = try loop.watch(telemetry.spans.fd, .readable) { [weak self] _ in self?.takeSpans() }
        }
        armTimer()
    }

    /// Spans and metrics that collectors have taken, and those that were lost on the way or for want of room.
    public var counts: (delivered: Int, lost: Int) {
        let exporters = [spanExporter, metricExporter].compactMap(\.self)
        return exporters.reduce((0, Int(telemetry.droppedSpans))) { ($0.0 + $1.delivered, $0.1 + $1.lost) }
    }

    /// The page for `GET /metrics`, in Prometheus's text format.
    public func metricsPage() -> [UInt8] {
        exposition.page(of: telemetry.metrics, queueDepth: telemetry.queueDepth).body
    }

    /// Sends what is left, then calls `then`: at the latest after `milliseconds`. Call it when the workers have ended,
    /// which hand over their last spans then.
    public func finish(withinMilliseconds milliseconds: UInt64, then: @escaping () -> Void) {
        if let timer { loop.cancel(timer) }
        timer = nil
        takeSpans()
        if let watch { loop.unwatch(watch) }
        watch = nil
        pushMetrics()
        var open = [spanExporter, metricExporter].compactMap(\.self)
        guard !open.isEmpty else { return then() }
        let exporters = open
        for exporter in exporters {
            exporter.finish(withinMilliseconds: milliseconds) {
                open.removeAll { $0 === exporter }
                if open.isEmpty { then() }
            }
        }
    }

    private func takeSpans() {
        for batch in telemetry.takeSpans() {
            if let spanExporter {
                spanExporter.send(batch.message, items: batch.spanCount)
            } else {
                print(SpanLines.lines(of: batch.message))
            }
        }
        let drops = telemetry.droppedSpans
        guard drops > saidDrops, loop.now >= nextDropLine else { return }
        say("telemetry: \(drops - saidDrops) spans lost: the workers' room for them was full")
        saidDrops = drops
        nextDropLine = loop.now.adding(milliseconds: lineMilliseconds)
    }

    private func armTimer() {
        guard metricExporter != nil else { return }
        timer = loop.after(milliseconds: UInt64(plan.metricsIntervalMilliseconds)) { [weak self] in
            self?.pushMetrics()
            self?.armTimer()
        }
    }

    private func pushMetrics() {
        guard let metricExporter,
            let message = metrics.message(
                of: telemetry.metrics, queueDepth: telemetry.queueDepth,
                unixNanoseconds: MonotonicClock.wallNanoseconds())
        else { return }
        metricExporter.send(message.bytes, items: 1, isSnapshot: true)
    }
}
