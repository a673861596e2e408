/// The defaults that hold for every revision: Knative's ConfigMap `config-autoscaler`.
///
/// A revision's annotations (`ScalingAnnotations`) override most of them. Property documents name the key.
public struct ScalingConfig: Equatable, Sendable {
    /// Share of a concurrency target that is aimed at. Key `container-concurrency-target-percentage`.
    ///
    /// Written 0...1 as a fraction or 1...100 as a percentage. Default 0.7. Range above 0, to 1.
    public var concurrencyTargetFraction = 0.7
    /// Concurrency per pod when the revision names none. Key `container-concurrency-target-default`.
    ///
    /// Default 100. Range 0.01 and up; multiplied by the fraction it must still be at least 0.01.
    public var concurrencyTargetDefault = 100.0
    /// Requests per second and pod for the metric `rps`. Key `requests-per-second-target-default`.
    ///
    /// Default 200. Range 0.01 and up.
    public var requestsPerSecondTargetDefault = 200.0
    /// Spare requests the pods must be able to take before the activator leaves the path. Key `target-burst-capacity`.
    ///
    /// Default 211. 0: the activator only at zero pods; -1: always in the path.
    public var targetBurstCapacity = 211.0
    /// Length of the stable window. Key `stable-window`. Default 60s. Range 6s...1h, whole seconds.
    public var stableWindow = GoDuration.seconds(60)
    /// Panic window as percentage of the stable one. Key `panic-window-percentage`. Default 10. Range 1...100.
    public var panicWindowPercentage = 10.0
    /// Need over ready pods, in percent, from which panic begins. Key `panic-threshold-percentage`.
    ///
    /// Default 200. Any number here, as in Knative; the annotation is bounded to 110...1000.
    public var panicThresholdPercentage = 200.0
    /// Most pods after one decision as multiple of the ready ones. Key `max-scale-up-rate`. Default 1000. Above 1.
    public var maxScaleUpRate = 1000.0
    /// Fewest pods after one decision: the ready ones divided by this. Key `max-scale-down-rate`. Default 2. Above 1.
    public var maxScaleDownRate = 2.0
    /// Whether a revision may lose its last pod. Key `enable-scale-to-zero`. Default true.
    public var isScaleToZeroEnabled = true
    /// How long the activator must have been in the path before the last pod goes. Key `scale-to-zero-grace-period`.
    ///
    /// Default 30s. Above 0.
    public var scaleToZeroGracePeriod = GoDuration.seconds(30)
    /// How long the last pod is kept at least after traffic ended. Key `scale-to-zero-pod-retention-period`.
    ///
    /// Default 0s. Range 0 and up.
    public var scaleToZeroPodRetentionPeriod = GoDuration.zero
    /// How long a smaller need must last before pods go. Key `scale-down-delay`. Default 0s, whole seconds.
    public var scaleDownDelay = GoDuration.zero
    /// Which autoscaler is in charge. Key `pod-autoscaler-class`. Default `kpa.autoscaling.knative.dev`.
    public var podAutoscalerClass = ScalingAnnotations.kpaClass
    /// Requests one activator takes; sets how many stand before a revision. Key `activator-capacity`.
    ///
    /// Default 100. Range 1 and up.
    public var activatorCapacity = 100.0
    /// Pods a new revision starts with. Key `initial-scale`. Default 1; 0 only with `allow-zero-initial-scale`.
    public var initialScale = 1
    /// Whether a new revision may start with no pod. Key `allow-zero-initial-scale`. Default false.
    public var allowsZeroInitialScale = false
    /// Fewest pods of a reachable revision. Key `min-scale`. Default 0. Range 0...2147483647.
    public var minScale = 0
    /// Most pods; 0 means no limit. Key `max-scale`. Default 0. Range 0...2147483647.
    public var maxScale = 0
    /// Largest max-scale a revision may ask for; 0 means no limit. Key `max-scale-limit`. Default 0.
    public var maxScaleLimit = 0
    /// How long a start may take before it counts as failed. Key `progress-deadline` of `config-deployment`.
    ///
    /// Default 600s, whole seconds, above 0. Knative waits 30 s more before it gives the pods up.
    public var progressDeadline = GoDuration.seconds(600)

    /// Knative's defaults.
    public init() {}
}

extension ScalingConfig {
    /// Smallest and largest stable window; also the bound of other durations.
    static let windowBounds = GoDuration.seconds(6)...GoDuration.seconds(3600)
    /// Smallest target per pod.
    static let smallestTarget = 0.01
}
