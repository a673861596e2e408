import EventLoop
import Primitives

/// Time and timers as the autoscaler needs them: the loop of the control thread, or a virtual one in tests.
///
/// Owned by the control thread, which gets all calls back.
public protocol AutoscalerClock: AnyObject {
    /// The monotonic clock at the last wake-up.
    var now: Instant { get }
    /// The wall clock in seconds since 1970. It may jump: it is read only when an object or a stat names such a time.
    var unixSeconds: Int64 { get }
    /// Calls `action` once at `deadline` or soon after.
    @discardableResult
    func at(_ deadline: Instant, _ action: @escaping () -> Void) -> TimerHandle
    /// Forgets a timer. Stale handles are ignored.
    func cancel(_ timer: TimerHandle)
}

extension Loop: AutoscalerClock {
    /// The wall clock in seconds since 1970.
    public var unixSeconds: Int64 { Int64(MonotonicClock.wallNanoseconds() / 1_000_000_000) }
}
