extension ScalingConfig {
    /// Every key that `init(parsing:problems:)` understands, for schemas and spelling hints.
    public static let keys = [
        "container-concurrency-target-percentage", "container-concurrency-target-default",
        "requests-per-second-target-default", "target-burst-capacity", "stable-window", "panic-window-percentage",
        "panic-threshold-percentage", "max-scale-up-rate", "max-scale-down-rate", "enable-scale-to-zero",
        "scale-to-zero-grace-period", "scale-to-zero-pod-retention-period", "scale-down-delay",
        "pod-autoscaler-class", "activator-capacity", "initial-scale", "allow-zero-initial-scale", "min-scale",
        "max-scale", "max-scale-limit", "progress-deadline",
    ]

    /// Reads the data of a `config-autoscaler`, and `progress-deadline` of `config-deployment` if it stands there too.
    ///
    /// Keys it does not know are ignored, as in Knative. All problems are appended; a key with one keeps its default.
    public init(parsing data: [String: String], problems: inout [ScalingProblem]) {
        self.init()
        var reader = SettingReader(data)
        readTargets(&reader)
        readWindows(&reader)
        readRates(&reader)
        readBounds(&reader)
        if let value = data["pod-autoscaler-class"] { podAutoscalerClass = value }
        problems += reader.problems
    }

    private mutating func readTargets(_ reader: inout SettingReader) {
        let percentageKey = "container-concurrency-target-percentage"
        let percentage = reader.number([percentageKey]) { value, text, key in
            value > 0 && value <= 100 ? nil : ScalingProblem(key: key, message: "\(text) is outside of (0, 100]")
        }
        // Up to 1 it is taken as a fraction already: 1 means all of the target, not one percent of it.
        if let percentage { concurrencyTargetFraction = percentage > 1 ? percentage / 100 : percentage }
        let smallest = ScalingConfig.atLeast(ScalingConfig.smallestTarget)
        concurrencyTargetDefault =
            reader.number(["container-concurrency-target-default"], check: smallest) ?? concurrencyTargetDefault
        requestsPerSecondTargetDefault =
            reader.number(["requests-per-second-target-default"], check: smallest) ?? requestsPerSecondTargetDefault
        let product = concurrencyTargetFraction * concurrencyTargetDefault
        if product < ScalingConfig.smallestTarget {
            let message = "with container-concurrency-target-default gives a target of \(product), below 0.01"
            reader.problems.append(ScalingProblem(key: percentageKey, message: message))
            concurrencyTargetFraction = ScalingConfig().concurrencyTargetFraction
            concurrencyTargetDefault = ScalingConfig().concurrencyTargetDefault
        }
        targetBurstCapacity =
            reader.number(["target-burst-capacity"]) { value, text, key in
                value >= 0 || value == -1
                    ? nil : ScalingProblem(key: key, message: "\(text) must be either non-negative or -1 (unlimited)")
            } ?? targetBurstCapacity
        activatorCapacity =
            reader.number(["activator-capacity"], check: ScalingConfig.atLeast(1)) ?? activatorCapacity
    }

    private mutating func readWindows(_ reader: inout SettingReader) {
        let window = SettingReader.within(ScalingConfig.windowBounds, wholeSeconds: true)
        stableWindow = reader.duration(["stable-window"], check: window) ?? stableWindow
        panicWindowPercentage =
            reader.number(["panic-window-percentage"], check: SettingReader.within(1, 100)) ?? panicWindowPercentage
        panicThresholdPercentage = reader.number(["panic-threshold-percentage"]) ?? panicThresholdPercentage
        scaleToZeroGracePeriod =
            reader.duration(["scale-to-zero-grace-period"], check: ScalingConfig.positive(wholeSeconds: false))
            ?? scaleToZeroGracePeriod
        let unbounded = GoDuration.zero...GoDuration(nanoseconds: .max)
        scaleToZeroPodRetentionPeriod =
            reader.duration(
                ["scale-to-zero-pod-retention-period"], check: SettingReader.within(unbounded, wholeSeconds: false))
            ?? scaleToZeroPodRetentionPeriod
        scaleDownDelay =
            reader.duration(["scale-down-delay"], check: SettingReader.within(unbounded, wholeSeconds: true))
            ?? scaleDownDelay
        progressDeadline =
            reader.duration(["progress-deadline"], check: ScalingConfig.positive(wholeSeconds: true))
            ?? progressDeadline
    }

    private mutating func readRates(_ reader: inout SettingReader) {
        let aboveOne: (Double, String, String) -> ScalingProblem? = { value, text, key in
            value > 1 ? nil : ScalingProblem(key: key, message: "\(text) must be greater than 1.0")
        }
        maxScaleUpRate = reader.number(["max-scale-up-rate"], check: aboveOne) ?? maxScaleUpRate
        maxScaleDownRate = reader.number(["max-scale-down-rate"], check: aboveOne) ?? maxScaleDownRate
        isScaleToZeroEnabled = reader.flag(["enable-scale-to-zero"]) ?? isScaleToZeroEnabled
    }

    private mutating func readBounds(_ reader: inout SettingReader) {
        allowsZeroInitialScale = reader.flag(["allow-zero-initial-scale"]) ?? allowsZeroInitialScale
        if let value = reader.count(["initial-scale"]) {
            if value == 0, !allowsZeroInitialScale {
                let message = "0 needs allow-zero-initial-scale: true; must be at least 1"
                reader.problems.append(ScalingProblem(key: "initial-scale", message: message))
            } else {
                initialScale = value
            }
        }
        minScale = reader.count(["min-scale"]) ?? minScale
        maxScale = reader.count(["max-scale"]) ?? maxScale
        maxScaleLimit = reader.count(["max-scale-limit"]) ?? maxScaleLimit
        if maxScaleLimit > 0, maxScale < 1 || maxScale > maxScaleLimit {
            let message = "\(maxScale) must be in [1, max-scale-limit(\(maxScaleLimit))]"
            reader.problems.append(ScalingProblem(key: "max-scale", message: message))
            maxScale = maxScaleLimit
        }
    }

    private static func atLeast(_ least: Double) -> (Double, String, String) -> ScalingProblem? {
        { value, text, key in
            value >= least ? nil : ScalingProblem(key: key, message: "\(text) must be at least \(least)")
        }
    }

    private static func positive(wholeSeconds: Bool) -> (GoDuration, String, String) -> ScalingProblem? {
        { value, text, key in
            if value <= .zero { return ScalingProblem(key: key, message: "\(text) must be positive") }
            return wholeSeconds && !value.isWholeSeconds
                ? ScalingProblem(key: key, message: "\(text) must be specified with at most second precision") : nil
        }
    }
}
