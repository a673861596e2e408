import Knative
import Primitives
import Scaling

/// The autoscaler of one revision: what was reported of it, what is known of its pods and its way through activators,
/// and what is to be written. Pure: facts in, wishes out.
///
/// A *tick* runs the formula, every 2 s and on a poke; a *reconciliation* carries its last wish out anew whenever pods,
/// the object, or the path of requests have changed. Source: Knative Serving, `pkg/autoscaler/scaling/multiscaler.go`
/// and `pkg/reconciler/autoscaling/kpa`; spec/autoscaling 1, 5.
struct RevisionAutoscaler {
    /// What leads to a decision.
    enum Cause: Equatable {
        /// Two seconds are over, or a stat pokes.
        case tick
        /// Something has changed.
        case reconcile
    }

    /// What is to be done after a decision.
    struct Wishes {
        /// To be written at once; nil: as it is.
        var scale: ClusterScale?
        /// To be written; nil: as it is.
        var service: ServerlessService?
        /// Whether to ask now if the activator is in the path.
        var asksActivator = false
        /// When to reconcile again at the latest; nil: when something changes.
        var recheckAt: Instant?
        /// What led to it.
        var record: DecisionRecord
    }

    /// The object as the source tells it, with the status as of the last write.
    private(set) var object: PodAutoscaler
    private(set) var scaler: RevisionScaler
    /// The last decision.
    private(set) var record: DecisionRecord?
    private(set) var counts: PodCounts
    private var probe = ActivatorProbe()
    private var service: ServerlessService?
    /// Since when activators are in the path, by our clock.
    private var proxySince: Instant?
    /// Pods as they were last written or told.
    private var scale: Int?
    /// Whether an earlier process left the revision as it is.
    private let isTakenOver: Bool
    private var hasTicked = false
    private var statusWrittenAt: Instant?

    /// An autoscaler of `object`, which is new or was left by an earlier process: then pods stay as they are until
    /// there is data, and with more than one ready none goes for a stable window.
    init(
        _ object: PodAutoscaler, annotations: ScalingAnnotations, config: ScalingConfig, counts: PodCounts,
        scale: Int?, now: Instant
    ) {
        self.object = object
        self.counts = counts
        var earlier: EarlierLife?
        if let desired = object.status.desiredScale {
            // In the grace period the status says 0 while the last pod is still there.
            earlier = EarlierLife(
                desired: scale ?? max(desired, counts.existing), phase: Self.phase(of: object.status))
        }
        isTakenOver = earlier != nil
        self.scale = earlier?.desired ?? scale
        scaler = RevisionScaler(
            config: config, annotations: annotations, containerConcurrency: object.containerConcurrency, now: now,
            initialReady: counts.ready, wasInitialized: object.status.isInitialized, silence: .meansNoData,
            earlier: earlier)
        scaler.setReachable(object.isReachable)
    }

    private static func phase(of status: PodAutoscaler.Status) -> RevisionActivity.Phase {
        switch status.active {
        case "True": .active
        case "False": .inactive
        case _: .activating
        }
    }

    // MARK: Facts

    /// Takes a stat of the second of `instant`. True for a poke: tick now.
    ///
    /// Knative pokes only a revision that it has decided to have at zero. One that an earlier process left at zero is
    /// poked here too: its first request need not wait for a tick.
    mutating func record(_ stat: RequestStat, at instant: Instant) -> Bool {
        let isAtZero = scaler.desired == 0
        let isPoke = scaler.record(stat, at: instant)
        return isPoke || (isAtZero && stat.averageConcurrency != 0)
    }

    /// Takes on the settings of a changed object; its status is ours and passed over. Reconcile after it.
    mutating func update(_ changed: PodAutoscaler, annotations: ScalingAnnotations) {
        assert(changed.containerConcurrency == object.containerConcurrency, "a changed limit needs a new autoscaler")
        let status = object.status
        if changed.annotations != object.annotations { scaler.update(annotations: annotations) }
        object = changed
        object.status = status
        scaler.setReachable(changed.isReachable)
    }

    /// Takes on how many pods there are.
    mutating func update(_ counts: PodCounts) { self.counts = counts }

    /// Takes on a scale that somebody, perhaps we, has written.
    mutating func update(scale: Int) { self.scale = scale }

    /// Takes on the state of the way through activators; nil: it has gone.
    mutating func update(_ changed: ServerlessService?, now: Instant, unixSeconds: Int64) {
        if changed?.proxySince != service?.proxySince || (changed?.proxySince != nil && proxySince == nil) {
            proxySince = changed?.proxySince.map { since in
                let (age, overflow) = unixSeconds.subtractingReportingOverflow(since)
                let seconds = overflow ? 0 : UInt64(max(0, age))
                let (nanoseconds, isLong) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
                return Instant(nanoseconds: isLong ? 0 : now.nanoseconds - min(now.nanoseconds, nanoseconds))
            }
        }
        service = changed
    }

    /// Whether the activator answered. True: nobody has for so long that the log should say so. Reconcile after it.
    mutating func probed(_ isAnswered: Bool, now: Instant) -> Bool { probe.report(isAnswered: isAnswered, now: now) }

    // MARK: Decisions

    /// Whether time or pods may change something: false for a revision at rest at zero. Only a stat or a change of an
    /// object wakes it.
    var isAwake: Bool {
        scaler.desired > 0 || counts.existing > 0 || scaler.wish > 0 || scaler.activity.phase != .inactive
    }

    /// Whether pods are to be asked for statistics: not with burst capacity -1, where activators see everything.
    var scrapes: Bool { scaler.spec.targetBurstCapacity != -1 && counts.ready > 0 }

    /// Decides by what is known now.
    mutating func decide(_ cause: Cause, now: Instant) -> Wishes {
        if cause == .tick { hasTicked = true }
        let needsAnswer = needsAnswer(cause, now: now)
        if !needsAnswer, !probe.isAnswered(now: now) { probe.giveUp() }
        let path = path(isAnswered: !needsAnswer, now: now)
        let decision = Self.run(cause, &scaler, counts, path, now)
        record = decision.record

        var wishes = Wishes(record: decision.record)
        if needsAnswer, decision.record.rule == .activatorNotInPath { wishes.asksActivator = probe.need(now: now) }
        if decision.desired != scale {
            scale = decision.desired
            var written = ClusterScale(name: object.name, replicas: decision.desired)
            written.explanation = decision.record.explanation
            wishes.scale = written
        }
        if hasTicked || !isTakenOver {
            wishes.service = ServingModeRule.change(
                of: object.name, current: service, record: decision.record, ready: counts.ready)
            if let written = wishes.service { service = written }
        }
        // Not sooner than a millisecond, so that no rounding makes a recheck follow itself.
        let recheck = decision.recheckAfterSeconds.map { now.adding(seconds: max($0, 0.001)) }
        wishes.recheckAt = [recheck, probe.nextAt].compactMap(\.self).min()
        return wishes
    }

    /// Whether all but an answer of the activator allows zero now.
    ///
    /// The decision is tried on a copy, as if it had answered: the question is asked only when it matters, and not each
    /// second of a grace period.
    private func needsAnswer(_ cause: Cause, now: Instant) -> Bool {
        guard scaler.activity.phase == .inactive, scaler.desired > 0, scaler.spec.targetBurstCapacity != -1,
            !probe.isAnswered(now: now)
        else { return false }
        var trial = scaler
        return Self.run(cause, &trial, counts, path(isAnswered: true, now: now), now).desired == 0
    }

    private func path(isAnswered: Bool, now: Instant) -> ActivatorPath {
        ActivatorPath(
            probe: isAnswered ? .answeredByActivator : .failed,
            proxyingNanoseconds: proxySince.map { now.nanoseconds(since: $0) } ?? 0)
    }

    private static func run(
        _ cause: Cause, _ scaler: inout RevisionScaler, _ counts: PodCounts, _ path: ActivatorPath, _ now: Instant
    ) -> ScaleDecision {
        switch cause {
        case .tick: scaler.tick(now: now, ready: counts.ready, existing: counts.existing, path: path)
        case .reconcile: scaler.reconcile(now: now, ready: counts.ready, existing: counts.existing, path: path)
        }
    }

    // MARK: Status

    /// The object with a status that has changed and may be written now; or when it may be.
    mutating func takeStatus(now: Instant) -> (write: PodAutoscaler?, again: Instant?) {
        guard let record else { return (nil, nil) }
        var status = object.status
        // What is not known does not replace what was.
        if record.want >= 0 { status.desiredScale = record.want }
        status.actualScale = counts.ready
        status.active =
            switch scaler.activity.phase {
            case .active: "True"
            case .inactive: "False"
            case .activating: "Unknown"
            }
        status.reason = scaler.activity.reason.rawValue
        status.isInitialized = scaler.isInitialized
        guard status != object.status else { return (nil, nil) }
        if let last = statusWrittenAt {
            let due = last.adding(nanoseconds: Period.statusWrite)
            guard now >= due else { return (nil, due) }
        }
        object.status = status
        statusWrittenAt = now
        return (object, nil)
    }
}
