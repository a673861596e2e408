import CWslay
import Primitives

/// What a session has to tell its driver, in the order it came.
public enum WebSocketEvent: Equatable, Sendable {
    /// A text message, UTF-8: read it with `WebSocketSession.withMessage` before the next call of anything else.
    case text
    /// A binary message: read it in the same way.
    case binary
    /// A ping. It is answered already.
    case ping
    /// A pong, with whatever payload.
    case pong
    /// The peer closes; nil is a Close frame without a code. It is answered already. Nothing comes after it.
    case closed(WebSocketCloseCode?, reason: String)
    /// We gave the connection up; a Close frame with the failure's code waits to be sent. Nothing comes after it.
    case failed(WebSocketFailure)
}

/// One WebSocket connection without its socket, after the opening handshake (RFC 6455): bytes in, events out; messages
/// in, bytes out.
///
/// The driver calls `receive` with what it read, takes all events with `nextEvent`, and calls `transmit` while it can
/// write. Masks, fragments, UTF-8 and the writing of frames are wslay's; what a frame may look like, limits and Close
/// frames are decided here. See Lifecycle.md.
///
/// A class, because wslay keeps its address for callbacks. Owned by one thread. No clock, no descriptor, no chance.
public final class WebSocketSession {
    /// Which side of the connection we are.
    public enum Role: Equatable, Sendable {
        /// The peer masks its frames.
        case server
        /// We mask ours, each with a key from a generator with this seed. Of a source that the peer's programs cannot
        /// guess: keys are there to confuse intermediaries, not to keep a secret (RFC 6455 §10.3).
        case client(maskSeed: UInt64)
    }

    /// Where the connection is.
    enum State: Equatable, Sendable {
        /// Messages go both ways.
        case open
        /// We say no more than the Close frame that waits or has left; the peer may go on.
        case closing
        /// Nothing more is read: the peer has closed, or has failed. A Close frame may be waiting to be sent.
        case over
    }

    /// Bytes of memory for messages that are kept between two.
    private static let keptBytes = 16 << 10
    /// Bytes of a reason beside its code in a Close frame.
    static let reasonLimit = 123

    let limits: WebSocketLimits
    var context: wslay_event_context_ptr?
    var state = State.open
    var scanner: FrameScanner
    var idleFrames: FloodMeter
    var random: SeededRandom
    /// Bytes that wslay may take.
    var input = ByteView.empty
    /// Where wslay may write; nil outside of `transmit`.
    var sink: UnsafeMutablePointer<ByteWriter>?
    /// The message in the making, or the one that was told last.
    var message: [UInt8] = []
    /// Whether the data frame that is fed is one of a message: control frames stand between its fragments.
    var isFeedingData = false
    var event: WebSocketEvent?
    /// Our Close frame, which follows the messages that wait.
    private var wantedClose: (code: WebSocketCloseCode, reason: [UInt8])?

    /// An open connection. Nil without memory.
    public init?(_ role: Role, limits: WebSocketLimits = WebSocketLimits(), now: Instant) {
        self.limits = limits
        scanner = FrameScanner(expectsMask: role == .server, messageLimit: limits.messageBytes)
        idleFrames = FloodMeter(limits.idleFrames, now: now)
        var table = Callbacks.table
        if case .client(let seed) = role {
            random = SeededRandom(seed: seed)
            let owner = Unmanaged.passUnretained(self).toOpaque()
            guard wslay_event_context_client_init(&context, &table, owner) == 0 else { return nil }
        } else {
            random = SeededRandom(seed: 0)
            let owner = Unmanaged.passUnretained(self).toOpaque()
            guard wslay_event_context_server_init(&context, &table, owner) == 0 else { return nil }
        }
        // Messages are gathered here, so that memory grows with what has come.
        wslay_event_config_set_no_buffering(context, 1)
        wslay_event_config_set_max_recv_msg_length(context, UInt64(max(125, limits.messageBytes)))
    }

    deinit { wslay_event_context_free(context) }

    // MARK: Events

    /// The next event; nil when there is none. To be called until nil after each `receive`.
    public func nextEvent() -> WebSocketEvent? {
        guard let next = event else {
            if !isGathering { releaseMessage() }
            return nil
        }
        event = nil
        return next
    }

    /// Shows the message of the event that was taken last.
    public func withMessage<Result>(_ body: (ByteView) -> Result) -> Result {
        let shown = message  // `body` may call this session
        return shown.withUnsafeBytes { body(ByteView($0)) }
    }

    /// Bytes of a message that has begun and is not complete.
    public var gatheredBytes: Int { isGathering ? message.count : 0 }

    /// Whether `message` is in the making.
    var isGathering = false

    private func releaseMessage() {
        guard !message.isEmpty else { return }
        if message.capacity > Self.keptBytes { message = [] } else { message.removeAll(keepingCapacity: true) }
    }

    // MARK: Saying

    /// Sends a binary message. False, and nothing is sent: the connection is closing, or `outboundBytes` or
    /// `outboundMessages` is reached.
    public func send(binary bytes: ByteView) -> Bool { queue(WSLAY_BINARY_FRAME, bytes) }

    /// Sends a text message, which must be UTF-8. As `send(binary:)`.
    public func send(text bytes: ByteView) -> Bool { queue(WSLAY_TEXT_FRAME, bytes) }

    /// Sends a ping without payload. False as for `send(binary:)`.
    public func ping() -> Bool { queue(WSLAY_PING, .empty) }

    private func queue(_ opcode: wslay_opcode, _ bytes: ByteView) -> Bool {
        guard state == .open, waitingBytes + bytes.count <= limits.outboundBytes,
            wslay_event_get_queued_msg_count(context) < limits.outboundMessages
        else { return false }
        var message = wslay_event_msg(opcode: UInt8(opcode.rawValue), msg: bytes.base, msg_length: bytes.count)
        return wslay_event_queue_msg(context, &message) == 0
    }

    /// Closes: what waits is sent first, then a Close frame. The peer's answer is told as `.closed`.
    ///
    /// - Parameter reason: Cut to 123 bytes.
    public func close(_ code: WebSocketCloseCode, reason: String = "") {
        assert(code.isValidOnWire)
        guard state == .open else { return }
        state = .closing
        wantedClose = (code, Self.cut(reason))
    }

    /// Gives the connection up for a reason of the driver's, as if the peer had broken a rule: `.failed` follows.
    public func fail(_ failure: WebSocketFailure) {
        guard state != .over else { return }
        end(failure.code, reason: failure.description)
        event = .failed(failure)
    }

    /// The last word: nothing is read any more, and messages that wait are given up for the Close frame.
    func end(_ code: WebSocketCloseCode?, reason: String) {
        state = .over
        wantedClose = nil
        isGathering = false
        wslay_event_shutdown_read(context)
        queueClose(code, Self.cut(reason))
    }

    /// Refused if a Close frame of ours is on its way already: then that was it.
    private func queueClose(_ code: WebSocketCloseCode?, _ reason: [UInt8]) {
        reason.withUnsafeBufferPointer { bytes in
            _ = wslay_event_queue_close(context, code?.rawValue ?? 0, bytes.baseAddress, bytes.count)
        }
    }

    private static func cut(_ reason: String) -> [UInt8] {
        var bytes = Array(reason.utf8.prefix(reasonLimit + 1))
        guard bytes.count > reasonLimit else { return bytes }
        // Not within a character.
        while let last = bytes.popLast(), last & 0xC0 == 0x80 {}
        return bytes
    }

    // MARK: Transmitting

    /// Bytes of messages that wait to be sent.
    public var waitingBytes: Int { wslay_event_get_queued_msg_length(context) }

    /// Whether `transmit` has something to write.
    public var wantsTransmit: Bool { wantedClose != nil || wslay_event_want_write(context) != 0 }

    /// Writes what is to be sent, as much as fits.
    public func transmit(into writer: inout ByteWriter) {
        send(into: &writer)
        guard let close = wantedClose, wslay_event_get_queued_msg_count(context) == 0 else { return }
        wantedClose = nil
        queueClose(close.code, close.reason)
        send(into: &writer)
    }

    private func send(into writer: inout ByteWriter) {
        let result = withUnsafeMutablePointer(to: &writer) { place in
            sink = place
            defer { sink = nil }
            return wslay_event_send(context)
        }
        // wslay writes no more then.
        guard result != 0 else { return }
        wantedClose = nil
        fail(.internalError)
    }

    /// Whether the connection is over and all has been transmitted: the transport may be closed, by a server at once
    /// (RFC 6455 §7.1.1).
    public var isFinished: Bool { state == .over && !wantsTransmit }
}
