import Glibc
import HTTP
import HTTP2Wire
import Primitives
import Testing

@testable import HTTP2

/// Whatever bytes come: no trap, bounded memory, everything given back. And what a session costs.
@Suite struct FuzzTests {
    /// Sequences of frames that are mostly right, with bits turned, frames cut, repeated, swapped and lost.
    @Test func mutatedFrames() {
        let limits = HTTP2Limits()
        let pool = HTTP2Pool(limits: limits, heads: 64)
        for seed in 0..<1500 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            let side = Side(seed % 4 == 3 ? .client : .server, pool: pool)
            side.consumes = seed % 2 == 0
            if side.session.role == .client {
                side.request(body: true)
                side.request()
                _ = side.transmit()
                side.receive(Make.settings() + Make.frame(4, 1))
            } else {
                side.receive(Make.preface + Make.settings() + Make.frame(4, 1))
            }
            side.onEvent = { event, side in
                guard case .head(let stream) = event, side.session.role == .server else { return }
                side.respond(stream, body: true)
                side.write(stream, [UInt8](repeating: 1, count: Int(random.next() % 3000)), end: random.next() % 2 == 0)
            }
            for _ in 0..<40 where !side.session.isFinished {
                side.receive(mutated(&random))
                _ = side.transmitOnce(room: 64 + Int(random.next() % 4000))
                if random.next() % 8 == 0 { side.advance(milliseconds: random.next() % 20_000) }
            }
            #expect(pool.lentHeads <= 64 && pool.lentBytes < 16 << 20, "seed \(seed)")
            side.session.transportClosed(now: side.now)
            side.drain()
            #expect(pool.streamCount == 0 && pool.lentHeads == 0 && pool.lentBytes == 0, "seed \(seed)")
        }
    }

    private func mutated(_ random: inout SeededRandom) -> [UInt8] {
        let stream = UInt32(random.next() % 16)
        var bytes: [UInt8]
        switch random.next() % 12 {
        case 0, 1, 2:
            bytes = Make.headers(stream, random.next() % 2 == 0 ? Make.get : Make.post, end: random.next() % 2 == 0)
        case 3: bytes = Make.headers(stream, [(":status", "200"), ("a", "b")], end: false)
        case 4, 5: bytes = Make.data(stream, Int(random.next() % 2000), end: random.next() % 4 == 0)
        case 6: bytes = Make.reset(stream)
        case 7: bytes = Make.window(stream, UInt32(random.next() % 100_000))
        case 8: bytes = Make.settings([(UInt16(random.next() % 10), UInt32(random.next() % 70_000))])
        case 9: bytes = Make.frame(9, UInt8(random.next() % 5), stream, Make.block([("x", "y")]))
        case 10: bytes = Make.ping() + Make.goAway(stream)
        default: bytes = (0..<Int(random.next() % 60)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        }
        guard random.next() % 3 == 0, !bytes.isEmpty else { return bytes }
        for _ in 0..<Int(random.next() % 4) + 1 {
            bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
        }
        return random.next() % 4 == 0 ? Array(bytes.prefix(Int(random.next() % UInt64(bytes.count + 1)))) : bytes
    }

    /// Header blocks of chance: HPACK and the rules meet every byte.
    @Test func blocksOfChance() {
        for seed in 0..<3000 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            let side = Side.openServer()
            var block = seed % 2 == 0 ? [] : Make.block(Make.get)
            block += (0..<Int(random.next() % 200)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            side.receive(Make.frame(1, 5, 1, block))
            for line in side.fields[1] ?? [] {
                #expect(!line.utf8.contains { $0 < 0x20 && $0 != 9 }, "seed \(seed): \(line)")
            }
        }
    }

    /// The scanner cuts at the ends of frames whatever the pieces.
    @Test func scannerAgreesWithTheWhole() {
        for seed in 0..<200 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            var bytes = Make.preface, wanted: [FrameHeader] = []
            for _ in 0..<20 {
                let count = Int(random.next() % 40), type = UInt8(random.next() % 12)
                bytes += Make.frame(type, 3, 0x8000_0005, Array(repeating: 9, count: count))
                wanted.append(FrameHeader(length: count, type: type, flags: 3, stream: 5))
            }
            var scanner = FrameScanner(expectsPreface: true), found: [FrameHeader] = [], at = 0
            while at < bytes.count {
                let end = min(bytes.count, at + Int(random.next() % 30) + 1)
                withView(Array(bytes[at..<end])) { view in
                    var cursor = 0
                    while cursor < view.count {
                        let piece = scanner.next(view, from: cursor)
                        #expect(piece.end > cursor)
                        cursor = piece.end
                        if let header = piece.header { found.append(header) }
                    }
                }
                at = end
            }
            #expect(found == wanted && scanner.isBetweenFrames, "seed \(seed)")
        }
    }

    /// What idle sessions cost, ours and nghttp2's together, after a first request. Stated in Lifecycle.md.
    @Test func memoryOfIdleSessions() {
        let limits = HTTP2Limits()
        let pool = HTTP2Pool(limits: limits)
        func idle() -> Side {
            let side = Side(.server, pool: pool)
            side.receive(Make.preface + Make.settings() + Make.frame(4, 1) + Make.headers(1, Make.get))
            side.respond(side.streams[1], 204)
            _ = side.transmit()
            return side
        }
        var sides = [idle()]
        let before = Self.residentBytes()
        for _ in 0..<1000 { sides.append(idle()) }
        let each = (Self.residentBytes() - before) / 1000
        print("an idle HTTP/2 session: \(each) bytes")
        #expect(each < 64 << 10, "with the test's own notes about 3 KiB")
        let opened = Self.residentBytes()
        for side in sides {
            side.receive((1...100).flatMap { Make.headers(UInt32($0 * 2 + 1), Make.post, end: false) })
            for stream in side.streams.values { side.session.releaseHead(of: stream) }
        }
        print("an idle stream: \((Self.residentBytes() - opened) / (1001 * 100)) bytes with the test's notes")
        #expect(pool.lentHeads == 0 && pool.streamCount == 100_100)
    }

    /// Resident memory of this process; other tests run beside, so it is a figure to print and a coarse bound.
    private static func residentBytes() -> Int {
        let file = open("/proc/self/statm", O_RDONLY)
        guard file >= 0 else { return 0 }
        defer { close(file) }
        var text = [UInt8](repeating: 0, count: 100)
        let count = read(file, &text, text.count)
        let fields = String(decoding: text.prefix(max(0, count)), as: UTF8.self).split(separator: " ")
        return (fields.count > 1 ? Int(fields[1]) ?? 0 : 0) * 4096
    }
}
