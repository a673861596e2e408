import Primitives
import Testing

@testable import Scaling

@Suite struct ActivityTests {
    typealias Phase = RevisionActivity.Phase

    /// The table of spec 5.1; threshold 2 unless it says 0, `got` one below or at it.
    @Test func everyRow() {
        let all: [Phase] = [.inactive, .activating, .active]
        var rows: [(want: Int, got: Int, threshold: Int, before: Phase, after: Phase)] = []
        for phase in all {
            for got in 0...3 { rows.append((0, got, 2, phase, .inactive)) }
            rows.append((5, 1, 2, phase, .activating))
            rows.append((5, 2, 2, phase, .active))
        }
        rows += [
            (-1, 1, 2, .inactive, .inactive), (-1, 1, 2, .activating, .activating), (-1, 1, 2, .active, .activating),
            (-1, 2, 2, .inactive, .inactive), (-1, 0, 0, .activating, .inactive), (-1, 2, 2, .activating, .active),
            (-1, 2, 2, .active, .active),
        ]
        for row in rows {
            var activity = RevisionActivity(row.before, since: start)
            activity.update(want: row.want, ready: row.got, threshold: row.threshold, now: at(9))
            #expect(activity.phase == row.after, "\(row)")
            #expect(activity.since == (row.before == row.after ? start : at(9)), "\(row)")
        }
    }

    @Test func reasons() {
        var activity = RevisionActivity(.activating, since: start)
        #expect(activity.reason == .queued)
        activity.update(want: 0, ready: 0, threshold: 1, now: at(1))
        #expect(activity.reason == .timedOut)
        // The failure stays on record while nothing else happens.
        activity.update(want: 0, ready: 0, threshold: 1, now: at(2))
        #expect(activity.reason == .timedOut)
        activity.update(want: 1, ready: 1, threshold: 1, now: at(3))
        #expect(activity.reason == RevisionActivity.Reason.none)
        activity.update(want: 0, ready: 1, threshold: 1, now: at(4))
        #expect(activity.reason == .noTraffic)
        var empty = RevisionActivity(.activating, since: start)
        empty.update(want: -1, ready: 0, threshold: 0, now: at(1))
        #expect(empty.reason == .noTraffic)
    }
}

@Suite struct ReconciliationTests {
    static let grace = 60.0
    static let window = 300.0
    static let deadline = 121.0

    struct Row: Sendable, CustomTestStringConvertible {
        var name: String
        var phase: RevisionActivity.Phase
        var elapsed: Double
        var desired = 0
        var burst = 211.0
        var retention = 0
        var bounds: (least: Int, most: Int, initial: Int) = (0, 0, 1)
        var isReachable = true
        var isInitialized = true
        var probe = ActivatorPath.Probe.answeredByActivator
        var proxying = 0.0
        var isZeroEnabled = true
        var want: Int
        var isApplied: Bool
        /// Seconds until the recheck; nil for none.
        var recheck: Double?
        var testDescription: String { name }
    }

    static let rows: [Row] = [
        Row(name: "active < window", phase: .active, elapsed: 299, want: 1, isApplied: true, recheck: 1),
        Row(name: "active >= window", phase: .active, elapsed: 300, want: 0, isApplied: false),
        Row(
            name: "active >= window, proxy", phase: .active, elapsed: 300, proxying: 1, want: 0, isApplied: false,
            recheck: 3),
        Row(name: "inactive = grace, retention 0", phase: .inactive, elapsed: grace, want: 0, isApplied: true),
        Row(
            name: "inactive = grace, retention 2*grace", phase: .inactive, elapsed: grace, retention: 120, want: 0,
            isApplied: false, recheck: 60),
        Row(
            name: "inactive = grace, retention = grace", phase: .inactive, elapsed: grace, retention: 60, want: 0,
            isApplied: true),
        Row(
            name: "inactive = grace - 1, proxy 0", phase: .inactive, elapsed: grace - 1, want: 0, isApplied: false,
            recheck: 60),
        Row(
            name: "inactive = grace - 1, proxy 59", phase: .inactive, elapsed: grace - 1, proxying: 59, want: 0,
            isApplied: false, recheck: 1),
        Row(
            name: "inactive = grace - 1, proxy = grace", phase: .inactive, elapsed: grace - 1, proxying: 60, want: 0,
            isApplied: true),
        Row(
            name: "inactive = grace - 1, proxy = grace, retention 42", phase: .inactive, elapsed: grace - 1,
            retention: 42, proxying: 60, want: 0, isApplied: true),
        Row(
            name: "inactive = grace, TBC -1", phase: .inactive, elapsed: grace, burst: -1, probe: .failed, want: 0,
            isApplied: true),
        Row(
            name: "inactive = grace, probe failed", phase: .inactive, elapsed: grace, probe: .failed, want: 0,
            isApplied: false, recheck: 1),
        Row(
            name: "unreachable keeps no last pod", phase: .inactive, elapsed: grace, retention: 120,
            isReachable: false, want: 0, isApplied: true),
        Row(
            name: "activating half the time", phase: .activating, elapsed: 75.5, want: -1, isApplied: false,
            recheck: 75.5),
        Row(name: "activating too long", phase: .activating, elapsed: 152, want: 0, isApplied: true),
        Row(
            name: "activating exactly as long", phase: .activating, elapsed: 151, want: -1, isApplied: false, recheck: 0
        ),
        Row(name: "min-scale 2", phase: .active, elapsed: 1, bounds: (2, 0, 1), want: 2, isApplied: true),
        Row(
            name: "min-scale 2, unreachable", phase: .inactive, elapsed: grace, bounds: (2, 0, 1), isReachable: false,
            want: 0, isApplied: true),
        Row(name: "max-scale 8", phase: .active, elapsed: 1, desired: 10, bounds: (0, 8, 1), want: 8, isApplied: true),
        Row(
            name: "initial-scale 2 not reached", phase: .activating, elapsed: 1, desired: 1, bounds: (0, 0, 2),
            isInitialized: false, want: 2, isApplied: true),
        Row(
            name: "initial-scale 2 reached, active 2 min", phase: .active, elapsed: 120, bounds: (0, 0, 2), want: 1,
            isApplied: true, recheck: 180),
        Row(name: "unknown, active", phase: .active, elapsed: 1, desired: -1, want: -1, isApplied: false),
        Row(name: "unknown, inactive", phase: .inactive, elapsed: 1, desired: -1, want: -1, isApplied: false),
        Row(
            name: "unknown, activating, min-scale 2", phase: .activating, elapsed: 1, desired: -1, bounds: (2, 0, 1),
            isInitialized: false, want: 2, isApplied: true),
        Row(
            name: "unknown, activating, unreachable", phase: .activating, elapsed: 1, desired: -1, bounds: (2, 0, 1),
            isReachable: false, isInitialized: false, want: -1, isApplied: false, recheck: 150),
        Row(name: "1 from 0", phase: .inactive, elapsed: 1, desired: 1, want: 1, isApplied: true),
        Row(name: "10 from 0", phase: .inactive, elapsed: 1, desired: 10, want: 10, isApplied: true),
        Row(
            name: "scale to zero off", phase: .inactive, elapsed: 1000, isZeroEnabled: false, want: 1, isApplied: true),
    ]

    @Test(arguments: rows) func vectors(row: Row) {
        var spec = ScalingSpec()
        spec.gracePeriod = .seconds(60)
        spec.stableWindowSeconds = 300
        spec.progressDeadline = .seconds(121)
        spec.podRetentionPeriod = .seconds(row.retention)
        spec.targetBurstCapacity = row.burst
        spec.isScaleToZeroEnabled = row.isZeroEnabled
        (spec.minScale, spec.maxScale, spec.initialScale) = row.bounds
        let result = Reconciliation.decide(
            desired: row.desired,
            Reconciliation.Input(
                spec: spec, activity: RevisionActivity(row.phase, since: start), isReachable: row.isReachable,
                isInitialized: row.isInitialized,
                path: ActivatorPath(probe: row.probe, proxyingNanoseconds: UInt64(row.proxying * 1e9)),
                now: at(row.elapsed)))
        #expect(result.want == row.want)
        #expect(result.isApplied == row.isApplied)
        let recheck = result.recheckNanoseconds.map { Double($0) / 1e9 }
        #expect((recheck == nil) == (row.recheck == nil))
        #expect(abs((recheck ?? 0) - (row.recheck ?? 0)) < 1e-6, "\(recheck ?? -1)")
        #expect(row.want < 1 || result.isApplied)
    }

    /// The window annotation, not the cluster's 300 s, is what a revision must have been active for.
    @Test(arguments: [(149.0, 1, true, 1.0), (150, 0, false, nil), (299, 0, false, nil)])
    func customWindow(elapsed: Double, want: Int, isApplied: Bool, recheck: Double?) {
        var config = ScalingConfig()
        config.stableWindow = .seconds(300)
        let spec = ScalingSpec(
            config: config, annotations: annotations(["window": "150s"], config: config), containerConcurrency: 0)
        let result = Reconciliation.decide(
            desired: 0,
            Reconciliation.Input(
                spec: spec, activity: RevisionActivity(.active, since: start), isReachable: true, isInitialized: true,
                path: ActivatorPath(probe: .answeredByActivator, proxyingNanoseconds: 0), now: at(elapsed)))
        #expect(result.want == want && result.isApplied == isApplied, "\(result)")
        #expect(result.recheckNanoseconds == recheck.map { UInt64($0 * 1e9) })
    }

    /// Whom nobody has told of routes counts as reachable: its least scale holds.
    @Test func minScaleWithUnknownReachability() {
        for isTold in [nil, true, false] as [Bool?] {
            var scaler = RevisionScaler(
                annotations: annotations(["min-scale": "2"]), containerConcurrency: 0, now: start, initialReady: 10)
            if let isTold { scaler.setReachable(isTold) }
            var desired = 10
            for second in stride(from: 0.0, through: 400, by: 2) {
                _ = scaler.record(RequestStat(), at: at(second))
                desired = scaler.tick(now: at(second), ready: desired, existing: desired).desired
            }
            #expect(desired == (isTold == false ? 0 : 2), "told \(String(describing: isTold))")
        }
    }

    /// On one machine nothing has to be waited for: the last pod goes at the tick after the one that said inactive.
    @Test func fastPath() {
        let result = Reconciliation.decide(
            desired: 0,
            Reconciliation.Input(
                spec: ScalingSpec(), activity: RevisionActivity(.inactive, since: start), isReachable: true,
                isInitialized: true, path: .alwaysInPath, now: start))
        #expect(result == Reconciliation(want: 0, isApplied: true, rule: .activatorLongInPath))
    }
}
