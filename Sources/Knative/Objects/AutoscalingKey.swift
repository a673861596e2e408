/// The annotations `autoscaling.knative.dev/…` of a revision template (Knative `pkg/apis/autoscaling/register.go`).
public enum AutoscalingKey: String, CaseIterable, Sendable {
    /// Which autoscaler; here always `kpa.autoscaling.knative.dev`.
    case `class` = "class"
    /// The fewest pods.
    case minScale = "min-scale"
    /// The most pods; 0 is unlimited.
    case maxScale = "max-scale"
    /// The pods a new revision starts with.
    case initialScale = "initial-scale"
    /// The fewest pods while there is any traffic.
    case activationScale = "activation-scale"
    /// How long a lower scale must be wanted before it is taken.
    case scaleDownDelay = "scale-down-delay"
    /// `concurrency` or `rps`.
    case metric = "metric"
    /// The metric's value per pod.
    case target = "target"
    /// How much of the target is aimed at, in percent.
    case targetUtilizationPercentage = "target-utilization-percentage"
    /// Spare capacity below which requests wait in front of the pods; -1 is always.
    case targetBurstCapacity = "target-burst-capacity"
    /// The stable window.
    case window = "window"
    /// The panic window in percent of the stable one.
    case panicWindowPercentage = "panic-window-percentage"
    /// The load in percent of capacity that starts panic.
    case panicThresholdPercentage = "panic-threshold-percentage"
    /// `linear` or `weighted-exponential`.
    case metricAggregationAlgorithm = "metric-aggregation-algorithm"
    /// How long the last pod stays after the decision for zero.
    case scaleToZeroPodRetentionPeriod = "scale-to-zero-pod-retention-period"

    /// The prefix of all of them, without the slash.
    public static let group = "autoscaling.knative.dev"

    /// The spelling Knative documents.
    public var name: String { Self.group + "/" + rawValue }

    /// Every spelling that is accepted, the one that wins first.
    public var names: [String] { hasCamelCase ? [name, Self.group + "/" + camelCase] : [name] }

    private var hasCamelCase: Bool {
        switch self {
        case .class, .activationScale, .metric, .target, .window: false
        case .minScale, .maxScale, .initialScale, .scaleDownDelay, .targetUtilizationPercentage, .targetBurstCapacity,
            .panicWindowPercentage, .panicThresholdPercentage, .metricAggregationAlgorithm,
            .scaleToZeroPodRetentionPeriod:
            true
        }
    }

    private var camelCase: String {
        let words = rawValue.split(separator: "-")
        return words.dropFirst().reduce(String(words[0])) { $0 + $1.prefix(1).uppercased() + $1.dropFirst() }
    }
}
