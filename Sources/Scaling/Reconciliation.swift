import Primitives

/// Where the activator stands, as far as going to zero needs to know.
///
/// A revision may lose its last pod only when requests would reach an activator that holds them.
public struct ActivatorPath: Equatable, Sendable {
    /// What the probe through the revision's public address found.
    public enum Probe: Equatable, Sendable {
        /// The activator answered.
        case answeredByActivator
        /// Something else answered, or nothing.
        case failed
    }

    /// What the probe found. Not asked when the burst capacity is -1.
    public var probe: Probe
    /// For how long the activator has been in the path, in nanoseconds.
    public var proxyingNanoseconds: UInt64

    /// A path in the given state.
    public init(probe: Probe, proxyingNanoseconds: UInt64) {
        self.probe = probe
        self.proxyingNanoseconds = proxyingNanoseconds
    }

    /// One machine: every request passes our own admission, since ever. Nothing has to be probed or waited for.
    public static let alwaysInPath = ActivatorPath(probe: .answeredByActivator, proxyingNanoseconds: .max)
}

/// From the formula's wish to the pods that shall be: bounds, then the careful way to zero.
///
/// Source: Knative Serving, `pkg/reconciler/autoscaling/kpa/scaler.go`.
struct Reconciliation: Equatable {
    /// Extra time over the progress deadline before a start is given up.
    static let activationBuffer = GoDuration.seconds(30)
    /// When to look again after an active revision went inactive with the activator in the path.
    static let inactiveRecheck = GoDuration.seconds(3)
    /// When to look again after a failed probe.
    static let probeRecheck = GoDuration.seconds(1)

    /// Pods wanted, -1 unknown. This drives the activity.
    var want: Int
    /// Whether `want` is to be carried out; otherwise the pods stay as they are.
    var isApplied: Bool
    /// When to look again though nothing else happens, in nanoseconds.
    var recheckNanoseconds: UInt64?
    /// What settled it; nil if the wish passed through unchanged.
    var rule: ScaleRule?

    /// What a reconciliation goes by.
    struct Input {
        var spec: ScalingSpec
        var activity: RevisionActivity
        var isReachable: Bool
        var isInitialized: Bool
        var path: ActivatorPath
        var now: Instant
    }

    /// - Parameter desired: the wish; -1 if there is none yet.
    static func decide(desired: Int, _ input: Input) -> Reconciliation {
        if desired < 0, input.activity.phase != .activating {
            return Reconciliation(want: desired, isApplied: false, rule: .unknown)
        }
        let bounds = input.spec.bounds(isReachable: input.isReachable, isInitialized: input.isInitialized)
        if bounds.least > 0, desired < bounds.least {
            let isMinScale = input.isReachable && bounds.least <= input.spec.minScale
            return Reconciliation(want: bounds.least, isApplied: true, rule: isMinScale ? .minScale : .initialScale)
        }
        if bounds.most > 0, desired > bounds.most {
            return Reconciliation(want: bounds.most, isApplied: true, rule: .maxScale)
        }
        return desired > 0 ? Reconciliation(want: desired, isApplied: true) : toZero(input)
    }

    private static func toZero(_ input: Input) -> Reconciliation {
        guard input.spec.isScaleToZeroEnabled else {
            return Reconciliation(want: 1, isApplied: true, rule: .scaleToZeroDisabled)
        }
        return switch input.activity.phase {
        case .activating: whileActivating(input)
        case .active: whileActive(input)
        case .inactive: whileInactive(input)
        }
    }

    /// A start is let run, and given up after the progress deadline.
    private static func whileActivating(_ input: Input) -> Reconciliation {
        let limit = input.spec.progressDeadline.magnitude &+ activationBuffer.magnitude
        let elapsed = input.activity.nanoseconds(at: input.now)
        if elapsed > limit { return Reconciliation(want: 0, isApplied: true, rule: .activationTimedOut) }
        return Reconciliation(
            want: -1, isApplied: false, recheckNanoseconds: limit - elapsed + 1, rule: .stillActivating)
    }

    /// One pod stays until the revision has been active for a stable window; then it is first only called inactive.
    private static func whileActive(_ input: Input) -> Reconciliation {
        let window = GoDuration.seconds(input.spec.stableWindowSeconds).magnitude
        let elapsed = input.activity.nanoseconds(at: input.now)
        if elapsed < window {
            return Reconciliation(
                want: 1, isApplied: true, recheckNanoseconds: window - elapsed, rule: .activeTooShort)
        }
        let recheck = input.path.proxyingNanoseconds > 0 ? inactiveRecheck.magnitude : nil
        return Reconciliation(want: 0, isApplied: false, recheckNanoseconds: recheck, rule: .becomesInactive)
    }

    /// The last pod goes when the activator is proven to be in the path and has been long enough.
    private static func whileInactive(_ input: Input) -> Reconciliation {
        if input.spec.targetBurstCapacity != -1, input.path.probe == .failed {
            return Reconciliation(
                want: 0, isApplied: false, recheckNanoseconds: probeRecheck.magnitude, rule: .activatorNotInPath)
        }
        let grace = input.spec.gracePeriod.magnitude
        let retention = input.isReachable ? input.spec.podRetentionPeriod.magnitude : 0
        let elapsed = input.activity.nanoseconds(at: input.now)
        if elapsed >= max(grace, retention) {
            return Reconciliation(want: 0, isApplied: true, rule: .graceOver)
        }
        if elapsed < retention {
            return Reconciliation(
                want: 0, isApplied: false, recheckNanoseconds: retention - elapsed, rule: .podRetention)
        }
        let proxying = input.path.proxyingNanoseconds
        if proxying >= grace { return Reconciliation(want: 0, isApplied: true, rule: .activatorLongInPath) }
        return Reconciliation(
            want: 0, isApplied: false, recheckNanoseconds: grace - proxying, rule: .gracePeriod)
    }
}
