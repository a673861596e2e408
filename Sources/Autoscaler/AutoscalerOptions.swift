import Knative
import Scaling

/// The settings of an autoscaler.
public struct AutoscalerOptions: Sendable {
    /// Defaults of all revisions: Knative's ConfigMap `config-autoscaler`.
    public var scaling = ScalingConfig()
    /// How pods are asked. Default `auto`: at their addresses; if all of a revision's answer 502 or 503, its private
    /// Service is asked, and from the first time that this goes well for as long as the revision is scaled.
    public var meshMode = MeshMode.auto
    /// Whether pods are asked at their addresses through the mesh (config-network `enable-mesh-pod-addressability`): a
    /// request names their private Service. Default no. Then `auto` never falls back.
    public var isPodAddressable = false
    /// Seed of what is chosen by chance: which pods are asked. Default 1; the role takes one of the system.
    public var seed: UInt64 = 1
    /// Most revisions that are scaled. Default 20,000; those beyond are passed over, and the log says so.
    public var revisionLimit = 20_000

    /// The defaults.
    public init() {}
}

/// Knative's periods, none of which is a setting there.
enum Period {
    /// Between two decisions on a revision, in nanoseconds (`multiscaler.go`).
    static let tick: UInt64 = 2_000_000_000
    /// Between two rounds of asking a revision's pods, in nanoseconds (`collector.go`).
    static let scrape: UInt64 = 1_000_000_000
    /// From a round of asking to the decision after it, in nanoseconds: pods answer within milliseconds, so a decision
    /// goes by figures that are fresh.
    static let tickAfterScrape: UInt64 = 250_000_000
    /// Least time between two writes of one PodAutoscaler's status, in nanoseconds.
    static let statusWrite: UInt64 = 1_000_000_000
    /// How long changes of pods are gathered before they are acted upon, in nanoseconds.
    static let settle: UInt64 = 10_000_000
    /// Least time between two pokes of one revision, in nanoseconds: a poke that starts nothing is not repeated for
    /// every stat of a flood.
    static let poke: UInt64 = 10_000_000
    /// Between two questions whether the activator is in the path, in nanoseconds (`scaler.go`).
    static let probe: UInt64 = 1_000_000_000
    /// How long such questions are asked before the log says that nobody answers, in nanoseconds (`scaler.go`).
    static let probePatience: UInt64 = 45_000_000_000
    /// How long an answer of the activator counts, in nanoseconds.
    static let probeFreshness: UInt64 = 1_000_000_000
}
