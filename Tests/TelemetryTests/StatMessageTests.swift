import Primitives
import Testing

@testable import Telemetry

/// What `write` appends to memory of `capacity` bytes, or nil if it did not fit.
private func bytes(capacity: Int = 4096, _ write: (inout ByteWriter) -> Bool) -> [UInt8]? {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 8)
    defer { memory.deallocate() }
    var writer = ByteWriter(memory)
    guard write(&writer) else {
        #expect(writer.count == 0)
        return nil
    }
    return Array(UnsafeBufferPointer(start: writer.base, count: writer.count))
}

private func unhex(_ text: String) -> [UInt8] {
    let digits = text.filter { $0 != " " }.map { UInt8($0.hexDigitValue ?? 0) }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

private func failure(reading body: [UInt8]) -> ProtobufFailure? {
    body.withUnsafeBytes { raw in
        do throws(ProtobufFailure) {
            _ = try StatMessage(reading: ByteView(raw))
            return nil
        } catch {
            return error
        }
    }
}

@Suite struct StatMessageTests {
    static let podA =
        "0a05706f642d61 11000000000000f83f 19000000000000e03f 210000000000000840 29000000000000f03f 310000000000802840"
    static let wire = "0a2a 0a026e73 12097265762d3030303031 1a19 0a056163742d31 11000000000000f03f 21000000000000f03f"

    private func podA() -> StatMessage {
        let report = WindowReport(
            averageConcurrency: 1.5, averageProxiedConcurrency: 0.5, requestCount: 3, proxiedRequestCount: 1)
        return StatMessage(podName: ByteView("pod-a"), report: report, processUptime: 12.25)
    }

    /// The vectors of Knative's field table.
    @Test func vectors() {
        let stat = podA()
        #expect(bytes { stat.write(to: &$0) } == unhex(StatMessageTests.podA))
        let activator = StatMessage(
            podName: ByteView("act-1"), report: WindowReport(averageConcurrency: 1, requestCount: 1))
        let entry = WireStatMessage(namespace: ByteView("ns"), name: ByteView("rev-00001"), stat: activator)
        #expect(bytes { entry.write(to: &$0) } == unhex(StatMessageTests.wire))
        // Before the first second there is only the name, and without one nothing.
        let fresh = StatMessage(podName: ByteView("pod-a"))
        #expect(bytes { fresh.write(to: &$0) } == unhex("0a05706f642d61"))
        #expect(bytes { StatMessage(podName: .empty).write(to: &$0) } == [])
        let dated = StatMessage(podName: .empty, timestamp: -1)
        #expect(bytes { dated.write(to: &$0) } == unhex("38ffffffffffffffffff01"))
    }

    @Test func readsWhatItWrites() throws {
        for seed in UInt64(0)..<256 {
            var random = SeededRandom(seed: seed)
            let length = Int.random(in: 0...StatMessage.podNameLimit, using: &random)
            let name = [UInt8](repeating: UInt8(ascii: "p"), count: length)
            try name.withUnsafeBytes { name in
                var stat = StatMessage(podName: ByteView(name))
                stat.report.averageConcurrency = Double.random(in: 0...1e9, using: &random)
                stat.report.requestCount = Bool.random(using: &random) ? 0 : Double.random(in: 0...1e9, using: &random)
                stat.report.proxiedRequestCount = .leastNonzeroMagnitude
                stat.processUptime = Double.random(in: 0...1e12, using: &random)
                stat.timestamp = Int64.random(in: 0...Int64.max, using: &random)
                let body = try #require(bytes { stat.write(to: &$0) })
                #expect(body.count <= StatMessage.bodyLimit)
                try body.withUnsafeBytes { body in
                    let read = try StatMessage(reading: ByteView(body))
                    #expect(read.podName.equals(stat.podName) && read.report == stat.report, "seed \(seed)")
                    #expect(read.processUptime == stat.processUptime && read.timestamp == stat.timestamp)
                }
            }
        }
    }

    @Test func bounded() {
        let name = [UInt8](repeating: UInt8(ascii: "p"), count: 400)
        name.withUnsafeBytes { name in
            let long = StatMessage(podName: ByteView(name))
            #expect(bytes { long.write(to: &$0) } == nil)
            let most = StatMessage(podName: ByteView(name)[0..<333])
            #expect(bytes { most.write(to: &$0) }?.count == StatMessage.bodyLimit)
            #expect(failure(reading: bytes { most.write(to: &$0) } ?? []) == .tooLarge)
        }
        let stat = podA()
        for capacity in 1..<52 { #expect(bytes(capacity: capacity) { stat.write(to: &$0) } == nil) }
        for capacity in 1..<70 {
            let entry = WireStatMessage(namespace: ByteView("ns"), name: ByteView("r"), stat: stat)
            let body = bytes(capacity: capacity) { entry.write(to: &$0) }
            #expect(body == nil || body?.count == 63, "\(capacity)")
        }
    }

    /// A name of 130 bytes makes three lengths of two bytes.
    @Test func longLengths() throws {
        let name = [UInt8](repeating: UInt8(ascii: "n"), count: 130)
        try name.withUnsafeBytes { name in
            let stat = StatMessage(podName: ByteView(name), processUptime: 1)
            let entry = WireStatMessage(namespace: ByteView(name), name: ByteView(name), stat: stat)
            let body = try #require(bytes { entry.write(to: &$0) && entry.write(to: &$0) })
            try body.withUnsafeBytes { body in
                var reader = try WireStatReader(ByteView(body))
                for _ in 0..<2 {
                    let read = try #require(try reader.next())
                    #expect(read.name.equals(ByteView(name)) && read.stat.podName.equals(ByteView(name)))
                    #expect(read.stat.processUptime == 1)
                }
                #expect(try reader.next() == nil)
            }
        }
    }

    @Test func refused() {
        let rows: [(String, ProtobufFailure?)] = [
            ("", nil), ("0a", .truncated), ("0a05", .truncated), ("0a05706f64", .truncated), ("11 0000", .truncated),
            ("00", .illegalKey), ("0b", .illegalKey), ("0c", .illegalKey), ("0e", .illegalKey),
            ("0800", .wrongType(field: 1)), ("0d00000000", .wrongType(field: 1)), ("1000", .wrongType(field: 2)),
            ("3900000000000000 00", .wrongType(field: 7)), ("11000000000000f0bf", .illegalValue(field: 2)),
            ("11000000000000f07f", .illegalValue(field: 2)), ("31000000000000f87f", .illegalValue(field: 6)),
            ("0a01ff", .illegalValue(field: 1)), ("0a02c080", .illegalValue(field: 1)),
            ("38ffffffffffffffffff02", .numberTooLarge), ("38ffffffffffffffffffff01", .numberTooLarge),
            ("0affffffffffffffffff01", .truncated), ("f8ffffffff0f00", .illegalKey),
            // Unknown fields are skipped whatever their type, and the last of two counts.
            ("400142017843", .illegalKey), ("4001420178450000000049 0000000000000000", nil),
            ("0a01610a0162", nil), ("0a00", nil), ("3800", nil), ("8a8000", .truncated), ("8a800100", nil),
        ]
        for (body, expected) in rows { #expect(failure(reading: unhex(body)) == expected, "\(body)") }
        #expect(failure(reading: [UInt8](repeating: 0x40, count: 337)) == .tooLarge)
    }

    /// Damaged and random bodies are read or refused, never trapped on.
    @Test func fuzz() throws {
        for seed in UInt64(0)..<4096 {
            var random = SeededRandom(seed: seed)
            var body = unhex(seed % 2 == 0 ? StatMessageTests.podA : StatMessageTests.wire)
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 0..<body.count, using: &random)
                switch UInt8.random(in: 0...2, using: &random) {
                case 0: body[place] = UInt8.random(in: 0...255, using: &random)
                case 1: body.insert(UInt8.random(in: 0...255, using: &random), at: place)
                case _: body.removeLast(min(place, body.count - 1))
                }
            }
            body.withUnsafeBytes { raw in
                if let stat = try? StatMessage(reading: ByteView(raw)) {
                    #expect(stat.report.averageConcurrency >= 0 && stat.processUptime.isFinite, "seed \(seed)")
                    #expect(stat.podName.count <= StatMessage.podNameLimit)
                }
                guard var reader = try? WireStatReader(ByteView(raw)) else { return }
                while let entry = try? reader.next() { #expect(!entry.name.isEmpty, "seed \(seed)") }
            }
        }
    }

    @Test func entriesNeedARevision() throws {
        for body in ["0a02 1a00", "0a08 0a026e73 12027276", "0a04 12027276"] {
            try unhex(body).withUnsafeBytes { body in
                var reader = try WireStatReader(ByteView(body))
                #expect(throws: ProtobufFailure.illegalValue(field: 1)) { _ = try reader.next() }
            }
        }
    }
}

@Suite struct StatReporterTests {
    private let start = Instant(nanoseconds: 5_000_000_000)
    private func at(_ milliseconds: UInt64) -> Instant { start.adding(milliseconds: milliseconds) }

    @Test func windowAfterWindow() throws {
        guard var reporter = StatReporter(podName: "pod-a", start: start) else {
            Issue.record("a short name was refused")
            return
        }
        var stats = RequestStats(now: start)
        let fresh = reporter.body.string
        #expect(fresh == "\n\u{5}pod-a")
        #expect(reporter.deadline == at(1000))
        stats.arrive(now: start, proxied: false)
        stats.arrive(now: at(500), proxied: true)
        stats.leave(now: at(750), proxied: true)
        reporter.report(stats.report(now: at(1000)), now: at(1000))
        let first = try StatMessage(reading: reporter.body)
        #expect(
            first.report
                == WindowReport(
                    averageConcurrency: 1.25, averageProxiedConcurrency: 0.25, requestCount: 2, proxiedRequestCount: 1))
        #expect(first.processUptime == 1 && first.podName.equals("pod-a") && first.timestamp == 0)
        // The next window begins with the request that is still there, and nothing new.
        reporter.report(stats.report(now: at(2000)), now: at(2000))
        let second = try StatMessage(reading: reporter.body)
        #expect(second.report == WindowReport(averageConcurrency: 1) && second.processUptime == 2)
    }

    /// A late tick does not make counts smaller, nor does it move the ticks after it.
    @Test func lateTick() throws {
        guard var reporter = StatReporter(podName: "p", start: start) else {
            Issue.record("a short name was refused")
            return
        }
        var stats = RequestStats(now: start)
        for _ in 0..<30 {
            stats.arrive(now: at(200), proxied: false)
            stats.leave(now: at(200), proxied: false)
        }
        reporter.report(stats.report(now: at(1500)), now: at(1500))
        let message = try StatMessage(reading: reporter.body)
        #expect(message.report.requestCount == 30)
        let deadline = reporter.deadline
        #expect(deadline == at(2000))
        reporter.report(stats.report(now: at(5999)), now: at(5999))
        let later = reporter.deadline
        #expect(later == at(6000))
        // A tick just before its time does not come twice.
        reporter.report(stats.report(now: at(5999)), now: at(5999))
        let same = reporter.deadline
        #expect(same == at(6000))
    }

    @Test func longNames() {
        let longest = StatReporter(podName: String(repeating: "p", count: 253), start: start) != nil
        let tooLong = StatReporter(podName: String(repeating: "p", count: 254), start: start) != nil
        #expect(longest && !tooLong)
    }
}
