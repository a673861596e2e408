import Glibc
import Primitives

/// The only reader of clocks.
public enum MonotonicClock {
    /// The monotonic clock now. A vDSO call, some 20 ns: read once a wake-up and hand it down.
    public static func now() -> Instant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
    }

    /// Nanoseconds since 1970-01-01 UTC by the wall clock, which may jump: for logs only.
    public static func wallNanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }

    /// Seconds since 1970-01-01 UTC by the wall clock, which may jump: for what people and certificates call a time.
    public static func wallSeconds() -> Int64 { Int64(wallNanoseconds() / 1_000_000_000) }
}
