import HTTP
import Primitives
import Testing

@testable import HTTP1

@Suite struct BodyDecoderTests {
    struct Row: Sendable {
        var text: String
        var body: String
        var trailers: String?
        var rest = 0
    }
    static let chunked = [
        Row(text: "0\r\n\r\n", body: ""),
        Row(text: "5\r\nhello\r\n0\r\n\r\nGET", body: "hello", rest: 3),
        Row(text: "A\r\n0123456789\r\n00001\r\nx\r\n000\r\n\r\n", body: "0123456789x"),
        Row(text: "9\r\n\r\n0\r\n\r\nab\r\n0\r\n\r\n", body: "\r\n0\r\n\r\nab"),
        Row(text: "1;a\r\nx\r\n0;b=c;d=\"e;\\\"\tf\u{e9}\";g\r\n\r\n", body: "x"),
        Row(text: "1\r\nx\r\n0\r\nA: b\r\n\r\n", body: "x", trailers: "A: b\r\n"),
        Row(text: "0\r\nA: b\r\nC:\r\n\r\n\r\n", body: "", trailers: "A: b\r\nC:\r\n", rest: 2),
        Row(text: "0000000000000001\r\nx\r\n0\r\n\r\n", body: "x"),
    ]

    /// Whole, and cut in two and three pieces at every place.
    @Test(arguments: chunked) func chunkedBodies(row: Row) {
        let bench = Bench()
        let bytes = row.text.latinBytes
        let expected = BodyOutcome(
            body: row.body.latinBytes, trailers: row.trailers?.latinBytes,
            end: bytes.count - row.rest)
        for first in 0...bytes.count {
            for second in first...bytes.count {
                let outcome = bench.body(bytes, .chunked, cuts: [first, second])
                #expect(outcome == expected, "cut at \(first), \(second)")
            }
        }
        #expect(bench.body(bytes, .chunked, cuts: Array(0..<bytes.count)) == expected)
        for end in 0..<bytes.count - row.rest {
            let cut = bench.body(Array(bytes[..<end]), .chunked, closes: true)
            #expect(cut.end == nil && cut.failure == nil, "cut off at \(end) passed for whole")
        }
    }

    static let refusals: [(String, ParseFailure.Reason, Int)] = [
        ("\r\n", .invalidChunkSize, 0), ("x\r\n", .invalidChunkSize, 0), ("-1\r\n", .invalidChunkSize, 0),
        ("+1\r\n", .invalidChunkSize, 0), ("0x1\r\n", .invalidChunkSize, 1), (" 1\r\n", .invalidChunkSize, 0),
        ("1 \r\n", .invalidChunkSize, 1), ("1\t;a\r\n", .invalidChunkSize, 1), ("1_0\r\n", .invalidChunkSize, 1),
        ("1,\r\n", .invalidChunkSize, 1), ("\u{1}\r\n", .invalidChunkSize, 0), (";a\r\n", .invalidChunkSize, 0),
        ("1\n", .bareLF, 1), ("1\rx", .bareCR, 2), ("1\r\r\n", .bareCR, 2),
        ("4000000000000001\r\n", .chunkSizeOverflow, 15), ("8000000000000000\r\n", .chunkSizeOverflow, 15),
        ("FFFFFFFFFFFFFFFF\r\n", .chunkSizeOverflow, 15), ("10000000000000000\r\n", .chunkSizeOverflow, 16),
        ("00000000000000001\r\n", .chunkSizeOverflow, 16),
        ("1;\r\n", .invalidChunkExtension, 2), ("1; a\r\n", .invalidChunkExtension, 2),
        ("1;a=\r\n", .invalidChunkExtension, 4), ("1;a =b\r\n", .invalidChunkExtension, 3),
        ("1;=b\r\n", .invalidChunkExtension, 2), ("1;a=b\"c\"\r\n", .invalidChunkExtension, 5),
        ("1;a=\"b\"c\r\n", .invalidChunkExtension, 7), ("1;a=\"b\r\n", .invalidChunkExtension, 6),
        ("1;a=\"b\\\r\n", .invalidChunkExtension, 7), ("1;a\n", .bareLF, 3), ("1;a=\"\n", .bareLF, 5),
        ("1;a\rb\r\n", .bareCR, 4), ("1;a\0\r\n", .invalidChunkExtension, 3),
        ("1;a\u{e9}\r\n", .invalidChunkExtension, 3), ("1;;\r\n", .invalidChunkExtension, 2),
        ("1\r\nxy\r\n", .invalidChunkEnd, 4), ("1\r\nx\n", .invalidChunkEnd, 4), ("1\r\nx\rx", .invalidChunkEnd, 5),
        ("1\r\nx0\r\n\r\n", .invalidChunkEnd, 4), ("1\r\nx\r\n\r\n", .invalidChunkSize, 6),
        ("0\r\n\n", .bareLF, 3), ("0\r\n\rx", .bareCR, 3), ("0\r\nA: b\n\r\n", .bareLF, 7),
        ("0\r\nA: \0\r\n\r\n", .controlByte, 6), ("0\r\nA: b\r\n\rx", .bareCR, 9),
        ("1;" + Refusal.repeated("a", 256) + "\r\n", .chunkExtensionTooLong, 257),
        ("0\r\nA: " + Refusal.repeated("a", 9000), .trailersTooLarge, 3),
    ]

    @Test func refusals() {
        let bench = Bench()
        for (text, reason, offset) in Self.refusals {
            let bytes = text.latinBytes
            let expected = BodyOutcome(
                body: reason == .invalidChunkEnd ? [120] : [], failure: .init(reason, offset: offset))
            for cuts in [[], [bytes.count / 2], Array(0..<min(bytes.count, 64))] {
                var outcome = bench.body(bytes, .chunked, cuts: cuts)
                if text.hasPrefix("1\r\nx\r\n") { outcome.body = [] }
                #expect(outcome == expected, "\(text.debugDescription.prefix(60)) cut at \(cuts)")
            }
        }
    }

    @Test func limitsAreExact() {
        let bench = Bench()
        let longest = "1;" + Refusal.repeated("a", 255) + "\r\nx\r\n0\r\n\r\n"
        #expect(bench.body(longest.latinBytes, .chunked).end == longest.utf8.count)
        for excess in 0...1 {
            let text = "0\r\nA: " + Refusal.repeated("a", 8192 - 7 + excess) + "\r\n\r\nmore"
            for cuts in [[], [100], [8000, 8195], Array(8180...8200)] {
                let outcome = bench.body(text.latinBytes, .chunked, cuts: cuts)
                #expect((outcome.end != nil) == (excess == 0), "excess \(excess), cut at \(cuts)")
                #expect(outcome.failure?.reason == (excess == 0 ? nil : .trailersTooLarge))
            }
        }
        let huge = bench.body("4000000000000000\r\nx".latinBytes, .chunked)
        #expect(huge.body == [120] && huge.failure == nil)
    }

    @Test func lengths() throws {
        let bench = Bench()
        #expect(bench.body([], .none).end == 0)
        #expect(bench.body([1], .length(0)).end == 0)
        for cut in 0...6 {
            #expect(
                bench.body([1, 2, 3, 4, 5, 6], .length(4), cuts: [cut]) == BodyOutcome(body: [1, 2, 3, 4], end: 4))
        }
        #expect(bench.body([1, 2], .length(3), closes: true).end == nil)
        #expect(bench.body([1, 2], .untilClose, closes: true) == BodyOutcome(body: [1, 2], end: 2))
        #expect(bench.body([], .untilClose, closes: true).end == 0)
        #expect(bench.body([1, 2], .untilClose).end == nil)
        var decoder = BodyDecoder(.length(3), limits: HTTPLimits())
        var cursor = 0
        #expect(decoder.remaining == 3 && !decoder.isComplete)
        var step = try decoder.next(ByteView("ab"), &cursor)
        #expect(step == .body(0..<2))
        #expect(decoder.remaining == 1)
        cursor = 0
        step = try decoder.next(ByteView("cd"), &cursor)
        #expect(step == .body(0..<1))
        #expect(decoder.remaining == 0 && decoder.isComplete && cursor == 1)
        #expect(BodyDecoder(.chunked, limits: HTTPLimits()).remaining == nil)
    }

    /// The rest at once, or nothing at all.
    @Test func rests() throws {
        var decoder = BodyDecoder(.length(3), limits: HTTPLimits())
        var cursor = 1
        #expect(decoder.takeRest(ByteView("-ab"), &cursor) == nil && cursor == 1 && decoder.remaining == 3)
        #expect(try decoder.next(ByteView("-a"), &cursor) == .body(1..<2))
        cursor = 0
        #expect(decoder.takeRest(ByteView("bcX"), &cursor) == 0..<2 && cursor == 2 && decoder.isComplete)
        #expect(decoder.takeRest(ByteView("bcX"), &cursor) == nil && cursor == 2)
        #expect(try decoder.next(ByteView("bcX"), &cursor) == .end)
        for framing in [BodyFraming.none, .length(0), .chunked, .untilClose] {
            var other = BodyDecoder(framing, limits: HTTPLimits())
            var start = 0
            #expect(other.takeRest(ByteView("abc"), &start) == nil && start == 0, "\(framing)")
        }
    }
}

@Suite struct TrailerTests {
    private func parse(_ text: String) -> Result<[Field], ParseFailure> {
        var table = FieldTable(capacity: 4)
        let memory = GuardedMemory()
        let view = memory.view(text.latinBytes[...])
        do throws(ParseFailure) {
            try parseTrailers(view, into: &table, limits: HTTPLimits())
            return .success(copyFields(table, view))
        } catch {
            return .failure(error)
        }
    }

    @Test func forbiddenOnesAreDropped() throws {
        let forbidden = [
            "Host", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Trailer", "Upgrade", "Content-Type",
            "Content-Encoding", "Content-Range", "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie",
            "X-Forwarded-For", "x-forwarded-anything", "Forwarded", "X-Request-Id", "K-Original-Host", "k-x",
            "Knative-Serving-Revision", "knative-y", "Expect", "Location", "Cache-Control", "WWW-Authenticate",
            "If-Match", "Range", "Max-Forwards",
        ]
        for name in forbidden { #expect(try parse("\(name): x\r\n").get().map(\.isHopByHop) == [true], "\(name)") }
        for name in ["grpc-status", "Server-Timing", "Digest", "X-Checksum", "ETag", "Knativ", "K"] {
            #expect(try parse("\(name): x\r\n").get() == [Field(name: name, value: "x", isHopByHop: false)])
        }
        #expect(try parse("").get().isEmpty)
    }

    @Test func rulesOfHeadsHold() {
        let rows: [(String, ParseFailure.Reason)] = [
            ("A : b\r\n", .whitespaceInFieldName), (" A: b\r\n", .foldedLine), ("A: b\r\n c\r\n", .foldedLine),
            ("A\r\n", .missingColon), (": b\r\n", .emptyFieldName), ("A(: b\r\n", .invalidFieldName),
            ("A: b", .missingColon), ("A: b\r\n\r\n", .missingColon), (Refusal.repeated("A: b\r\n", 5), .tooManyFields),
        ]
        for (text, reason) in rows {
            guard case .failure(let failure) = parse(text) else {
                Issue.record("accepted \(text.debugDescription)")
                continue
            }
            #expect(failure.reason == reason, "\(text.debugDescription)")
        }
    }
}
