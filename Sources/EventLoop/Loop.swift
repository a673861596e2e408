import Glibc
import Primitives

/// The reactor of the control thread: descriptors and timers with closures. Timers have a resolution of 100 µs, which
/// the pace of readiness probes needs.
///
/// Workers have their own, closure-free loop in DataPlane. One thread owns a `Loop`; closures run on it and may add and
/// remove watches and timers freely.
public final class Loop {
    /// Names a watched descriptor.
    public typealias WatchToken = SlabToken

    private struct Watch {
        let fd: Int32
        let handler: (Readiness) -> Void
    }

    private let poller: Poller
    private var timers: TimerWheel
    private var watches = Slab<Watch>(limit: 1 << 20)
    private var actions = Slab<() -> Void>(limit: 1 << 20)
    private var isStopped = false
    /// The monotonic clock at the last wake-up.
    public private(set) var now: Instant

    /// An empty loop.
    public init() throws(SystemError) {
        poller = try Poller()
        now = MonotonicClock.now()
        timers = TimerWheel(now: now, tickNanoseconds: 100_000)
    }

    /// Calls `handler` whenever `fd` is ready for `interest` (level-triggered), until `unwatch`.
    public func watch(_ fd: Int32, _ interest: Readiness, _ handler: @escaping (Readiness) -> Void) throws(SystemError)
        -> WatchToken
    {
        guard let token = watches.insert({ _ in Watch(fd: fd, handler: handler) }) else {
            throw SystemError(call: "watch", code: ENOSPC)
        }
        let code = poller.watch(fd, for: interest, token: token.packed)
        guard code == 0 else {
            watches.remove(token)
            throw SystemError(call: "epoll_ctl", code: code)
        }
        return token
    }

    /// Changes what a descriptor is watched for.
    public func rewatch(_ token: WatchToken, _ interest: Readiness) {
        guard let watch = watches[token] else { return }
        _ = poller.change(watch.pointee.fd, to: interest, token: token.packed)
    }

    /// Stops watching. Call before closing the descriptor. Does not close it. Stale tokens are ignored.
    public func unwatch(_ token: WatchToken) {
        guard let watch = watches[token] else { return }
        poller.forget(watch.pointee.fd)
        watches.remove(token)
    }

    /// Calls `action` once at `deadline` or within 100 µs after.
    @discardableResult
    public func at(_ deadline: Instant, _ action: @escaping () -> Void) -> TimerHandle {
        // The slab of actions names the timer; the wheel's own handle stays inside.
        guard let token = actions.insert({ _ in action }) else { return .none }
        _ = timers.arm(deadline, payload: token.packed)
        return token
    }

    /// Calls `action` once after `milliseconds`.
    @discardableResult
    public func after(milliseconds: UInt64, _ action: @escaping () -> Void) -> TimerHandle {
        at(MonotonicClock.now().adding(milliseconds: milliseconds), action)
    }

    /// Forgets a timer. Stale handles are ignored.
    public func cancel(_ timer: TimerHandle) { actions.remove(timer) }

    /// Runs until `stop`.
    public func run() {
        isStopped = false
        while !isStopped { turn(until: nil) }
    }

    /// Makes `run` return after the present wake-up.
    public func stop() { isStopped = true }

    /// One wake-up: waits at most `milliseconds`, then handles what is ready and due.
    public func runOnce(atMostMilliseconds milliseconds: Int) {
        turn(until: MonotonicClock.now().adding(milliseconds: UInt64(max(0, milliseconds))))
    }

    private func turn(until limit: Instant?) {
        now = MonotonicClock.now()
        let wake = [timers.nextDeadline, limit].compactMap(\.self).min()
        let count = poller.waitExactly(until: wake, now: now)
        now = MonotonicClock.now()
        for index in 0..<count {
            // Looked up at its turn: an earlier handler may have removed it.
            guard let watch = watches[SlabToken(packed: poller.token(index))] else { continue }
            let handler = watch.pointee.handler
            handler(poller.readiness(index))
        }
        while let payload = timers.expire(now: now) {
            let token = SlabToken(packed: payload)
            guard let place = actions[token] else { continue }
            let action = place.pointee
            actions.remove(token)
            action()
        }
    }
}
