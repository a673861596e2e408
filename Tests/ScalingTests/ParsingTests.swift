import Testing

@testable import Scaling

@Suite struct ParsingTests {
    @Test func durations() {
        let rows: [(String, Int64?)] = [
            ("0", 0), ("60s", 60_000_000_000), ("1m30s", 90_000_000_000), ("1.5h", 5_400_000_000_000),
            ("100ms", 100_000_000), ("2h45m", 9_900_000_000_000), ("1us", 1_000), ("1µs", 1_000), ("1μs", 1_000),
            ("3ns", 3), ("-5s", -5_000_000_000), ("+5s", 5_000_000_000), (".5s", 500_000_000), ("1.s", 1_000_000_000),
            ("0.000000001s", 1), ("0.1s0.2s", 300_000_000), ("1.123456789s", 1_123_456_789), ("0s", 0),
            ("2562047h", 9_223_369_200_000_000_000), ("2562048h", nil), ("99999999999999999999s", nil),
            ("", nil), ("-", nil), ("5", nil), ("s", nil), (".s", nil), ("1 s", nil), ("1d", nil), ("1S", nil),
            ("1h-5m", nil), ("00", nil), ("0x1s", nil), ("1..5s", nil), ("６s", nil), ("1s\n", nil),
        ]
        for (text, nanoseconds) in rows {
            #expect(GoDuration(text)?.nanoseconds == nanoseconds, "\(text)")
        }
    }

    @Test func durationsPrintAsInGo() {
        let rows = [
            "0s", "1ns", "1.5µs", "100ms", "1.1ms", "6s", "1.5s", "1m0s", "1m30s", "1h0m0s", "1h30m0.5s", "100h0m1s",
            "-5s",
        ]
        for text in rows { #expect(GoDuration(text)?.description == text) }
    }

    /// One line a wrong value: annotation (without prefix), value, key as reported, whole line as Knative prints it.
    static let wrong: [([String: String], [String])] = [
        (["class": "ahpa.autoscaling.knative.dev"], ["invalid value: ahpa.autoscaling.knative.dev: P/class"]),
        (["min-scale": "-1"], ["expected 0 <= -1 <= 2147483647: P/min-scale"]),
        (["minScale": "2147483648"], ["expected 0 <= 2147483648 <= 2147483647: P/minScale"]),
        (["max-scale": "99999999999999999999"], ["expected 0 <= 99999999999999999999 <= 2147483647: P/max-scale"]),
        (["max-scale": "many"], ["invalid value: many: P/max-scale"]),
        (["max-scale": "1.0"], ["invalid value: 1.0: P/max-scale"]),
        (["max-scale": ""], ["invalid value: : P/max-scale"]),
        (
            ["max-scale": "1", "min-scale": "2"],
            ["max-scale=1 is less than min-scale=2: P/max-scale, A.autoscaling.knative.dev/min-scale"]
        ),
        (["initial-scale": "-1"], ["invalid value: -1: P/initial-scale must be greater than 0"]),
        (["initialScale": "0"], ["invalid value: 0: P/initialScale=0 not allowed by cluster"]),
        (["initial-scale": "x"], ["invalid value: x: P/initial-scale"]),
        (["activation-scale": "1"], ["activation-scale=1 must be greater than 1: P/activation-scale"]),
        (["activation-scale": "-2"], ["min-scale=0 is greater than activation-scale=-2: P/activation-scale"]),
        (
            ["activation-scale": "2", "min-scale": "3"],
            ["min-scale=3 is greater than activation-scale=2: P/activation-scale"]
        ),
        (
            ["activation-scale": "5", "max-scale": "3"],
            ["max-scale=3 is less than activation-scale=5: P/activation-scale"]
        ),
        (["scale-down-delay": "1500ms"], ["must be specified with at most second precision: P/scale-down-delay"]),
        (["scaleDownDelay": "2h"], ["expected 0s <= 2h <= 1h0m0s: P/scaleDownDelay"]),
        (["scale-down-delay": "-1s"], ["expected 0s <= -1s <= 1h0m0s: P/scale-down-delay"]),
        (["metric": "cpu"], ["invalid value: cpu: P/metric"]),
        (["metric": "", "class": "hpa.autoscaling.knative.dev"], ["invalid value: : P/metric"]),
        (["target": "0.001"], ["target 0.001 should be at least 0.01: P/target"]),
        (["target": "nan"], ["invalid value: nan: P/target"]),
        (["target": "inf"], ["invalid value: inf: P/target"]),
        (["target": "ten"], ["invalid value: ten: P/target"]),
        (["target-utilization-percentage": "0"], ["expected 1 <= 0 <= 100: P/target-utilization-percentage"]),
        (["targetUtilizationPercentage": "101"], ["expected 1 <= 101 <= 100: P/targetUtilizationPercentage"]),
        (["target-burst-capacity": "-2"], ["invalid value: -2: P/target-burst-capacity"]),
        (["window": "5s"], ["expected 6s <= 5s <= 1h0m0s: P/window"]),
        (["window": "61m"], ["expected 6s <= 61m <= 1h0m0s: P/window"]),
        (["window": "6500ms"], ["must be specified with at most second precision: P/window"]),
        (["window": "60"], ["invalid value: 60: P/window"]),
        (["panic-window-percentage": "0.9"], ["expected 1 <= 0.9 <= 100: P/panic-window-percentage"]),
        (["panicThresholdPercentage": "109"], ["expected 110 <= 109 <= 1000: P/panicThresholdPercentage"]),
        (["panic-threshold-percentage": "1001"], ["expected 110 <= 1001 <= 1000: P/panic-threshold-percentage"]),
        (
            ["metric-aggregation-algorithm": "median", "class": "kpa.autoscaling.knative.dev"],
            ["invalid value: median: P/metric-aggregation-algorithm"]
        ),
        (
            ["scale-to-zero-pod-retention-period": "-1s"],
            ["expected 0s <= -1s <= 1h0m0s: P/scale-to-zero-pod-retention-period"]
        ),
        (
            ["serving.knative.dev/progress-deadline": "1.5s"],
            ["progress-deadline=1.5s is not at second precision: A.serving.knative.dev/progress-deadline"]
        ),
        (
            ["serving.knative.dev/progress-deadline": "0s"],
            ["progress-deadline=0s must be positive: A.serving.knative.dev/progress-deadline"]
        ),
        // All problems at once.
        (
            ["min-scale": "x", "target": "0", "window": "1s"],
            [
                "invalid value: x: P/min-scale", "target 0 should be at least 0.01: P/target",
                "expected 6s <= 1s <= 1h0m0s: P/window",
            ]
        ),
    ]

    private func parse(_ pairs: [String: String], _ config: ScalingConfig = .init()) -> (ScalingAnnotations, [String]) {
        var prefixed: [String: String] = [:]
        for (key, value) in pairs { prefixed[key.contains("/") ? key : ScalingAnnotations.keyPrefix + key] = value }
        var problems: [ScalingProblem] = []
        let parsed = ScalingAnnotations(parsing: prefixed, config: config, problems: &problems)
        return (parsed, problems.map { $0.rendered(under: "A") })
    }

    private func expand(_ line: String) -> String {
        guard let range = line.firstRange(of: "P/") else { return line }
        return line.replacingCharacters(in: range)
    }

    @Test(arguments: wrong) func wrongAnnotations(pairs: [String: String], lines: [String]) {
        let (_, found) = parse(pairs)
        #expect(found == lines.map(expand))
    }

    @Test func everyAnnotation() {
        let (parsed, problems) = parse([
            "class": "kpa.autoscaling.knative.dev", "min-scale": "1", "max-scale": "10", "initial-scale": "3",
            "activation-scale": "2", "scale-down-delay": "2m", "metric": "rps", "target": "12.5",
            "target-utilization-percentage": "80", "target-burst-capacity": "-1", "window": "40s",
            "panic-window-percentage": "20", "panic-threshold-percentage": "150",
            "metric-aggregation-algorithm": "weighted-exponential", "scale-to-zero-pod-retention-period": "1m30s",
            "serving.knative.dev/progress-deadline": "5m", "unrelated/key": "x", "other": "ignored",
        ])
        #expect(problems == [])
        var expected = ScalingAnnotations()
        expected.autoscalerClass = ScalingAnnotations.kpaClass
        expected.minScale = 1
        expected.maxScale = 10
        expected.initialScale = 3
        expected.activationScale = 2
        expected.scaleDownDelay = .seconds(120)
        expected.metric = .requestsPerSecond
        expected.target = 12.5
        expected.targetUtilizationPercentage = 80
        expected.targetBurstCapacity = -1
        expected.window = .seconds(40)
        expected.panicWindowPercentage = 20
        expected.panicThresholdPercentage = 150
        expected.aggregation = .weightedExponential
        expected.podRetentionPeriod = .seconds(90)
        expected.progressDeadline = .seconds(300)
        #expect(parsed == expected)
    }

    @Test func aliases() {
        let (parsed, problems) = parse([
            "minScale": "1", "maxScale": "10", "initialScale": "3", "scaleDownDelay": "2m",
            "targetUtilizationPercentage": "80", "targetBurstCapacity": "0", "panicWindowPercentage": "20",
            "panicThresholdPercentage": "150", "metricAggregationAlgorithm": "weightedExponential",
            "scaleToZeroPodRetentionPeriod": "90s",
        ])
        #expect(problems == [])
        #expect(parsed.minScale == 1 && parsed.maxScale == 10 && parsed.initialScale == 3)
        #expect(parsed.scaleDownDelay == .seconds(120) && parsed.podRetentionPeriod == .seconds(90))
        #expect(parsed.targetUtilizationPercentage == 80 && parsed.targetBurstCapacity == 0)
        #expect(parsed.panicWindowPercentage == 20 && parsed.panicThresholdPercentage == 150)
        #expect(parsed.aggregation == .weightedExponential)
        // The dashed key wins over its alias; keys without an alias have none.
        #expect(parse(["min-scale": "4", "minScale": "5"]).0.minScale == 4)
        #expect(parse(["activationScale": "5"]).0.activationScale == nil)
        #expect(ScalingAnnotations.keys.count == 26)
    }

    @Test func whatTheClassAllows() {
        #expect(parse(["class": "example.com/other", "metric": "anything"]).1 == [])
        #expect(parse(["class": "hpa.autoscaling.knative.dev", "metric": "cpu"]).1 == [])
        // An unknown algorithm is passed over unless the class says KPA: linear then.
        let (parsed, problems) = parse(["metric-aggregation-algorithm": "median"])
        #expect(problems == [] && parsed.aggregation == nil)
    }

    @Test func whatTheConfigurationAllows() {
        var config = ScalingConfig()
        config.maxScaleLimit = 5
        config.allowsZeroInitialScale = true
        #expect(parse(["max-scale": "6"], config).1 == [expand("expected 1 <= 6 <= 5: P/max-scale")])
        #expect(
            parse(["maxScale": "0"], config).1 == [expand("max-scale=0 (unlimited), must be less than 5: P/maxScale")])
        #expect(parse(["max-scale": "5", "initial-scale": "0"], config).1 == [])
    }

    @Test func configDefaultsAndValues() {
        var problems: [ScalingProblem] = []
        #expect(ScalingConfig(parsing: [:], problems: &problems) == ScalingConfig())
        #expect(ScalingConfig(parsing: ["_example": "max-scale: x"], problems: &problems) == ScalingConfig())
        let config = ScalingConfig(
            parsing: [
                "container-concurrency-target-percentage": "80", "container-concurrency-target-default": "10",
                "requests-per-second-target-default": "50", "target-burst-capacity": "-1", "stable-window": "40s",
                "panic-window-percentage": "20", "panic-threshold-percentage": "50", "max-scale-up-rate": "10",
                "max-scale-down-rate": "1.5", "enable-scale-to-zero": "false", "scale-to-zero-grace-period": "500ms",
                "scale-to-zero-pod-retention-period": "2h", "scale-down-delay": "15m",
                "pod-autoscaler-class": "hpa.autoscaling.knative.dev", "activator-capacity": "50",
                "initial-scale": "0", "allow-zero-initial-scale": "True", "min-scale": "1", "max-scale": "20",
                "max-scale-limit": "30", "progress-deadline": "60s",
            ], problems: &problems)
        #expect(problems == [])
        #expect(config.concurrencyTargetFraction == 0.8 && config.concurrencyTargetDefault == 10)
        #expect(config.requestsPerSecondTargetDefault == 50 && config.targetBurstCapacity == -1)
        #expect(config.stableWindow == .seconds(40) && config.panicWindowPercentage == 20)
        #expect(config.panicThresholdPercentage == 50)
        #expect(config.maxScaleUpRate == 10 && config.maxScaleDownRate == 1.5 && !config.isScaleToZeroEnabled)
        #expect(config.scaleToZeroGracePeriod == GoDuration(nanoseconds: 500_000_000))
        #expect(config.scaleToZeroPodRetentionPeriod == .seconds(7200) && config.scaleDownDelay == .seconds(900))
        #expect(config.podAutoscalerClass == ScalingAnnotations.hpaClass && config.activatorCapacity == 50)
        #expect(config.initialScale == 0 && config.allowsZeroInitialScale)
        #expect(config.minScale == 1 && config.maxScale == 20 && config.maxScaleLimit == 30)
        #expect(config.progressDeadline == .seconds(60))
        #expect(
            ScalingConfig(parsing: ["container-concurrency-target-percentage": "1"], problems: &problems)
                .concurrencyTargetFraction == 1)
    }

    @Test func configProblems() {
        let rows: [String: [String]] = [
            "container-concurrency-target-percentage": ["0", "-1", "101", "x"],
            "container-concurrency-target-default": ["0", "0.001"],
            "requests-per-second-target-default": ["0.001"], "target-burst-capacity": ["-2", "-0.5"],
            "stable-window": ["5s", "61m", "6500ms", "60"], "panic-window-percentage": ["0", "101"],
            "panic-threshold-percentage": ["nan"], "max-scale-up-rate": ["1", "0"], "max-scale-down-rate": ["1"],
            "enable-scale-to-zero": ["yes", ""], "scale-to-zero-grace-period": ["0s", "-1s"],
            "scale-to-zero-pod-retention-period": ["-1s"], "scale-down-delay": ["-1s", "1500ms"],
            "activator-capacity": ["0.5"], "initial-scale": ["0", "-1"], "allow-zero-initial-scale": ["no"],
            "min-scale": ["-1", "2147483648"], "max-scale": ["-1"], "max-scale-limit": ["-1"],
            "progress-deadline": ["0s", "1500ms"],
        ]
        for (key, values) in rows {
            for value in values {
                var problems: [ScalingProblem] = []
                let config = ScalingConfig(parsing: [key: value], problems: &problems)
                #expect(problems.map(\.key) == [key], "\(key)=\(value)")
                #expect(config == ScalingConfig(), "\(key)=\(value)")
            }
        }
        #expect(Set(rows.keys).union(["pod-autoscaler-class"]) == Set(ScalingConfig.keys))
        var problems: [ScalingProblem] = []
        // A limit needs a default within it; the product of fraction and target is bounded too.
        let limited = ScalingConfig(parsing: ["max-scale-limit": "5"], problems: &problems)
        #expect(problems.map(\.key) == ["max-scale"] && limited.maxScale == 5)
        problems = []
        _ = ScalingConfig(
            parsing: [
                "container-concurrency-target-percentage": "0.05", "container-concurrency-target-default": "0.1",
            ], problems: &problems)
        #expect(problems.count == 1)
    }
}

extension String {
    fileprivate func firstRange(of other: String) -> Range<Index>? { ranges(of: other).first }
    fileprivate func replacingCharacters(in range: Range<Index>) -> String {
        self[..<range.lowerBound] + "A.autoscaling.knative.dev/" + self[range.upperBound...]
    }
}
