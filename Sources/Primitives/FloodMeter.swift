/// How often something may happen: a token bucket's size and rate.
@frozen
public struct FloodLimit: Equatable, Sendable {
    /// Events that come back in a second. Range 0...1000000.
    public var perSecond: UInt64
    /// Events at once. Range 1...1000000.
    public var burst: UInt64

    /// A limit of `burst` events at once and `perSecond` in the long run.
    @inlinable
    public init(perSecond: UInt64, burst: UInt64) {
        self.perSecond = perSecond
        self.burst = burst
    }
}

/// Counts events against a `FloodLimit`. Trivial and pure: 16 bytes, time is an argument.
@frozen
public struct FloodMeter: Equatable, Sendable {
    /// Thousandths of events that are left, so that slow rates lose nothing between two events.
    @usableFromInline var left: UInt64
    @usableFromInline var refilledAt: Instant

    /// A full allowance.
    @inlinable
    public init(_ limit: FloodLimit, now: Instant) {
        left = limit.burst * 1000
        refilledAt = now
    }

    /// Counts one event. False if it was one too many.
    @inlinable
    public mutating func take(_ limit: FloodLimit, now: Instant) -> Bool {
        refill(limit, now: now)
        guard left >= 1000 else { return false }
        left -= 1000
        assert(left <= limit.burst * 1000)
        return true
    }

    /// Gives the whole allowance back.
    @inlinable
    public mutating func reset(_ limit: FloodLimit) { left = limit.burst * 1000 }

    @inlinable
    mutating func refill(_ limit: FloodLimit, now: Instant) {
        let milliseconds = now.milliseconds(since: refilledAt)
        guard milliseconds > 0 else { return }
        // perSecond events in 1000 ms are perSecond thousandths in each millisecond.
        let (gain, isHuge) = milliseconds.multipliedReportingOverflow(by: limit.perSecond)
        let full = limit.burst * 1000
        left = isHuge || gain >= full - min(left, full) ? full : left + gain
        // Only whole milliseconds are counted; the rest stays for the next time.
        refilledAt = refilledAt.adding(milliseconds: milliseconds)
    }
}
