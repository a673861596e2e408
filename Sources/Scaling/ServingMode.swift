/// Whether requests go straight to the pods or through an activator.
///
/// On one machine every request passes our own admission whatever the mode: it is shown to users, and drives clusters.
/// Source: Knative Serving, `pkg/reconciler/autoscaling/kpa/kpa.go`.
public enum ServingMode: String, Equatable, Sendable {
    /// Straight to the pods.
    case serve = "Serve"
    /// Through an activator.
    case proxy = "Proxy"

    /// The mode for pods wanted (-1 unknown) and the excess burst capacity: `serve` needs a pod and capacity to spare.
    public init(want: Int, excessBurstCapacity: Int) {
        self = want > 0 && excessBurstCapacity >= 0 ? .serve : .proxy
    }
}

extension ScalingSpec {
    /// How many activators stand before a revision with `ready` pods; at least 2.
    public func activatorCount(ready: Int) -> Int {
        guard targetBurstCapacity != 0 else { return 2 }
        let capacity = Double(max(0, ready)) * target.total + max(0, targetBurstCapacity)
        return max(2, saturatingInt((capacity / activatorCapacity).rounded(.up)))
    }
}

/// How many pods out of `ready` are asked for their statistics, so that the mean is trusted at 95 %.
///
/// All up to 3; then n·x/(n+x-1) rounded up with x = 1.96² · 100 / 25.
/// Source: Knative Serving, `pkg/autoscaler/metrics/sample_size.go`.
public func scrapeSampleSize(ready: Int) -> Int {
    guard ready > 3 else { return max(0, ready) }
    let population = Double(ready)
    let unbounded = 1.96 * 1.96 * 100 / 25
    return saturatingInt((population * unbounded / (population + unbounded - 1)).rounded(.up))
}
