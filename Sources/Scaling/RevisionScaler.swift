import Primitives

/// All of one revision's scaling: what was reported, the formula, the state, the bounds, the way to zero.
///
/// Owner: one driver (the control thread), which
/// - hands every report to `record` and ticks at once if that answers true (a *poke*);
/// - calls `tick` every 2 s (Knative's period) and no later than `recheckAfterSeconds`; at zero pods, with nothing to
///   recheck, it may stop ticking until the next poke or demand;
/// - calls `demand` when a request has to wait for a pod;
/// - makes `ScaleDecision.desired` pods exist. It is always the full number, never a difference, and a pod that dies is
///   the driver's to replace.
///
/// While pods exist the driver reports once a second even if nothing happened: the averages then fall over the window
/// as in Knative, where idle pods are scraped. Without those zeros they stay level until the last report leaves the
/// window. At zero pods there is nobody to report a zero, and `record` passes it over: the first second of a burst then
/// counts in full instead of being diluted by the silence before it.
///
/// **A new revision** starts with `initial-scale` pods (default 1) as Knative's Deployment does: `desired` is that
/// number from the first tick, with no traffic needed. It counts as *activating* until as many are ready (or min-scale
/// if that is more), then as *active*; with no traffic it goes to zero one stable window after that. A start that takes
/// longer than the progress deadline and 30 s is given up. With `initial-scale` 0 (if allowed) it begins inactive with
/// no pod. A revision that had pods in an earlier life of the process (`initialReady`) keeps them, and if more than one
/// begins in panic, so that none goes for a stable window.
///
/// Source: Knative Serving, `pkg/autoscaler/scaling/multiscaler.go` and `pkg/reconciler/autoscaling/kpa`; but `demand`
/// is ours.
public struct RevisionScaler: Sendable {
    /// The settings in force.
    public private(set) var spec: ScalingSpec
    /// Whether the revision is up.
    public private(set) var activity: RevisionActivity
    /// The formula's last wish, before the bounds; -1 before the first decision.
    public private(set) var wish = -1
    /// Spare burst capacity as of the last valid decision.
    public private(set) var excessBurstCapacity: Int
    /// Pods that shall exist.
    public private(set) var desired: Int
    /// Whether the initial scale was reached once; it is a floor only until then.
    public private(set) var isInitialized: Bool
    /// Whether a route leads to the revision. Without one the floors do not hold.
    public private(set) var isReachable = true

    private var config: ScalingConfig
    private var annotations: ScalingAnnotations
    private let containerConcurrency: Int
    private let silence: SilenceRule
    private var windows: MetricWindows
    private var decider: Decider
    /// Pods that a demand asked for, and until when they are kept.
    private var demanded: (pods: Int, until: Instant) = (0, Instant(nanoseconds: 0))
    /// Ready pods as of the last tick.
    private var lastReady: Int
    /// The formula's last verdict and the averages it went by.
    private var last: (verdict: Decider.Verdict?, averages: MetricAverages?) = (nil, nil)

    /// A scaler for a revision that begins now.
    ///
    /// - Parameters:
    ///   - containerConcurrency: requests a pod may serve at a time; 0 for no limit. Fixed for the revision's life.
    ///   - initialReady: pods that are there already and shall be taken over.
    ///   - wasInitialized: whether the revision reached its initial scale in an earlier life; then none is started.
    ///   - silence: what it means if nothing is reported; with burst capacity -1 silence is always zero.
    ///   - earlier: how an earlier life of the process left the revision; it goes on from there, and nothing changes
    ///     before there is data.
    public init(
        config: ScalingConfig = ScalingConfig(), annotations: ScalingAnnotations = ScalingAnnotations(),
        containerConcurrency: Int = 0, now: Instant, initialReady: Int = 0, wasInitialized: Bool = false,
        silence: SilenceRule = .meansZero, earlier: EarlierLife? = nil
    ) {
        self.config = config
        self.annotations = annotations
        self.containerConcurrency = containerConcurrency
        self.silence = silence
        spec = ScalingSpec(config: config, annotations: annotations, containerConcurrency: containerConcurrency)
        windows = MetricWindows(spec: spec)
        lastReady = max(0, initialReady)
        decider = Decider(spec: spec, ready: lastReady, now: now)
        excessBurstCapacity = decider.initialExcessBurstCapacity
        // A revision without a single pod to start with (initial scale 0) has reached its initial scale already.
        let threshold = spec.activeThreshold(isReachable: true, isInitialized: wasInitialized)
        isInitialized = wasInitialized || lastReady >= threshold
        let isEmpty = threshold == 0 || (wasInitialized && spec.minScale == 0)
        if let earlier {
            activity = RevisionActivity(earlier.phase, since: now)
            desired = max(0, earlier.desired)
            // At zero and inactive somebody decided so; that holds, and floors apply to it.
            if earlier.desired <= 0, earlier.phase == .inactive { wish = 0 }
        } else if lastReady == 0, isEmpty {
            activity = RevisionActivity(.inactive, since: now)
            desired = 0
        } else {
            activity = RevisionActivity(lastReady > 0 && isInitialized ? .active : .activating, since: now)
            let most = spec.maxScale > 0 ? spec.maxScale : .max
            desired = min(max(threshold, lastReady), most)
        }
    }

    // MARK: Reports and settings

    /// Takes one reporter's stat for the second of `now`; stats of several reporters in one second add up.
    ///
    /// Stats with impossible numbers are dropped, and so are all-zero ones while no pod shall exist.
    /// - Returns: true for a *poke*: the revision was wanted at zero and somebody asks for it, so tick now. A revision
    ///   that was never decided on (`wish` -1) is not poked.
    public mutating func record(_ stat: RequestStat, at now: Instant) -> Bool {
        guard stat.isPlausible, desired > 0 || stat != RequestStat() else { return false }
        windows.record(stat, at: now)
        return wish == 0 && stat.averageConcurrency != 0
    }

    /// What has been recorded within the stable window that ends now.
    public func counted(now: Instant) -> MetricTotals { windows.totals(at: now) }

    /// Takes on changed annotations. They rule from the next decision on.
    ///
    /// As in Knative two of them stay as they were at the start: scale-down-delay and metric-aggregation-algorithm.
    public mutating func update(annotations: ScalingAnnotations) {
        self.annotations = annotations
        resolve()
    }

    /// Takes on a changed configuration, with the same two exceptions.
    public mutating func update(config: ScalingConfig) {
        self.config = config
        resolve()
    }

    /// Says whether a route leads to the revision (Knative: `spec.reachability`). A new one counts as reachable.
    public mutating func setReachable(_ isReachable: Bool) { self.isReachable = isReachable }

    private mutating func resolve() {
        spec = ScalingSpec(config: config, annotations: annotations, containerConcurrency: containerConcurrency)
        decider.spec = spec
        windows.resize(for: spec)
    }

    // MARK: Decisions

    /// Decides anew.
    ///
    /// - Parameters:
    ///   - ready: pods that take requests.
    ///   - existing: ready and starting pods, without those that are draining.
    ///   - path: where the activator stands; on one machine it is always in the path.
    public mutating func tick(
        now: Instant, ready: Int, existing: Int, path: ActivatorPath = .alwaysInPath
    ) -> ScaleDecision {
        lastReady = max(0, ready)
        let rule = spec.targetBurstCapacity == -1 ? SilenceRule.meansZero : silence
        let averages = windows.averages(of: spec.metric, at: now, silence: rule)
        let verdict = decider.decide(ready: lastReady, averages: averages, isReachable: isReachable, now: now)
        if let verdict {
            wish = verdict.desired
            excessBurstCapacity = verdict.excessBurstCapacity
        }
        last = (verdict, averages)
        return reconcile(now: now, ready: ready, existing: existing, path: path)
    }

    /// Carries the formula's last wish out anew, without the formula: for what changes between two ticks (pods, a
    /// route, settings, the activator's place, time). Knative's reconciler beside its ticker.
    ///
    /// Parameters as for `tick`. The rates bind per tick, so reconciling often does not scale faster.
    public mutating func reconcile(
        now: Instant, ready: Int, existing: Int, path: ActivatorPath = .alwaysInPath
    ) -> ScaleDecision {
        assert(ready >= 0 && existing >= ready, "pods are counted wrongly")
        lastReady = max(0, ready)
        let before = activity
        let previous = desired
        let demandedPods = now < demanded.until ? demanded.pods : 0
        let isHeld = demandedPods > max(0, wish)
        let reconciled = Reconciliation.decide(
            desired: isHeld ? demandedPods : wish, reconciliationInput(path: path, now: now))
        settle(want: reconciled.want, isApplied: reconciled.isApplied, now: now)

        let formulaRule = last.verdict?.rule ?? (wish < 0 ? .unknown : .noData)
        var record = makeRecord(
            rule: reconciled.rule ?? (isHeld ? .demandHold : formulaRule), before: before, previous: previous,
            want: reconciled.want, existing: existing, now: now)
        record.averages = last.averages
        record.verdict = last.verdict
        record.demandedPods = demandedPods
        return ScaleDecision(
            desired: desired, recheckAfterSeconds: recheckSeconds(reconciled, isHeld: isHeld, now: now),
            record: record)
    }

    /// Starts pods at once for requests that wait. Ours: Knative waits for the next report, tick and average.
    ///
    /// To be called when a request finds no free place. From zero the first request starts a pod; above, pods start as
    /// soon as more requests wait than all pods, ready or starting, can take (`ScalingSpec.podCapacity` each). Bounded
    /// by max-scale and by max-scale-up-rate over the pods that were ready at the last tick; never fewer than before.
    /// What was asked for is kept for one panic window from the last call that found no room to spare; by then the
    /// averages have seen the load and the formula rules alone. So the formula's result is a floor, and decisions stay
    /// Knative's wherever nothing waits.
    ///
    /// - Parameters:
    ///   - inFlight: requests that pods are serving.
    ///   - queued: requests that wait for a pod.
    ///   - existing: ready and starting pods, for the record: pods asked for count as starting before they exist.
    /// - Returns: nil if nothing is to be done.
    public mutating func demand(inFlight: Int, queued: Int, existing: Int, now: Instant) -> ScaleDecision? {
        assert(inFlight >= 0 && queued >= 0 && existing >= 0)
        guard queued > 0 else { return nil }
        let requests = Double(max(0, inFlight)) + Double(queued)
        let need = saturatingInt((requests / spec.podCapacity).rounded(.up))
        guard need >= desired else { return nil }
        let target = allowed(need: need)
        if target > 0, target >= desired {
            demanded = (target, now.adding(seconds: Double(spec.panicWindowSeconds)))
        }
        guard target > desired else { return nil }

        let before = activity
        let previous = desired
        settle(want: target, isApplied: true, now: now)
        var record = makeRecord(
            rule: previous == 0 ? .demandFromZero : .demandQueue, before: before, previous: previous, want: target,
            existing: existing, now: now)
        record.demand = DecisionRecord.Demand(inFlight: inFlight, queued: queued, need: need)
        record.demandedPods = target
        return ScaleDecision(
            desired: desired, recheckAfterSeconds: Double(spec.panicWindowSeconds), record: record)
    }

    // MARK: Parts

    /// `need` within the rate and the bounds. The activation scale comes after the rate, as in the formula.
    private func allowed(need: Int) -> Int {
        let most = saturatingInt((spec.maxScaleUpRate * Double(max(1, lastReady))).rounded(.up))
        let bounds = spec.bounds(isReachable: isReachable, isInitialized: isInitialized)
        let pods = max(min(need, most), spec.activationScale, bounds.least)
        return bounds.most > 0 ? min(pods, bounds.most) : pods
    }

    private func reconciliationInput(path: ActivatorPath, now: Instant) -> Reconciliation.Input {
        Reconciliation.Input(
            spec: spec, activity: activity, isReachable: isReachable, isInitialized: isInitialized, path: path,
            now: now)
    }

    /// Carries a result out: the one place where `desired` and the activity change.
    private mutating func settle(want: Int, isApplied: Bool, now: Instant) {
        if isApplied { desired = want }
        let threshold = spec.activeThreshold(isReachable: isReachable, isInitialized: isInitialized)
        activity.update(want: want, ready: lastReady, threshold: threshold, now: now)
        if lastReady >= threshold { isInitialized = true }
        assert(desired >= 0)
        assert(spec.maxScale == 0 || !isApplied || desired <= max(spec.maxScale, 1), "max-scale is exceeded")
    }

    private func recheckSeconds(_ reconciled: Reconciliation, isHeld: Bool, now: Instant) -> Double? {
        if let nanoseconds = reconciled.recheckNanoseconds { return Double(nanoseconds) / 1e9 }
        return isHeld ? demanded.until.seconds(since: now) : nil
    }

    private func makeRecord(
        rule: ScaleRule, before: RevisionActivity, previous: Int, want: Int, existing: Int, now: Instant
    ) -> DecisionRecord {
        DecisionRecord(
            time: now, rule: rule, desired: desired, previous: previous, want: want, ready: lastReady,
            existing: existing, wish: wish, averages: nil, verdict: nil, excessBurstCapacity: excessBurstCapacity,
            mode: ServingMode(want: want, excessBurstCapacity: excessBurstCapacity), panicSince: decider.panicSince,
            demand: nil, demandedPods: 0, activityBefore: before, activityAfter: activity, isReachable: isReachable,
            isInitialized: isInitialized, spec: spec)
    }
}
