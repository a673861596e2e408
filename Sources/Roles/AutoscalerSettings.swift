import Knative
import Scaling

extension AllInOneOptions {
    /// Takes on entries of Knative's ConfigMap `config-autoscaler`, each `KEY=VALUE`.
    ///
    /// Every problem is appended, each a sentence for the user. `allowZeroInitialScale` is short for the key of that
    /// name.
    public mutating func setAutoscaler(
        _ arguments: [String], allowZeroInitialScale: Bool, _ problems: inout [String]
    ) {
        var data: [String: String] = [:]
        for argument in arguments {
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2 else {
                problems.append("--config-autoscaler \(argument): expected KEY=VALUE, for example stable-window=30s")
                continue
            }
            guard ScalingConfig.keys.contains(parts[0]) else {
                let hint = nearest(to: parts[0], among: ScalingConfig.keys).map { "; did you mean `\($0)`?" } ?? ""
                problems.append("--config-autoscaler \(argument): unknown key \(parts[0])\(hint)")
                continue
            }
            data[parts[0]] = parts[1]
        }
        if allowZeroInitialScale { data["allow-zero-initial-scale"] = "true" }
        var found: [ScalingProblem] = []
        control.scaling = ScalingConfig(parsing: data, problems: &found)
        problems += found.map { "--config-autoscaler " + $0.rendered(under: "") }
        // What the autoscaler allows is what a manifest may ask for.
        workload.load.defaults.allowZeroInitialScale = control.scaling.allowsZeroInitialScale
        workload.load.defaults.maxScaleLimit = control.scaling.maxScaleLimit
    }
}
