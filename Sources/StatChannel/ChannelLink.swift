import EventLoop
import Primitives
import WebSocket

/// One end of a control channel after the handshake: a socket and a session. Owned by the loop's thread.
final class ChannelLink {
    let session: WebSocketSession
    private let socket: ChannelSocket
    private let loop: Loop
    private let limits: StatChannelLimits
    private var isDown = false
    private var closing: TimerHandle?

    /// A message, a ping or a pong.
    var onEvent: (WebSocketEvent) -> Void = { _ in }
    /// Bytes have been taken in, whatever they were.
    var onReceived: () -> Void = {}
    /// Nothing more comes or can be sent, for this reason. Once.
    var onDown: (String) -> Void = { _ in }
    /// The socket is closed. Once, after `onDown`.
    var onGone: () -> Void = {}

    init(_ socket: ChannelSocket, _ session: WebSocketSession, loop: Loop, limits: StatChannelLimits) {
        self.socket = socket
        self.session = session
        self.loop = loop
        self.limits = limits
        socket.onBytes = { [weak self] in self?.received($0) }
        socket.onRoom = { [weak self] in self?.pump() }
        // Strong: a lingering socket keeps its link until it has ended.
        socket.onEnd = { self.ended($0) }
    }

    /// Takes bytes that came with the handshake, or later.
    func received(_ bytes: ByteView) {
        var rest = bytes
        while !rest.isEmpty, socket.isOpen {
            rest = rest.dropping(first: session.receive(rest, now: loop.now))
            tell()
        }
        onReceived()
        pump()
    }

    /// Sends one binary message. False: it was not taken.
    func send(_ message: ByteView) -> Bool {
        guard !isDown, session.send(binary: message) else { return false }
        pump()
        return true
    }

    func ping() {
        _ = session.ping()
        pump()
    }

    /// Gives the connection up for a reason of ours, with the failure's code.
    func fail(_ failure: WebSocketFailure) {
        session.fail(failure)
        tell()
        pump()
    }

    /// Closes in order: what waits, a Close frame, the peer's; or cuts the connection after `closeMilliseconds`.
    func close(_ code: WebSocketCloseCode, reason: String = "") {
        guard closing == nil, socket.isOpen else { return }
        session.close(code, reason: reason)
        expectEnd()
        pump()
    }

    /// Cuts the connection.
    func drop(_ reason: String) {
        socket.close()
        ended(reason)
    }

    private func tell() {
        while let event = session.nextEvent() {
            switch event {
            case .text, .binary, .ping, .pong: onEvent(event)
            case .closed(let code, let reason): down("closed by the peer: \(Self.words(code, reason))")
            case .failed(let failure): down("closed with \(failure.code): \(failure)")
            }
        }
    }

    private static func words(_ code: WebSocketCloseCode?, _ reason: String) -> String {
        guard let code else { return "no code" }
        return reason.isEmpty ? "\(code)" : "\(code) \(reason)"
    }

    /// Lets the session write as long as the socket takes it.
    private func pump() {
        var isWriting = true
        while isWriting, socket.isOpen, !socket.isBusy, session.wantsTransmit {
            withUnsafeTemporaryAllocation(byteCount: ChannelSocket.readBytes, alignment: 16) { place in
                var writer = ByteWriter(place)
                session.transmit(into: &writer)
                isWriting = writer.count > 0
                socket.send(writer.written)
            }
        }
        tell()  // a session may fail while it writes
        guard session.isFinished, socket.isOpen else { return }
        stopClosing()
        socket.linger(milliseconds: limits.closeMilliseconds)
    }

    private func down(_ reason: String) {
        guard !isDown else { return }
        isDown = true
        expectEnd()  // the peer may not take our Close frame
        onDown(reason)
    }

    private func expectEnd() {
        guard closing == nil, socket.isOpen else { return }
        closing = loop.after(milliseconds: limits.closeMilliseconds) { [weak self] in
            self?.drop("no answer to Close")
        }
    }

    private func ended(_ reason: String) {
        stopClosing()
        down(reason)
        let gone = onGone
        // The closures hold what holds this.
        (onEvent, onReceived, onDown, onGone) = ({ _ in }, {}, { _ in }, {})
        socket.onEnd = { _ in }
        gone()
    }

    private func stopClosing() {
        if let closing { loop.cancel(closing) }
        closing = nil
    }
}
