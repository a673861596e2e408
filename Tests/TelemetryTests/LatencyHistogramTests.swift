import Primitives
import Testing

@testable import Telemetry

@Suite struct LatencyHistogramTests {
    @Test func cellsAreInOrderAndTight() {
        var values: [UInt64] = Array(0...4096)
        for power in 12..<64 {
            let base = UInt64(1) << UInt64(power)
            values += [base - 1, base, base + 1, base + base / 3]
        }
        values.append(.max)
        var previous = 0
        for value in values.sorted() {
            let cell = LatencyHistogram.cell(of: value)
            #expect((0..<LatencyHistogram.cellCount).contains(cell), "\(value)")
            #expect(cell >= previous, "\(value)")
            previous = cell
            let end = LatencyHistogram.upperEnd(of: cell)
            #expect(end >= value, "\(value)")
            if value < 1 << 36 - 1 << 31 { #expect(Double(end) <= Double(value) * 1.0625, "\(value): \(end)") }
            if value < 32 { #expect(end == value) }
        }
        #expect(LatencyHistogram.cellCount == 528)
    }

    @Test func emptyAndSingle() {
        var histogram = LatencyHistogram()
        #expect(histogram.percentile(50) == 0 && histogram.mean == 0 && histogram.largest == 0)
        histogram.record(1_000_003)
        for percent in [-1.0, 0, 50, 100, 1000, .nan] {
            #expect(histogram.percentile(percent) == 1_000_003, "\(percent)")
        }
        #expect(histogram.count == 1 && histogram.sum == 1_000_003 && histogram.mean == 1_000_003)
        histogram.record(.max)
        #expect(histogram.percentile(100) == .max)
    }

    /// Against the sorted list: never below the true value, at most a sixteenth above.
    @Test func percentilesAgreeWithSorting() {
        for seed in UInt64(0)..<32 {
            var random = SeededRandom(seed: seed)
            var halves = [LatencyHistogram(), LatencyHistogram()]
            var values: [UInt64] = []
            for _ in 0..<Int.random(in: 1...2000, using: &random) {
                let bits = UInt64.random(in: 0...30, using: &random)
                let value = UInt64.random(in: 0...(1 << bits), using: &random)
                values.append(value)
                halves[Int.random(in: 0...1, using: &random)].record(value)
            }
            values.sort()
            var merged = halves[0]
            merged.merge(halves[1])
            #expect(merged.count == UInt64(values.count) && merged.largest == values.last)
            #expect(merged.sum == values.reduce(0, +))
            for percent in [0, 1, 25, 50, 90, 99, 99.9, 100] {
                let rank = max(1, Int((percent / 100 * Double(values.count)).rounded(.up)))
                let truth = values[min(rank, values.count) - 1]
                let found = merged.percentile(percent)
                #expect(found >= truth, "seed \(seed) p\(percent)")
                #expect(Double(found) <= Double(truth) * 1.0625, "seed \(seed) p\(percent): \(found) for \(truth)")
            }
        }
    }
}
