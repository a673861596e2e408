import HTTP
import HTTP2Wire
import Primitives

@testable import HTTP2

/// A session with a driver that notes what it is told and consumes bodies at once, unless told to stall.
final class Side {
    let pool: HTTP2Pool
    let session: HTTP2Session
    var now = Instant(nanoseconds: 1_000_000_000)
    /// Events as text: "head 1 GET / a.example", "data 1 5", "end 1", "reset 1 CANCEL" …
    var log: [String] = []
    var bodies: [Int32: [UInt8]] = [:]
    /// Fields of the last head of each stream, "name: value", hop-by-hop ones left out.
    var fields: [Int32: [String]] = [:]
    var streams: [Int32: HTTP2Stream] = [:]
    var numbers: [HTTP2Stream: Int32] = [:]
    var consumes = true
    var onEvent: ((HTTP2Event, Side) -> Void)?
    var framings: [Int32: BodyFraming] = [:]
    /// Bytes that could not be taken at once.
    private var waiting: [UInt8] = []

    init(_ role: HTTP2Session.Role, limits: HTTP2Limits = HTTP2Limits(), pool: HTTP2Pool? = nil) {
        self.pool = pool ?? HTTP2Pool(limits: limits)
        guard let session = HTTP2Session(role, pool: self.pool, now: now) else { preconditionFailure("no memory") }
        self.session = session
    }

    /// A server whose client has sent its preface and SETTINGS, and acknowledged ours. What it sent is dropped.
    static func openServer(limits: HTTP2Limits = HTTP2Limits(), settings: [(UInt16, UInt32)] = []) -> Side {
        let side = Side(.server, limits: limits)
        side.receive(Make.preface + Make.settings(settings) + Make.frame(4, 1))
        _ = side.transmit()
        side.log = []
        return side
    }

    /// A client whose server has sent its SETTINGS and acknowledged ours.
    static func openClient(limits: HTTP2Limits = HTTP2Limits(), settings: [(UInt16, UInt32)] = []) -> Side {
        let side = Side(.client, limits: limits)
        side.receive(Make.settings(settings) + Make.frame(4, 1))
        _ = side.transmit()
        side.log = []
        return side
    }

    func receive(_ bytes: [UInt8]) {
        withView(bytes) { view in
            var cursor = 0
            while cursor < view.count {
                let taken = session.receive(view.dropping(first: cursor), now: now)
                drain()
                guard taken > 0 else { return }
                cursor += taken
            }
        }
    }

    /// All that it wants to send, in pieces of at most `room` bytes.
    func transmit(room: Int = 20_000) -> [UInt8] {
        var sent: [UInt8] = []
        while session.wantsTransmit {
            let piece = transmitOnce(room: room)
            if piece.isEmpty { break }
            sent += piece
        }
        return sent
    }

    func transmitOnce(room: Int) -> [UInt8] {
        var memory = [UInt8](repeating: 0, count: room)
        let count = memory.withUnsafeMutableBytes { buffer in
            var writer = ByteWriter(buffer)
            session.transmit(into: &writer, now: now)
            return writer.count
        }
        drain()
        return Array(memory[..<count])
    }

    func frames() -> [TestFrame] { TestFrame.parse(transmit()).frames }

    func advance(milliseconds: UInt64) {
        now = now.adding(milliseconds: milliseconds)
        session.timeout(now: now)
        drain()
    }

    func drain() {
        while let event = session.nextEvent() {
            note(event)
            onEvent?(event, self)
        }
    }

    private func number(_ stream: HTTP2Stream) -> Int32 {
        let number = session.number(of: stream) ?? numbers[stream] ?? -1
        (streams[number], numbers[stream]) = (stream, number)
        return number
    }

    private func note(_ event: HTTP2Event) {
        switch event {
        case .head(let stream):
            let number = number(stream)
            guard let head = session.head(of: stream) else { return log.append("head \(number) missing") }
            log.append("head \(number) \(describe(head))")
            fields[number] = list(head)
            framings[number] = head.pointee.framing
        case .refused(let stream, let reason): log.append("refused \(number(stream)) \(reason.status)")
        case .data(let stream, let view):
            let number = number(stream)
            log.append("data \(number) \(view.count)")
            for index in 0..<view.count { bodies[number, default: []].append(view[index]) }
            if consumes { session.consume(view.count, on: stream) }
        case .trailers(let stream):
            let number = number(stream)
            let text = session.trailers(of: stream).map { list($0).joined(separator: ", ") } ?? "missing"
            log.append("trailers \(number) \(text)")
        case .end(let stream): log.append("end \(number(stream))")
        case .writable(let stream): log.append("writable \(number(stream))")
        case .finished(let stream): log.append("finished \(number(stream))")
        case .reset(let stream, let code): log.append("reset \(number(stream)) \(code.name)")
        case .goAway(let code, let last): log.append("goaway \(code.name) \(last)")
        case .settingsAcknowledged: log.append("settings")
        case .pong(let opaque): log.append("pong \(opaque)")
        }
    }

    private func describe(_ head: UnsafePointer<HTTP2Head>) -> String {
        let bytes = head.pointee.bytes
        if head.pointee.status > 0 { return "\(head.pointee.status)" }
        let parts = [head.pointee.methodBytes, head.pointee.path, head.pointee.authority].map { bytes[$0].string }
        return parts.joined(separator: " ") + (head.pointee.isWebSocket ? " websocket" : "")
    }

    private func list(_ head: UnsafePointer<HTTP2Head>) -> [String] {
        let bytes = head.pointee.bytes
        var lines: [String] = []
        for index in 0..<head.pointee.fields.count where !head.pointee.fields[index].isHopByHop {
            let name = head.pointee.fields.name(index, in: bytes).string
            lines.append("\(name): \(head.pointee.fields.value(index, in: bytes).string)")
        }
        return lines
    }

    // MARK: Asking

    @discardableResult
    func request(
        _ path: StaticString = "/", method: StaticString = "GET", fields more: [(StaticString, StaticString)] = [],
        body: Bool = false
    ) -> HTTP2Stream? {
        var fields = HTTP2Fields()
        fields.beginRequest(
            method: ByteView(method), scheme: ByteView("http"), authority: ByteView("a.example"), path: ByteView(path))
        for (name, value) in more { fields.append(name, ByteView(value)) }
        return session.submitRequest(fields, hasBody: body, now: now)
    }

    @discardableResult
    func respond(
        _ stream: HTTP2Stream?, _ status: Int = 200, fields more: [(StaticString, StaticString)] = [],
        body: Bool = false
    ) -> Bool {
        guard let stream else { return false }
        var fields = HTTP2Fields()
        fields.beginResponse(status: status)
        for (name, value) in more { fields.append(name, ByteView(value)) }
        return session.submitResponse(fields, hasBody: body, on: stream)
    }

    @discardableResult
    func write(_ stream: HTTP2Stream?, _ bytes: [UInt8], end: Bool = false) -> Int? {
        guard let stream else { return nil }
        return withView(bytes) { session.write($0, end: end, on: stream, now: now) }
    }

    @discardableResult
    func sendTrailers(_ stream: HTTP2Stream?, _ more: [(StaticString, StaticString)]) -> Bool {
        guard let stream else { return false }
        var fields = HTTP2Fields()
        for (name, value) in more { fields.append(name, ByteView(value)) }
        return session.sendTrailers(fields, on: stream, now: now)
    }
}

/// Carries bytes between two sides, in pieces of seeded sizes, until neither has anything to say.
func exchange(_ left: Side, _ right: Side, pieces: inout SeededRandom, room: Int = 20_000) {
    func carry(_ from: Side, _ to: Side) -> Bool {
        let bytes = from.transmitOnce(room: room)
        var at = 0
        while at < bytes.count {
            let count = min(bytes.count - at, Int(pieces.next() % 40) == 0 ? 4000 : Int(pieces.next() % 23) + 1)
            to.receive(Array(bytes[at..<at + count]))
            at += count
        }
        return !bytes.isEmpty
    }
    for _ in 0..<100_000 {
        let one = carry(left, right), other = carry(right, left)
        if !one && !other { return }
    }
}

/// Where bytes stand while a view of them is handed in.
func withView<Result>(_ bytes: [UInt8], _ body: (ByteView) throws -> Result) rethrows -> Result {
    try bytes.withUnsafeBytes { try body(ByteView($0)) }
}
