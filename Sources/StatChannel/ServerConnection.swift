import EventLoop
import HTTP
import HTTP1
import Primitives
import WebSocket

/// One connection of a stat server: a request that asks for the channel, or for our health; then messages. Owned by the
/// loop's thread and by its server.
final class ServerConnection {
    private enum Stage: Equatable { case head, channel, answered, gone }

    private weak var server: StatChannelServer?
    private let loop: Loop
    private let limits: StatChannelLimits
    private let socket: ChannelSocket
    private var stage = Stage.head
    /// The request's head as far as it has come.
    private var unread: [UInt8] = []
    private var scanned = 0
    private var link: ChannelLink?
    private var timer: TimerHandle?
    private var heardAt: Instant
    private var hasPinged = false
    /// This connection's share in the server's `gatheredBytes`.
    private var gathered = 0
    private var onGone: () -> Void = {}

    init(_ socket: ChannelSocket, server: StatChannelServer) {
        self.server = server
        self.socket = socket
        (loop, limits) = (server.loop, server.limits)
        heardAt = loop.now
    }

    /// Begins to read. `gone` is called once, when the socket is closed.
    func begin(gone: @escaping () -> Void) {
        onGone = gone
        socket.onBytes = { [weak self] in self?.received($0) }
        socket.onEnd = { [weak self] _ in self?.finish() }
        timer = loop.after(milliseconds: limits.headMilliseconds) { [weak self] in self?.drop() }
        if !socket.start() { drop() }
    }

    /// The server goes: a channel is told so, anything else is cut.
    func restart() {
        switch stage {
        case .head: drop()
        case .channel: link?.close(.serviceRestart, reason: "Restarting")
        case .answered, .gone: break
        }
    }

    /// Cuts the connection.
    func drop() {
        if let link { return link.drop("dropped") }
        socket.close()
        finish()
    }

    private func finish() {
        guard stage != .gone else { return }
        stage = .gone
        cancelTimer()
        count(0)
        let gone = onGone
        onGone = {}
        gone()
    }

    // MARK: The request

    private func received(_ bytes: ByteView) {
        guard stage == .head else { return }
        unread.append(contentsOf: UnsafeBufferPointer(start: bytes.base, count: bytes.count))
        let answer = unread.withUnsafeBytes { read(ByteView($0)) }
        guard stage == .head else { return }  // whoever was asked may have ended it
        switch answer {
        case nil: return
        case .accept(let acceptance)?: open(acceptance)
        case .refuse(let status, let text)?: refuse(status, text)
        }
    }

    /// The answer to the request; nil if it is not complete.
    private func read(_ bytes: ByteView) -> WebSocketServerHandshake.Verdict? {
        guard let server else { return nil }
        do throws(ParseFailure) {
            guard try server.head.parse(bytes, scanned: &scanned) else { return nil }
        } catch {
            return .refuse(status: error.status, text: error.reason.text)
        }
        if isProbe(server.head, bytes) {
            return server.isHealthy()
                ? .refuse(status: 200, text: "ok") : .refuse(status: 503, text: "not ready")
        }
        let verdict = WebSocketServerHandshake.verdict(server.head, of: bytes)
        guard case .accept = verdict else { return verdict }
        guard server.ownsHost(bytes[server.head.host].string.lowercased()) else {
            return .refuse(status: 421, text: "another autoscaler owns this bucket")
        }
        guard bytes.count == server.head.length else {
            return .refuse(status: 400, text: "bytes before the handshake's end")
        }
        return verdict
    }

    /// Whether a kubelet asks (spec/dataplane 1.5).
    private func isProbe(_ head: borrowing RequestHead, _ bytes: ByteView) -> Bool {
        if let index = head.fields.firstIndex(of: .kKubeletProbe),
            !head.fields.value(index, in: bytes).isEmpty
        {
            return true
        }
        guard let index = head.fields.firstIndex(of: .userAgent) else { return false }
        return head.fields.value(index, in: bytes).hasPrefix("kube-probe/")
    }

    private func refuse(_ status: Int, _ text: StaticString) {
        stage = .answered
        unread = []
        cancelTimer()
        write { WebSocketServerHandshake.write(status: status, text: text, to: &$0) }
        socket.linger(milliseconds: limits.closeMilliseconds)
    }

    private func write(_ body: (inout ByteWriter) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 16) { place in
            var writer = ByteWriter(place)
            body(&writer)
            assert(!writer.overflowed)
            socket.send(writer.written)
        }
    }

    // MARK: The channel

    private func open(_ acceptance: [UInt8]) {
        guard let session = WebSocketSession(.server, limits: limits.server, now: loop.now) else {
            return refuse(503, "no memory")
        }
        stage = .channel
        unread = []
        cancelTimer()
        write { WebSocketServerHandshake.write(acceptance: acceptance, to: &$0) }
        guard socket.isOpen else { return }
        let link = ChannelLink(socket, session, loop: loop, limits: limits)
        self.link = link
        link.onEvent = { [weak self] in self?.happened($0) }
        link.onReceived = { [weak self] in self?.heard() }
        link.onDown = { [weak self] _ in self?.cancelTimer() }
        link.onGone = { [weak self] in self?.finish() }
        heardAt = loop.now
        watchSilence()
    }

    private func happened(_ event: WebSocketEvent) {
        switch event {
        case .binary: link?.session.withMessage { server?.onMessage($0) }
        // Text is dropped, as by Knative's server; pings are answered already.
        case .text, .ping, .pong, .closed, .failed: break
        }
    }

    private func heard() {
        heardAt = loop.now
        if hasPinged, timer != nil {
            hasPinged = false
            cancelTimer()
            watchSilence()
        }
        guard let link, let server else { return }
        count(link.session.gatheredBytes)
        guard server.gatheredBytes > limits.gatheredBytes else { return }
        link.fail(.overloaded)
        count(0)
    }

    private func count(_ bytes: Int) {
        server?.gatheredBytes += bytes - gathered
        gathered = bytes
    }

    /// A client that says nothing is pinged once, and dropped if it still says nothing.
    private func watchSilence() {
        let silence = hasPinged ? limits.deathMilliseconds : limits.silenceMilliseconds
        timer = loop.at(heardAt.adding(milliseconds: silence)) { [weak self] in self?.silent() }
    }

    private func silent() {
        let silence = MonotonicClock.now().milliseconds(since: heardAt)
        if silence >= limits.deathMilliseconds { return drop() }
        if silence >= limits.silenceMilliseconds, !hasPinged {
            hasPinged = true
            link?.ping()
        }
        guard stage == .channel else { return }
        watchSilence()
    }

    private func cancelTimer() {
        if let timer { loop.cancel(timer) }
        timer = nil
    }
}
