import EventLoop
import Glibc
import Primitives
import TLS

/// One HTTP/1.1 connection to a server: requests one at a time, kept alive between them, plain or in TLS. Owned by the
/// thread of its loop, which it never blocks.
public final class FetchConnection {
    private enum Stage: Equatable { case closed, looking, connecting, open }

    /// What is read, and written, at once.
    private static let pieceBytes = AnswerReader.pieceBytes

    /// Whom it leads to.
    public let target: FetchTarget
    private let loop: Loop
    private let security: TLSClientContext?
    private var stage = Stage.closed
    private var socket: Socket?
    private var watch: Loop.WatchToken?
    /// Those of the target that have not been tried yet.
    private var addresses: [SocketAddress] = []
    private var lookup: Lookup?
    private var tls: TLSChannel?
    /// The request under way, and how much of it has gone into `wire`; nil between two.
    private var request: [UInt8]?
    private var taken = 0
    /// Bytes for the socket, and how many of them have left.
    private var wire: [UInt8] = []
    private var wireSent = 0
    private var report: ((Result<FetchReply, FetchFailure>) -> Void)?
    private var timer = TimerHandle.none
    private var connectTimer = TimerHandle.none
    private var connectMilliseconds: UInt64?
    private var answer: AnswerReader
    /// Requests that this connection has served: it may have been closed behind our back.
    private var served = 0
    /// Whether `send` has not returned yet.
    private var isStarting = false
    /// Since when it has nothing to do.
    public private(set) var idleSince: Instant

    /// TLS under a connection, in memory of its own.
    private final class TLSChannel {
        var tls: TLSConnection

        init(_ tls: consuming TLSConnection) { self.tls = tls }
    }

    /// A name that is being looked up.
    private struct Lookup {
        let answers: Mailbox<NameLookup.Answer>
        let thread: WorkerThread
        let watch: Loop.WatchToken
    }

    /// No connection yet.
    ///
    /// - Parameter security: for TLS, in which the certificate must name the target; nil: none. It must offer HTTP/1.1
    ///   only.
    public init(
        to target: FetchTarget, loop: Loop, limits: AnswerLimits = AnswerLimits(), security: TLSClientContext? = nil
    ) {
        self.target = target
        self.loop = loop
        self.security = security
        answer = AnswerReader(limits: limits)
        idleSince = loop.now
    }

    /// Whether a request is under way.
    public var isBusy: Bool { request != nil }
    /// Whether it may be kept for another request.
    public var isOpen: Bool { stage == .open }

    /// Sends `request`, head and body as they are; `report` is called once, after this has returned, unless `close`
    /// comes first.
    ///
    /// A request whose kept connection turns out to be closed before a byte came back is sent once more on a new one.
    /// - Parameters:
    ///   - connectMilliseconds: how long a new connection may take, with the lookup of its name; nil: until `deadline`.
    ///   - deadline: when the whole answer must be there.
    public func send(
        _ request: [UInt8], connectMilliseconds: UInt64? = nil, deadline: Instant,
        report: @escaping (Result<FetchReply, FetchFailure>) -> Void
    ) {
        assert(!isBusy)
        self.request = request
        self.report = report
        self.connectMilliseconds = connectMilliseconds
        taken = 0
        answer.reset()
        timer = loop.at(deadline) { [weak self] in
            self?.timer = .none
            self?.fail(.timedOut)
        }
        isStarting = true
        if stage == .open { flush() } else { begin() }
        isStarting = false
    }

    /// Gives up what is under way without a report, and the connection.
    public func close() {
        report = nil
        request = nil
        cancelTimers()
        closeSocket()
    }

    // MARK: Connecting

    private func begin() {
        served = 0
        if let connectMilliseconds {
            connectTimer = loop.after(milliseconds: connectMilliseconds) { [weak self] in
                self?.connectTimer = .none
                self?.fail(.timedOut)
            }
        }
        if let address = target.address {
            addresses = [address]
            return connect()
        }
        stage = .looking
        do throws(SystemError) {
            let answers = try Mailbox<NameLookup.Answer>()
            let token = try loop.watch(answers.fd, .readable) { [weak self] _ in self?.found() }
            do throws(SystemError) {
                let thread = try NameLookup.start(target.host, port: target.port, number: 0, answers: answers)
                lookup = Lookup(answers: answers, thread: thread, watch: token)
            } catch {
                loop.unwatch(token)
                throw error
            }
        } catch {
            fail(.unreachable("cannot look up \(target.host): \(error)"))
        }
    }

    private func found() {
        guard let lookup, let answer = lookup.answers.takeAll().first else { return }
        loop.unwatch(lookup.watch)
        lookup.thread.join()  // it has nothing left to do
        self.lookup = nil
        guard stage == .looking else { return }
        if let problem = answer.problem { return fail(.unreachable("cannot look up \(target.host): \(problem)")) }
        addresses = answer.addresses
        connect()
    }

    /// Tries the next address.
    private func connect() {
        guard !addresses.isEmpty else { return fail(.unreachable("\(target.host) has no address")) }
        let address = addresses.removeFirst()
        switch Socket.connect(to: address) {
        case .connected(let opened):
            socket = consume opened
            connected()
        case .pending(let opened):
            socket = consume opened
            stage = .connecting
            observe(.writable)
        case .failed(let code): connectionFailed(code)
        }
    }

    private func connectionFailed(_ code: Int32) {
        closeConnection()
        guard addresses.isEmpty else { return connect() }
        fail(.unreachable("\(SystemError(call: "connect to \(target.host):\(target.port)", code: code))"))
    }

    private func connected() {
        stage = .open
        loop.cancel(connectTimer)
        connectTimer = .none
        if let security {
            let name = target.address == nil ? target.host : nil
            do throws(TLSFailure) {
                let identity = PeerIdentity(serverName: name, verifiedName: target.host)
                tls = TLSChannel(try TLSConnection(connecting: security, to: identity))
            } catch {
                return fail(.unreachable("TLS: \(error)"))
            }
            withTLS { $0.transmit(into: &$1) }
        }
        flush()
    }

    // MARK: Saying

    /// Sends what the socket takes, and watches it for the rest and for what comes.
    private func flush() {
        while fill() {
            let result = wire.withUnsafeBytes { bytes -> TransferResult in
                let rest = ByteView(UnsafeRawBufferPointer(rebasing: bytes[wireSent...]))
                return socket?.send(rest) ?? .failed(EBADF)
            }
            switch result {
            case .bytes(let count): wireSent += count
            case .wouldBlock: return observe([.readable, .writable])
            case .endOfStream: return broke("\(target.host) closed the connection")
            case .failed(let code): return broke("\(SystemError(call: "send to \(target.host)", code: code))")
            }
        }
        observe(.readable)
    }

    /// Takes on the next piece of the request when the one before has left. False if there is nothing to send now.
    private func fill() -> Bool {
        if wireSent < wire.count { return true }
        wire.removeAll(keepingCapacity: true)
        wireSent = 0
        guard stage == .open, let request, taken < request.count else { return false }
        let piece = taken..<min(request.count, taken + Self.pieceBytes)
        guard let tls else {
            wire += request[piece]
            taken = piece.upperBound
            return true
        }
        guard tls.tls.isEstablished else { return false }
        var count = 0
        request[piece].withUnsafeBytes { bytes in withTLS { count = $0.write(ByteView(bytes), into: &$1) } }
        taken += count
        if count == 0 { fail(.unreachable("TLS: \(Self.reason(tls.tls.state))")) }
        return count > 0
    }

    /// Lets TLS write what is to be sent.
    private func withTLS(_ body: (inout TLSConnection, inout ByteWriter) -> Void) {
        guard let tls else { return }
        withUnsafeTemporaryAllocation(byteCount: 2 * Self.pieceBytes, alignment: 16) { place in
            var writer = ByteWriter(place)
            body(&tls.tls, &writer)
            wire += UnsafeBufferPointer(start: writer.base, count: writer.count)
        }
    }

    private func observe(_ interest: Readiness) {
        guard let fd = socket?.fd else { return }
        if let watch { return loop.rewatch(watch, interest) }
        watch = try? loop.watch(fd, interest) { [weak self] in self?.ready($0) }
        if watch == nil { fail(.unreachable("cannot watch the connection to \(target.host)")) }
    }

    // MARK: Hearing

    private func ready(_ readiness: Readiness) {
        if stage == .connecting {
            let code = socket?.pendingError ?? EBADF
            return code == 0 ? connected() : connectionFailed(code)
        }
        guard stage == .open else { return }
        if readiness.contains(.writable), wireSent < wire.count { flush() }
        guard stage == .open, !readiness.subtracting(.writable).isEmpty else { return }
        let result = withUnsafeTemporaryAllocation(byteCount: Self.pieceBytes, alignment: 16) { place in
            let result = socket?.receive(into: place) ?? .failed(EBADF)
            if case .bytes(let count) = result { take(ByteView(UnsafeRawBufferPointer(rebasing: place[..<count]))) }
            return result
        }
        switch result {
        case .bytes, .wouldBlock: break
        case .endOfStream: ended()
        case .failed(let code): broke("\(SystemError(call: "recv from \(target.host)", code: code))")
        }
    }

    /// Takes bytes of the socket.
    private func take(_ bytes: ByteView) {
        guard let tls else { return heard(bytes) }
        var rest = bytes
        withUnsafeTemporaryAllocation(byteCount: Self.pieceBytes, alignment: 16) { plain in
            while stage == .open {
                var received: TLSConnection.Progress?
                withTLS { received = $0.receive(rest, into: plain, replies: &$1) }
                guard let progress = received else { return }
                rest = rest.dropping(first: progress.consumed)
                if progress.produced > 0 {
                    heard(ByteView(UnsafeRawBufferPointer(rebasing: plain[..<progress.produced])))
                    guard stage == .open else { return }
                }
                switch progress.next {
                case .bytes: return flush()
                case .opened, .room, .replies: flush()
                case .end: return ended()
                case .failure:
                    flush()  // the alert
                    return fail(.unreachable("TLS: \(Self.reason(tls.tls.state))"))
                }
            }
        }
    }

    private static func reason(_ state: TLSConnection.State) -> String {
        if case .failed(let failure) = state { return "\(failure)" }
        return "the connection ended"
    }

    private func heard(_ bytes: ByteView) {
        guard isBusy else { return closeSocket() }  // nobody asked
        switch answer.take(bytes) {
        case .needMore: break
        case .broken(let problem): fail(.malformed(problem))
        case .complete: finish()
        }
    }

    private func ended() {
        guard isBusy else { return closeSocket() }
        if answer.end() { return finish() }
        broke("\(target.host) closed the connection")
    }

    private func finish() {
        served += 1
        idleSince = loop.now
        // What was not sent yet would go on behind the answer.
        let isSaid = taken == request?.count && wireSent == wire.count
        if !answer.keepsAlive || !isSaid { closeSocket() }
        tell(.success(answer.reply))
    }

    // MARK: Ends

    /// The connection broke. One that had been kept may have been closed before the request came: once more, then.
    private func broke(_ problem: String) {
        guard isBusy else { return closeSocket() }
        guard served > 0, !answer.hasBegun else { return fail(.unreachable(problem)) }
        closeSocket()
        taken = 0
        begin()
    }

    private func fail(_ failure: FetchFailure) {
        closeSocket()
        tell(.failure(failure))
    }

    private func tell(_ result: Result<FetchReply, FetchFailure>) {
        cancelTimers()
        guard !isStarting else {
            // Later, so that who asks one after the other does not do so deeper and deeper in the stack.
            timer = loop.at(loop.now) { [weak self] in
                self?.timer = .none
                self?.tell(result)
            }
            return
        }
        request = nil
        let report = report
        self.report = nil
        report?(result)
    }

    private func cancelTimers() {
        loop.cancel(timer)
        loop.cancel(connectTimer)
        (timer, connectTimer) = (.none, .none)
    }

    /// Ends the connection and what leads to one.
    private func closeSocket() {
        closeConnection()
        addresses = []
        guard let lookup else { return }
        // Its thread ends by itself, and the mailbox with it.
        loop.unwatch(lookup.watch)
        self.lookup = nil
    }

    private func closeConnection() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        socket = nil
        tls = nil
        wire = []
        wireSent = 0
        stage = .closed
    }
}
