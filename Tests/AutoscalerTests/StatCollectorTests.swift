import Knative
import Primitives
import Scaling
import Testing

@testable import Autoscaler

/// What becomes of pushed stats, good and bad.
@Suite struct StatCollectorTests {
    private static let now: Int64 = 1_800_000_000
    private static let known = ObjectName(namespace: "ns", name: "rev-00001")

    private func receive(_ bytes: [UInt8], _ collector: inout StatCollector) -> [StatCollector.Entry] {
        var entries: [StatCollector.Entry] = []
        bytes.withUnsafeBytes { place in
            collector.receive(ByteView(place), unixSeconds: Self.now) { entry in
                entries.append(entry)
                return entry.revision == Self.known ? .taken : .unknown
            }
        }
        return entries
    }

    /// The message of spec/dataplane 2.1, byte for byte.
    @Test func theVectorOfTheContract() {
        let text = "0a2a0a026e7312097265762d30303030311a190a056163742d3111000000000000f03f21000000000000f03f"
        let bytes = stride(from: 0, to: text.utf8.count, by: 2).map { at -> UInt8 in
            let start = text.index(text.startIndex, offsetBy: at)
            return UInt8(text[start..<text.index(start, offsetBy: 2)], radix: 16) ?? 0
        }
        var collector = StatCollector()
        let entries = receive(bytes, &collector)
        #expect(entries.map(\.revision) == [Self.known] && entries.map(\.ageSeconds) == [0])
        #expect(entries.map(\.stat) == [RequestStat(averageConcurrency: 1, requestCount: 1)])
        #expect(collector.counts.messages == 1 && collector.counts.taken == 1 && collector.counts.garbage == 0)
    }

    @Test func strangersAndNonsenseAreCountedAndDropped() {
        var collector = StatCollector()
        let other = ObjectName(namespace: "ns", name: "other")
        _ = receive(World.message([(other, RequestStat(averageConcurrency: 1), 0)]), &collector)
        #expect(collector.counts.unknown == 1 && collector.counts.taken == 0)
        let huge = receive(World.message([(Self.known, RequestStat(averageConcurrency: 1e13), 0)]), &collector)
        #expect(huge.isEmpty && collector.counts.implausible == 1)
        for garbage: [UInt8] in [[0xFF], [0x0A, 0x7F], Array("hello, this is text".utf8), [0x0A, 0x00]] {
            #expect(receive(garbage, &collector).isEmpty)
        }
        #expect(collector.counts.garbage == 4)
        // An empty message is one without stats.
        #expect(receive([], &collector).isEmpty && collector.counts.garbage == 4)
    }

    @Test func whatStandsBeforeTheGarbageIsTaken() {
        var collector = StatCollector()
        let good = World.message([(Self.known, RequestStat(averageConcurrency: 3), 0)])
        #expect(receive(good + [0x0A, 0x7F], &collector).count == 1)
        #expect(collector.counts.taken == 1 && collector.counts.garbage == 1)
    }

    @Test func stampsOfOthersAreAges() {
        var collector = StatCollector()
        for (stamp, age) in [
            (0, 0), (Self.now, 0), (Self.now - 7, 7), (Self.now + 9, 0), (Int64.max, 0), (Int64.min, Int64.max),
        ] {
            let message = World.message([(Self.known, RequestStat(averageConcurrency: 1), stamp)])
            #expect(receive(message, &collector).map(\.ageSeconds) == [age], "\(stamp)")
        }
    }

    /// Cut and bent messages, from seeds: nothing traps, and every message is counted once.
    @Test func bentMessages() {
        var random = SeededRandom(seed: 20_261_121)
        var collector = StatCollector()
        let good = World.message((0..<4).map { (Self.known, RequestStat(averageConcurrency: Double($0)), 5) })
        for _ in 0..<2_000 {
            var bytes = good
            for _ in 0...(random.next() % 4) {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            bytes.removeLast(Int(random.next() % UInt64(bytes.count)))
            _ = receive(bytes, &collector)
        }
        #expect(collector.counts.messages == 2_000)
        #expect(collector.counts.garbage > 500 && collector.counts.taken > 500)
    }
}
