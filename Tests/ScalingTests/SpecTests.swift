import Primitives
import Testing

@testable import Scaling

@Suite struct SpecTests {
    struct TargetRow: Sendable {
        var concurrency = 0
        var fraction = 1.0
        var configured = 100.0
        var pairs: [String: String] = [:]
        var value: Double
        var total: Double
    }

    static let targets: [TargetRow] = [
        TargetRow(fraction: 0.8, value: 80, total: 100),
        TargetRow(fraction: 0.3, configured: 2, value: 0.6, total: 2),
        TargetRow(concurrency: 12, pairs: ["target-utilization-percentage": "75"], value: 9, total: 12),
        TargetRow(concurrency: 10, fraction: 0.8, value: 8, total: 10),
        TargetRow(fraction: 0.001, pairs: ["target": "1"], value: 0.01, total: 1),
        TargetRow(pairs: ["target": "10", "target-utilization-percentage": "75"], value: 7.5, total: 10),
        TargetRow(concurrency: 10, pairs: ["target": "1"], value: 1, total: 1),
        TargetRow(pairs: ["target": "500"], value: 500, total: 500),
        TargetRow(concurrency: 1, pairs: ["target": "10"], value: 1, total: 1),
        TargetRow(pairs: ["metric": "rps"], value: 140, total: 200),
        TargetRow(pairs: ["metric": "rps", "target": "1"], value: 0.7, total: 1),
        TargetRow(pairs: ["metric": "rps", "target-utilization-percentage": "75"], value: 150, total: 200),
        TargetRow(pairs: ["metric": "rps", "target": "300"], value: 210, total: 300),
        // The hard limit bounds a soft target of concurrency only.
        TargetRow(concurrency: 10, pairs: ["metric": "rps", "target": "300"], value: 210, total: 300),
    ]

    @Test(arguments: targets) func targetVectors(row: TargetRow) {
        var config = ScalingConfig()
        config.concurrencyTargetFraction = row.fraction
        config.concurrencyTargetDefault = row.configured
        let spec = ScalingSpec(
            config: config, annotations: annotations(row.pairs), containerConcurrency: row.concurrency)
        #expect(abs(spec.target.value - row.value) < 1e-12)
        #expect(spec.target.total == row.total)
    }

    @Test func panicWindowVectors() {
        for (stable, percentage, expected) in [(60, 10.0, 6), (10, 10, 1), (600, 10, 60), (60, 50, 30), (60, 51, 31)] {
            #expect(ScalingSpec.panicWindowSeconds(stable: stable, percentage: percentage) == expected)
        }
        #expect(ScalingSpec.panicWindowSeconds(stable: 6, percentage: 1) == 1)
    }

    @Test func defaults() {
        let spec = ScalingSpec()
        #expect(spec.target == ScalingTarget(value: 70, total: 100))
        #expect(spec.maxScaleUpRate == 1000 && spec.maxScaleDownRate == 2)
        #expect(spec.targetBurstCapacity == 211 && spec.panicThreshold == 2)
        #expect(spec.stableWindowSeconds == 60 && spec.panicWindowSeconds == 6)
        #expect(spec.initialScale == 1 && spec.minScale == 0 && spec.maxScale == 0 && spec.activationScale == 1)
        #expect(spec.scaleDownDelaySeconds == 0 && spec.isScaleToZeroEnabled)
        #expect(spec.gracePeriod == .seconds(30) && spec.podRetentionPeriod == .zero)
        #expect(spec.progressDeadline == .seconds(600) && spec.activatorCapacity == 100)
        #expect(spec.metric == .concurrency && spec.aggregation == .linear)
    }

    @Test func podCapacityIsTheHardLimitOrTheTarget() {
        let rows: [(Int, [String: String], Double)] = [
            (0, [:], 100), (7, [:], 7), (7, ["target": "3"], 7), (0, ["target": "3"], 3), (0, ["metric": "rps"], 100),
            (4, ["metric": "rps"], 4),
        ]
        for (concurrency, pairs, capacity) in rows {
            let spec = ScalingSpec(annotations: annotations(pairs), containerConcurrency: concurrency)
            #expect(spec.podCapacity == capacity, "\(concurrency) \(pairs)")
        }
    }

    @Test func initialScaleZeroNeedsTheFlag() {
        var config = ScalingConfig()
        var asked = ScalingAnnotations()
        asked.initialScale = 0
        config.initialScale = 3
        #expect(ScalingSpec(config: config, annotations: asked).initialScale == 3)
        config.allowsZeroInitialScale = true
        #expect(ScalingSpec(config: config, annotations: asked).initialScale == 0)
    }

    /// Which of min, max and initial scale holds when.
    @Test func bounds() {
        var spec = ScalingSpec()
        spec.minScale = 2
        spec.maxScale = 4
        spec.initialScale = 3
        #expect(spec.bounds(isReachable: true, isInitialized: true) == (2, 4))
        #expect(spec.bounds(isReachable: true, isInitialized: false) == (3, 4))
        #expect(spec.bounds(isReachable: false, isInitialized: true) == (0, 4))
        #expect(spec.bounds(isReachable: false, isInitialized: false) == (0, 4))
        spec.initialScale = 9
        #expect(spec.bounds(isReachable: true, isInitialized: false) == (4, 4))
        #expect(spec.activeThreshold(isReachable: true, isInitialized: false) == 4)
        #expect(spec.activeThreshold(isReachable: true, isInitialized: true) == 2)
        #expect(spec.activeThreshold(isReachable: false, isInitialized: true) == 1)
    }

    @Test func activatorCountVectors() {
        let rows: [(ready: Int, burst: Double, count: Int)] = [
            (0, 200, 2), (1, 200, 3), (100, 0, 2), (5, -1, 5), (15, 200, 17),
        ]
        for row in rows {
            var spec = ScalingSpec()
            spec.target.total = 100
            spec.targetBurstCapacity = row.burst
            #expect(spec.activatorCount(ready: row.ready) == row.count, "\(row)")
        }
    }

    @Test func servingModes() {
        let rows: [(want: Int, excess: Int, mode: ServingMode)] = [
            (1, 0, .serve), (1, -1, .proxy), (0, 5, .proxy), (-1, 5, .proxy), (3, 100, .serve),
        ]
        for row in rows {
            #expect(ServingMode(want: row.want, excessBurstCapacity: row.excess) == row.mode, "\(row)")
        }
    }

    @Test func sampleSizeVectors() {
        let rows = [
            (0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (8, 6), (10, 7), (15, 8), (20, 9), (50, 12), (100, 14),
            (200, 15), (1000, 16),
        ]
        for (ready, size) in rows { #expect(scrapeSampleSize(ready: ready) == size, "\(ready)") }
    }
}
