import CLinux
import Glibc
import Primitives

/// What a descriptor is ready for.
public struct Readiness: OptionSet, Sendable {
    /// The bits as epoll gives them.
    public let rawValue: UInt32

    /// Takes epoll's bits.
    @inlinable
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Bytes, a connection or an end can be read.
    public static var readable: Readiness { Readiness(rawValue: 0x001) }
    /// Bytes can be written, or a connection attempt has ended.
    public static var writable: Readiness { Readiness(rawValue: 0x004) }
    /// The peer will send no more.
    public static var peerClosed: Readiness { Readiness(rawValue: 0x2000) }
    /// The connection is broken (EPOLLERR or EPOLLHUP).
    public static var broken: Readiness { Readiness(rawValue: 0x018) }
}

/// Waits for readiness of many descriptors: epoll(7). Owned by one thread.
public struct Poller: ~Copyable {
    /// Most events taken in one wake-up. What is left is taken in the next, so nobody starves.
    public static let eventsPerWakeup = 256

    private let fd: Int32
    @usableFromInline let events: UnsafeMutableRawPointer

    /// Opens an epoll instance.
    public init() throws(SystemError) {
        fd = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard fd >= 0 else { throw SystemError(call: "epoll_create1", code: clinux_errno()) }
        events = .allocate(byteCount: Self.eventsPerWakeup * Int(CLINUX_EVENT_BYTES), alignment: 8)
    }

    /// Registers `fd` once and for life: in, out and peer-closed, edge-triggered. Returns 0 or an error number.
    public borrowing func register(_ descriptor: Int32, token: UInt64) -> Int32 {
        let flags = EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue
        return control(EPOLL_CTL_ADD, descriptor, flags, token)
    }

    /// Registers `fd` level-triggered for `interest`. Returns 0 or an error number.
    public borrowing func watch(_ descriptor: Int32, for interest: Readiness, token: UInt64) -> Int32 {
        control(EPOLL_CTL_ADD, descriptor, interest.rawValue, token)
    }

    /// Changes what a level-triggered descriptor is watched for. Returns 0 or an error number.
    public borrowing func change(_ descriptor: Int32, to interest: Readiness, token: UInt64) -> Int32 {
        control(EPOLL_CTL_MOD, descriptor, interest.rawValue, token)
    }

    /// Forgets a descriptor. Closing it does the same.
    public borrowing func forget(_ descriptor: Int32) { _ = control(EPOLL_CTL_DEL, descriptor, 0, 0) }

    /// Waits until something is ready, at most until `deadline`; returns how many events there are.
    public borrowing func wait(until deadline: Instant?, now: Instant) -> Int {
        var timeout: Int32 = -1
        if let deadline {
            // Rounded up: waking a little late is right, waking early would spin.
            let left = (deadline.nanoseconds(since: now) + 999_999) / 1_000_000
            timeout = Int32(min(left, 3_600_000))
        }
        let count = clinux_epoll_wait(fd, events, Int32(Self.eventsPerWakeup), timeout)
        return max(0, Int(count))
    }

    /// Waits like `wait`, to the nanosecond instead of the millisecond. For loops that pace things finely.
    public borrowing func waitExactly(until deadline: Instant?, now: Instant) -> Int {
        let timeout = deadline.map { Int64(min($0.nanoseconds(since: now), 3_600_000_000_000)) } ?? -1
        return max(0, Int(clinux_epoll_wait_ns(fd, events, Int32(Self.eventsPerWakeup), timeout)))
    }

    /// The token of event `index` of the last wait.
    @inlinable
    public borrowing func token(_ index: Int) -> UInt64 { clinux_event_token(events, Int32(index)) }

    /// The readiness of event `index` of the last wait.
    @inlinable
    public borrowing func readiness(_ index: Int) -> Readiness {
        Readiness(rawValue: clinux_event_flags(events, Int32(index)))
    }

    private borrowing func control(_ operation: Int32, _ descriptor: Int32, _ flags: UInt32, _ token: UInt64) -> Int32 {
        clinux_epoll_control(fd, operation, descriptor, flags, token) == 0 ? 0 : clinux_errno()
    }

    deinit {
        close(fd)
        events.deallocate()
    }
}
