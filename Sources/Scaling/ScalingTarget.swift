/// What one pod is meant to carry, in units of the metric.
///
/// Source: Knative Serving, `pkg/reconciler/autoscaling/resources/target.go`.
public struct ScalingTarget: Equatable, Sendable {
    /// What a pod is planned with: `total` times the utilisation, at least 0.01. Divides the need into pods.
    public var value: Double
    /// What a pod can take. Used for the burst capacity.
    public var total: Double

    /// A target given outright.
    public init(value: Double, total: Double) {
        self.value = value
        self.total = total
    }

    /// The target of a revision.
    ///
    /// - Parameter containerConcurrency: the hard limit of a pod, 0 for none; a soft target never exceeds it.
    public init(
        metric: ScalingMetric, config: ScalingConfig, annotations: ScalingAnnotations, containerConcurrency: Int
    ) {
        var total: Double
        var utilization: Double
        switch metric {
        case .requestsPerSecond:
            total = config.requestsPerSecondTargetDefault
            utilization = ScalingTarget.requestsPerSecondUtilization
        case .concurrency:
            total = containerConcurrency > 0 ? Double(containerConcurrency) : config.concurrencyTargetDefault
            utilization = config.concurrencyTargetFraction
        }
        if let target = annotations.target {
            let isLimited = metric == .concurrency && containerConcurrency > 0
            total = isLimited ? min(target, Double(containerConcurrency)) : target
        }
        if let percentage = annotations.targetUtilizationPercentage { utilization = percentage / 100 }
        self.total = total
        value = max(ScalingConfig.smallestTarget, total * utilization)
    }

    /// The utilisation of the metric `rps`, which no configuration changes.
    static let requestsPerSecondUtilization = 0.7
}
