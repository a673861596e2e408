import HTTP
import Testing

@testable import HTTP1

@Suite struct ResponseHeadTests {
    struct Row: Sendable {
        var text: String
        var method = Method.get
        var framing: BodyFraming
        var keepsAlive = true
        var reason = "OK"
    }
    static let rows = [
        Row(text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", framing: .length(5)),
        Row(text: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", framing: .length(0)),
        Row(text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n", framing: .chunked),
        Row(text: "HTTP/1.1 200 OK\r\n", framing: .untilClose, keepsAlive: false),
        Row(text: "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", framing: .untilClose, keepsAlive: false),
        Row(
            text: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n", framing: .length(1),
            keepsAlive: false),
        Row(text: "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n", framing: .length(1), keepsAlive: false),
        Row(text: "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n", framing: .length(1)),
        Row(text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", method: .head, framing: .none),
        Row(text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", method: .head, framing: .none),
        Row(text: "HTTP/1.1 200 OK\r\n", method: .head, framing: .none),
        Row(text: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n", framing: .none, reason: "Not Modified"),
        Row(text: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n", framing: .none, reason: "No Content"),
        Row(text: "HTTP/1.1 205 OK\r\nContent-Length: 0\r\n", framing: .length(0)),
        Row(text: "HTTP/1.1 999 OK\r\nContent-Length: 1\r\n", framing: .length(1)),
        Row(text: "HTTP/1.1 200\r\nContent-Length: 1\r\n", framing: .length(1), reason: ""),
        Row(text: "HTTP/1.1 200 \r\nContent-Length: 1\r\n", framing: .length(1), reason: ""),
        Row(text: "HTTP/1.1 200  a \tb\u{e9} \r\nContent-Length: 1\r\n", framing: .length(1), reason: " a \tb\u{e9} "),
    ]

    @Test(arguments: rows) func framingAndPersistence(row: Row) throws {
        let head = try #require(Bench().response(row.text + "\r\n", to: row.method).head)
        #expect(head.framing == row.framing && head.keepsAlive == row.keepsAlive && head.reason == row.reason)
        #expect(!head.isInterim && !head.isSwitching)
    }

    @Test func interimAndSwitching() throws {
        for status in [100, 102, 103, 199] {
            let head = try #require(Bench().response("HTTP/1.1 \(status) x\r\nContent-Length: 5\r\n\r\n").head)
            #expect(head.isInterim && !head.isSwitching && head.framing == .none)
            #expect(head.fields.map(\.isHopByHop) == [true], "a length on \(status) must not be forwarded")
        }
        let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        let head = try #require(Bench().response(switching).head)
        #expect(head.isSwitching && !head.isInterim && head.framing == .none && !head.keepsAlive)
        #expect(head.length == switching.utf8.count)
    }

    @Test func lengthOfNotModifiedIsForwarded() throws {
        let head = try #require(Bench().response("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n").head)
        #expect(head.fields == [Field(name: "Content-Length", value: "5", isHopByHop: false)])
    }

    static let refusals: [(String, ParseFailure.Reason)] = [
        ("HTTP/1.1 20 OK\r\n", .invalidStatus), ("HTTP/1.1 2000 OK\r\n", .invalidStatus),
        ("HTTP/1.1 099 OK\r\n", .invalidStatus), ("HTTP/1.1  200 OK\r\n", .invalidStatus),
        ("HTTP/1.1 2x0 OK\r\n", .invalidStatus), ("HTTP/1.1 200\tOK\r\n", .invalidStatus),
        ("HTTP/1.1\r\n", .invalidVersion), ("HTTP/1.1\t200 OK\r\n", .invalidVersion),
        ("ICY 200 OK\r\n", .invalidVersion),
        (" HTTP/1.1 200 OK\r\n", .invalidVersion), ("\r\nHTTP/1.1 200 OK\r\n", .invalidVersion),
        ("http/1.1 200 OK\r\n", .invalidVersion), ("HTTP/2.0 200 OK\r\n", .unsupportedVersion),
        ("HTTP/1.1 200 O\0K\r\n", .invalidReasonPhrase), ("HTTP/1.1 200 O\u{7f}\r\n", .invalidReasonPhrase),
        ("HTTP/1.1 200 O\rK\r\n", .bareCR), ("HTTP/1.1 200 OK\n\r\n", .bareLF), ("HTTP/1.1 200\n", .bareLF),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n", .foldedLine), ("HTTP/1.1 200 OK\r\nA : b\r\n", .whitespaceInFieldName),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n", .severalContentLengths),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n", .severalContentLengths),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", .lengthWithTransferEncoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", .unknownTransferCoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n", .chunkedNotFinal),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", .transferEncodingInHTTP10),
        ("HTTP/1.1 304 x\r\nContent-Length: z\r\n", .invalidContentLength),
        ("HTTP/1.1 200 " + Refusal.repeated("r", 8180) + "\r\n", .requestLineTooLong),
        ("HTTP/1.1 200 OK\r\n" + Refusal.repeated("A: b\r\n", 101), .tooManyFields),
    ]

    @Test func refusals() {
        let bench = Bench()
        for (text, reason) in Self.refusals {
            #expect(bench.response(text + "\r\n").reason == reason, "\(text.debugDescription.prefix(100))")
        }
    }
}
