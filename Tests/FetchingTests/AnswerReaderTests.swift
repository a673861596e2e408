import Primitives
import Testing

@testable import Fetching

/// Answers in every framing, cut at every place, within limits and beyond them.
@Suite struct AnswerReaderTests {
    /// How an answer ended.
    enum End: Equatable {
        case complete(FetchReply, keepsAlive: Bool)
        case broken(String)
        /// Its bytes are over, and so is the connection: cut off.
        case cut
    }

    /// Gives `text` in pieces as `next` says, then the end of the connection.
    private func read(_ text: String, limits: AnswerLimits = AnswerLimits(), piece next: () -> Int) -> End {
        var reader = AnswerReader(limits: limits)
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let piece = rest.prefix(max(1, min(next(), AnswerReader.pieceBytes)))
            rest = rest.dropFirst(piece.count)
            switch piece.withUnsafeBytes({ reader.take(ByteView($0)) }) {
            case .needMore: continue
            case .complete:
                // What is behind the answer is only seen if it comes with its last byte.
                return .complete(reader.reply, keepsAlive: reader.keepsAlive)
            case .broken(let problem): return .broken(problem)
            }
        }
        return reader.end() ? .complete(reader.reply, keepsAlive: reader.keepsAlive) : .cut
    }

    private func whole(_ text: String, limits: AnswerLimits = AnswerLimits()) -> End {
        read(text, limits: limits) { .max }
    }

    private func reply(_ status: Int, _ body: String = "", type: String = "", retry: Int? = nil) -> FetchReply {
        FetchReply(status: status, contentType: type, retryAfterSeconds: retry, body: Array(body.utf8))
    }

    private var table: [(String, End)] {
        [
            (
                "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\r\nabc",
                .complete(reply(200, "abc", type: "a/b"), keepsAlive: true)
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                .complete(reply(200), keepsAlive: false)
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", .complete(reply(200, "x"), keepsAlive: false)),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", .complete(reply(200, "to the end"), keepsAlive: false)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\nT: u\r\n\r\n",
                .complete(reply(200, "abc"), keepsAlive: true)
            ),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", .complete(reply(204), keepsAlive: true)),
            (
                "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 503 Busy\r\nRetry-After: 7\r\n"
                    + "Content-Length: 2\r\n\r\nno",
                .complete(reply(503, "no", retry: 7), keepsAlive: true)
            ),
            (
                "HTTP/1.1 429 Slow\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
                .complete(reply(429), keepsAlive: true)
            ),
            (
                "HTTP/1.1 429 Slow\r\nRetry-After: 99999999999\r\nContent-Length: 0\r\n\r\n",
                .complete(reply(429), keepsAlive: true)
            ),
            ("", .cut), ("HTTP/1.1 200", .cut), ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", .cut),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", .cut),
            ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", .broken("it switches protocols")),
            (
                String(repeating: "HTTP/1.1 100 Go\r\n\r\n", count: 5),
                .broken("it has too many interim answers")
            ),
        ]
    }

    /// Every answer means the same whole, byte by byte, and in any pieces.
    @Test func framingsInAllPieces() {
        var random = SeededRandom(seed: 11)
        for (text, end) in table {
            #expect(whole(text) == end, "\(text)")
            #expect(read(text) { 1 } == end, "byte by byte: \(text)")
            for _ in 0..<50 {
                #expect(read(text) { Int.random(in: 1...9, using: &random) } == end, "\(text)")
            }
        }
    }

    @Test func whatIsNoAnswerIsRefused() {
        for text in [
            "nonsense\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n", "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "HTTP/1.1 20 OK\r\n\r\n",
        ] {
            guard case .broken = whole(text) else {
                Issue.record("\(text) is taken as \(whole(text))")
                continue
            }
        }
    }

    /// At each limit all is well; one more is too much.
    @Test func limits() {
        var limits = AnswerLimits()
        limits.bodyBytes = 5
        limits.fieldCount = 2
        limits.headBytes = 100
        limits.interims = 1
        func ends(_ text: String) -> Bool {
            if case .complete = whole(text, limits: limits) { true } else { false }
        }
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        #expect(ends("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345"))
        #expect(!ends("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n123456"))
        #expect(ends(chunked + "4\r\n1234\r\n1\r\n5\r\n0\r\n\r\n"))
        #expect(!ends(chunked + "4\r\n1234\r\n2\r\n56\r\n0\r\n\r\n"))
        #expect(ends("HTTP/1.1 200 OK\r\n\r\n12345") && !ends("HTTP/1.1 200 OK\r\n\r\n123456"))
        #expect(ends("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n"))
        #expect(!ends("HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\nContent-Length: 0\r\n\r\n"))
        let rest = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: \r\n\r\n"
        let filling = String(repeating: "x", count: 100 - rest.utf8.count)
        #expect(ends(rest.replacing("A: ", with: "A: \(filling)")))
        #expect(!ends(rest.replacing("A: ", with: "A: \(filling)x")))
        let go = "HTTP/1.1 100 Go\r\n\r\n", done = "HTTP/1.1 204 Done\r\n\r\n"
        #expect(ends(go + done) && !ends(go + go + done))
        // A head that never ends is not read for ever.
        var sent = 0
        let endless = "HTTP/1.1 200 OK\r\n" + String(repeating: "A: b\r\n", count: 100_000)
        let end = read(endless, limits: limits) {
            sent += 64
            return 64
        }
        guard case .broken = end else {
            Issue.record("an endless head is read to its end")
            return
        }
        #expect(sent <= 256, "\(sent) bytes were read")
    }

    @Test func bodiesMayBeThrownAway() {
        var limits = AnswerLimits()
        limits.keepsBody = false
        limits.bodyBytes = 4
        let head = "HTTP/1.1 200 OK\r\nContent-Length: "
        #expect(whole(head + "4\r\n\r\nabcd", limits: limits) == .complete(reply(200), keepsAlive: true))
        #expect(whole(head + "5\r\n\r\nabcde", limits: limits) == .broken("it is longer than 4 bytes"))
    }

    /// Bytes behind an answer would be read as the next one: the connection is not used again. After `reset` a reader
    /// knows nothing of the answer before.
    @Test func answersInARow() {
        let first = "HTTP/1.1 200 OK\r\nRetry-After: 1\r\nContent-Type: x\r\nContent-Length: 1\r\n\r\na"
        #expect(whole(first + "b") == .complete(reply(200, "a", type: "x", retry: 1), keepsAlive: false))
        var reader = AnswerReader(limits: AnswerLimits())
        let answers = [(first, reply(200, "a", type: "x", retry: 1)), ("HTTP/1.1 404 No\r\n\r\n", reply(404))]
        for _ in 0..<3 {
            for (text, expected) in answers {
                reader.reset()
                #expect(!reader.hasBegun && reader.reply == FetchReply(status: 0))
                var step = Array(text.utf8).withUnsafeBytes { reader.take(ByteView($0)) }
                if step == .needMore, reader.end() { step = .complete }
                #expect(step == .complete && reader.reply == expected && reader.hasBegun)
            }
        }
    }
}
