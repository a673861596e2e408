/// What one revision says about its own scaling: the annotations `autoscaling.knative.dev/*`.
///
/// Nil means that the revision does not say, and `ScalingConfig` decides. Values are within their bounds once parsed.
/// On a live revision they may change at any time (`RevisionScaler.update`).
public struct ScalingAnnotations: Equatable, Sendable {
    /// Key `class`: the autoscaler in charge. Any text; only the KPA is implemented here.
    public var autoscalerClass: String?
    /// Key `min-scale`: fewest pods while reachable. Range 0...2147483647.
    public var minScale: Int?
    /// Key `max-scale`: most pods, 0 = no limit. Range 0...2147483647, or 1...`max-scale-limit`.
    public var maxScale: Int?
    /// Key `initial-scale`: pods to start with. Range 1 and up, 0 if the configuration allows it.
    public var initialScale: Int?
    /// Key `activation-scale`: fewest pods while there is any need at all. Range 2...2147483647.
    public var activationScale: Int?
    /// Key `scale-down-delay`: how long a smaller need must last. Range 0...1h, whole seconds.
    public var scaleDownDelay: GoDuration?
    /// Key `metric`: what the target counts.
    public var metric: ScalingMetric?
    /// Key `target`: concurrency or requests per second of one pod. Range 0.01 and up.
    public var target: Double?
    /// Key `target-utilization-percentage`: share of the target that is aimed at. Range 1...100.
    public var targetUtilizationPercentage: Double?
    /// Key `target-burst-capacity`. -1, or 0 and up.
    public var targetBurstCapacity: Double?
    /// Key `window`: the stable window. Range 6s...1h, whole seconds.
    public var window: GoDuration?
    /// Key `panic-window-percentage`. Range 1...100.
    public var panicWindowPercentage: Double?
    /// Key `panic-threshold-percentage`. Range 110...1000.
    public var panicThresholdPercentage: Double?
    /// Key `metric-aggregation-algorithm`.
    public var aggregation: WindowAggregation?
    /// Key `scale-to-zero-pod-retention-period`. Range 0...1h.
    public var podRetentionPeriod: GoDuration?
    /// Key `serving.knative.dev/progress-deadline`: how long a start may take. Above 0, whole seconds.
    public var progressDeadline: GoDuration?

    /// Annotations that say nothing.
    public init() {}
}

/// What a target counts.
public enum ScalingMetric: String, Equatable, Sendable, CaseIterable {
    /// Requests in flight, waiting ones included.
    case concurrency
    /// Requests that begin per second.
    case requestsPerSecond = "rps"
}

/// How the seconds of a window are averaged.
public enum WindowAggregation: String, Equatable, Sendable, CaseIterable {
    /// Every second weighs the same.
    case linear
    /// The newest seconds weigh most.
    case weightedExponential = "weighted-exponential"
}

extension ScalingAnnotations {
    /// The class that this module implements.
    public static let kpaClass = "kpa.autoscaling.knative.dev"
    /// The class of Kubernetes' own horizontal autoscaler, which needs a cluster.
    public static let hpaClass = "hpa.autoscaling.knative.dev"
    /// What all keys but `progress-deadline` begin with.
    public static let keyPrefix = "autoscaling.knative.dev/"
    /// Every key that `init(parsing:config:problems:)` understands, aliases included, for schemas and spelling hints.
    public static let keys: [String] =
        [
            Key.autoscalerClass, Key.minScale, Key.maxScale, Key.initialScale, Key.activationScale,
            Key.scaleDownDelay, Key.metric, Key.target, Key.targetUtilization, Key.targetBurstCapacity, Key.window,
            Key.panicWindow, Key.panicThreshold, Key.aggregation, Key.podRetention, Key.progressDeadline,
        ].flatMap { $0 }

    /// Spellings of each key; where there are two, the first wins.
    enum Key {
        static let autoscalerClass = [keyPrefix + "class"]
        static let minScale = both("min-scale", "minScale")
        static let maxScale = both("max-scale", "maxScale")
        static let initialScale = both("initial-scale", "initialScale")
        static let activationScale = [keyPrefix + "activation-scale"]
        static let scaleDownDelay = both("scale-down-delay", "scaleDownDelay")
        static let metric = [keyPrefix + "metric"]
        static let target = [keyPrefix + "target"]
        static let targetUtilization = both("target-utilization-percentage", "targetUtilizationPercentage")
        static let targetBurstCapacity = both("target-burst-capacity", "targetBurstCapacity")
        static let window = [keyPrefix + "window"]
        static let panicWindow = both("panic-window-percentage", "panicWindowPercentage")
        static let panicThreshold = both("panic-threshold-percentage", "panicThresholdPercentage")
        static let aggregation = both("metric-aggregation-algorithm", "metricAggregationAlgorithm")
        static let podRetention = both("scale-to-zero-pod-retention-period", "scaleToZeroPodRetentionPeriod")
        static let progressDeadline = ["serving.knative.dev/progress-deadline"]

        private static func both(_ dashed: String, _ camel: String) -> [String] {
            [keyPrefix + dashed, keyPrefix + camel]
        }
    }
}
