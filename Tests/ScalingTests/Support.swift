import Primitives

@testable import Scaling

/// Far from zero, so that a wrong "since the clock's start" shows.
let start = Instant(nanoseconds: 1_000_000_000_000)

func at(_ seconds: Double) -> Instant { start.adding(seconds: seconds) }

/// The settings of Knative's own tests of the formula: rates 10, panic threshold 2, window 60 s, total = target / 0.75.
func vectorSpec(target: Double, burst: Double) -> ScalingSpec {
    var spec = ScalingSpec()
    spec.target = ScalingTarget(value: target, total: target / 0.75)
    spec.targetBurstCapacity = burst
    spec.maxScaleUpRate = 10
    spec.maxScaleDownRate = 10
    spec.panicThreshold = 2
    return spec
}

func annotations(_ pairs: [String: String], config: ScalingConfig = ScalingConfig()) -> ScalingAnnotations {
    var problems: [ScalingProblem] = []
    var prefixed: [String: String] = [:]
    for (key, value) in pairs { prefixed[key.contains("/") ? key : ScalingAnnotations.keyPrefix + key] = value }
    let parsed = ScalingAnnotations(parsing: prefixed, config: config, problems: &problems)
    precondition(problems.isEmpty, "\(problems)")
    return parsed
}
