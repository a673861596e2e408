/// A point on the monotonic clock, in nanoseconds since an arbitrary start.
///
/// Pure modules never read the clock: they are handed an `Instant` by their driver, so that every rule can be replayed.
@frozen
public struct Instant: Hashable, Comparable, Sendable {
    /// Nanoseconds since the clock's start.
    public var nanoseconds: UInt64

    /// The later end of time: a deadline that never comes.
    public static let distantFuture = Instant(nanoseconds: .max)

    /// Makes the instant `nanoseconds` after the clock's start.
    @inlinable
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    /// The instant `nanoseconds` later; stops at `distantFuture` instead of wrapping.
    @inlinable
    public func adding(nanoseconds other: UInt64) -> Instant {
        let (sum, overflow) = nanoseconds.addingReportingOverflow(other)
        return Instant(nanoseconds: overflow ? .max : sum)
    }

    /// The instant `milliseconds` later; stops at `distantFuture`.
    @inlinable
    public func adding(milliseconds: UInt64) -> Instant {
        let (product, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
        return overflow ? .distantFuture : adding(nanoseconds: product)
    }

    /// The instant `seconds` later; stops at `distantFuture`. Negative seconds count as zero.
    @inlinable
    public func adding(seconds: Double) -> Instant {
        let nanoseconds = max(0, seconds) * 1e9
        return nanoseconds < 9e18 ? adding(nanoseconds: UInt64(nanoseconds)) : .distantFuture
    }

    /// Nanoseconds from `earlier` to this instant; zero if it is not earlier.
    @inlinable
    public func nanoseconds(since earlier: Instant) -> UInt64 {
        nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0
    }

    /// Seconds from `earlier` to this instant; zero if it is not earlier.
    @inlinable
    public func seconds(since earlier: Instant) -> Double { Double(nanoseconds(since: earlier)) / 1e9 }

    /// Milliseconds from `earlier` to this instant, rounded down; zero if it is not earlier.
    @inlinable
    public func milliseconds(since earlier: Instant) -> UInt64 { nanoseconds(since: earlier) / 1_000_000 }

    /// Whether `lhs` comes before `rhs`.
    @inlinable
    public static func < (lhs: Instant, rhs: Instant) -> Bool { lhs.nanoseconds < rhs.nanoseconds }
}
