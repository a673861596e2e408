import Testing

@testable import Knative

@Suite struct AutoscalingTests {
    static let path = "spec.template.metadata.annotations.autoscaling.knative.dev/"

    /// The problems of template annotations, given as `key=value` without the group.
    static func problems(_ annotations: [String], _ options: LoadOptions = LoadOptions()) -> [String] {
        let pairs = annotations.map { pair in
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return "autoscaling.knative.dev/\(parts[0]): \"\(parts[1])\""
        }
        let text = manifest("annotations: {\(pairs.joined(separator: ", "))}", at: .templateMetadata)
        return load(text, options).diagnostics.map { "\($0.severity): \($0.problem)" }
    }

    @Test(arguments: [
        "class=kpa.autoscaling.knative.dev", "min-scale=0", "min-scale=2147483647", "max-scale=0", "max-scale=10",
        "minScale=3", "initial-scale=1", "initialScale=5", "activation-scale=2", "scale-down-delay=0s",
        "scale-down-delay=1h", "scaleDownDelay=15m", "metric=concurrency", "metric=rps", "target=0.01", "target=1000",
        "target-utilization-percentage=1", "target-utilization-percentage=100", "targetUtilizationPercentage=70.5",
        "target-burst-capacity=-1", "target-burst-capacity=0", "targetBurstCapacity=211.5", "window=6s", "window=1h",
        "window=1m30s", "panic-window-percentage=1", "panic-window-percentage=100.0", "panicWindowPercentage=10",
        "panic-threshold-percentage=110", "panic-threshold-percentage=1000", "panicThresholdPercentage=200",
        "metric-aggregation-algorithm=linear", "metricAggregationAlgorithm=weightedExponential",
        "metric-aggregation-algorithm=anything", "scale-to-zero-pod-retention-period=1h",
        "scaleToZeroPodRetentionPeriod=1500ms",
    ])
    func accepted(annotation: String) {
        #expect(Self.problems([annotation]) == [])
    }

    @Test(arguments: [
        ("class=ahpa.autoscaling.knative.dev", "error: invalid value: ahpa.autoscaling.knative.dev: \(path)class"),
        ("class=hpa.autoscaling.knative.dev", "warning: class \"hpa.autoscaling.knative.dev\" needs a cluster"),
        ("class=other.example.com", "warning: class \"other.example.com\" needs a cluster"),
        ("min-scale=-1", "error: expected 0 <= -1 <= 2147483647: \(path)min-scale"),
        ("min-scale=2147483648", "error: expected 0 <= 2147483648 <= 2147483647: \(path)min-scale"),
        ("min-scale=99999999999999999999", "error: expected 0 <= 99999999999999999999 <= 2147483647: \(path)min-scale"),
        ("min-scale=1.5", "error: invalid value: 1.5: \(path)min-scale"),
        ("minScale=x", "error: invalid value: x: \(path)minScale"),
        ("max-scale=-1", "error: expected 0 <= -1 <= 2147483647: \(path)max-scale"),
        ("initial-scale=-1", "error: invalid value: -1: \(path)initial-scale must be greater than 0"),
        ("initialScale=0", "error: invalid value: 0: \(path)initialScale=0 not allowed by cluster"),
        ("initial-scale=x", "error: invalid value: x: \(path)initial-scale"),
        ("activation-scale=1", "error: activation-scale=1 must be greater than 1: \(path)activation-scale"),
        ("activation-scale=x", "error: invalid value: x: \(path)activation-scale"),
        ("scale-down-delay=-1s", "error: expected 0s <= -1s <= 1h0m0s: \(path)scale-down-delay"),
        ("scale-down-delay=61m", "error: expected 0s <= 61m <= 1h0m0s: \(path)scale-down-delay"),
        ("scaleDownDelay=1500ms", "error: must be specified with at most second precision: \(path)scaleDownDelay"),
        ("scale-down-delay=5", "error: invalid value: 5: \(path)scale-down-delay"),
        ("metric=cpu", "error: invalid value: cpu: \(path)metric"),
        ("target=0.009", "error: target 0.009 should be at least 0.01: \(path)target"),
        ("target=nan", "error: invalid value: nan: \(path)target"),
        ("target=", "error: invalid value: : \(path)target"),
        ("target-utilization-percentage=0.9", "error: expected 1 <= 0.9 <= 100: \(path)target-utilization-percentage"),
        ("targetUtilizationPercentage=101", "error: expected 1 <= 101 <= 100: \(path)targetUtilizationPercentage"),
        ("target-burst-capacity=-0.5", "error: invalid value: -0.5: \(path)target-burst-capacity"),
        ("target-burst-capacity=x", "error: invalid value: x: \(path)target-burst-capacity"),
        ("window=5s", "error: expected 6s <= 5s <= 1h0m0s: \(path)window"),
        ("window=1h1s", "error: expected 6s <= 1h1s <= 1h0m0s: \(path)window"),
        ("window=6500ms", "error: must be specified with at most second precision: \(path)window"),
        ("window=60", "error: invalid value: 60: \(path)window"),
        ("panic-window-percentage=0.5", "error: expected 1 <= 0.5 <= 100: \(path)panic-window-percentage"),
        ("panicWindowPercentage=x", "error: invalid value: x: \(path)panicWindowPercentage"),
        ("panic-threshold-percentage=109", "error: expected 110 <= 109 <= 1000: \(path)panic-threshold-percentage"),
        ("panic-threshold-percentage=1001", "error: expected 110 <= 1001 <= 1000: \(path)panic-threshold-percentage"),
        (
            "scale-to-zero-pod-retention-period=2h",
            "error: expected 0s <= 2h <= 1h0m0s: \(path)scale-to-zero-pod-retention-period"
        ),
        ("scaleToZeroPodRetentionPeriod=x", "error: invalid value: x: \(path)scaleToZeroPodRetentionPeriod"),
        ("minscale=1", "warning: unknown autoscaling annotation"),
    ])
    func refused(annotation: String, expected: String) {
        #expect(Self.problems([annotation]) == [expected])
    }

    @Test(arguments: [
        (
            ["min-scale=3", "max-scale=2"],
            "error: max-scale=2 is less than min-scale=3: \(path)max-scale, \(path)min-scale"
        ),
        (
            ["min-scale=3", "activation-scale=2"],
            "error: min-scale=3 is greater than activation-scale=2: \(path)activation-scale"
        ),
        (
            ["max-scale=2", "activation-scale=3"],
            "error: max-scale=2 is less than activation-scale=3: \(path)activation-scale"
        ),
        (
            ["class=kpa.autoscaling.knative.dev", "metric-aggregation-algorithm=x"],
            "error: invalid value: x: \(path)metric-aggregation-algorithm"
        ),
    ])
    func combinationsRefused(annotations: [String], expected: String) {
        #expect(Self.problems(annotations) == [expected])
    }

    @Test func clusterLimits() {
        var options = LoadOptions()
        options.defaults.maxScaleLimit = 10
        let path = Self.path + "max-scale"
        #expect(Self.problems(["max-scale=11"], options) == ["error: expected 1 <= 11 <= 10: \(path)"])
        #expect(
            Self.problems(["max-scale=0"], options) == ["error: max-scale=0 (unlimited), must be less than 10: \(path)"]
        )
        options.defaults.allowZeroInitialScale = true
        #expect(Self.problems(["initial-scale=0"], options) == [])
    }

    @Test func otherAnnotationsOfTheTemplate() {
        func problems(_ pair: String) -> [String] {
            messages(manifest("annotations: {\(pair)}", at: .templateMetadata))
        }
        let path = "spec.template.metadata.annotations"
        let deadline = "serving.knative.dev/progress-deadline"
        #expect(problems("\(deadline): 60s") == [])
        #expect(
            problems("\(deadline): 1500ms")
                == ["f.yaml:9:60: error: progress-deadline=1500ms is not at second precision: \(path).\(deadline)"])
        #expect(
            problems("\(deadline): \"-2s\"")
                == ["f.yaml:9:60: error: progress-deadline=-2s must be positive: \(path).\(deadline)"])
        #expect(
            problems("networking.knative.dev/visibility: x")
                == ["f.yaml:9:56: error: invalid key name \"networking.knative.dev/visibility\": \(path)"])
        #expect(problems("networking.knative.dev/http-protocol: redirected") == [])
        let share = problems("queue.sidecar.serving.knative.dev/resource-percentage: \"0.05\"")
        #expect(share.count == 2)
        #expect(share.last?.contains("error: expected 0.1 <= 0.05 <= 100: \(path).[queue.sidecar") == true)
    }

    /// The kebab spelling wins over the camel one, and only documented aliases count.
    @Test func aliases() {
        var template = RevisionTemplate()
        template.annotations = ["autoscaling.knative.dev/minScale": "2", "autoscaling.knative.dev/Window": "7s"]
        #expect(template.annotation(.minScale) == "2")
        #expect(template.annotation(.window) == nil)
        template.annotations["autoscaling.knative.dev/min-scale"] = "3"
        #expect(template.annotation(.minScale) == "3")
        #expect(
            AutoscalingKey.scaleToZeroPodRetentionPeriod.names.last?.hasSuffix("/scaleToZeroPodRetentionPeriod") == true
        )
        #expect(AutoscalingKey.activationScale.names.count == 1)
    }

    @Test(arguments: [
        ("1s", 1_000_000_000), ("1.5h", 5_400_000_000_000), ("1h2m3.5s", 3_723_500_000_000), ("-2ms", -2_000_000),
        ("+1us", 1_000), ("1µs", 1_000), ("7ns", 7), ("0", 0), (".5s", 500_000_000), ("1.s", 1_000_000_000),
    ])
    func durations(text: String, nanoseconds: Int64) {
        #expect(GoDuration.nanoseconds(text) == nanoseconds)
    }

    @Test(arguments: ["", "-", "1", "s", ".s", "1.2.3s", "1d", "1 s", "1s ", "1e3s", "99999999h", "1s-1s"])
    func noDurations(text: String) {
        #expect(GoDuration.nanoseconds(text) == nil)
    }
}
