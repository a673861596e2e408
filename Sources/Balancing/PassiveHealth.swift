import Synchronization

/// What the answers of one endpoint say of its health, counted by all workers together: no clock, no lock.
///
/// It never takes an endpoint away. It says when the endpoint is to be asked, because an answer cannot tell a proxy
/// that is ending from an application that means its 503: the queue-proxy's own answer to a probe can. Source: Envoy's
/// outlier detection, `consecutive_gateway_failure`.
public struct PassiveHealth: ~Copyable, Sendable {
    /// How long the workers keep still after one of them has told, in nanoseconds; the control thread may choose more.
    public static let repeatNanoseconds: UInt64 = 1_000_000_000

    @usableFromInline let failures = Atomic<UInt32>(0)
    private let quietUntil = Atomic<UInt64>(0)

    /// Nothing has been answered.
    init() {}

    /// It answered, and not with a gateway's failure: the count begins anew.
    @inlinable
    public func answered() {
        // Most answers are good ones: they only look.
        if failures.load(ordering: .relaxed) != 0 { failures.store(0, ordering: .relaxed) }
    }

    /// It failed as a gateway does: 502, 503, 504, a broken connection, no answer in time.
    ///
    /// - Parameters:
    ///   - limit: how many in a row raise a doubt; 0: none does.
    ///   - now: nanoseconds of the clock by which `keepQuiet` counts.
    /// - Returns: whether the caller is the one to tell.
    public func failed(limit: Int, now: UInt64) -> Bool {
        guard limit > 0, failures.wrappingAdd(1, ordering: .relaxed).newValue >= limit else { return false }
        return doubted(now: now)
    }

    /// There is a reason to ask it. Returns whether the caller is the one to tell: one of many, once in a while.
    public func doubted(now: UInt64) -> Bool {
        let until = quietUntil.load(ordering: .relaxed)
        guard now >= until else { return false }
        return quietUntil.compareExchange(
            expected: until, desired: now &+ Self.repeatNanoseconds, ordering: .relaxed
        ).exchanged
    }

    /// It was asked, or cannot be spared: nobody is to tell before `until`, and the count begins anew.
    public func keepQuiet(until: UInt64) {
        failures.store(0, ordering: .relaxed)
        quietUntil.store(until, ordering: .relaxed)
    }
}
