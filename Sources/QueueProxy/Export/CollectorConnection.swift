import EventLoop
import Glibc
import HTTP
import HTTP1
import Primitives
import TLS

/// One HTTP/1.1 connection to a collector of telemetry: POSTs, one at a time, kept alive between them. Owned by the
/// thread of its loop, which it never blocks.
final class CollectorConnection {
    /// What came of a POST.
    enum Outcome: Equatable {
        /// It was answered.
        case answered(status: Int, retryAfterSeconds: Int?)
        /// It was not, for this reason.
        case failed(String)
    }

    private enum Stage: Equatable { case closed, looking, connecting, open }

    /// Most bytes of an answer that are read; a longer one ends the connection.
    static let answerLimit = 64 << 10
    private static let readBytes = 16 << 10

    private let endpoint: OTLPEndpoint
    private let loop: Loop
    private let context: TLSClientContext?
    private let timeoutMilliseconds: UInt64
    private let head: String
    private var stage = Stage.closed
    private var socket: Socket?
    private var watch: Loop.WatchToken?
    private var addresses: [SocketAddress] = []
    private var lookup: Lookup?
    private var tls: TLSChannel?
    /// Bytes for the socket, and how many of them have left.
    private var wire: [UInt8] = []
    private var wireSent = 0
    /// The request under way; nil between two.
    private var request: [UInt8]?
    private var report: ((Outcome) -> Void)?
    private var timer: TimerHandle?
    private var answer = CollectorAnswer()
    /// Requests that this connection has served: it may have been closed behind our back.
    private var served = 0

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

    /// No connection yet. `context` is needed if the endpoint has TLS. `timeoutMilliseconds` is for one POST with
    /// all that it needs.
    init(_ endpoint: OTLPEndpoint, loop: Loop, context: TLSClientContext?, timeoutMilliseconds: UInt64) {
        precondition(endpoint.isTLS == (context != nil))
        self.endpoint = endpoint
        self.loop = loop
        self.context = context
        self.timeoutMilliseconds = timeoutMilliseconds
        let name = endpoint.host.utf8.contains(ASCII.colon) ? "[\(endpoint.host)]" : endpoint.host
        let port = endpoint.port == (endpoint.isTLS ? 443 : 80) ? "" : ":\(endpoint.port)"
        head =
            "POST \(endpoint.path) HTTP/1.1\r\nHost: \(name)\(port)\r\nUser-Agent: martlet-queue\r\n"
            + "Content-Type: application/x-protobuf\r\nContent-Length: "
    }

    /// Whether a POST is under way.
    var isBusy: Bool { request != nil }

    /// Posts `body`; `report` is called once, perhaps before this returns, unless `close` comes first.
    func post(_ body: [UInt8], report: @escaping (Outcome) -> Void) {
        assert(!isBusy)
        request = Array("\(head)\(body.count)\r\n\r\n".utf8) + body
        self.report = report
        timer = loop.after(milliseconds: timeoutMilliseconds) { [weak self] in
            self?.timer = nil
            self?.fail("no answer within \(self?.timeoutMilliseconds ?? 0) ms")
        }
        if stage == .open { say() } else { begin() }
    }

    /// Gives up what is under way without a report, and the connection.
    func close() {
        report = nil
        request = nil
        cancelTimer()
        closeSocket()
        if let lookup {
            // Its thread ends by itself, and the mailbox with it.
            loop.unwatch(lookup.watch)
            self.lookup = nil
        }
        stage = .closed
    }

    // MARK: Connecting

    private func begin() {
        served = 0
        if let address = SocketAddress(Self.literal(endpoint.host, endpoint.port)) {
            addresses = [address]
            return connect()
        }
        stage = .looking
        do throws(SystemError) {
            let answers = try Mailbox<NameLookup.Answer>()
            let token = try loop.watch(answers.fd, .readable) { [weak self] _ in self?.found() }
            let thread = try NameLookup.start(endpoint.host, port: endpoint.port, number: 0, answers: answers)
            lookup = Lookup(answers: answers, thread: thread, watch: token)
        } catch {
            fail("cannot look up \(endpoint.host): \(error)")
        }
    }

    private static func literal(_ host: String, _ port: UInt16) -> String {
        host.utf8.contains(ASCII.colon) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private func found() {
        guard let lookup, let answer = lookup.answers.takeAll().first else { return }
        loop.unwatch(lookup.watch)
        lookup.thread.join()  // it has nothing left to do
        self.lookup = nil
        guard stage == .looking else { return }
        addresses = answer.addresses
        guard answer.problem == nil else { return fail("cannot look up \(endpoint.host): \(answer.problem ?? "")") }
        connect()
    }

    /// Tries the next address.
    private func connect() {
        guard !addresses.isEmpty else { return fail("no address of \(endpoint.host) takes a connection") }
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
        closeSocket()
        guard addresses.isEmpty else { return connect() }
        fail("\(SystemError(call: "connect", code: code))")
    }

    private func connected() {
        stage = .open
        if let context {
            let isAddress = SocketAddress(Self.literal(endpoint.host, endpoint.port)) != nil
            let identity = PeerIdentity(serverName: isAddress ? nil : endpoint.host, verifiedName: endpoint.host)
            do throws(TLSFailure) {
                tls = TLSChannel(try TLSConnection(connecting: context, to: identity))
            } catch {
                return fail("TLS: \(error)")
            }
            withWire { $0.transmit(into: &$1) }
            return flush()
        }
        say()
    }

    // MARK: Saying

    /// Puts the request on its way.
    private func say() {
        guard let request, stage == .open else { return }
        answer = CollectorAnswer()
        guard let tls else {
            wire += request
            return flush()
        }
        guard tls.tls.isEstablished else { return }
        var sent = 0
        while sent < request.count {
            var taken = 0
            request.withUnsafeBytes { bytes in
                let rest = ByteView(UnsafeRawBufferPointer(rebasing: bytes[sent...]))
                withWire { taken = $0.write(rest, into: &$1) }
            }
            guard taken > 0 else { return fail("TLS: \(tls.tls.state)") }
            sent += taken
        }
        flush()
    }

    /// Lets TLS write what is to be sent.
    private func withWire(_ body: (inout TLSConnection, inout ByteWriter) -> Void) {
        guard let tls else { return }
        withUnsafeTemporaryAllocation(byteCount: 32 << 10, alignment: 16) { place in
            var writer = ByteWriter(place)
            body(&tls.tls, &writer)
            wire += UnsafeBufferPointer(start: writer.base, count: writer.count)
        }
    }

    /// Sends what the socket takes, and watches it for the rest and for what comes.
    private func flush() {
        while wireSent < wire.count {
            let result = wire.withUnsafeBytes { bytes -> TransferResult in
                let rest = ByteView(UnsafeRawBufferPointer(rebasing: bytes[wireSent...]))
                return socket?.send(rest) ?? .failed(EBADF)
            }
            switch result {
            case .bytes(let count): wireSent += count
            case .wouldBlock: return observe([.readable, .writable])
            case .endOfStream: return broke("the collector closed the connection")
            case .failed(let code): return broke("\(SystemError(call: "send", code: code))")
            }
        }
        wire.removeAll(keepingCapacity: wire.count < Self.answerLimit)
        wireSent = 0
        observe(.readable)
    }

    private func observe(_ interest: Readiness) {
        guard let fd = socket?.fd else { return }
        if let watch { return loop.rewatch(watch, interest) }
        watch = try? loop.watch(fd, interest) { [weak self] in self?.ready($0) }
        if watch == nil { fail("cannot watch the connection") }
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
        let result = withUnsafeTemporaryAllocation(byteCount: Self.readBytes, alignment: 16) { place in
            let result = socket?.receive(into: place) ?? .failed(EBADF)
            if case .bytes(let count) = result {
                take(ByteView(UnsafeRawBufferPointer(rebasing: place[..<count])))
            }
            return result
        }
        switch result {
        case .bytes, .wouldBlock: break
        case .endOfStream: ended()
        case .failed(let code): broke("\(SystemError(call: "recv", code: code))")
        }
    }

    /// Takes bytes of the socket.
    private func take(_ bytes: ByteView) {
        guard let tls else { return heard(bytes) }
        var rest = bytes
        withUnsafeTemporaryAllocation(byteCount: Self.readBytes, alignment: 16) { plain in
            while stage == .open {
                var received: TLSConnection.Progress?
                withWire { received = $0.receive(rest, into: plain, replies: &$1) }
                guard let progress = received else { return }
                rest = rest.dropping(first: progress.consumed)
                if progress.produced > 0 {
                    heard(ByteView(UnsafeRawBufferPointer(rebasing: plain[..<progress.produced])))
                    guard stage == .open else { return }
                }
                switch progress.next {
                case .bytes: return flush()
                case .opened: say()
                case .room, .replies: flush()
                case .end: return ended()
                case .failure:
                    flush()  // the alert
                    return fail("TLS: \(Self.reason(tls.tls.state))")
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
        case .broken(let problem): fail("the answer is not valid HTTP: \(problem)")
        case .complete: finish()
        }
    }

    private func ended() {
        guard isBusy else { return closeSocket() }
        if answer.end() { return finish() }
        broke("the collector closed the connection")
    }

    private func finish() {
        served += 1
        let outcome = Outcome.answered(status: answer.status, retryAfterSeconds: answer.retryAfterSeconds)
        if !answer.keepsAlive { closeSocket() }
        tell(outcome)
    }

    // MARK: Ends

    /// The connection broke. One that had been kept may have been closed before the request came: once more, then.
    private func broke(_ problem: String) {
        guard isBusy, served > 0, !answer.hasBegun else {
            guard isBusy else { return closeSocket() }
            return fail(problem)
        }
        closeSocket()
        begin()
    }

    private func fail(_ problem: String) {
        closeSocket()
        if let lookup {
            loop.unwatch(lookup.watch)
            self.lookup = nil
        }
        tell(.failed(problem))
    }

    private func tell(_ outcome: Outcome) {
        cancelTimer()
        request = nil
        let report = report
        self.report = nil
        report?(outcome)
    }

    private func cancelTimer() {
        if let timer { loop.cancel(timer) }
        timer = nil
    }

    private func closeSocket() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        socket = nil
        tls = nil
        wire = []
        wireSent = 0
        stage = .closed
    }
}
