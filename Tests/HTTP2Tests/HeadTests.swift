import HTTP
import HTTP2Wire
import Primitives
import Testing

@testable import HTTP2

struct HeadCase: CustomStringConvertible, Sendable {
    let name: String
    let fields: [(String, String)]
    let end: Bool
    init(_ name: String, _ fields: [(String, String)], end: Bool = true) {
        (self.name, self.fields, self.end) = (name, fields, end)
    }
    var description: String { name }
}

/// RFC 9113 §8: what is a message and what is not. Malformed ones are reset and nothing of them is delivered.
@Suite struct HeadTests {
    static let get = Make.get
    static func with(_ more: (String, String)...) -> [(String, String)] { get + more }
    static func replacing(_ name: String, _ value: String?) -> [(String, String)] {
        get.compactMap { $0.0 == name ? value.map { (name, $0) } : $0 }
    }

    static let malformed: [HeadCase] = [
        HeadCase("no method", replacing(":method", nil)), HeadCase("no scheme", replacing(":scheme", nil)),
        HeadCase("no path", replacing(":path", nil)), HeadCase("no authority", replacing(":authority", nil)),
        HeadCase("empty path", replacing(":path", "")), HeadCase("empty method", replacing(":method", "")),
        HeadCase("empty authority", replacing(":authority", "")),
        HeadCase("two methods", [(":method", "GET")] + get), HeadCase("two paths", get + [(":path", "/b")]),
        HeadCase("two authorities", get + [(":authority", "b")]), HeadCase("two schemes", get + [(":scheme", "http")]),
        HeadCase(
            "late pseudo-field",
            [(":method", "GET"), (":scheme", "http"), (":authority", "a"), ("x", "y"), (":path", "/")]),
        HeadCase("unknown pseudo-field", [(":test", "ok")] + get),
        HeadCase("status in a request", [(":status", "200")] + get),
        HeadCase("space in path", replacing(":path", "/a b")), HeadCase("tab in path", replacing(":path", "/a\tb")),
        HeadCase("fragment in path", replacing(":path", "/a#b")),
        HeadCase("path without slash", replacing(":path", "a")),
        HeadCase("asterisk with GET", replacing(":path", "*")), HeadCase("CR in path", replacing(":path", "/\r\nx: y")),
        HeadCase("space in method", replacing(":method", "GET /x")),
        HeadCase("CRLF in method", replacing(":method", "G\r\n")),
        HeadCase("userinfo", replacing(":authority", "user@a.example")),
        HeadCase("space in authority", replacing(":authority", "a b")),
        HeadCase("path in authority", replacing(":authority", "a/b")),
        HeadCase("port too large", replacing(":authority", "a:65536")),
        HeadCase("capital in a name", with(("X-Test", "1"))), HeadCase("one capital", with(("tesT", "1"))),
        HeadCase("space in a name", with(("a b", "1"))), HeadCase("colon in a name", with(("a:b", "1"))),
        HeadCase("CR in a name", with(("a\r", "1"))), HeadCase("empty name", with(("", "1"))),
        HeadCase("NUL in a value", with(("a", "b\u{0}c"))), HeadCase("CR in a value", with(("a", "b\rc"))),
        HeadCase("LF in a value", with(("a", "b\nc"))), HeadCase("CRLF in a value", with(("a", "b\r\nhost: evil"))),
        HeadCase("space before a value", with(("a", " b"))), HeadCase("space after a value", with(("a", "b "))),
        HeadCase("tab after a value", with(("a", "b\t"))), HeadCase("DEL in a value", with(("a", "b\u{7F}"))),
        HeadCase("connection", with(("connection", "close"))), HeadCase("keep-alive", with(("keep-alive", "5"))),
        HeadCase("proxy-connection", with(("proxy-connection", "close"))),
        HeadCase("upgrade", with(("upgrade", "h2c"))),
        HeadCase("transfer-encoding", with(("transfer-encoding", "chunked"))),
        HeadCase("te: gzip", with(("te", "gzip"))),
        HeadCase("te: trailers, deflate", with(("te", "trailers, deflate"))),
        HeadCase("host differs", with(("host", "b.example"))),
        HeadCase("host is longer", with(("host", "a.example:81"))),
        HeadCase("two hosts", with(("host", "a.example"), ("host", "a.example"))),
        HeadCase("length not a number", with(("content-length", "1x"))),
        HeadCase("length with sign", with(("content-length", "+1"))),
        HeadCase("length as list", with(("content-length", "1, 1"))),
        HeadCase("two lengths", with(("content-length", "0"), ("content-length", "0"))),
        HeadCase("length too large", with(("content-length", "99999999999999999999"))),
        HeadCase("empty length", with(("content-length", ""))),
        HeadCase("length without body", with(("content-length", "5"))),
        HeadCase("protocol without CONNECT", with((":protocol", "websocket"))),
        HeadCase("CONNECT with a path", [(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")]),
        HeadCase("CONNECT without authority", [(":method", "CONNECT")]),
        HeadCase(
            "extended CONNECT without a path",
            [(":method", "CONNECT"), (":scheme", "http"), (":authority", "a"), (":protocol", "websocket")], end: false),
    ]

    @Test(arguments: malformed) func isReset(_ wire: HeadCase) {
        let side = Side.openServer()
        side.receive(Make.headers(1, wire.fields, end: wire.end))
        let frames = side.frames()
        #expect(side.log.isEmpty, "\(wire): \(side.log)")
        #expect(frames.contains { $0.type == 3 && $0.stream == 1 && $0.number() == 1 }, "\(wire): \(frames)")
        side.receive(Make.headers(3, Self.get))
        #expect(side.log == ["head 3 GET / a.example", "end 3"], "\(wire): the connection goes on")
        #expect(side.pool.lentHeads == 1, "\(wire): its memory came back")
    }

    /// The same table against our own rules alone, without nghttp2 in front of them.
    @Test func rulesDoNotDependOnTheLibrary() {
        let limits = HTTP2Limits()
        for wire in Self.malformed {
            var head = HTTP2Head(bytes: 256, fieldCount: 100)
            #expect(verdict(&head, wire.fields, end: wire.end, limits) == .malformed, "\(wire)")
        }
        var head = HTTP2Head(bytes: 64, fieldCount: 100)
        #expect(verdict(&head, Self.get, end: true, limits) == .fine)
    }

    private func verdict(
        _ head: inout HTTP2Head, _ fields: [(String, String)], end: Bool, _ limits: HTTP2Limits
    ) -> HTTP2Head.Verdict {
        head.begin(.request, limits)
        for (name, value) in fields {
            withView(Array(name.utf8)) { name in withView(Array(value.utf8)) { head.take(name, $0) } }
        }
        head.finish(endsStream: end, allowsWebSocket: true)
        return head.verdict
    }

    static let refused: [(HeadCase, Int)] = [
        (HeadCase("CONNECT", [(":method", "CONNECT"), (":authority", "a.example:443")], end: false), 501),
        (
            HeadCase(
                "extended CONNECT to something else",
                [
                    (":method", "CONNECT"), (":scheme", "http"), (":authority", "a"), (":path", "/"),
                    (":protocol", "connect-udp"),
                ],
                end: false), 501
        ),
        (HeadCase("expectation", with(("expect", "200-maybe"))), 417),
        (HeadCase("path too long", replacing(":path", "/" + String(repeating: "a", count: 8192))), 414),
        (HeadCase("value too long", with(("a", String(repeating: "a", count: 32_769)))), 431),
        (HeadCase("name too long", with((String(repeating: "a", count: 257), "1"))), 431),
        (HeadCase("101 fields", get + (0..<101).map { ("x-\($0)", "1") }), 431),
        (HeadCase("other scheme", replacing(":scheme", "ftp")), 400),
    ]

    @Test(arguments: refused) func isAnswered(_ wire: HeadCase, _ status: Int) {
        let side = Side.openServer()
        let block = Make.block(wire.fields)
        var bytes: [UInt8] = [], at = 0
        while at < block.count {
            let piece = Array(block[at..<min(block.count, at + 16_000)])
            at += piece.count
            bytes += Make.frame(
                bytes.isEmpty ? 1 : 9, (at == block.count ? 4 : 0) | (bytes.isEmpty && wire.end ? 1 : 0), 1, piece)
        }
        side.receive(bytes)
        #expect(side.log == ["refused 1 \(status)"], "\(wire)")
        #expect(side.respond(side.streams[1], status))
        let frames = side.frames()
        #expect(frames.contains { $0.type == 1 && $0.stream == 1 && $0.flags & 1 == 1 }, "\(wire): \(frames)")
    }

    /// 64 KiB in all: the answer is 431, and the connection goes on.
    @Test func largeListIsAnswered() {
        let side = Side.openServer()
        let block = Make.block(Self.get + (0..<3).map { ("x-\($0)", String(repeating: "v", count: 24_000)) })
        side.receive(Make.frame(1, 1, 1, Array(block[..<16_000])))
        for start in stride(from: 16_000, to: block.count, by: 16_000) {
            let end = min(start + 16_000, block.count)
            side.receive(Make.frame(9, end == block.count ? 4 : 0, 1, Array(block[start..<end])))
        }
        #expect(side.log == ["refused 1 431"])
        side.receive(Make.headers(3, Self.get))
        #expect(side.log.contains("head 3 GET / a.example"))
    }

    @Test func hostComesFirstWhateverWasSent() {
        let side = Side.openServer()
        side.receive(Make.headers(1, Self.with(("host", "A.example"), ("accept", "x"))))
        #expect(side.fields[1] == ["host: a.example", "accept: x"])
        side.receive(Make.headers(3, Self.replacing(":authority", nil) + [("host", "b.example:8080")]))
        #expect(side.fields[3] == ["host: b.example:8080"] && side.log.contains("head 3 GET / b.example:8080"))
        side.receive(Make.headers(5, Self.with(("accept", "x"))))
        #expect(side.fields[5]?.filter { $0.hasPrefix("host") } == ["host: a.example"])
    }

    @Test func largeHeadsWeighAsManySmallOnes() {
        let side = Side.openServer()
        side.receive(Make.headers(1, Self.with(("x-long", String(repeating: "a", count: 12_000))), end: false))
        #expect(side.pool.lentHeads == 1 && side.pool.weighedHeads > 3, "\(side.pool.weighedHeads)")
        side.receive(Make.headers(3, Make.post, end: false))
        let two = side.pool.weighedHeads
        if let stream = side.streams[1] { side.session.reset(stream, .cancel) }
        _ = side.transmit()
        #expect(side.pool.weighedHeads == 1 && two > 4, "\(side.pool.weighedHeads) \(two)")
    }

    @Test func cookieCrumbsAreJoined() {
        let side = Side.openServer()
        side.receive(
            Make.headers(1, Self.with(("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2"), ("cookie", "c=3"))))
        #expect(side.fields[1]?.filter { $0.hasPrefix("cookie") } == ["cookie: a=1; b=2; c=3"])
        side.receive(Make.headers(3, Self.with(("cookie", "a=1"))))
        #expect(side.fields[3]?.filter { $0.hasPrefix("cookie") } == ["cookie: a=1"])
    }

    @Test func hopByHopFieldsAreFlagged() {
        let side = Side.openServer()
        side.receive(
            Make.headers(1, Self.with(("te", "trailers"), ("trailer", "x"), ("proxy-authorization", "b"), ("a", "b"))))
        #expect(side.fields[1]?.filter { !$0.hasPrefix("host") } == ["a: b"])
        let head = side.streams[1].flatMap { side.session.head(of: $0) }
        #expect(head?.pointee.acceptsTrailers == true)
    }

    /// The lines stand as HTTP/1.1 writes them, so a writer copies them in runs.
    @Test func linesAreThoseOfHTTP1() {
        let side = Side.openServer()
        side.receive(Make.headers(1, Self.with(("accept", "x"), ("a", ""))))
        guard let head = side.streams[1].flatMap({ side.session.head(of: $0) }) else { return #expect(Bool(false)) }
        let bytes = head.pointee.bytes
        for index in 0..<head.pointee.fields.count {
            let line = head.pointee.fields[index]
            #expect(line.isPlain)
            #expect(bytes[line.nameRange.upperBound..<Int(line.valueStart)].string == ": ")
            #expect(bytes[line.valueRange.upperBound..<line.valueRange.upperBound + 2].string == "\r\n")
        }
        #expect(bytes[head.pointee.host].string == "a.example" && head.pointee.method == .get)
    }

    @Test func framingIsTold() {
        let side = Side.openServer()
        side.receive(Make.headers(1, Make.get) + Make.headers(3, Make.post, end: false))
        side.receive(Make.headers(5, Make.post + [("content-length", "3")], end: false))
        #expect(side.framings == [1: .none, 3: .chunked, 5: .length(3)])
    }

    @Test func lengthAgainstData() {
        for (sent, isFine) in [(3, true), (2, false), (4, false)] {
            let side = Side.openServer()
            side.receive(
                Make.headers(1, Make.post + [("content-length", "3")], end: false) + Make.data(1, sent, end: true))
            let resets = side.frames().filter { $0.type == 3 }
            #expect(resets.isEmpty == isFine && side.log.contains("end 1") == isFine, "\(sent): \(side.log)")
            #expect(isFine || side.log.last == "reset 1 PROTOCOL_ERROR", "\(side.log)")
        }
    }

    @Test func extendedConnect() {
        let fields = [
            (":method", "CONNECT"), (":scheme", "https"), (":authority", "a.example"), (":path", "/chat"),
            (":protocol", "websocket"), ("sec-websocket-version", "13"),
        ]
        let side = Side.openServer()
        side.receive(Make.headers(1, fields, end: false))
        #expect(side.log == ["head 1 CONNECT /chat a.example websocket"])
        #expect(side.respond(side.streams[1], 200, body: true))
        side.receive(Make.data(1, 5))
        #expect(side.write(side.streams[1], [1, 2, 3]) == 3)
        #expect(side.frames().contains { $0.type == 0 && $0.payload == [1, 2, 3] && $0.flags == 0 })
        var limits = HTTP2Limits()
        limits.allowsWebSocket = false
        let closed = Side.openServer(limits: limits)
        closed.receive(Make.headers(1, fields, end: false))
        #expect(closed.log.isEmpty && closed.frames().contains { $0.type == 3 && $0.number() == 1 })
    }

    static let badTrailers: [HeadCase] = [
        HeadCase("pseudo-field", [(":path", "/")]), HeadCase("capital", [("X", "1")]),
        HeadCase("without END_STREAM", [("x", "1")], end: false), HeadCase("connection", [("connection", "x")]),
    ]

    @Test(arguments: badTrailers) func trailersAreReset(_ wire: HeadCase) {
        let side = Side.openServer()
        side.receive(
            Make.headers(1, Make.post, end: false) + Make.data(1, 1) + Make.headers(1, wire.fields, end: wire.end))
        #expect(side.frames().contains { $0.type == 3 && $0.number() == 1 }, "\(wire)")
        #expect(!side.log.contains("end 1") && side.log.last == "reset 1 PROTOCOL_ERROR", "\(wire): \(side.log)")
    }

    @Test func forbiddenTrailersAreFlagged() {
        let side = Side.openServer()
        let fields = [
            ("host", "b"), ("x-sum", "1"), ("authorization", "b"), ("k-network-hash", "h"),
        ]
        side.receive(Make.headers(1, Make.post, end: false) + Make.headers(1, fields))
        #expect(side.log.contains("trailers 1 x-sum: 1") && side.log.last == "end 1", "\(side.log)")
    }

    static let badResponses: [HeadCase] = [
        HeadCase("no status", [("a", "b")]), HeadCase("status of letters", [(":status", "2xx")]),
        HeadCase("101", [(":status", "101")]), HeadCase("two statuses", [(":status", "200"), (":status", "200")]),
        HeadCase("interim with END_STREAM", [(":status", "103")]),
        HeadCase("method", [(":status", "200"), (":method", "GET")]),
        HeadCase("connection", [(":status", "200"), ("connection", "close")]),
        HeadCase("transfer-encoding", [(":status", "200"), ("transfer-encoding", "chunked")]),
        HeadCase("CRLF", [(":status", "200"), ("a", "b\r\nc: d")]),
        HeadCase("length without body", [(":status", "200"), ("content-length", "4")]),
    ]

    @Test(arguments: badResponses) func responsesAreReset(_ wire: HeadCase) {
        let side = Side.openClient()
        #expect(side.request() != nil)
        _ = side.transmit()
        side.receive(Make.headers(1, wire.fields))
        #expect(side.frames().contains { $0.type == 3 && $0.number() == 1 }, "\(wire)")
        #expect(side.log == ["reset 1 PROTOCOL_ERROR"], "\(wire): \(side.log)")
    }
}
