import Primitives
import Testing

@testable import LocalPlatform

@Suite struct PodLifecycleTests {
    typealias Event = PodLifecycle.Event
    typealias State = PodLifecycle.State
    typealias Orders = PodLifecycle.Orders

    static let start = Instant(nanoseconds: 1_000_000_000)
    static let killAt = start.adding(milliseconds: 500)
    static let now = start.adding(milliseconds: 100)
    static let restarting = State.stopping(killAt: now.adding(milliseconds: 1_000), .restart)
    static let soon = State.backOff(until: now.adding(milliseconds: 10))

    /// The way into each state, all at `start`.
    static let paths: [(name: String, events: [Event])] = [
        ("spawning", []),
        ("starting", [.spawned]),
        ("ready", [.spawned, .becameReady]),
        ("unready", [.spawned, .becameReady, .becameUnready]),
        ("stopping", [.spawned, .stop(killAt: killAt)]),
        ("restarting", [.spawned, .livenessFailed]),
        ("lingering", [.spawned, .stop(killAt: killAt), .exited(othersLive: true)]),
        ("killing", [.spawned, .stop(killAt: start)]),
        ("backOff", [.spawned, .exited(othersLive: false)]),
        ("failed", [.spawnFailed(canRetry: false)]),
        ("stopped", [.stop(killAt: killAt)]),
    ]

    static let events: [Event] = [
        .spawned, .spawnFailed(canRetry: true), .spawnFailed(canRetry: false), .becameReady, .becameUnready,
        .livenessFailed, .exited(othersLive: false), .exited(othersLive: true), .groupGone, .stop(killAt: killAt),
        .stop(killAt: start), .timer,
    ]

    /// What a running pod does with its end.
    static let endings: [(Event, State, Orders)] = [
        (.exited(othersLive: false), soon, [.stopProbes, .reportEnd]),
        (.exited(othersLive: true), soon, [.stopProbes, .kill, .reportEnd]),
        (.stop(killAt: killAt), .stopping(killAt: killAt, .stop), [.stopProbes, .terminate]),
        (.stop(killAt: start), .killing(.stop), [.stopProbes, .kill]),
    ]

    /// What a pod without a process does with a stop.
    static let stops: [(Event, State, Orders)] = [
        (.stop(killAt: killAt), .stopped, .reportStopped), (.stop(killAt: start), .stopped, .reportStopped),
    ]

    /// What each state does with each event at `now`; events that are not listed change nothing.
    static let expected: [String: [(Event, State, Orders)]] = [
        "spawning": stops + [
            (.spawned, .starting, .startProbes),
            (.spawnFailed(canRetry: true), .backOff(until: now.adding(milliseconds: 1_000)), .reportEnd),
            (.spawnFailed(canRetry: false), .failed, .reportEnd),
        ],
        "starting": endings + [
            (.becameReady, .ready(since: now), .reportReady),
            (.livenessFailed, restarting, [.stopProbes, .terminate]),
        ],
        "ready": endings + [
            (.becameReady, .ready(since: start), .reportReady),
            (.becameUnready, .unready, .reportUnready),
            (.livenessFailed, restarting, [.stopProbes, .reportUnready, .terminate]),
        ],
        "unready": endings + [
            (.becameReady, .ready(since: now), .reportReady),
            (.livenessFailed, restarting, [.stopProbes, .terminate]),
        ],
        "stopping": [
            (.exited(othersLive: false), .stopped, .reportStopped),
            (.exited(othersLive: true), .lingering(killAt: killAt), .watchGroup),
            (.stop(killAt: start), .killing(.stop), .kill),
        ],
        "restarting": [
            (.exited(othersLive: false), soon, .reportEnd),
            (.exited(othersLive: true), soon, [.kill, .reportEnd]),
            (.stop(killAt: killAt), .stopping(killAt: killAt, .stop), []),
            (.stop(killAt: start), .killing(.stop), .kill),
        ],
        "lingering": [
            (.groupGone, .stopped, .reportStopped), (.stop(killAt: start), .lingering(killAt: start), []),
        ],
        "killing": [
            (.exited(othersLive: false), .stopped, .reportStopped),
            (.exited(othersLive: true), .stopped, [.kill, .reportStopped]),
        ],
        "backOff": stops + [(.timer, .spawning, .spawn)],
        "failed": stops,
        "stopped": [(.spawned, .stopped, .kill)],
    ]

    static func lifecycle(after path: [Event]) -> PodLifecycle {
        var pod = PodLifecycle(policy: RestartPolicy(), graceMilliseconds: 1_000)
        for event in path { _ = pod.handle(event, now: start) }
        return pod
    }

    @Test func everyEventInEveryState() {
        for (name, path) in Self.paths {
            for event in Self.events {
                var pod = Self.lifecycle(after: path)
                let before = pod.state
                let orders = pod.handle(event, now: Self.now)
                let row = Self.expected[name]?.first { $0.0 == event }
                #expect(pod.state == row?.1 ?? before, "\(name) + \(event)")
                #expect(orders == row?.2 ?? [], "\(name) + \(event)")
            }
        }
    }

    @Test func graceEndsWithKill() {
        for (name, deadline) in [("stopping", 500), ("restarting", 1_000), ("lingering", 500)] {
            let path = Self.paths.first { $0.name == name }?.events ?? []
            var pod = Self.lifecycle(after: path)
            #expect(pod.deadline == Self.start.adding(milliseconds: UInt64(deadline)))
            #expect(pod.handle(.timer, now: Self.start.adding(milliseconds: UInt64(deadline - 1))) == [])
            let orders = pod.handle(.timer, now: Self.start.adding(milliseconds: UInt64(deadline)))
            #expect(orders.contains(.kill), "\(name)")
            #expect(pod.deadline == nil)
        }
    }

    @Test func backOffGrowsAndIsForgiven() {
        var pod = PodLifecycle(policy: RestartPolicy(), graceMilliseconds: 1_000)
        var now = Self.start
        var waits: [UInt64] = []
        for _ in 0..<8 {
            _ = pod.handle(.spawned, now: now)
            #expect(pod.handle(.exited(othersLive: false), now: now).contains(.reportEnd))
            waits.append(pod.restartDelayMilliseconds ?? 0)
            now = pod.deadline ?? now
            #expect(pod.handle(.timer, now: now) == .spawn)
        }
        #expect(waits == [10, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
        _ = pod.handle(.spawned, now: now)
        _ = pod.handle(.becameReady, now: now)
        now = now.adding(milliseconds: 10_000)
        _ = pod.handle(.exited(othersLive: false), now: now)
        #expect(pod.restartDelayMilliseconds == 10)
        #expect(pod.failures == 1)
    }

    /// Whatever comes in whatever order: after a stop nothing is spawned, and the end is reported once.
    @Test func randomWalks() {
        for seed in UInt64(0)..<256 {
            var random = SeededRandom(seed: seed)
            var pod = PodLifecycle(policy: RestartPolicy(), graceMilliseconds: 50)
            var now = Self.start
            var ends = 0
            var isStopping = false
            for _ in 0..<200 {
                now = now.adding(milliseconds: UInt64.random(in: 0...40, using: &random))
                guard var event = Self.events.randomElement(using: &random) else { return }
                // A driver answers a spawn order at once.
                if pod.state == .spawning {
                    event = Bool.random(using: &random) ? .spawned : .spawnFailed(canRetry: true)
                }
                if case .stop = event { isStopping = true }
                let orders = pod.handle(event, now: now)
                if orders.contains(.reportStopped) { ends += 1 }
                #expect(!(isStopping && orders.contains(.spawn)), "seed \(seed): spawned after a stop")
                #expect(ends <= 1, "seed \(seed): stopped twice")
                #expect(pod.state != .stopped || ends == 1, "seed \(seed): stopped without a word")
            }
        }
    }
}
