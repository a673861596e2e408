/// Which rule settled the number of pods. Each decision has exactly one.
public enum ScaleRule: String, Equatable, Sendable, CaseIterable {
    /// No data, or pods could not be counted: nothing changes.
    case noData = "no-data"
    /// Nothing was ever decided for this revision and it is not starting: nothing changes.
    case unknown
    /// The average over the stable window.
    case stable
    /// The average over the panic window.
    case panic
    /// In panic, the largest number wanted so far: panic never goes down.
    case panicHold = "panic-hold"
    /// More were needed than max-scale-up-rate allows at once.
    case maxScaleUpRate = "max-scale-up-rate"
    /// Fewer were needed than max-scale-down-rate allows at once.
    case maxScaleDownRate = "max-scale-down-rate"
    /// The activation-scale: fewest pods while there is any need.
    case activationScale = "activation-scale"
    /// A larger wish within the scale-down-delay.
    case scaleDownDelay = "scale-down-delay"
    /// The lower bound min-scale.
    case minScale = "min-scale"
    /// The initial scale, not reached yet.
    case initialScale = "initial-scale"
    /// The upper bound max-scale.
    case maxScale = "max-scale"
    /// Zero wanted, but scale to zero is switched off.
    case scaleToZeroDisabled = "scale-to-zero-disabled"
    /// Zero wanted while pods are starting: the start is let run.
    case stillActivating = "still-activating"
    /// The start took longer than the progress deadline: given up.
    case activationTimedOut = "activation-timed-out"
    /// Zero wanted, but active for less than the stable window: one pod stays.
    case activeTooShort = "active-too-short"
    /// Zero wanted after a stable window: called inactive, the pod stays for now.
    case becomesInactive = "becomes-inactive"
    /// Zero wanted, but the activator did not answer the probe: nothing goes.
    case activatorNotInPath = "activator-not-in-path"
    /// The last pod is retained.
    case podRetention = "pod-retention"
    /// The activator is not in the path for the grace period yet.
    case gracePeriod = "grace-period"
    /// To zero: inactive for longer than grace and retention.
    case graceOver = "grace-over"
    /// To zero: the activator has been in the path for the grace period.
    case activatorLongInPath = "activator-long-in-path"
    /// A request met no pods: started at once (not in Knative).
    case demandFromZero = "demand-from-zero"
    /// More requests wait than all pods can take: more started at once (not in Knative).
    case demandQueue = "demand-queue"
    /// Pods started for waiting requests are kept for a panic window (not in Knative).
    case demandHold = "demand-hold"
}
