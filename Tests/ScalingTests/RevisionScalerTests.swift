import Primitives
import Testing

@testable import Scaling

/// A driver in small: pods that start after a while, reports each second, ticks every two.
struct Machine {
    var scaler: RevisionScaler
    var second = 0
    /// Seconds a pod takes to be ready.
    var startSeconds = 2
    /// When each pod becomes ready.
    var pods: [Int] = []
    var decisions: [ScaleDecision] = []

    init(_ scaler: RevisionScaler) { self.scaler = scaler }

    var ready: Int { pods.count { $0 <= second } }

    mutating func obey(_ decision: ScaleDecision) {
        decisions.append(decision)
        while pods.count < decision.desired { pods.append(second + startSeconds) }
        // The youngest go first.
        while pods.count > decision.desired { pods.removeLast() }
    }

    /// One second with the given average concurrency; a request that waits asks for pods if `demands`.
    mutating func run(concurrency: Double, demands: Bool = false) {
        second += 1
        if demands, concurrency > 0, ready == 0,
            let decision = scaler.demand(inFlight: 0, queued: 1, existing: pods.count, now: at(Double(second)))
        {
            obey(decision)
        }
        let stat = RequestStat(averageConcurrency: concurrency, requestCount: concurrency * 10)
        let isPoke = scaler.record(stat, at: at(Double(second)))
        if isPoke || second.isMultiple(of: 2) { tick() }
    }

    mutating func tick() {
        obey(scaler.tick(now: at(Double(second)), ready: ready, existing: pods.count))
    }

    mutating func run(seconds: Int, concurrency: Double) {
        for _ in 0..<seconds { run(concurrency: concurrency) }
    }
}

// Expectations cannot call a mutating method in place.
private func poke(_ scaler: inout RevisionScaler, _ stat: RequestStat, at now: Instant) -> Bool {
    scaler.record(stat, at: now)
}

private func demand(
    _ scaler: inout RevisionScaler, inFlight: Int, queued: Int, existing: Int, now: Instant
) -> ScaleDecision? {
    scaler.demand(inFlight: inFlight, queued: queued, existing: existing, now: now)
}

@Suite struct RevisionScalerTests {
    private func machine(_ pairs: [String: String] = [:], concurrency: Int = 0, config: ScalingConfig = .init())
        -> Machine
    {
        Machine(
            RevisionScaler(
                config: config, annotations: annotations(pairs, config: config), containerConcurrency: concurrency,
                now: start))
    }

    @Test func aNewRevisionStartsAndGoesToZeroWhenIdle() {
        var machine = machine()
        #expect(machine.scaler.desired == 1)
        #expect(machine.scaler.wish == -1)
        #expect(machine.scaler.activity.phase == .activating)
        machine.tick()
        #expect(machine.pods.count == 1)
        #expect(machine.decisions.last?.record.rule == .stillActivating)
        machine.run(seconds: 4, concurrency: 0)
        #expect(machine.scaler.activity == activity(.active, at: 2))
        #expect(machine.scaler.isInitialized)
        #expect(machine.decisions.last?.record.rule == .activeTooShort)
        // Active from second 2, inactive one window later, and gone at the tick after that.
        machine.run(seconds: 58, concurrency: 0)
        #expect(machine.scaler.activity == activity(.inactive, at: 62))
        #expect(machine.decisions.last?.record.rule == .becomesInactive)
        #expect(machine.decisions.last?.recheckAfterSeconds == 3)
        #expect(machine.pods.count == 1)
        machine.run(seconds: 2, concurrency: 0)
        #expect(machine.pods.count == 0)
        #expect(machine.decisions.last?.record.rule == .activatorLongInPath)
        #expect(machine.decisions.last?.recheckAfterSeconds == nil)
    }

    private func activity(_ phase: RevisionActivity.Phase, at seconds: Double) -> RevisionActivity {
        var activity = RevisionActivity(.activating, since: at(0))
        let want = phase == .inactive ? 0 : 1
        activity.update(want: 1, ready: 1, threshold: 1, now: at(1))
        activity.update(want: want, ready: 1, threshold: 1, now: at(seconds))
        if phase == .active { activity = RevisionActivity(.active, since: at(seconds)) }
        return activity
    }

    private func atZero(_ pairs: [String: String] = [:], concurrency: Int = 0, config: ScalingConfig = .init())
        -> Machine
    {
        var machine = machine(pairs, concurrency: concurrency, config: config)
        machine.run(seconds: 80, concurrency: 0)
        precondition(machine.pods.isEmpty && machine.scaler.wish == 0)
        return machine
    }

    @Test func pokeOnlyAtExactlyZero() {
        var scaler = RevisionScaler(now: start)
        let busy = RequestStat(averageConcurrency: 1, requestCount: 1)
        // Unknown (-1) is not poked.
        #expect(!poke(&scaler, busy, at: at(0)))
        _ = scaler.tick(now: at(0), ready: 0, existing: 1)
        #expect(scaler.wish == 1)
        #expect(!poke(&scaler, busy, at: at(0)))
        var zero = atZero().scaler
        #expect(!poke(&zero, RequestStat(), at: at(81)))
        // A request that came and went has a count, but no concurrency: no poke, as in Knative.
        #expect(!poke(&zero, RequestStat(requestCount: 1), at: at(81)))
        #expect(poke(&zero, busy, at: at(81)))
        let decision = zero.tick(now: at(81), ready: 0, existing: 0)
        #expect(decision.desired == 1)
        #expect(decision.record.rule == .stable)
        #expect(decision.record.activityAfter.phase == .activating)
    }

    /// 300 parallel requests at zero: poked for one pod, then panic for five (spec 1.10, last lines).
    @Test func coldBurstAtDefaults() {
        var machine = atZero()
        machine.second += 1
        #expect(poke(&machine.scaler, RequestStat(averageConcurrency: 1, requestCount: 1), at: at(81)))
        machine.tick()
        #expect(machine.pods.count == 1)
        // The report for the second follows with the rest: Knative subtracts what it sent at once.
        machine.second = 82
        #expect(!poke(&machine.scaler, RequestStat(averageConcurrency: 299, requestCount: 299), at: at(81.9)))
        machine.tick()
        #expect(machine.pods.count == 5)
        #expect(machine.decisions.last?.record.rule == .panic)
        #expect(machine.decisions.last?.record.panicSince == at(82))
    }

    @Test func implausibleStatsAreDropped() {
        var scaler = atZero().scaler
        for value in [Double.nan, .infinity, -1, 1e13] {
            #expect(!poke(&scaler, RequestStat(averageConcurrency: value), at: at(81)), "\(value)")
            #expect(!poke(&scaler, RequestStat(averageConcurrency: 1, requestCount: value), at: at(81)), "\(value)")
        }
        #expect(scaler.tick(now: at(82), ready: 0, existing: 0).desired == 0)
    }

    @Test func silence() {
        // Scraped pods that say nothing: nothing is decided, nothing goes.
        var scraped = RevisionScaler(now: start, initialReady: 1, silence: .meansNoData)
        for second in stride(from: 0.0, through: 200, by: 2) {
            let decision = scraped.tick(now: at(second), ready: 1, existing: 1)
            #expect(decision.desired == 1)
            #expect(decision.record.rule == .unknown)
        }
        // With burst capacity -1 nobody is scraped, so silence is zero.
        var pushed = RevisionScaler(
            annotations: annotations(["target-burst-capacity": "-1"]), now: start, initialReady: 1,
            silence: .meansNoData)
        var last = pushed.desired
        for second in stride(from: 0.0, through: 70, by: 2) {
            last = pushed.tick(now: at(second), ready: last, existing: last).desired
        }
        #expect(last == 0)
        // Data that stops: the last wish stands.
        var stopped = RevisionScaler(now: start, initialReady: 1, silence: .meansNoData)
        _ = stopped.record(RequestStat(averageConcurrency: 100), at: at(0))
        #expect(stopped.tick(now: at(0), ready: 1, existing: 1).desired == 2)
        let later = stopped.tick(now: at(100), ready: 2, existing: 2)
        #expect(later.desired == 2)
        #expect(later.record.rule == .noData)
    }

    @Test func initialScale() {
        var three = machine(["initial-scale": "3"])
        three.tick()
        #expect(three.pods.count == 3)
        #expect(three.decisions.last?.record.rule == .initialScale)
        three.run(seconds: 4, concurrency: 0)
        // Reached once, it is no floor any more: the formula comes down by half a tick.
        #expect(three.scaler.isInitialized)
        #expect(three.pods.count < 3)
        three.run(seconds: 70, concurrency: 0)
        #expect(three.pods.count == 0)

        var config = ScalingConfig()
        config.allowsZeroInitialScale = true
        var none = machine(["initial-scale": "0"], config: config)
        #expect(none.scaler.activity.phase == .inactive)
        none.run(seconds: 10, concurrency: 0)
        #expect(none.pods.isEmpty && none.scaler.isInitialized)
        #expect(none.decisions.allSatisfy { $0.desired == 0 })
        #expect(poke(&none.scaler, RequestStat(averageConcurrency: 1), at: at(11)))

        let limited = machine(["initial-scale": "5", "max-scale": "2"])
        #expect(limited.scaler.desired == 2)
    }

    @Test func minScale() {
        var machine = machine(["min-scale": "3"])
        #expect(machine.scaler.desired == 3)
        machine.run(seconds: 300, concurrency: 0)
        #expect(machine.pods.count == 3)
        #expect(machine.decisions.allSatisfy { $0.desired == 3 })
        #expect(machine.decisions.last?.record.rule == .minScale)
        machine.scaler.setReachable(false)
        machine.run(seconds: 4, concurrency: 0)
        #expect(machine.pods.isEmpty)
        machine.scaler.setReachable(true)
        machine.run(seconds: 2, concurrency: 0)
        #expect(machine.pods.count == 3)
    }

    @Test func earlierLife() {
        // Five pods taken over: none goes for one window though nothing is reported.
        var taken = Machine(RevisionScaler(now: start, initialReady: 5))
        taken.pods = [0, 0, 0, 0, 0]
        #expect(taken.scaler.desired == 5 && taken.scaler.activity.phase == .active)
        taken.run(seconds: 60, concurrency: 0)
        #expect(taken.pods.count == 5)
        #expect(taken.decisions.last?.record.rule == .panicHold)
        taken.run(seconds: 4, concurrency: 0)
        #expect(taken.pods.count < 5)
        // Known from before and empty: no initial pods.
        let idle = RevisionScaler(now: start, wasInitialized: true)
        #expect(idle.desired == 0 && idle.activity.phase == .inactive)
        let floor = RevisionScaler(annotations: annotations(["min-scale": "2"]), now: start, wasInitialized: true)
        #expect(floor.desired == 2)
    }

    @Test func aStartThatFailsIsGivenUp() {
        var machine = machine(["serving.knative.dev/progress-deadline": "20s"])
        machine.startSeconds = 10_000
        machine.run(seconds: 50, concurrency: 0)
        #expect(machine.pods.count == 1)
        machine.run(seconds: 2, concurrency: 0)
        #expect(machine.pods.isEmpty)
        #expect(machine.scaler.activity.reason == .timedOut)
        #expect(machine.decisions.last?.record.rule == .activationTimedOut)
        // It is tried again when somebody asks.
        machine.run(concurrency: 1)
        #expect(machine.pods.count == 1)
    }

    @Test func retentionAndGrace() {
        var kept = machine(["scale-to-zero-pod-retention-period": "2m"])
        kept.tick()
        kept.run(seconds: 62 + 118, concurrency: 0)
        #expect(kept.pods.count == 1)
        #expect(kept.decisions.last?.record.rule == .podRetention)
        kept.run(seconds: 2, concurrency: 0)
        #expect(kept.pods.isEmpty)

        // In a cluster the activator may just have entered the path: the rest of the grace period is waited.
        var scaler = RevisionScaler(now: start, initialReady: 1)
        let entering = ActivatorPath(probe: .answeredByActivator, proxyingNanoseconds: 10_000_000_000)
        for second in stride(from: 0.0, through: 60, by: 2) {
            _ = scaler.tick(now: at(second), ready: 1, existing: 1, path: entering)
        }
        let decision = scaler.tick(now: at(62), ready: 1, existing: 1, path: entering)
        #expect(decision.record.rule == .gracePeriod)
        #expect(decision.desired == 1)
        #expect(decision.recheckAfterSeconds == 20)

        var config = ScalingConfig()
        config.isScaleToZeroEnabled = false
        var never = machine(config: config)
        never.run(seconds: 300, concurrency: 0)
        #expect(never.pods.count == 1)
        #expect(never.decisions.last?.record.rule == .scaleToZeroDisabled)
    }

    /// Traffic that returns while the last pod is retained: poked, active again, and the pod never went.
    @Test func trafficReturnsInTime() {
        var kept = machine(["scale-to-zero-pod-retention-period": "2m"])
        kept.tick()
        kept.run(seconds: 100, concurrency: 0)
        #expect(kept.scaler.activity.phase == .inactive && kept.pods.count == 1)
        let ticks = kept.decisions.count
        kept.run(concurrency: 3)
        // Second 101 is no tick: it was the poke.
        #expect(kept.decisions.count == ticks + 1)
        #expect(kept.scaler.activity == RevisionActivity(.active, since: at(101)))
        kept.run(seconds: 59, concurrency: 0)
        #expect(kept.pods.count == 1)
        #expect(kept.decisions.allSatisfy { $0.desired == 1 })
    }

    @Test func updates() {
        var machine = machine()
        machine.run(seconds: 20, concurrency: 100)
        #expect(machine.pods.count == 2)
        machine.scaler.update(annotations: annotations(["target": "10", "max-scale": "8"]))
        machine.run(seconds: 2, concurrency: 100)
        #expect(machine.pods.count == 8)
        #expect(machine.decisions.last?.record.rule == .maxScale)
        var config = ScalingConfig()
        config.maxScaleLimit = 4
        config.maxScale = 4
        machine.scaler.update(annotations: annotations(["target": "10"]))
        machine.scaler.update(config: config)
        machine.run(seconds: 2, concurrency: 100)
        #expect(machine.pods.count == 4)
        // The metric may change too: both are recorded all the time.
        machine.scaler.update(annotations: annotations(["metric": "rps"]))
        let decision = machine.scaler.tick(now: at(26), ready: 4, existing: 4)
        #expect(decision.record.averages?.stable == 1000)
    }

    @Test func theWayOfAveragingIsFixedAtTheStart() {
        var scaler = RevisionScaler(now: start)
        scaler.update(annotations: annotations(["metric-aggregation-algorithm": "weighted-exponential"]))
        _ = scaler.record(RequestStat(averageConcurrency: 10), at: at(0))
        #expect(scaler.tick(now: at(0), ready: 0, existing: 1).record.averages?.stable == 10)
        var weighted = RevisionScaler(
            annotations: annotations(["metric-aggregation-algorithm": "weighted-exponential"]), now: start)
        _ = weighted.record(RequestStat(averageConcurrency: 10), at: at(0))
        #expect(weighted.tick(now: at(0), ready: 0, existing: 1).record.averages?.stable == 2)
    }

    // MARK: Demand

    @Test func demandFromZeroStartsAtOnce() {
        var machine = atZero()
        let decision = machine.scaler.demand(inFlight: 0, queued: 1, existing: 0, now: at(80.5))
        #expect(decision?.desired == 1)
        #expect(decision?.record.rule == .demandFromZero)
        #expect(machine.scaler.activity.phase == .activating)
        // The second request finds the first one's pod on its way.
        #expect(demand(&machine.scaler, inFlight: 0, queued: 2, existing: 0, now: at(80.6)) == nil)
        // Nothing waits, nothing happens.
        #expect(demand(&machine.scaler, inFlight: 500, queued: 0, existing: 1, now: at(80.7)) == nil)
        // A tick before any report does not take it back, nor is it given up while starting.
        machine.second = 82
        machine.tick()
        #expect(machine.decisions.last?.desired == 1)
        #expect(machine.decisions.last?.record.rule == .demandHold)
        #expect(machine.decisions.last?.recheckAfterSeconds == 4.6)
        let later = machine.scaler.tick(now: at(90), ready: 0, existing: 1)
        #expect(later.desired == 1)
        #expect(later.record.rule == .stillActivating)
    }

    @Test func demandCountsTheHardLimit() {
        var machine = atZero(concurrency: 2)
        let rows: [(inFlight: Int, queued: Int, desired: Int?)] = [
            (0, 1, 1), (0, 2, nil), (0, 3, 2), (2, 2, nil), (2, 3, 3), (0, 1, nil), (6, 4, 5),
        ]
        for row in rows {
            let decision = machine.scaler.demand(
                inFlight: row.inFlight, queued: row.queued, existing: machine.scaler.desired, now: at(81))
            #expect(decision?.desired == row.desired, "\(row)")
            #expect(decision == nil || decision?.record.demand?.queued == row.queued)
        }
    }

    @Test func demandIsBounded() {
        var capped = atZero(["max-scale": "3"], concurrency: 1)
        #expect(demand(&capped.scaler, inFlight: 0, queued: 50, existing: 0, now: at(81))?.desired == 3)
        #expect(demand(&capped.scaler, inFlight: 3, queued: 50, existing: 3, now: at(81)) == nil)

        var config = ScalingConfig()
        config.maxScaleUpRate = 2
        var slow = atZero(concurrency: 1, config: config)
        // By ready pods, not by those on their way: otherwise a burst of calls would pass any rate.
        #expect(demand(&slow.scaler, inFlight: 0, queued: 50, existing: 0, now: at(81))?.desired == 2)
        #expect(demand(&slow.scaler, inFlight: 0, queued: 51, existing: 2, now: at(81)) == nil)
        _ = slow.scaler.record(RequestStat(averageConcurrency: 50), at: at(82))
        _ = slow.scaler.tick(now: at(82), ready: 2, existing: 2)
        #expect(slow.scaler.desired == 4)
        #expect(demand(&slow.scaler, inFlight: 2, queued: 49, existing: 4, now: at(83)) == nil)

        var activation = atZero(["activation-scale": "3"])
        #expect(demand(&activation.scaler, inFlight: 0, queued: 1, existing: 0, now: at(81))?.desired == 3)
        var huge = atZero(["target": "0.01"])
        #expect(demand(&huge.scaler, inFlight: .max, queued: .max, existing: 0, now: at(81))?.desired == 1000)
    }

    /// What a demand asked for is kept for a panic window, though the averages would take it back at once.
    @Test func demandIsHeld() {
        var machine = atZero(concurrency: 1)
        machine.startSeconds = 0
        if let decision = machine.scaler.demand(inFlight: 0, queued: 8, existing: 0, now: at(80)) {
            machine.obey(decision)
        }
        #expect(machine.pods.count == 8)
        machine.run(seconds: 5, concurrency: 0)
        #expect(machine.pods.count == 8)
        #expect(machine.decisions.last?.record.rule == .demandHold)
        machine.run(seconds: 3, concurrency: 0)
        #expect(machine.pods.count < 8)
    }

    // MARK: Explanations

    @Test func explanations() {
        var machine = machine()
        machine.run(seconds: 20, concurrency: 100)
        #expect(
            machine.decisions.last?.record.explanation
                == "2 pods (stable): 100 requests in flight over 60 s at 70 a pod need 2 pods.")
        machine.run(seconds: 6, concurrency: 1000)
        #expect(
            machine.decisions.last?.record.explanation
                == "15 pods (panic): in panic, 1000 requests in flight over 6 s at 70 a pod need 15 pods.")
        // Every rule has a sentence of its own kind: one line, ended, without an optional's debris.
        var record = machine.decisions[0].record
        var seen: Set<String> = []
        for rule in ScaleRule.allCases {
            record.rule = rule
            let text = record.explanation
            #expect(text.hasSuffix(".") && !text.contains("\n") && !text.contains("Optional"), "\(text)")
            #expect(text.contains("(\(rule.rawValue))"))
            seen.insert(String(text.drop { $0 != ":" }))
        }
        #expect(seen.count >= ScaleRule.allCases.count - 2)
    }
}
