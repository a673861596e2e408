import Primitives

/// The time of a simulation: it moves only when told, so a day passes in a millisecond and a run can be replayed.
public struct VirtualClock: Sendable {
    /// The present.
    public private(set) var now: Instant

    /// A clock that shows `start`; an hour after zero by default, so that subtracting a timeout does not underflow.
    public init(start: Instant = Instant(nanoseconds: 3_600_000_000_000)) { now = start }

    /// Moves on by `milliseconds`.
    public mutating func advance(milliseconds: UInt64) { now = now.adding(milliseconds: milliseconds) }

    /// Moves on to `instant`; does nothing if that has passed.
    public mutating func advance(to instant: Instant) { now = max(now, instant) }
}
