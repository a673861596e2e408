/// Everything about one revision that a scaling decision needs to know, resolved: annotation, else configuration.
///
/// Source: Knative Serving, `pkg/reconciler/autoscaling/kpa/resources/decider.go`, and the bounds of `kpa/scaler.go`.
public struct ScalingSpec: Equatable, Sendable {
    /// What is measured.
    public var metric = ScalingMetric.concurrency
    /// What one pod carries.
    public var target: ScalingTarget
    /// Most pods of one decision as multiple of the ready ones. Above 1.
    public var maxScaleUpRate: Double
    /// Fewest pods of one decision: ready ones divided by this. Above 1.
    public var maxScaleDownRate: Double
    /// Spare capacity below which the activator stays in the path; -1 always, 0 never above zero pods.
    public var targetBurstCapacity: Double
    /// Need over ready pods from which panic begins, as a factor. Default 2.
    public var panicThreshold: Double
    /// Length of the stable window in seconds. Range 6...3600.
    public var stableWindowSeconds: Int
    /// Length of the panic window in seconds. Range 1...3600.
    public var panicWindowSeconds: Int
    /// How a window is averaged.
    public var aggregation: WindowAggregation
    /// How long a smaller need must last, in seconds; 0 is no delay.
    public var scaleDownDelaySeconds: Int
    /// Fewest pods as long as there is any need. 1 is no such floor.
    public var activationScale: Int
    /// Pods a new revision starts with.
    public var initialScale: Int
    /// Fewest pods while reachable.
    public var minScale: Int
    /// Most pods; 0 is no limit.
    public var maxScale: Int
    /// Whether the last pod may go.
    public var isScaleToZeroEnabled: Bool
    /// How long the activator must have been in the path before the last pod goes.
    public var gracePeriod: GoDuration
    /// How long the last pod is kept after the revision went inactive.
    public var podRetentionPeriod: GoDuration
    /// How long a start may take, without the 30 s that Knative adds.
    public var progressDeadline: GoDuration
    /// Requests one activator takes.
    public var activatorCapacity: Double
    /// Requests at a time that one pod can take before others must wait: the hard limit, or the target without one.
    ///
    /// Not Knative's: the measure of `RevisionScaler.demand`. Above 0.
    public var podCapacity: Double

    /// Resolves the annotations of a revision over the configuration.
    ///
    /// - Parameter containerConcurrency: requests a pod may serve at a time, 0 for no limit.
    public init(
        config: ScalingConfig = ScalingConfig(), annotations: ScalingAnnotations = ScalingAnnotations(),
        containerConcurrency: Int = 0
    ) {
        metric = annotations.metric ?? .concurrency
        target = ScalingTarget(
            metric: metric, config: config, annotations: annotations, containerConcurrency: containerConcurrency)
        maxScaleUpRate = config.maxScaleUpRate
        maxScaleDownRate = config.maxScaleDownRate
        targetBurstCapacity = annotations.targetBurstCapacity ?? config.targetBurstCapacity
        panicThreshold = (annotations.panicThresholdPercentage ?? config.panicThresholdPercentage) / 100
        let window = annotations.window ?? config.stableWindow
        stableWindowSeconds = max(1, window.wholeSeconds)
        panicWindowSeconds = ScalingSpec.panicWindowSeconds(
            stable: stableWindowSeconds,
            percentage: annotations.panicWindowPercentage ?? config.panicWindowPercentage)
        aggregation = annotations.aggregation ?? .linear
        scaleDownDelaySeconds = (annotations.scaleDownDelay ?? config.scaleDownDelay).wholeSeconds
        activationScale = annotations.activationScale ?? 1
        initialScale = ScalingSpec.initialScale(config: config, annotations: annotations)
        minScale = annotations.minScale ?? config.minScale
        maxScale = annotations.maxScale ?? config.maxScale
        isScaleToZeroEnabled = config.isScaleToZeroEnabled
        gracePeriod = config.scaleToZeroGracePeriod
        podRetentionPeriod = annotations.podRetentionPeriod ?? config.scaleToZeroPodRetentionPeriod
        progressDeadline = annotations.progressDeadline ?? config.progressDeadline
        activatorCapacity = config.activatorCapacity
        // A rate says nothing about how many requests a pod can hold at once, so the default target stands in for it.
        let soft = metric == .concurrency ? target.total : config.concurrencyTargetDefault
        podCapacity = containerConcurrency > 0 ? Double(containerConcurrency) : max(soft, ScalingConfig.smallestTarget)
    }

    /// A percentage of the stable window, rounded to seconds, at least one.
    static func panicWindowSeconds(stable: Int, percentage: Double) -> Int {
        max(1, saturatingInt((Double(stable) * percentage / 100).rounded(.toNearestOrAwayFromZero)))
    }

    private static func initialScale(config: ScalingConfig, annotations: ScalingAnnotations) -> Int {
        guard let asked = annotations.initialScale else { return config.initialScale }
        return asked == 0 && !config.allowsZeroInitialScale ? config.initialScale : asked
    }
}

extension ScalingSpec {
    /// Fewest and most pods; `most` 0 is no limit.
    ///
    /// - Parameters:
    ///   - isReachable: min-scale counts only for a revision that some route leads to.
    ///   - isInitialized: until the initial scale was reached once, it is a floor as well.
    ///
    /// Where Knative lets a floor exceed max-scale (initial-scale 5 beside max-scale 3), max-scale wins here: a limit
    /// that a user wrote down is never exceeded.
    func bounds(isReachable: Bool, isInitialized: Bool) -> (least: Int, most: Int) {
        var least = isReachable ? minScale : 0
        if initialScale > 1, !isInitialized, isReachable { least = max(least, initialScale) }
        return (maxScale > 0 ? min(least, maxScale) : least, maxScale)
    }

    /// Ready pods from which the revision counts as active.
    func activeThreshold(isReachable: Bool, isInitialized: Bool) -> Int {
        let least = bounds(isReachable: isReachable, isInitialized: true).least
        let threshold = max(least, isInitialized ? 1 : initialScale)
        return maxScale > 0 ? min(threshold, maxScale) : threshold
    }
}

/// `value` as a whole number towards zero; the nearest one there is if it does not fit, 0 if it is not a number.
///
/// Stats come from the network, and a conversion that traps would let them stop the process.
func saturatingInt(_ value: Double) -> Int {
    if value.isNaN { return 0 }
    if value >= Double(Int32.max) { return Int(Int32.max) }
    if value <= Double(Int32.min) { return Int(Int32.min) }
    return Int(value)
}
