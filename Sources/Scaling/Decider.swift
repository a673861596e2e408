import Primitives

/// The formula: how many pods a revision needs, from its averages and its ready pods.
///
/// Bounds (min-scale, max-scale, zero) come afterwards, in `Reconciliation`.
/// Source: Knative Serving, `pkg/autoscaler/scaling/autoscaler.go`.
public struct Decider: Sendable {
    /// Slots of the scale-down delay are as long as Knative's tick.
    static let delaySlotSeconds = 2

    /// What is being decided by. May be replaced at any time; the scale-down delay stays as it was at the start.
    public var spec: ScalingSpec
    /// Since when the panic lasts (its last renewal); nil out of panic.
    public private(set) var panicSince: Instant?
    /// Most pods wanted in the present panic: it is not left until the panic ends.
    public private(set) var panicPods = 0
    private var delay: MaxWindow?

    /// A decider for a revision that has `ready` pods already.
    ///
    /// With more than one it starts in panic: after a restart nothing is known of the traffic that made these pods
    /// necessary, so none goes for one stable window.
    public init(spec: ScalingSpec, ready: Int, now: Instant) {
        self.spec = spec
        if spec.scaleDownDelaySeconds > 0 {
            let slotSeconds = Decider.delaySlotSeconds
            delay = MaxWindow(slots: (spec.scaleDownDelaySeconds + slotSeconds - 1) / slotSeconds)
        }
        if ready > 1 {
            panicSince = now
            panicPods = ready
        }
    }

    /// One decision of the formula, with what led to it.
    public struct Verdict: Equatable, Sendable {
        /// Pods wanted. 0 and up.
        public var desired: Int
        /// Burst capacity to spare; negative puts the activator in the path.
        public var excessBurstCapacity: Int
        /// Pods that the stable average needs, before any limit.
        public var stableNeed: Int
        /// Pods that the panic average needs, before any limit.
        public var panicNeed: Int
        /// Most pods this decision may ask for (max-scale-up-rate).
        public var mostPods: Int
        /// Fewest pods this decision may ask for (max-scale-down-rate).
        public var fewestPods: Int
        /// Whether panic holds after this decision.
        public var isPanicking: Bool
        /// What settled the number.
        public var rule: ScaleRule
    }

    /// Decides at `now`; nil if the pods could not be counted or nothing is known of the traffic. Nil changes nothing.
    ///
    /// - Parameters:
    ///   - ready: ready pods. Nil if they could not be counted.
    ///   - averages: nil if there is no data.
    ///   - isReachable: whether a route leads here. If none does, pods go at once: no rate, no delay.
    public mutating func decide(ready: Int?, averages: MetricAverages?, isReachable: Bool, now: Instant) -> Verdict? {
        guard let ready, let averages else { return nil }
        let divisor = Double(max(1, ready))
        let most = saturatingInt((spec.maxScaleUpRate * divisor).rounded(.up))
        let fewest = isReachable ? saturatingInt((divisor / spec.maxScaleDownRate).rounded(.down)) : 0
        let stableNeed = saturatingInt((averages.stable / spec.target.value).rounded(.up))
        let panicNeed = saturatingInt((averages.panic / spec.target.value).rounded(.up))
        let stable = limited(need: stableNeed, fewest: fewest, most: most)
        let panic = limited(need: panicNeed, fewest: fewest, most: most)

        updatePanic(isOver: Double(panicNeed) / divisor >= spec.panicThreshold, now: now)
        var (desired, rule) = stable
        if panicSince != nil {
            if panic.pods > desired { (desired, rule) = (panic.pods, panic.rule == .stable ? .panic : panic.rule) }
            if panicPods > desired { rule = .panicHold }
            panicPods = max(panicPods, desired)
            desired = panicPods
        }
        if isReachable, let delayed = delayed(desired, now: now), delayed > desired {
            (desired, rule) = (delayed, .scaleDownDelay)
        }
        return Verdict(
            desired: desired, excessBurstCapacity: excessBurstCapacity(ready: ready, panic: averages.panic),
            stableNeed: stableNeed, panicNeed: panicNeed, mostPods: most, fewestPods: fewest,
            isPanicking: panicSince != nil, rule: rule)
    }

    /// Pods for a need within the rates. The activation scale comes last and may exceed them.
    private func limited(need: Int, fewest: Int, most: Int) -> (pods: Int, rule: ScaleRule) {
        let need = max(0, need)
        if need > 0, spec.activationScale > 1, spec.activationScale > min(max(need, fewest), most) {
            return (spec.activationScale, .activationScale)
        }
        if need > most { return (most, .maxScaleUpRate) }
        return need < fewest ? (min(fewest, most), .maxScaleDownRate) : (need, .stable)
    }

    /// Panic begins and is renewed over the threshold; it ends strictly later than one stable window after that.
    private mutating func updatePanic(isOver: Bool, now: Instant) {
        if isOver {
            panicSince = now
        } else if let since = panicSince, now > since.adding(seconds: Double(spec.stableWindowSeconds)) {
            panicSince = nil
            panicPods = 0
        }
    }

    private mutating func delayed(_ desired: Int, now: Instant) -> Int? {
        delay?.record(desired, slot: MetricWindows.second(of: now) / Decider.delaySlotSeconds)
        return delay?.largest
    }

    /// What the pods could take on top of the panic average and the burst capacity, in units of the metric.
    private func excessBurstCapacity(ready: Int, panic: Double) -> Int {
        switch spec.targetBurstCapacity {
        case 0: 0
        case -1: -1
        case let capacity: saturatingInt((Double(ready) * spec.target.total - capacity - panic).rounded(.down))
        }
    }

    /// The excess burst capacity that holds before the first decision.
    var initialExcessBurstCapacity: Int {
        let capacity = spec.targetBurstCapacity
        if capacity == 0 || capacity == -1 { return Int(capacity) }
        return saturatingInt((Double(spec.initialScale) * spec.target.total - capacity).rounded(.towardZero))
    }
}
