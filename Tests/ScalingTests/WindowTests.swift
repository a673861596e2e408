import Primitives
import Testing

@testable import Scaling

@Suite struct WindowTests {
    private func filled(_ values: [Double], seconds: Int = 5, _ aggregation: WindowAggregation = .linear)
        -> BucketWindow
    {
        var window = BucketWindow(seconds: seconds, aggregation: aggregation)
        for (offset, value) in values.enumerated() { window.record(value, second: 100 + offset) }
        return window
    }

    private func isClose(_ left: Double, _ right: Double) -> Bool { abs(left - right) < 1e-6 }

    @Test func linearVectors() {
        let window = filled([1, 2, 3, 4, 5])
        #expect(window.average(second: 104) == 3)
        #expect(window.average(second: 106) == 4)
        #expect(window.average(second: 109) == 0)
        #expect(window.average(second: 200) == 0)
        #expect(filled([1]).average(second: 100) == 1)
        // Asked about the past, it answers with what it has.
        #expect(window.average(second: 90) == 3)
    }

    @Test func valuesOfOneSecondAdd() {
        var window = filled([1])
        window.record(2, second: 100)
        #expect(window.average(second: 100) == 3)
    }

    @Test func theDivisorIsTheHistory() {
        // 10 in one second of three: the gap counts as zero, the time before the first write does not count.
        var window = filled([10], seconds: 60)
        #expect(window.average(second: 100) == 10)
        window.record(2, second: 102)
        #expect(window.average(second: 102) == 4)
        // Level while nothing is written, until the buckets leave.
        #expect(window.average(second: 150) == 4)
        #expect(window.average(second: 160) == 1)
        #expect(window.average(second: 162) == 0)
    }

    @Test func gapsAndLateData() {
        var window = filled([1, 2, 3, 4, 5])
        window.record(10, second: 106)
        // 102...106 with 3, 4, 5, 0, 10.
        #expect(window.average(second: 106) == 4.4)
        window.record(5, second: 105)
        #expect(window.average(second: 106) == 5.4)
        window.record(1000, second: 101)
        #expect(window.average(second: 106) == 5.4)
        // A gap as long as the window forgets all, the first write too.
        window.record(7, second: 111)
        #expect(window.average(second: 111) == 7)
        // Data from before the first write moves it back.
        window.record(1, second: 110)
        #expect(window.average(second: 111) == 4)
    }

    @Test func emptiness() {
        var window = BucketWindow(seconds: 5, aggregation: .linear)
        #expect(window.isEmpty(second: 0))
        window.record(0, second: 100)
        for (second, isEmpty) in [(100, false), (105, false), (106, true)] {
            #expect(window.isEmpty(second: second) == isEmpty, "\(second)")
        }
    }

    @Test func roundingDropsNoise() {
        let window = filled([1.000_000_000_1])
        #expect(window.average(second: 100) == 1)
    }

    @Test func weightedVectors() {
        for (count, expected) in [(100, 0.2), (60, 0.2), (40, 0.2056718), (6, 0.7845565), (5, 0.8415107)] {
            #expect(isClose(BucketWindow.smoothing(buckets: count), expected), "\(count)")
        }
        let window = filled([2, 3, 4, 5, 6], .weightedExponential)
        #expect(isClose(window.average(second: 104), 5.8115798))
        let single = filled([2], .weightedExponential)
        let smoothing = BucketWindow.smoothing(buckets: 5)
        #expect(isClose(single.average(second: 100), 1.683021))
        #expect(isClose(single.average(second: 101), 1.683021 * (1 - smoothing)))
        #expect(single.average(second: 105) == 0)
    }

    @Test func resizing() {
        var window = filled([1, 2, 3, 4, 5])
        window.resize(seconds: 2)
        #expect(window.average(second: 104) == 4.5)
        window.resize(seconds: 4)
        // The two newest are kept; the first write is remembered, so the divisor is the window.
        #expect(window.average(second: 104) == 2.25)
        window.record(9, second: 105)
        #expect(window.average(second: 105) == 4.5)
        var fresh = BucketWindow(seconds: 5, aggregation: .weightedExponential)
        fresh.resize(seconds: 10)
        #expect(fresh.seconds == 10)
        fresh.record(1, second: 3)
        #expect(isClose(fresh.average(second: 3), BucketWindow.smoothing(buckets: 10)))
    }

    @Test func maxWindowVectors() {
        let tables: [(input: [Int], output: [Int])] = [
            ([5, 6, 5, 5, 5, 5, 5], [5, 6, 6, 6, 6, 6, 5]),
            (
                [5, 8, 5, 7, 5, 5, 1, 4, 4, 4, 4, 9, 3, 4, 2, 1, 0],
                [5, 8, 8, 8, 8, 8, 7, 7, 5, 5, 4, 9, 9, 9, 9, 9, 4]
            ),
        ]
        for table in tables {
            var window = MaxWindow(slots: 5)
            let output = table.input.enumerated().map { slot, value in
                window.record(value, slot: slot)
                return window.largest
            }
            #expect(output == table.output)
        }
    }

    @Test func maxWindowGapsAndTies() {
        var window = MaxWindow(slots: 5)
        #expect(window.largest == nil)
        var output: [Int?] = []
        for (slot, value) in [(0, 6), (1, 5), (2, 2), (5, 1)] {
            window.record(value, slot: slot)
            output.append(window.largest)
        }
        #expect(output == [6, 6, 6, 5])
        var same = MaxWindow(slots: 5)
        same.record(4, slot: 1)
        same.record(2, slot: 1)
        #expect(same.largest == 4)
        same.record(0, slot: 6)
        #expect(same.largest == 0)
    }

    /// The ring answers as a plain list of all writes does.
    @Test func linearAgreesWithAModel() {
        for seed in UInt64(0)..<64 {
            var random = SeededRandom(seed: seed)
            let length = Int.random(in: 1...12, using: &random)
            var window = BucketWindow(seconds: length, aggregation: .linear)
            var written: [Int: Double] = [:]
            var second = 1000
            for step in 0..<200 {
                // Gaps stay below the window: a longer one starts the history anew, which other tests look at.
                second += Int.random(in: 0..<max(2, length), using: &random)
                guard length > 1 || step == 0 || written[second - 1] != nil || written[second] != nil else { continue }
                let value = Double(Int.random(in: 0...9, using: &random))
                window.record(value, second: second)
                written[second, default: 0] += value
                let age = Int.random(in: 0..<length, using: &random)
                let now = second + age
                var total = 0.0
                for past in (now - length + 1)...now { total += written[past] ?? 0 }
                let first = length == 1 ? second : written.keys.min() ?? second
                let divisor = min(second - first + 1, length - age)
                let expected = (total / Double(divisor) * 1e6).rounded(.down) / 1e6
                #expect(window.average(second: now) == expected, "seed \(seed) step \(step)")
            }
        }
    }

    @Test func metricWindowsMergeReporters() {
        var windows = MetricWindows(spec: ScalingSpec())
        #expect(windows.averages(of: .concurrency, at: start, silence: .meansNoData) == nil)
        #expect(windows.averages(of: .concurrency, at: start, silence: .meansZero) == .init(stable: 0, panic: 0))
        // The activator reports 3 and pods report 5 of which 3 came through it: 5 in all.
        windows.record(.init(averageConcurrency: 3, requestCount: 30), at: start)
        windows.record(
            .init(
                averageConcurrency: 5, averageProxiedConcurrency: 3, requestCount: 50, proxiedRequestCount: 30),
            at: start.adding(milliseconds: 400))
        let concurrency = windows.averages(of: .concurrency, at: start, silence: .meansNoData)
        #expect(concurrency == .init(stable: 5, panic: 5))
        let requests = windows.averages(of: .requestsPerSecond, at: start, silence: .meansNoData)
        #expect(requests == .init(stable: 50, panic: 50))
        // The panic window forgets after 6 s, the stable one after 60.
        let later = windows.averages(of: .concurrency, at: at(6), silence: .meansNoData)
        #expect(later == .init(stable: 5, panic: 0))
        #expect(windows.averages(of: .concurrency, at: at(61), silence: .meansNoData) == nil)
    }
}
