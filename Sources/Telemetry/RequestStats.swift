import Primitives

/// Concurrency and requests of one revision at one counting place (a worker, or a queue-proxy), window by window.
///
/// Concurrency is weighted by time: each change and each report adds the requests in flight times the time they lasted.
/// Waiting and refused requests count as well. Owner: the thread that sees the requests; nothing is shared.
/// Source: Knative `networking/pkg/http/stats/request.go`.
public struct RequestStats: Sendable {
    /// Requests in flight now.
    public private(set) var concurrency = 0
    /// Those of them that came through an activator, which reports them itself.
    public private(set) var proxied = 0
    private var lastChange: Instant
    private var sums = WindowSums()

    /// Counting begins, and with it the first window.
    public init(now: Instant) { lastChange = now }

    /// A request came in.
    ///
    /// - Parameter proxied: whether an activator counts it too (request header `K-Proxy-Request: activator`).
    public mutating func arrive(now: Instant, proxied isProxied: Bool) {
        advance(to: now)
        concurrency += 1
        sums.requests += 1
        guard isProxied else { return }
        proxied += 1
        sums.proxiedRequests += 1
    }

    /// A request that had come in is over. `proxied` must be what it was on arrival.
    public mutating func leave(now: Instant, proxied isProxied: Bool) {
        assert(concurrency > 0 && (!isProxied || proxied > 0), "more requests left than came")
        advance(to: now)
        concurrency = max(0, concurrency - 1)
        if isProxied { proxied = max(0, proxied - 1) }
    }

    /// A window begins now, after a time in which nobody asked for one and nothing was in flight: it is in no window.
    public mutating func resume(now: Instant) {
        assert(concurrency == 0 && sums.requests == 0, "what happened would be lost")
        lastChange = max(lastChange, now)
    }

    /// Ends the window and hands out its sums; requests in flight go on into the next one.
    public mutating func report(now: Instant) -> WindowSums {
        advance(to: now)
        let finished = sums
        sums = WindowSums()
        return finished
    }

    private mutating func advance(to now: Instant) {
        let elapsed = now.nanoseconds(since: lastChange)
        guard elapsed > 0 else { return }
        sums.windowNanoseconds += elapsed
        sums.concurrencyNanoseconds += Double(concurrency) * Double(elapsed)
        sums.proxiedNanoseconds += Double(proxied) * Double(elapsed)
        lastChange = now
    }
}

/// What one window added up to. Sums of several counting places are added, then averaged.
public struct WindowSums: Equatable, Sendable {
    /// Length of the window in nanoseconds.
    public var windowNanoseconds: UInt64 = 0
    /// Requests in flight integrated over time, in request-nanoseconds. Exact up to 2^53.
    public var concurrencyNanoseconds = 0.0
    /// The proxied share of it.
    public var proxiedNanoseconds = 0.0
    /// Requests that began.
    public var requests: UInt64 = 0
    /// Those of them that were proxied.
    public var proxiedRequests: UInt64 = 0

    /// A window in which nothing happened.
    public init() {}

    /// Adds the same window of another counting place.
    ///
    /// Places are asked one after the other, so lengths differ by little; the longest counts.
    public mutating func add(_ other: WindowSums) {
        windowNanoseconds = max(windowNanoseconds, other.windowNanoseconds)
        concurrencyNanoseconds += other.concurrencyNanoseconds
        proxiedNanoseconds += other.proxiedNanoseconds
        requests += other.requests
        proxiedRequests += other.proxiedRequests
    }

    /// The averages of the window, as the stat wire carries them.
    public var report: WindowReport {
        WindowReport(
            averageConcurrency: average(concurrencyNanoseconds), averageProxiedConcurrency: average(proxiedNanoseconds),
            requestCount: perSecond(requests), proxiedRequestCount: perSecond(proxiedRequests))
    }

    private func average(_ integral: Double) -> Double {
        windowNanoseconds == 0 ? 0 : integral / Double(windowNanoseconds)
    }

    /// A window shorter than a second counts as one: Knative divides by its period of 1 s, and a request that came just
    /// before a report must not look like a thousand a second.
    private func perSecond(_ count: UInt64) -> Double {
        Double(count) / max(1, Double(windowNanoseconds) / 1e9)
    }
}

/// The four numbers of Knative's `Stat` for one window.
public struct WindowReport: Equatable, Sendable {
    /// Requests in flight, averaged over the window.
    public var averageConcurrency: Double
    /// The proxied share of it.
    public var averageProxiedConcurrency: Double
    /// Requests that began, per second.
    public var requestCount: Double
    /// The proxied share of it.
    public var proxiedRequestCount: Double

    /// A report of the given numbers; those left out are zero.
    public init(
        averageConcurrency: Double = 0, averageProxiedConcurrency: Double = 0, requestCount: Double = 0,
        proxiedRequestCount: Double = 0
    ) {
        self.averageConcurrency = averageConcurrency
        self.averageProxiedConcurrency = averageProxiedConcurrency
        self.requestCount = requestCount
        self.proxiedRequestCount = proxiedRequestCount
    }
}
