import Primitives

/// When a pod that ended by itself is started again.
///
/// The first restart comes almost at once, as one crash is often just one crash; then 1 s, doubling to 30 s. A pod that
/// was ready for 10 s starts over. Kubernetes begins at 10 s and ends at 5 min; a developer at a laptop is not that
/// patient.
public struct RestartPolicy: Equatable, Sendable {
    /// Before the first restart, in milliseconds. Default 10.
    public var firstMilliseconds: UInt64 = 10
    /// Before the second restart, in milliseconds; doubled for each one after it. Default 1,000.
    public var baseMilliseconds: UInt64 = 1_000
    /// Longest wait, in milliseconds. Default 30,000.
    public var limitMilliseconds: UInt64 = 30_000
    /// How long a pod must have been ready to be forgiven, in milliseconds. Default 10,000.
    public var forgiveMilliseconds: UInt64 = 10_000

    /// The defaults.
    public init() {}

    /// The wait after the `failures`th failure in a row, counted from 1.
    public func delayMilliseconds(failures: Int) -> UInt64 {
        guard failures > 1 else { return firstMilliseconds }
        let doublings = min(failures - 2, 20)
        return min(baseMilliseconds << UInt64(doublings), limitMilliseconds)
    }
}

/// Lifecycle of one pod: pure rules, no process. The diagram is in `Lifecycle.md`.
public struct PodLifecycle: Sendable {
    /// What follows when the process has ended.
    public enum Aim: Equatable, Sendable {
        /// Nothing: the pod was told to stop.
        case stop
        /// Another process: this one was found dead by its liveness probe.
        case restart
    }

    /// Where the pod stands. Payloads are trivial.
    public enum State: Equatable, Sendable {
        /// A process has been ordered; the answer comes before anything else.
        case spawning
        /// It runs and was not ready yet.
        case starting
        /// It answers.
        case ready(since: Instant)
        /// It runs and was ready before.
        case unready
        /// SIGTERM was sent; SIGKILL follows.
        case stopping(killAt: Instant, Aim)
        /// Its leader has ended after SIGTERM; the rest of its group has what is left of the grace.
        case lingering(killAt: Instant)
        /// SIGKILL was sent.
        case killing(Aim)
        /// No process; one will be started.
        case backOff(until: Instant)
        /// No process, and as it is specified there cannot be one.
        case failed
        /// The end.
        case stopped
    }

    /// What can happen.
    public enum Event: Equatable, Sendable {
        /// The ordered process runs.
        case spawned
        /// The ordered process could not be started; worth trying again, or not.
        case spawnFailed(canRetry: Bool)
        /// The readiness probe passes.
        case becameReady
        /// The readiness probe fails.
        case becameUnready
        /// The liveness or startup probe has failed for good.
        case livenessFailed
        /// The leader was reaped; others of its group may live on.
        case exited(othersLive: Bool)
        /// The last of the group has ended after its leader.
        case groupGone
        /// Stop, with SIGKILL at this instant at the latest.
        case stop(killAt: Instant)
        /// The deadline may have been reached.
        case timer
    }

    /// What the driver must do, in the order of the bits.
    public struct Orders: OptionSet, Equatable, Sendable {
        /// The bits.
        public let rawValue: UInt16

        /// Orders with these bits.
        public init(rawValue: UInt16) { self.rawValue = rawValue }

        /// End the probes.
        public static let stopProbes = Orders(rawValue: 1)
        /// Report that it is not ready any more.
        public static let reportUnready = Orders(rawValue: 2)
        /// Send SIGTERM to the group.
        public static let terminate = Orders(rawValue: 4)
        /// Send SIGKILL to the group.
        public static let kill = Orders(rawValue: 8)
        /// Report that the process ended or could not be started, with `restartDelayMilliseconds`.
        public static let reportEnd = Orders(rawValue: 16)
        /// Start a process and answer `.spawned` or `.spawnFailed`.
        public static let spawn = Orders(rawValue: 32)
        /// Begin probing.
        public static let startProbes = Orders(rawValue: 64)
        /// Report that it is ready.
        public static let reportReady = Orders(rawValue: 128)
        /// Wait for the rest of the group and answer `.groupGone`.
        public static let watchGroup = Orders(rawValue: 256)
        /// Report the end and forget the pod.
        public static let reportStopped = Orders(rawValue: 512)
    }

    /// Where it stands.
    public private(set) var state = State.spawning
    /// Failures in a row.
    public private(set) var failures = 0
    /// The wait before the restart that `reportEnd` tells of; nil if there will be none.
    public private(set) var restartDelayMilliseconds: UInt64?
    private let policy: RestartPolicy
    private let graceMilliseconds: UInt64

    /// A pod whose first process has been ordered.
    public init(policy: RestartPolicy, graceMilliseconds: UInt64) {
        self.policy = policy
        self.graceMilliseconds = graceMilliseconds
    }

    /// When `.timer` is due; nil if it is not.
    public var deadline: Instant? {
        switch state {
        case .stopping(let killAt, _), .lingering(let killAt): killAt
        case .backOff(let until): until
        case .spawning, .starting, .ready, .unready, .killing, .failed, .stopped: nil
        }
    }

    /// Whether the rest of the group may go on for a while when the leader ends now.
    public var sparesGroup: Bool {
        if case .stopping(_, .stop) = state { return true }
        return false
    }

    /// Takes an event and says what to do.
    public mutating func handle(_ event: Event, now: Instant) -> Orders {
        if case .ready(let since) = state, now.milliseconds(since: since) >= policy.forgiveMilliseconds { failures = 0 }
        if case .exited = event { failures += 1 }
        // What is missing will hardly be there in 10 ms: begin with the second step.
        if case .spawnFailed = event { failures = max(failures + 1, 2) }
        let (next, orders) = transition(event, now: now)
        restartDelayMilliseconds = nil
        if case .backOff(let until) = next { restartDelayMilliseconds = until.milliseconds(since: now) }
        state = next  // the only assignment in this type
        assert(!orders.contains(.spawn) || next == .spawning && event == .timer, "spawned out of turn")
        assert(!(orders.contains(.terminate) && orders.contains(.kill)))
        return orders
    }

    private func transition(_ event: Event, now: Instant) -> (State, Orders) {
        switch state {  // no `default`: a new case must not compile until handled
        case .spawning: fromSpawning(event, now: now)
        case .starting: fromRunning(event, now: now, wasReady: false)
        case .ready: fromRunning(event, now: now, wasReady: true)
        case .unready: fromRunning(event, now: now, wasReady: false)
        case .stopping(let killAt, let aim): fromStopping(event, now: now, killAt: killAt, aim: aim)
        case .lingering(let killAt): fromLingering(event, now: now, killAt: killAt)
        case .killing(let aim): fromKilling(event, now: now, aim: aim)
        case .backOff(let until): fromBackOff(event, now: now, until: until)
        case .failed: isStop(event) ? (.stopped, .reportStopped) : (.failed, [])
        case .stopped: event == .spawned ? (.stopped, .kill) : (.stopped, [])
        }
    }

    private func fromSpawning(_ event: Event, now: Instant) -> (State, Orders) {
        switch event {
        case .spawned: (.starting, .startProbes)
        case .spawnFailed(canRetry: true): (backOff(now: now), .reportEnd)
        case .spawnFailed(canRetry: false): (.failed, .reportEnd)
        case .stop: (.stopped, .reportStopped)
        case .becameReady, .becameUnready, .livenessFailed, .exited, .groupGone, .timer: (state, [])
        }
    }

    private func fromRunning(_ event: Event, now: Instant, wasReady: Bool) -> (State, Orders) {
        let leaveReady: Orders = wasReady ? [.stopProbes, .reportUnready] : .stopProbes
        switch event {
        case .becameReady: return wasReady ? (state, .reportReady) : (.ready(since: now), .reportReady)
        case .becameUnready: return wasReady ? (.unready, .reportUnready) : (state, [])
        case .livenessFailed:
            return ending(killAt: now.adding(milliseconds: graceMilliseconds), .restart, now: now, leaveReady)
        case .exited(let othersLive):
            return (backOff(now: now), othersLive ? [.stopProbes, .kill, .reportEnd] : [.stopProbes, .reportEnd])
        case .stop(let killAt): return ending(killAt: killAt, .stop, now: now, .stopProbes)
        case .spawned, .spawnFailed, .groupGone, .timer: return (state, [])
        }
    }

    private func ending(killAt: Instant, _ aim: Aim, now: Instant, _ orders: Orders) -> (State, Orders) {
        killAt > now
            ? (.stopping(killAt: killAt, aim), orders.union(.terminate)) : (.killing(aim), orders.union(.kill))
    }

    private func fromStopping(_ event: Event, now: Instant, killAt: Instant, aim: Aim) -> (State, Orders) {
        switch event {
        case .exited(let othersLive):
            switch (aim, othersLive) {
            case (.stop, true): (.lingering(killAt: killAt), .watchGroup)
            case (.stop, false): (.stopped, .reportStopped)
            case (.restart, true): (backOff(now: now), [.kill, .reportEnd])
            case (.restart, false): (backOff(now: now), .reportEnd)
            }
        case .stop(let earlier):
            min(earlier, killAt) > now ? (.stopping(killAt: min(earlier, killAt), .stop), []) : (.killing(.stop), .kill)
        case .timer: now >= killAt ? (.killing(aim), .kill) : (state, [])
        case .spawned, .spawnFailed, .becameReady, .becameUnready, .livenessFailed, .groupGone: (state, [])
        }
    }

    private func fromLingering(_ event: Event, now: Instant, killAt: Instant) -> (State, Orders) {
        switch event {
        case .groupGone: (.stopped, .reportStopped)
        case .stop(let earlier): (.lingering(killAt: min(earlier, killAt)), [])
        case .timer: now >= killAt ? (.stopped, [.kill, .reportStopped]) : (state, [])
        case .spawned, .spawnFailed, .becameReady, .becameUnready, .livenessFailed, .exited: (state, [])
        }
    }

    private func fromKilling(_ event: Event, now: Instant, aim: Aim) -> (State, Orders) {
        switch event {
        case .exited(let othersLive):
            switch aim {
            case .stop: (.stopped, othersLive ? [.kill, .reportStopped] : .reportStopped)
            case .restart: (backOff(now: now), othersLive ? [.kill, .reportEnd] : .reportEnd)
            }
        case .stop: (.killing(.stop), [])
        case .spawned, .spawnFailed, .becameReady, .becameUnready, .livenessFailed, .groupGone, .timer: (state, [])
        }
    }

    private func fromBackOff(_ event: Event, now: Instant, until: Instant) -> (State, Orders) {
        switch event {
        case .timer: now >= until ? (.spawning, .spawn) : (state, [])
        case .stop: (.stopped, .reportStopped)
        case .spawned, .spawnFailed, .becameReady, .becameUnready, .livenessFailed, .exited, .groupGone: (state, [])
        }
    }

    private func backOff(now: Instant) -> State {
        .backOff(until: now.adding(milliseconds: policy.delayMilliseconds(failures: failures)))
    }

    private func isStop(_ event: Event) -> Bool {
        if case .stop = event { return true }
        return false
    }
}
