import EventLoop
import Glibc
import HTTP
import Primitives
import WebSocket

/// Where an autoscaler takes stats.
public struct StatServerAddress: Sendable, Equatable, CustomStringConvertible {
    /// A name, which is resolved anew for each connection, or an address; IPv6 without brackets.
    public var host: String
    /// The port; Knative's is 8080.
    public var port: UInt16

    /// The server at `ws://host:port/`.
    public init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// `host:port`, IPv6 in brackets.
    public var description: String { host.utf8.contains(ASCII.colon) ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// What stands in `Host`: without the port if it is that of `ws` (RFC 6455 §4.1).
    var authority: String {
        let text = description
        return port == 80 ? String(text.dropLast(3)) : text
    }
}

/// The activator's end of Knative's control channel (spec/dataplane 3.9): one WebSocket to the autoscaler, made again
/// for ever when it is lost.
///
/// What cannot be sent at once because there is no connection is dropped: the next second brings new figures. Owned by
/// the loop's thread, which it never blocks. See Lifecycle.md.
public final class StatChannelClient {
    private enum Stage: Equatable {
        /// Before `begin`.
        case idle
        /// Until the next attempt.
        case pausing
        case looking, connecting, greeting
        case open
        /// After `close`.
        case closed
    }

    private let loop: Loop
    private let server: StatServerAddress
    private let limits: StatChannelLimits
    private var random: SeededRandom
    private var pace: ReconnectPace
    private var stage = Stage.idle
    /// The pause, the time for an attempt, or until a pong must have come: one timer for whatever is waited for.
    private var timer: TimerHandle?
    private var pingTimer: TimerHandle?
    private var lookup: Lookup?
    /// What a lookup found after its attempt had ended; for the next.
    private var late: NameLookup.Answer?
    private var addresses: [SocketAddress] = []
    /// Attempts that have had addresses: each begins with another of them.
    private var turn = 0
    /// The address of the attempt.
    private var address: SocketAddress?
    private var connecting: Socket?
    private var connectWatch: Loop.WatchToken?
    private var greeting: ChannelSocket?
    private var handshake: WebSocketClientHandshake?
    private var unread: [UInt8] = []
    private var link: ChannelLink?
    /// What was told last of a channel that is not connected: the same is not told again.
    private var told = ""

    /// A name that is being looked up. At most one: it may take longer than an attempt, and the next waits for it.
    private struct Lookup {
        let answers: Mailbox<NameLookup.Answer>
        let thread: WorkerThread
        let watch: Loop.WatchToken
    }

    /// Whether messages can be sent.
    public private(set) var isConnected = false

    /// Told when `isConnected` has changed, and when an attempt has failed for another reason than the one before.
    public var onChange: (_ isConnected: Bool, _ reason: String) -> Void = { _, _ in }

    /// A channel to `server` that is not begun.
    ///
    /// - Parameter seed: For masks, the handshake's key and the jitter of pauses; from a source that others cannot
    ///   guess.
    public convenience init(loop: Loop, server: StatServerAddress, seed: UInt64) {
        self.init(loop: loop, server: server, seed: seed, limits: StatChannelLimits())
    }

    /// The same with other limits.
    public init(loop: Loop, server: StatServerAddress, seed: UInt64, limits: StatChannelLimits) {
        (self.loop, self.server, self.limits) = (loop, server, limits)
        random = SeededRandom(seed: seed)
        pace = ReconnectPace(firstMilliseconds: limits.firstPauseMilliseconds, steps: limits.pauseSteps)
    }

    deinit {
        giveUpAttempt()
        forgetLookup()
        if let pingTimer { loop.cancel(pingTimer) }
        link?.drop("the channel is gone")
    }

    /// Makes the first attempt now. Once.
    public func begin() {
        guard stage == .idle else { return }
        attempt()
    }

    /// Sends one `WireStatMessages` as a masked binary frame. False, and the message is dropped: there is no
    /// connection, or `outboundBytes` is reached, or the message is longer than `messageBytes`.
    public func send(_ message: [UInt8]) -> Bool {
        guard isConnected, let link, message.count <= limits.messageBytes else { return false }
        return message.withUnsafeBytes { link.send(ByteView($0)) }
    }

    /// Ends the channel for good: what waits is sent, then Close 1000. `done` is called once when the connection is
    /// closed, at the latest after `closeMilliseconds`; perhaps before this returns.
    public func close(then done: @escaping () -> Void) {
        guard stage != .closed else { return done() }
        giveUpAttempt()
        forgetLookup()
        stage = .closed
        guard let link else { return done() }
        link.onGone = { [weak self] in
            self?.link = nil
            done()
        }
        link.close(.normal)
        lost("closed by us")
    }

    // MARK: An attempt

    private func attempt() {
        giveUpAttempt()
        let time = limits.handshakeMilliseconds
        timer = loop.after(milliseconds: time) { [weak self] in self?.failed("no connection within \(time) ms") }
        if let literal = SocketAddress(server.host.isEmpty ? "" : server.description) {
            addresses = [literal]
            return connect()
        }
        stage = .looking
        if let answer = late {
            late = nil
            return use(answer)
        }
        guard lookup == nil else { return }
        do throws(SystemError) {
            let answers = try Mailbox<NameLookup.Answer>()
            let token = try loop.watch(answers.fd, .readable) { [weak self] _ in self?.found() }
            do throws(SystemError) {
                let thread = try NameLookup.start(server.host, port: server.port, number: 0, answers: answers)
                lookup = Lookup(answers: answers, thread: thread, watch: token)
            } catch {
                loop.unwatch(token)
                throw error
            }
        } catch {
            failed("cannot look up \(server.host): \(error)")
        }
    }

    private func found() {
        guard let lookup, let answer = lookup.answers.takeAll().first else { return }
        loop.unwatch(lookup.watch)
        lookup.thread.join()  // it has nothing left to do
        self.lookup = nil
        guard stage == .looking else { return late = answer.problem == nil ? answer : nil }
        use(answer)
    }

    private func use(_ answer: NameLookup.Answer) {
        if let problem = answer.problem { return failed("cannot look up \(server.host): \(problem)") }
        // Each attempt begins with another address: one that is silent takes the whole time of its attempt.
        let first = turn % max(1, answer.addresses.count)
        turn += 1
        addresses = Array(answer.addresses[first...] + answer.addresses[..<first])
        connect()
    }

    /// Tries the next address.
    private func connect() {
        stage = .connecting
        guard !addresses.isEmpty else { return failed("\(server.host) has no address") }
        let next = addresses.removeFirst()
        address = next
        switch Socket.connect(to: next) {
        case .connected(let opened):
            connecting = consume opened
            connected()
        case .pending(let opened):
            let fd = opened.fd
            connecting = consume opened
            connectWatch = try? loop.watch(fd, .writable) { [weak self] _ in self?.connectEnded() }
            if connectWatch == nil { failed("cannot watch the connection") }
        case .failed(let code): connectFailed(code)
        }
    }

    private func connectEnded() {
        let code = connecting?.pendingError ?? EBADF
        if let connectWatch { loop.unwatch(connectWatch) }
        connectWatch = nil
        if code == 0 { connected() } else { connectFailed(code) }
    }

    private func connectFailed(_ code: Int32) {
        connecting = nil
        guard addresses.isEmpty else { return connect() }
        failed("\(address.map(\.description) ?? server.description): \(SystemError(call: "connect", code: code))")
    }

    private func connected() {
        guard let opened = connecting.take() else { return }
        let socket = ChannelSocket(opened, loop: loop)
        stage = .greeting
        handshake = WebSocketClientHandshake(
            authority: server.authority, key: WebSocketKey(random.next(), random.next()))
        guard let request = handshake?.request else { return failed("\(server) cannot stand in a Host field") }
        greeting = socket
        socket.onBytes = { [weak self] in self?.answered($0) }
        socket.onEnd = { [weak self] in self?.failed($0) }
        guard socket.start() else { return failed("cannot watch the connection") }
        request.withUnsafeBytes { socket.send(ByteView($0)) }
    }

    private func answered(_ bytes: ByteView) {
        unread.append(contentsOf: UnsafeBufferPointer(start: bytes.base, count: bytes.count))
        switch readAnswer() {
        case .success(nil): return
        case .success(let length?): opened(after: length)
        case .failure(let refusal): failed("\(address.map(\.description) ?? server.description): \(refusal)")
        }
    }

    private func readAnswer() -> Result<Int?, WebSocketRefusal> {
        unread.withUnsafeBytes { bytes in
            do throws(WebSocketRefusal) {
                return .success(try handshake?.receive(ByteView(bytes)))
            } catch {
                return .failure(error)
            }
        }
    }

    // MARK: A connection

    private func opened(after length: Int) {
        let session = WebSocketSession(
            .client(maskSeed: random.next()), limits: limits.client, now: loop.now)
        guard let socket = greeting, let session else { return failed("no memory") }
        let rest = Array(unread.dropFirst(length))
        greeting = nil  // it goes on as the link's
        giveUpAttempt()
        pace.reset()
        stage = .open
        let link = ChannelLink(socket, session, loop: loop, limits: limits)
        self.link = link
        link.onEvent = { [weak self] event in
            if event == .pong { self?.expectPong() }
        }
        link.onDown = { [weak self] in self?.lost($0) }
        expectPong()
        armPing()
        isConnected = true
        told = ""
        onChange(true, "connected to \(address.map(\.description) ?? server.description)")
        rest.withUnsafeBytes { link.received(ByteView($0)) }
    }

    /// Renews the deadline for a pong.
    private func expectPong() {
        guard stage == .open else { return }
        cancelTimer()
        let time = limits.pongMilliseconds
        timer = loop.after(milliseconds: time) { [weak self] in self?.link?.drop("no pong within \(time) ms") }
    }

    private func armPing() {
        pingTimer = loop.after(milliseconds: limits.pingMilliseconds) { [weak self] in
            guard let self, stage == .open else { return }
            armPing()
            link?.ping()
        }
    }

    /// The connection is of no more use; its socket may still be ending.
    private func lost(_ reason: String) {
        guard isConnected else { return }
        isConnected = false
        if let pingTimer { loop.cancel(pingTimer) }
        pingTimer = nil
        cancelTimer()
        if stage == .open {
            link = nil
            pause()
        }
        told = reason
        onChange(false, reason)
    }

    // MARK: Between

    private func failed(_ reason: String) {
        giveUpAttempt()
        pause()
        guard reason != told else { return }
        told = reason
        onChange(false, reason)
    }

    private func pause() {
        stage = .pausing
        let pause = pace.next(using: &random)
        timer = loop.at(MonotonicClock.now().adding(nanoseconds: pause)) { [weak self] in self?.attempt() }
    }

    /// Lets go of all that belongs to an attempt, but for a lookup that goes on.
    private func giveUpAttempt() {
        cancelTimer()
        if let connectWatch { loop.unwatch(connectWatch) }
        connectWatch = nil
        connecting = nil
        greeting?.close()
        greeting = nil
        handshake = nil
        unread = []
        addresses = []
    }

    private func forgetLookup() {
        // Its thread ends by itself, and the mailbox with it.
        if let lookup { loop.unwatch(lookup.watch) }
        lookup = nil
    }

    private func cancelTimer() {
        if let timer { loop.cancel(timer) }
        timer = nil
    }
}
