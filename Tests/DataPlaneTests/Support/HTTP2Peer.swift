import EventLoop
import Glibc
import HTTP2Wire
import Primitives

/// One stream as a peer has received it: no rule but those of frames has been applied.
struct HTTP2Message {
    /// Every head, in order: interim ones, then the final one.
    var heads: [[(String, String)]] = []
    var body: [UInt8] = []
    var trailers: [(String, String)]?
    var hasEnded = false
    var resetCode: UInt32?
    /// Lengths of the DATA frames.
    var pieces: [Int] = []

    var head: [(String, String)] { heads.last ?? [] }
    var status: Int { value(":status").flatMap { Int($0) } ?? 0 }
    var text: String { String(decoding: body, as: UTF8.self) }
    var isOver: Bool { hasEnded || resetCode != nil }

    func value(_ name: String) -> String? { values(name).first }
    func values(_ name: String) -> [String] { head.filter { $0.0 == name }.map(\.1) }
    /// "name: value" of the last head, pseudo-fields too, without those in `leftOut`.
    func lines(without leftOut: Set<String> = []) -> [String] {
        head.filter { !leftOut.contains($0.0) }.map { "\($0.0): \($0.1)" }
    }
}

/// One end of a connection of HTTP/2 in the hands of a test, a client or a pod: says exactly the frames it is told to
/// say, besides acknowledging SETTINGS, answering PING and, unless told not to, giving windows back.
final class HTTP2Peer {
    let peer: Peer
    let isClient: Bool
    /// Whether bytes of bodies are given back as they come.
    var givesWindow = true
    var acknowledgesSettings = true
    private(set) var streams: [UInt32: HTTP2Message] = [:]
    /// Streams that the other side opened, in order, and how many of them `nextStream` has told.
    private(set) var opened: [UInt32] = []
    private var told = 0
    /// Streams that the other side opened and `nextStream` has not told.
    var untoldStreams: Int { opened.count - told }
    private(set) var goAways: [(last: UInt32, code: UInt32)] = []
    private(set) var settings: [UInt16: UInt32] = [:]
    private(set) var pongs = 0
    private(set) var hasEnded = false
    private var blocks = HeaderBlocks()
    private var open: (stream: UInt32, block: [UInt8], ends: Bool)?
    private var lastStream: UInt32
    // What the other side lets us send.
    private var window = 65_535
    private var windows: [UInt32: Int] = [:]

    /// A client, which says its preface unless that has been said. `nextStream` is 3 when stream 1 has been opened.
    init(
        client peer: Peer, settings: [(UInt16, UInt32)] = [], nextStream: UInt32 = 1, saysPreface: Bool = true
    ) throws {
        (self.peer, isClient, lastStream) = (peer, true, nextStream &- 2)
        if saysPreface { try peer.send(Make.preface + Make.settings(settings)) }
    }

    /// A pod's side of a connection: takes the preface.
    init(pod peer: Peer, settings: [(UInt16, UInt32)] = []) throws {
        (self.peer, isClient, lastStream) = (peer, false, 0)
        try peer.expect(String(decoding: Make.preface, as: UTF8.self))
        try peer.send(Make.settings(settings))
    }

    // MARK: Saying

    /// Opens a stream with these fields.
    @discardableResult
    func request(_ fields: [(String, String)], end: Bool = true) throws -> UInt32 {
        let stream = newStream()
        try headers(stream, fields, end: end)
        return stream
    }

    /// The number of a stream that is to be opened.
    func newStream() -> UInt32 {
        lastStream &+= 2
        return lastStream
    }

    /// Sends a head or trailers, cut as frames must be.
    func headers(_ stream: UInt32, _ fields: [(String, String)], end: Bool) throws {
        try headers(stream, block: Make.block(fields), end: end)
    }

    func headers(_ stream: UInt32, block: [UInt8], end: Bool) throws {
        var rest = block[...]
        var bytes: [UInt8] = []
        var type: UInt8 = 1
        repeat {
            let piece = rest.prefix(16_384)
            rest = rest.dropFirst(16_384)
            let flags: UInt8 = (rest.isEmpty ? 4 : 0) | (type == 1 && end ? 1 : 0)
            bytes += Make.frame(type, flags, stream, Array(piece))
            type = 9
        } while !rest.isEmpty
        try peer.send(bytes)
    }

    /// Sends a body as the windows allow, taking in what comes meanwhile.
    func body(_ stream: UInt32, _ bytes: [UInt8], end: Bool, piece: Int = 16_384) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let room = min(window, sendWindow(stream), piece, rest.count)
            guard room > 0 else {
                if streams[stream]?.resetCode != nil { return }
                try receiveFrame()
                continue
            }
            let isLast = end && room == rest.count
            try data(stream, Array(rest.prefix(room)), end: isLast)
            rest = rest.dropFirst(room)
        }
        if bytes.isEmpty, end { try data(stream, [], end: true) }
    }

    /// Sends as much of a body as the windows allow now; returns how much.
    func bodyWhatFits(_ stream: UInt32, _ bytes: [UInt8]) throws -> Int {
        let count = min(window, sendWindow(stream), bytes.count)
        try body(stream, Array(bytes[..<count]), end: false)
        return count
    }

    /// What the other side still takes on a stream.
    func room(_ stream: UInt32) -> Int { min(window, sendWindow(stream)) }

    private func sendWindow(_ stream: UInt32) -> Int { windows[stream] ?? Int(settings[4] ?? 65_535) }

    /// One DATA frame, whatever the windows say.
    func data(_ stream: UInt32, _ bytes: [UInt8], end: Bool) throws {
        window -= bytes.count
        windows[stream] = sendWindow(stream) - bytes.count
        try peer.send(Make.frame(0, end ? 1 : 0, stream, bytes))
    }

    func reset(_ stream: UInt32, _ code: UInt32 = 8) throws { try peer.send(Make.reset(stream, code)) }

    /// Gives window to a stream and to the connection.
    func give(_ stream: UInt32, _ count: Int) throws {
        try peer.send(Make.window(0, UInt32(count)) + Make.window(stream, UInt32(count)))
    }

    // MARK: Hearing

    /// Takes frames until `condition` holds.
    func until(_ what: String, _ condition: (HTTP2Peer) -> Bool) throws {
        while !condition(self) {
            do { try receiveFrame() } catch {
                throw PeerFailure(description: "not \(what): \(summary); \(error)")
            }
        }
    }

    private var summary: String {
        let list = streams.keys.sorted().suffix(8).map { number in
            let message = streams[number] ?? HTTP2Message()
            return "\(number): \(message.lines()) \(message.body.count) bytes, ended \(message.hasEnded), reset "
                + "\(message.resetCode.map(String.init) ?? "no")"
        }
        return list.joined(separator: "; ") + ", GOAWAY \(goAways)"
    }

    /// Takes the whole of a message, or what came before its reset.
    func receiveMessage(_ stream: UInt32) throws -> HTTP2Message {
        try until("the end of stream \(stream)") { $0.streams[stream]?.isOver == true }
        return streams[stream] ?? HTTP2Message()
    }

    /// Takes a head: the final one of a response.
    func receiveHead(_ stream: UInt32) throws -> HTTP2Message {
        try until("the head of stream \(stream)") {
            guard let message = $0.streams[stream] else { return false }
            return message.isOver || (!message.heads.isEmpty && (message.status == 0 || message.status >= 200))
        }
        return streams[stream] ?? HTTP2Message()
    }

    /// Takes the reset of a stream, and returns its code.
    func receiveReset(_ stream: UInt32) throws -> UInt32 {
        try until("the reset of stream \(stream)") { $0.streams[stream]?.resetCode != nil }
        return streams[stream]?.resetCode ?? .max
    }

    /// Waits for `count` bytes of a body.
    func receiveBody(_ stream: UInt32, count: Int) throws {
        try until("\(count) bytes of stream \(stream)") { ($0.streams[stream]?.body.count ?? 0) >= count }
    }

    /// The next stream that the other side opens.
    func nextStream() throws -> UInt32 {
        try until("a stream") { $0.opened.count > $0.told }
        told += 1
        return opened[told - 1]
    }

    /// The next request, with its body.
    func nextRequest() throws -> (stream: UInt32, message: HTTP2Message) {
        let stream = try nextStream()
        return (stream, try receiveMessage(stream))
    }

    /// Whether a response with this status has come.
    func hasAnswered(_ status: Int) -> Bool { streams.values.contains { $0.status == status } }

    /// Waits until the other side has acted on everything that was sent so far.
    func settle() throws {
        let wanted = pongs + 1
        try peer.send(Make.ping())
        try until("the answer to PING") { $0.pongs >= wanted }
    }

    /// Takes in what is there, without waiting; whether there was anything.
    @discardableResult
    func poll(milliseconds: Int32 = 0) throws -> Bool {
        try peer.poll(milliseconds: milliseconds)
        var hasFound = false
        while hasWholeFrame {
            try receiveFrame()
            hasFound = true
        }
        return hasFound
    }

    private var hasWholeFrame: Bool {
        let bytes = peer.pending
        guard bytes.count >= 9 else { return false }
        return bytes.count >= 9 + (Int(bytes[0]) << 16 | Int(bytes[1]) << 8 | Int(bytes[2]))
    }

    /// Expects that the other side closes the connection.
    func expectEnd() throws {
        while true {
            try poll(milliseconds: Int32(Peer.patience))
            guard peer.hasEnded else { continue }
            return
        }
    }

    /// Takes one frame and acts on it.
    private func receiveFrame() throws {
        let header = try peer.receive(9)
        let count = Int(header[0]) << 16 | Int(header[1]) << 8 | Int(header[2])
        let payload = try peer.receive(count)
        guard let frame = TestFrame.parse(header + payload).frames.first else { return }
        if open != nil, frame.type != 9 { throw PeerFailure(description: "a header block was interrupted") }
        switch frame.type {
        case 0: try take(data: frame)
        case 1:
            open = (frame.stream, frame.payload, frame.flags & 1 != 0)
            if frame.flags & 4 != 0 { try takeHead() }
        case 3: streams[frame.stream, default: HTTP2Message()].resetCode = frame.number()
        case 4: try take(settings: frame)
        case 6:
            if frame.flags & 1 != 0 { pongs += 1 } else { try peer.send(Make.frame(6, 1, 0, frame.payload)) }
        case 7: goAways.append((frame.number() & 0x7FFF_FFFF, frame.number(at: 4)))
        case 8:
            let more = Int(frame.number())
            if frame.stream == 0 { window += more } else { windows[frame.stream] = sendWindow(frame.stream) + more }
        case 9:
            open?.block += frame.payload
            if frame.flags & 4 != 0 { try takeHead() }
        default: break
        }
    }

    private func take(data frame: TestFrame) throws {
        guard frame.flags & 8 == 0 else { throw PeerFailure(description: "padding that nobody asked for") }
        streams[frame.stream, default: HTTP2Message()].body += frame.payload
        streams[frame.stream]?.pieces.append(frame.payload.count)
        if frame.flags & 1 != 0 { streams[frame.stream]?.hasEnded = true }
        if givesWindow, !frame.payload.isEmpty {
            // Of a stream that has ended, only the connection's.
            let both = frame.flags & 1 == 0
            try peer.send(
                Make.window(0, UInt32(frame.payload.count))
                    + (both ? Make.window(frame.stream, UInt32(frame.payload.count)) : []))
        }
    }

    private func take(settings frame: TestFrame) throws {
        guard frame.flags & 1 == 0 else { return }
        for at in stride(from: 0, to: frame.payload.count, by: 6) {
            settings[UInt16(frame.payload[at]) << 8 | UInt16(frame.payload[at + 1])] = frame.number(at: at + 2)
        }
        if acknowledgesSettings { try peer.send(Make.frame(4, 1)) }
    }

    private func takeHead() throws {
        guard let (stream, block, ends) = open, let fields = blocks.decode(block) else {
            throw PeerFailure(description: "a header block cannot be decoded")
        }
        open = nil
        if streams[stream] == nil, !isClient { opened.append(stream) }
        var message = streams[stream] ?? HTTP2Message()
        let isFinal = message.heads.isEmpty || (isClient && message.status < 200)
        if isFinal { message.heads.append(fields) } else { message.trailers = fields }
        if ends { message.hasEnded = true }
        streams[stream] = message
    }

    func close() { peer.close() }
}
