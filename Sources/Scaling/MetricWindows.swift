import Primitives

/// The averages that one decision goes by.
public struct MetricAverages: Equatable, Sendable {
    /// Average of the metric over the stable window.
    public var stable: Double
    /// Average of the metric over the panic window.
    public var panic: Double

    /// A pair of averages.
    public init(stable: Double, panic: Double) {
        self.stable = stable
        self.panic = panic
    }
}

/// All that was counted of a revision within its stable window, second by second added up.
public struct MetricTotals: Equatable, Sendable {
    /// Requests in flight: one that takes all of two seconds is two.
    public var concurrency: Double
    /// Requests that began.
    public var requests: Double

    /// A pair of sums.
    public init(concurrency: Double, requests: Double) {
        self.concurrency = concurrency
        self.requests = requests
    }
}

/// What no report at all means.
public enum SilenceRule: Equatable, Sendable {
    /// Reporters push all there is, so silence is no traffic. On one machine, and in a cluster with burst capacity -1.
    case meansZero
    /// Pods are asked (scraped), so silence is a failure to ask: decide nothing.
    case meansNoData
}

/// All that was reported of one revision, over both windows and for both metrics.
///
/// Source: Knative Serving, `pkg/autoscaler/metrics/collector.go`.
struct MetricWindows: Sendable {
    private var stableConcurrency: BucketWindow
    private var panicConcurrency: BucketWindow
    private var stableRequests: BucketWindow
    private var panicRequests: BucketWindow

    /// Windows as long as `spec` says. The way of averaging stays as it is now, as in Knative.
    init(spec: ScalingSpec) {
        stableConcurrency = BucketWindow(seconds: spec.stableWindowSeconds, aggregation: spec.aggregation)
        panicConcurrency = BucketWindow(seconds: spec.panicWindowSeconds, aggregation: spec.aggregation)
        stableRequests = stableConcurrency
        panicRequests = panicConcurrency
    }

    /// Takes a stat into the second of `now`; several in one second add up. Each request counts once: less the proxied.
    mutating func record(_ stat: RequestStat, at now: Instant) {
        let second = MetricWindows.second(of: now)
        let concurrency = stat.averageConcurrency - stat.averageProxiedConcurrency
        let requests = stat.requestCount - stat.proxiedRequestCount
        stableConcurrency.record(concurrency, second: second)
        panicConcurrency.record(concurrency, second: second)
        stableRequests.record(requests, second: second)
        panicRequests.record(requests, second: second)
    }

    /// The averages of `metric` now; nil if nothing is known.
    func averages(of metric: ScalingMetric, at now: Instant, silence: SilenceRule) -> MetricAverages? {
        let second = MetricWindows.second(of: now)
        switch metric {
        case .concurrency:
            return averages(stableConcurrency, panicConcurrency, second: second, silence: silence)
        case .requestsPerSecond:
            return averages(stableRequests, panicRequests, second: second, silence: silence)
        }
    }

    /// What the stable window holds, its seconds added up.
    func totals(at now: Instant) -> MetricTotals {
        let second = MetricWindows.second(of: now)
        return MetricTotals(
            concurrency: stableConcurrency.total(second: second), requests: stableRequests.total(second: second))
    }

    private func averages(_ stable: BucketWindow, _ panic: BucketWindow, second: Int, silence: SilenceRule)
        -> MetricAverages?
    {
        if stable.isEmpty(second: second), silence == .meansNoData { return nil }
        return MetricAverages(stable: stable.average(second: second), panic: panic.average(second: second))
    }

    /// Takes on the window lengths of `spec`, keeping what was recorded.
    mutating func resize(for spec: ScalingSpec) {
        stableConcurrency.resize(seconds: spec.stableWindowSeconds)
        stableRequests.resize(seconds: spec.stableWindowSeconds)
        panicConcurrency.resize(seconds: spec.panicWindowSeconds)
        panicRequests.resize(seconds: spec.panicWindowSeconds)
    }

    /// The bucket of an instant: whole seconds since the clock's start.
    static func second(of now: Instant) -> Int { Int(now.nanoseconds / 1_000_000_000) }
}
