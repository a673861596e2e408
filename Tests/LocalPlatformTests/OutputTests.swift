import EventLoop
import Primitives
import Testing

@testable import LocalPlatform

/// Lines of a pod: cut, bounded, labelled, and never at the cost of others.
@Suite struct OutputTests {
    static func split(_ pieces: [[UInt8]]) -> [[UInt8]] {
        var splitter = LineSplitter()
        var lines: [[UInt8]] = []
        let collect = { (line: ByteView) in
            lines.append(Array(UnsafeBufferPointer(start: line.base, count: line.count)))
        }
        for piece in pieces { piece.withUnsafeBytes { splitter.consume(ByteView($0), collect) } }
        splitter.finish(collect)
        return lines
    }

    @Test func linesAreCut() {
        let table: [(pieces: [String], lines: [String])] = [
            ([], []), ([""], []), (["\n"], [""]), (["a"], ["a"]), (["a\n"], ["a"]), (["a\nb"], ["a", "b"]),
            (["a", "b\nc", "\n"], ["ab", "c"]), (["a\r\nb\r", "\nc\r\r\n"], ["a", "b", "c\r"]),
            (["a\n\n\nb\n"], ["a", "", "", "b"]), (["\r\n"], [""]),
        ]
        for row in table {
            let lines = Self.split(row.pieces.map { Array($0.utf8) }).map { String(decoding: $0, as: UTF8.self) }
            #expect(lines == row.lines, "\(row.pieces)")
        }
    }

    @Test func longLinesAreHandedOnInPieces() {
        let limit = LineSplitter.lineBytes
        for extra in [-1, 0, 1, limit - 1, limit, limit + 1] {
            let line = [UInt8](repeating: 0x61, count: limit + extra)
            let counts = Self.split([line + [0x0A, 0x62]]).map(\.count)
            let expected =
                extra <= 0 ? [limit + extra, 1] : extra <= limit ? [limit, extra, 1] : [limit, limit, 1, 1]
            #expect(counts == expected, "\(limit + extra) bytes")
        }
    }

    /// However the bytes arrive, the lines are the same.
    @Test func piecesDoNotMatter() {
        for seed in UInt64(0)..<200 {
            var random = SeededRandom(seed: seed)
            let text: [UInt8] = (0..<Int.random(in: 0...400, using: &random)).map { _ in
                [0x0A, 0x0D, 0x61, 0x62].randomElement(using: &random) ?? 0
            }
            var pieces: [[UInt8]] = []
            var rest = text[...]
            while !rest.isEmpty {
                let count = Int.random(in: 1...rest.count, using: &random)
                pieces.append(Array(rest.prefix(count)))
                rest = rest.dropFirst(count)
            }
            #expect(Self.split(pieces) == Self.split([text]), "seed \(seed)")
        }
    }

    @Test func ringKeepsTheNewest() {
        var ring = LineRing()
        #expect(ring.texts == [])
        for number in 0..<(LineRing.lines * 2 + 3) {
            var text = "line \(number)"
            text.withUTF8 { ring.append(ByteView(UnsafeRawBufferPointer($0))) }
            let first = max(0, number + 1 - LineRing.lines)
            #expect(ring.texts == (first...number).map { "line \($0)" })
        }
        [UInt8](repeating: 0x61, count: 5_000).withUnsafeBytes { ring.append(ByteView($0)) }
        #expect(ring.texts.last?.utf8.count == LineRing.bytesPerLine)
    }

    @Test func streamsAreLabelledAndLongLinesSplit() throws {
        let harness = try Harness()
        let script = "echo out; echo err >&2; head -c 40000 /dev/zero | tr '\\0' x; echo; echo end; exec sleep 100"
        let id = harness.platform.start(Harness.shell(script))
        #expect(harness.waitForLine { $0 == "end" } != nil)
        #expect(harness.run { harness.lines.contains { $0.text == "err" } })
        #expect(harness.lines.first { $0.text == "out" }?.stream == .output)
        #expect(harness.lines.first { $0.text == "err" }?.stream == .error)
        #expect(harness.lines.allSatisfy { $0.id == id })
        #expect(harness.lines.filter { $0.text.hasPrefix("x") }.map(\.text.utf8.count) == [16_384, 16_384, 7_232])
        #expect(harness.finish())
    }

    /// One pod floods; timers run on time and another pod becomes ready meanwhile.
    @Test func floodDoesNotStarveTheLoop() throws {
        let harness = try Harness()
        var flooded = 0
        harness.platform.onLine = { _, _, _ in flooded += 1 }
        _ = harness.platform.start(Harness.shell("exec yes flood"))
        #expect(harness.run { flooded > 10_000 })
        var ticks = 0
        func tick() {
            ticks += 1
            harness.loop.after(milliseconds: 1) { tick() }
        }
        tick()
        let before = flooded
        let other = harness.platform.start(PythonServer.spec())
        #expect(harness.waitReady(other) != nil)
        #expect(harness.run { ticks > 50 })
        #expect(flooded > before)
        #expect(harness.finish())
    }
}
