import HTTP
import Primitives
import Testing

@testable import HTTP1

/// Seeded mutations of good messages. Nothing traps or reads too far (the input ends at a protected page); what is
/// accepted obeys the invariants and means the same after it has been written anew.
@Suite struct FuzzTests {
    static let seeds: Range<UInt64> = 0..<6_000

    @Test func requests() {
        let bench = Bench()
        var accepted = 0
        for seed in Self.seeds {
            var random = SeededRandom(seed: seed)
            let bytes = Corpus.mutated(Corpus.requests, &random)
            let whole = bench.request(bytes)
            let cut = Int.random(in: 0...bytes.count, using: &random)
            let pieces = bench.request(bytes, cuts: [cut])
            check(seed, whole.head == pieces.head, "cut at \(cut)")
            check(seed, agree(whole, pieces) { bench.request(bytes + Self.end, cuts: [cut]) }, "verdict cut at \(cut)")
            guard let head = whole.head else { continue }
            accepted += 1
            check(seed, bytes[head.length - 4..<head.length] == [13, 10, 13, 10], "end of head")
            check(seed, head.path.hasPrefix("/") || head.path == "*", "path \(head.path)")
            check(seed, head.authority.hasPrefix(head.host), "host \(head.host)")
            check(seed, !head.path.contains { " #\t\r\n\0".contains($0) }, "path")
            for field in head.fields { check(seed, isSound(field), "\(field)") }
            rewrite(seed, head, bytes)
        }
        #expect(accepted > Self.seeds.count / 5, "the mutations hit too hard to test anything: \(accepted)")
    }

    @Test func responses() {
        let bench = Bench()
        var accepted = 0
        for seed in Self.seeds {
            var random = SeededRandom(seed: seed)
            let bytes = Corpus.mutated(Corpus.responses, &random)
            let whole = bench.response(bytes)
            let cut = Int.random(in: 0...bytes.count, using: &random)
            let pieces = bench.response(bytes, cuts: [cut])
            check(seed, whole.head == pieces.head, "cut at \(cut)")
            check(seed, agree(whole, pieces) { bench.response(bytes + Self.end, cuts: [cut]) }, "verdict cut at \(cut)")
            guard let head = whole.head else { continue }
            accepted += 1
            check(seed, (100...999).contains(head.status), "status \(head.status)")
            check(seed, !head.keepsAlive || head.framing != .untilClose, "persistence")
            for field in head.fields { check(seed, isSound(field), "\(field)") }
        }
        #expect(accepted > Self.seeds.count / 5)
    }

    @Test func bodies() {
        let bench = Bench()
        let texts = BodyDecoderTests.chunked.map(\.text)
        var accepted = 0
        for seed in Self.seeds {
            var random = SeededRandom(seed: seed)
            let bytes = Corpus.mutated(texts, &random)
            let whole = bench.body(bytes, .chunked)
            let cuts = [Int.random(in: 0...bytes.count, using: &random), bytes.count].sorted()
            check(seed, bench.body(bytes, .chunked, cuts: cuts) == whole, "cut at \(cuts)")
            check(seed, whole.body.count <= bytes.count && (whole.end ?? 0) <= bytes.count, "sizes")
            if whole.end != nil { accepted += 1 }
        }
        #expect(accepted > Self.seeds.count / 5)
    }

    /// Arbitrary bytes, no grammar at all.
    @Test func noise() {
        let bench = Bench()
        for seed in Self.seeds {
            var random = SeededRandom(seed: seed)
            let bytes = (0..<Int.random(in: 0...64, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            _ = bench.request(bytes)
            _ = bench.response(bytes)
            _ = bench.body(bytes, .chunked)
        }
    }

    private static let end = "\r\n\r\n".latinBytes

    /// Whether the whole message and its pieces were refused both or neither. What is wrong with a field name in a late
    /// piece is seen only when the head is whole: then it must be seen `atLast`.
    private func agree<Head>(_ whole: Outcome<Head>, _ pieces: Outcome<Head>, atLast: () -> Outcome<Head>) -> Bool {
        if whole.reason == nil { return pieces.reason == nil }
        return pieces.reason != nil || (pieces == .needMore && atLast().reason != nil)
    }

    /// Writes the head as the proxy does and parses the result: method, path, host, framing and the kept fields stay.
    private func rewrite(_ seed: UInt64, _ head: ParsedRequest, _ bytes: [UInt8]) {
        var parser = RequestHead(limits: HTTPLimits())
        var scanned = 0
        let memory = GuardedMemory(room: 8192)
        let view = memory.view(bytes[...])
        guard let isComplete = try? parser.parse(view, scanned: &scanned), isComplete else {
            check(seed, false, "not parsed twice")
            return
        }
        let text = written { writer in
            HeadWriter.writeRequestLine(parser, of: view, to: &writer)
            HeadWriter.writeField(
                "Host", head.authority.isEmpty ? ByteView("none") : view[parser.authority], to: &writer)
            if head.framing == .chunked { writer.append("Transfer-Encoding: chunked\r\n") }
            HeadWriter.writeFields(parser.fields, of: view, excluding: KnownFieldSet(.host, .expect), to: &writer)
            writer.append("\r\n")
        }
        guard let again = Bench().request(text).head else {
            check(seed, false, "what we write we refuse: \(text.debugDescription)")
            return
        }
        let ours = ["Host", "Transfer-Encoding"]
        check(seed, again.methodText == head.methodText && again.path == head.path, "line \(text.debugDescription)")
        check(seed, again.framing == head.framing, "framing \(text.debugDescription)")
        check(seed, head.authority.isEmpty || again.host == head.host, "host \(text.debugDescription)")
        let kept = head.fields.filter { !$0.isHopByHop && !["host", "expect"].contains($0.name.lowercased()) }
        let found = again.fields.drop { ours.contains($0.name) && !kept.contains($0) }
        check(seed, Array(found) == kept, "fields \(text.debugDescription)")
        check(seed, again.length == text.utf8.count || text.contains { !$0.isASCII }, "length")
    }

    private func isSound(_ field: Field) -> Bool {
        let value = field.value.unicodeScalars
        let isBlank: (Unicode.Scalar?) -> Bool = { $0 == " " || $0 == "\t" }
        return !field.name.isEmpty && field.name.latinBytes.allSatisfy(ByteClass.isToken)
            && field.value.latinBytes.allSatisfy(ByteClass.isFieldValue) && !isBlank(value.first)
            && !isBlank(value.last)
    }

    private func check(_ seed: UInt64, _ condition: Bool, _ what: @autoclosure () -> String) {
        if !condition { Issue.record("seed \(seed): \(what())") }
    }
}
