import HTTP2
import Primitives
import Testing

@testable import LocalPlatform
@testable import Probing

/// A server's session in memory that a dialogue talks to. What it answers is a test's own.
private final class MemoryServer {
    let session: HTTP2Session
    let now = Instant(nanoseconds: 1_000_000_000)
    var request: [String] = []
    var body: [UInt8] = []
    private var early: [UInt8] = []
    private let answer: (MemoryServer, HTTP2Stream) -> Void

    init(_ answer: @escaping (MemoryServer, HTTP2Stream) -> Void) throws {
        session = try #require(HTTP2Session(.server, pool: HTTP2Pool(limits: HTTP2Limits()), now: now))
        self.answer = answer
    }

    func head(_ stream: HTTP2Stream, _ status: Int, _ fields: [(StaticString, StaticString)] = [], body: Bool) {
        var list = HTTP2Fields()
        list.beginResponse(status: status)
        for (name, value) in fields { list.append(name, ByteView(value)) }
        let isTaken = session.submitResponse(list, hasBody: body, on: stream)
        #expect(isTaken)
    }

    func data(_ stream: HTTP2Stream, _ bytes: [UInt8], end: Bool = false) {
        let taken = bytes.withUnsafeBytes { session.write(ByteView($0), end: end, on: stream, now: now) }
        #expect(taken == bytes.count)
    }

    func trailers(_ stream: HTTP2Stream, _ fields: [(StaticString, StaticString)]) {
        var list = HTTP2Fields()
        for (name, value) in fields { list.append(name, ByteView(value)) }
        let isTaken = session.sendTrailers(list, on: stream, now: now)
        #expect(isTaken)
    }

    func serving(_ stream: HTTP2Stream) {
        head(stream, 200, [("content-type", "application/grpc")], body: true)
        data(stream, [0, 0, 0, 0, 2, 8, 1])
        trailers(stream, [("grpc-status", "0")])
    }

    /// Takes what a dialogue said and returns what the server says.
    func take(_ bytes: [UInt8]) -> [UInt8] {
        bytes.withUnsafeBytes { raw in
            var cursor = 0
            while cursor < raw.count {
                cursor += session.receive(ByteView(raw).dropping(first: cursor), now: now)
                takeEvents()
            }
        }
        return transmit()
    }

    /// Makes a frame of what was written so far.
    func sendNow() { early = transmit() }

    func transmit() -> [UInt8] {
        defer { early = [] }
        var memory = [UInt8](repeating: 0, count: 65_536)
        let count = memory.withUnsafeMutableBytes { buffer in
            var writer = ByteWriter(buffer)
            session.transmit(into: &writer, now: now)
            return writer.count
        }
        takeEvents()
        return early + memory[..<count]
    }

    private func takeEvents() {
        while let event = session.nextEvent() {
            switch event {
            case .head(let stream): note(stream)
            case .data(let stream, let view):
                for index in 0..<view.count { body.append(view[index]) }
                session.consume(view.count, on: stream)
            case .end(let stream): answer(self, stream)
            default: break
            }
        }
    }

    private func note(_ stream: HTTP2Stream) {
        guard let head = session.head(of: stream) else { return }
        let bytes = head.pointee.bytes
        request = [head.pointee.methodBytes, head.pointee.path, head.pointee.authority].map { bytes[$0].string }
        for index in 0..<head.pointee.fields.count {
            let fields = (head.pointee.fields.name(index, in: bytes), head.pointee.fields.value(index, in: bytes))
            request.append("\(fields.0.string): \(fields.1.string)")
        }
    }
}

@Suite struct HTTP2DialogueTests {
    private let now = Instant(nanoseconds: 1_000_000_000)

    private func dialogue(_ question: HTTP2Dialogue.Question = .health(service: "a.B", timeoutMilliseconds: 250)) throws
        -> HTTP2Dialogue
    {
        try #require(
            HTTP2Dialogue(
                question, port: 8080, userAgent: ProbeSpec.userAgent,
                pool: HTTP2Pool(limits: HTTP2Dialogue.limits), now: now))
    }

    private func said(_ dialogue: HTTP2Dialogue, room: Int = 4_096) -> [UInt8] {
        var all: [UInt8] = []
        while true {
            var memory = [UInt8](repeating: 0, count: room)
            let count = memory.withUnsafeMutableBytes { buffer in
                var writer = ByteWriter(buffer)
                dialogue.transmit(into: &writer, now: now)
                return writer.count
            }
            all += memory[..<count]
            if count == 0 { return all }
        }
    }

    /// Both talk until neither has anything to say; the server's bytes come in pieces of `size`.
    private func converse(_ dialogue: HTTP2Dialogue, _ server: MemoryServer, size: Int = 4_096) {
        for _ in 0..<100 {
            let asked = said(dialogue)
            let answered = asked.isEmpty ? server.transmit() : server.take(asked)
            if asked.isEmpty, answered.isEmpty { return }
            var cursor = 0
            while cursor < answered.count, !dialogue.isOver {
                let piece = answered[cursor..<min(cursor + size, answered.count)]
                Array(piece).withUnsafeBytes { dialogue.receive(ByteView($0), now: now) }
                cursor += piece.count
            }
            if dialogue.isOver { return }
        }
        Issue.record("they never came to an end")
    }

    @Test func theHealthServiceIsAsked() throws {
        let server = try MemoryServer { $0.serving($1) }
        let dialogue = try dialogue()
        converse(dialogue, server)
        #expect(dialogue.verdict == .passed && dialogue.isOver)
        #expect(
            server.request == [
                "POST", "/grpc.health.v1.Health/Check", "127.0.0.1:8080", "content-type: application/grpc",
                "te: trailers", "user-agent: kube-probe/", "grpc-timeout: 250m", "host: 127.0.0.1:8080",
            ])
        #expect(server.body == [0, 0, 0, 0, 5, 10, 3] + Array("a.B".utf8))
        // The end is announced, not just made.
        _ = server.take(said(dialogue))
        #expect(server.session.peerIsDraining)
    }

    @Test(arguments: [1, 2, 8, 9, 10, 100]) func answersInPieces(size: Int) throws {
        let server = try MemoryServer { server, stream in
            server.head(stream, 200, [("content-type", "application/grpc")], body: true)
            for byte in [0, 0, 0, 0, 2, 8] as [UInt8] {
                server.data(stream, [byte])
                server.sendNow()
            }
            server.data(stream, [1])
            server.trailers(stream, [("grpc-status", "0")])
        }
        let dialogue = try dialogue()
        converse(dialogue, server, size: size)
        #expect(dialogue.verdict == .passed && dialogue.isOver)
    }

    @Test func answersOfOneHead() throws {
        let server = try MemoryServer { server, stream in
            server.head(
                stream, 200,
                [("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "unknown%20service")],
                body: false)
        }
        let dialogue = try dialogue()
        converse(dialogue, server)
        #expect(
            dialogue.verdict
                == .failed(
                    "gRPC status 5 NOT_FOUND: the health service does not know the service asked for: unknown service"))
        #expect(dialogue.isOver)
    }

    @Test func interimHeadsArePassedOver() throws {
        let server = try MemoryServer { server, stream in
            var list = HTTP2Fields()
            list.beginResponse(status: 103)
            let isTaken = server.session.submitInterim(list, on: stream)
            #expect(isTaken)
            server.serving(stream)
        }
        let dialogue = try dialogue()
        converse(dialogue, server)
        #expect(dialogue.verdict == .passed)
    }

    @Test func endsWithoutStatus() throws {
        let server = try MemoryServer { server, stream in
            server.head(stream, 200, [("content-type", "application/grpc")], body: true)
            server.data(stream, [0, 0, 0, 0, 2, 8, 1], end: true)
        }
        let dialogue = try dialogue()
        converse(dialogue, server)
        #expect(dialogue.verdict == .failed("gRPC: the answer ends without grpc-status"))
    }

    @Test func tooMuchIsCutShort() throws {
        let server = try MemoryServer { server, stream in
            server.head(stream, 200, [("content-type", "application/grpc")], body: true)
            server.data(stream, [UInt8](repeating: 0, count: 30_000))
        }
        let dialogue = try dialogue()
        converse(dialogue, server)
        #expect(dialogue.verdict == .failed("gRPC: answer of more than 1024 bytes") && dialogue.isOver)
    }

    @Test func resetsAreReasons() throws {
        let server = try MemoryServer { server, stream in server.session.reset(stream, .refusedStream) }
        let dialogue = try dialogue()
        converse(dialogue, server)
        #expect(dialogue.verdict == .failed("HTTP/2: the stream was reset (REFUSED_STREAM)") && dialogue.isOver)
    }

    @Test func tooLargeHeadsAreReasons() throws {
        let server = try MemoryServer { server, stream in
            var list = HTTP2Fields()
            list.beginResponse(status: 200)
            let long = [UInt8](repeating: UInt8(ascii: "x"), count: 9_000)
            let isTaken = long.withUnsafeBytes { bytes in
                list.append("x-long", ByteView(bytes))
                return server.session.submitResponse(list, hasBody: true, on: stream)
            }
            #expect(isTaken)
        }
        let dialogue = try dialogue()
        converse(dialogue, server)
        #expect(dialogue.verdict == .failed("HTTP/2: the stream was reset (ENHANCE_YOUR_CALM)") && dialogue.isOver)
    }

    /// The peer goes in the middle of its answer, or breaks the protocol.
    @Test func brokenConnections() throws {
        let server = try MemoryServer { server, stream in
            server.head(stream, 200, [("content-type", "application/grpc")], body: true)
        }
        let cut = try dialogue()
        converse(cut, server)
        #expect(cut.verdict == nil)
        cut.closed(nil, now: now)
        #expect(cut.verdict == .failed("HTTP/2: the stream was reset (CANCEL)") && cut.isOver)

        let broken = try dialogue()
        _ = said(broken)
        let bytes: [UInt8] = [0, 0, 0, 4, 0, 0, 0, 0, 0] + [0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1]  // RST of stream 0
        bytes.withUnsafeBytes { broken.receive(ByteView($0), now: now) }
        _ = said(broken)
        #expect(broken.verdict == .failed("HTTP/2: the stream was reset (PROTOCOL_ERROR)"))
        #expect(broken.isOver)
    }

    // MARK: Other protocols

    @Test(arguments: [
        ("HTTP/1.1 400 Bad Request\r\n", "the port speaks HTTP/1.1, not HTTP/2"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "the port does not speak HTTP/2"), ("H", "the port does not speak HTTP/2"),
        ("HTTQ", "the port does not speak HTTP/2"),
        ("\u{0}\u{0}\u{4}\u{8}\u{0}\u{0}\u{0}\u{0}\u{0}", "the port does not speak HTTP/2"),
        ("", "the connection was closed when asked for HTTP/2; does the port speak it?"),
    ])
    func otherProtocols(answer: String, reason: String) throws {
        for size in [1, 100] {
            let dialogue = try dialogue()
            _ = said(dialogue)
            let bytes = Array(answer.utf8)
            var cursor = 0
            while cursor < bytes.count {
                let piece = Array(bytes[cursor..<min(cursor + size, bytes.count)])
                piece.withUnsafeBytes { dialogue.receive(ByteView($0), now: now) }
                cursor += size
            }
            dialogue.closed(.failed("broken pipe"), now: now)
            #expect(dialogue.verdict == .notHTTP2(reason), "in pieces of \(size)")
            #expect(dialogue.isOver)
        }
    }

    @Test func firstBytes() {
        #expect(HTTP2Dialogue.isHTTP2([]) == nil)
        #expect(HTTP2Dialogue.isHTTP2([0, 0, 6, 4, 0, 0, 0, 0]) == nil)
        #expect(HTTP2Dialogue.isHTTP2([0, 0, 6, 4, 0, 0, 0, 0, 0]) == true)
        #expect(HTTP2Dialogue.isHTTP2([0, 0, 0, 4, 1, 0, 0, 0, 0]) == false, "an acknowledgement comes later")
        #expect(HTTP2Dialogue.isHTTP2([0, 0, 0, 4, 0, 0, 0, 0, 1]) == false, "a stream has no settings")
        #expect(HTTP2Dialogue.isHTTP2(Array("HTTP".utf8)) == nil)
        #expect(HTTP2Dialogue.isHTTP2(Array("HTTP/".utf8)) == false)
    }

    // MARK: GET

    @Test(arguments: [(200, nil), (399, nil), (404, "HTTP status 404"), (503, "HTTP status 503")])
    func statusesOfGET(status: Int, reason: String?) throws {
        let server = try MemoryServer { server, stream in
            server.head(stream, status, body: true)
            server.data(stream, [UInt8](repeating: 1, count: 5_000), end: true)
        }
        let headers = [
            ProbeSpec.Header(name: "X-Probe", value: "Yes"), .init(name: "Host", value: "a.example"),
            .init(name: "Connection", value: "close"), .init(name: "USER-AGENT", value: "me"),
            .init(name: "Upgrade", value: "x"),
        ]
        let dialogue = try dialogue(.get(path: "up?a=b", headers: headers))
        converse(dialogue, server)
        #expect(dialogue.verdict == reason.map(ProbeOutcome.failed) ?? .passed)
        #expect(dialogue.isOver, "the body was read to its end")
        #expect(
            server.request == [
                "GET", "/up?a=b", "a.example", "accept: */*", "x-probe: Yes", "user-agent: me", "host: a.example",
            ])
    }
}
