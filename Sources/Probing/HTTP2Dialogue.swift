import HTTP
import HTTP2
import Primitives

/// A question over HTTP/2 by prior knowledge: a `GET` whose status decides, or the gRPC health service.
///
/// The session's own deadlines are not watched: the probe's is shorter or the user's choice.
final class HTTP2Dialogue: ProbeDialogue {
    enum Question: Equatable, Sendable {
        case get(path: String, headers: [ProbeHeader])
        /// `grpc.health.v1.Health/Check` for a service; the server has so long to answer.
        case health(service: String, timeoutMilliseconds: UInt64)
    }

    /// What a probe lets the application send; a real answer has some hundred bytes.
    static var limits: HTTP2Limits {
        var limits = HTTP2Limits()
        limits.http.headBytes = 8 << 10
        limits.outboundBytes = 4 << 10
        limits.idleFrames = FloodLimit(perSecond: 10, burst: 100)
        return limits
    }

    private let session: HTTP2Session
    private let question: Question
    private let userAgent: String
    private var stream: HTTP2Stream?
    private var health = HealthAnswer()
    /// The peer's first bytes, held until they show whether it speaks HTTP/2.
    private var opening: [UInt8] = []
    private var speaksHTTP2 = false
    private(set) var verdict: ProbeOutcome?
    private(set) var isOver = false

    /// Nil without memory.
    init?(_ question: Question, port: UInt16, userAgent: String, pool: HTTP2Pool, now: Instant) {
        guard let session = HTTP2Session(.client, pool: pool, now: now) else { return nil }
        self.session = session
        self.question = question
        self.userAgent = userAgent
        switch question {
        case .get(let path, let headers): stream = askForPath(path, headers, port: port, now: now)
        case .health(let service, let milliseconds):
            stream = askForHealth(of: service, milliseconds, port: port, now: now)
        }
        if stream == nil { finish(.failed("the probe's request is too large")) }
    }

    func transmit(into writer: inout ByteWriter, now: Instant) {
        session.transmit(into: &writer, now: now)
        takeEvents()
        settle(now: now)
    }

    func receive(_ bytes: ByteView, now: Instant) {
        if speaksHTTP2 { return feed(bytes, now: now) }
        for index in 0..<bytes.count { opening.append(bytes[index]) }
        guard verdict == nil, let isHTTP2 = Self.isHTTP2(opening) else { return }
        guard isHTTP2 else { return finish(.notHTTP2(Self.otherProtocol(opening))) }
        speaksHTTP2 = true
        let first = opening
        opening = []
        first.withUnsafeBytes { feed(ByteView($0), now: now) }
    }

    func closed(_ reason: ProbeOutcome?, now: Instant) {
        isOver = true
        guard verdict == nil else { return }
        if !speaksHTTP2 {
            verdict = .notHTTP2(Self.otherProtocol(opening))
            return
        }
        session.transportClosed(now: now)
        takeEvents()
        verdict = verdict ?? reason ?? .failed("connection closed before the answer was complete")
    }

    // MARK: The first bytes

    /// Whether a server's first bytes are HTTP/2's: a SETTINGS frame of the connection (RFC 9113 §3.4). Nil: more are
    /// needed to say.
    static func isHTTP2(_ bytes: [UInt8]) -> Bool? {
        guard let first = bytes.first else { return nil }
        // A frame that long is none; and letters begin what else might answer.
        guard first == 0 else { return bytes.count < 5 && "HTTP/".utf8.starts(with: bytes) ? nil : false }
        guard bytes.count >= 9 else { return nil }
        return bytes[3] == 4 && bytes[4] & 1 == 0 && bytes[5..<9].allSatisfy { $0 == 0 }
    }

    private static func otherProtocol(_ bytes: [UInt8]) -> String {
        if bytes.isEmpty { return "the connection was closed when asked for HTTP/2; does the port speak it?" }
        return bytes.starts(with: "HTTP/".utf8)
            ? "the port speaks HTTP/1.1, not HTTP/2" : "the port does not speak HTTP/2"
    }

    // MARK: The question

    private func askForPath(
        _ path: String, _ headers: [ProbeHeader], port: UInt16, now: Instant
    ) -> HTTP2Stream? {
        var authority = "127.0.0.1:\(port)"
        var fields = [("user-agent", userAgent), ("accept", "*/*")]
        for header in headers {
            let known = Array(header.name.utf8).withUnsafeBytes { KnownField.classify(ByteView($0)) }
            if known == .host {
                authority = header.value
                continue
            }
            // Fields of a connection are errors in HTTP/2 (RFC 9113 §8.2.2).
            if KnownFieldSet.hopByHop.contains(known) || known == .contentLength { continue }
            let name = header.name.lowercased()
            fields.removeAll { $0.0 == name && (name == "user-agent" || name == "accept") }
            fields.append((name, header.value))
        }
        let target = path.utf8.first == UInt8(ascii: "/") ? path : "/\(path)"
        return submit(["GET", "http", authority, target], fields, hasBody: false, now: now)
    }

    private func askForHealth(
        of service: String, _ milliseconds: UInt64, port: UInt16, now: Instant
    ) -> HTTP2Stream? {
        let fields = [
            ("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", userAgent),
            ("grpc-timeout", "\(min(milliseconds, 99_999_999))m"),
        ]
        let pseudo = ["POST", "http", "127.0.0.1:\(port)", "/grpc.health.v1.Health/Check"]
        guard let stream = submit(pseudo, fields, hasBody: true, now: now) else { return nil }
        let body = HealthMessages.request(service: service)
        let taken = body.withUnsafeBytes { session.write(ByteView($0), end: true, on: stream, now: now) }
        return taken == body.count ? stream : nil
    }

    /// - Parameter pseudo: Method, scheme, authority and path.
    private func submit(
        _ pseudo: [String], _ fields: [(String, String)], hasBody: Bool, now: Instant
    ) -> HTTP2Stream? {
        let texts = pseudo + fields.flatMap { [$0.0, $0.1] }
        var ends: [Int] = []
        var memory: [UInt8] = []
        for text in texts {
            memory += text.utf8
            ends.append(memory.count)
        }
        return memory.withUnsafeBytes { bytes in
            let all = ByteView(bytes)
            func text(_ index: Int) -> ByteView { all[(index == 0 ? 0 : ends[index - 1])..<ends[index]] }
            var list = HTTP2Fields(capacity: pseudo.count + fields.count)
            list.beginRequest(method: text(0), scheme: text(1), authority: text(2), path: text(3))
            for index in 0..<fields.count {
                list.append(text(pseudo.count + 2 * index), text(pseudo.count + 2 * index + 1))
            }
            return session.submitRequest(list, hasBody: hasBody, now: now)
        }
    }

    // MARK: The answer

    private func feed(_ bytes: ByteView, now: Instant) {
        var cursor = 0
        while cursor < bytes.count {
            let taken = session.receive(bytes.dropping(first: cursor), now: now)
            takeEvents()
            guard taken > 0 else { return }
            cursor += taken
        }
        settle(now: now)
    }

    /// Notices the end: of the connection, or of the stream, and then the server hears that we go on purpose.
    private func settle(now: Instant) {
        if let failure = session.failure { finish(.failed("HTTP/2: the peer broke the protocol (\(failure.name))")) }
        // Some errors nghttp2 answers by itself, with a GOAWAY; the session is over when that has left.
        if verdict == nil, session.isFinished {
            isOver = true
            finish(.failed("HTTP/2: the peer broke the protocol"))
        }
        guard verdict != nil, stream == nil, !isOver else { return }
        isOver = true
        session.goAway(now: now)
    }

    private func takeEvents() {
        while let event = session.nextEvent() {
            switch event {
            case .head(let stream): takeHead(stream)
            case .data(let stream, let bytes): takeData(stream, bytes)
            case .trailers(let stream):
                if let trailers = session.trailers(of: stream) { health.takeTrailers(Self.fields(of: trailers)) }
            case .end, .finished: ended(event)
            case .reset(_, let code):
                stream = nil
                finish(.failed("HTTP/2: the stream was reset (\(code.name))"))
            case .refused, .writable, .goAway, .settingsAcknowledged, .pong: break
            }
        }
    }

    private func takeHead(_ stream: HTTP2Stream) {
        guard let head = session.head(of: stream), !head.pointee.isInterim else { return }
        switch question {
        case .get: finish(ProbeOutcome(status: head.pointee.status))
        case .health:
            health.takeHead(
                status: head.pointee.status, Self.fields(of: head), isWhole: head.pointee.endsStream)
        }
    }

    private func takeData(_ stream: HTTP2Stream, _ bytes: ByteView) {
        session.consume(bytes.count, on: stream)
        guard case .health = question, verdict == nil, !health.takeData(bytes) else { return }
        session.reset(stream, .cancel)
        self.stream = nil
        finish(HealthAnswer.tooLarge)
    }

    private func ended(_ event: HTTP2Event) {
        if case .finished = event { stream = nil }
        if case .health = question { finish(health.outcome) }
    }

    private func finish(_ outcome: ProbeOutcome) {
        if verdict == nil { verdict = outcome }
        if !speaksHTTP2 || session.failure != nil { isOver = true }
    }

    private static func fields(of head: UnsafePointer<HTTP2Head>) -> HealthAnswer.Fields {
        var found = HealthAnswer.Fields()
        let bytes = head.pointee.bytes
        for index in 0..<head.pointee.fields.count {
            let name = head.pointee.fields.name(index, in: bytes)
            let value = head.pointee.fields.value(index, in: bytes)
            if name.equals("content-type") { found.contentType = value.string }
            if name.equals("grpc-status") { found.grpcStatus = value.string }
            if name.equals("grpc-message") { found.grpcMessage = value.string }
        }
        return found
    }
}
