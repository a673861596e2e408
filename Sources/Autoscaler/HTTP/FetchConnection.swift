import EventLoop
import Glibc
import Primitives

/// What a GET came to.
struct FetchReply: Equatable {
    var status: Int
    /// The value of `Content-Type`; empty if there is none.
    var contentType: String
    var body: [UInt8]
}

/// Why a GET came to nothing.
enum FetchFailure: Error, Equatable {
    /// No answer in time.
    case timedOut
    /// Too many are under way and waiting.
    case tooBusy
    /// There is no connection, or it broke.
    case unreachable(String)
    /// The answer is not what HTTP or our limits allow.
    case malformed(String)
}

/// One HTTP/1.1 connection for GETs, one at a time, kept alive between them. Owned by the thread of its loop, which it
/// never blocks.
final class FetchConnection {
    private enum Stage: Equatable { case closed, connecting, failing, open }

    private static let readBytes = 4 << 10

    let address: SocketAddress
    private let loop: Loop
    private var stage = Stage.closed
    private var socket: Socket?
    private var watch: Loop.WatchToken?
    /// The request under way and how much of it has left; nil between two.
    private var request: [UInt8]?
    private var sent = 0
    private var report: ((Result<FetchReply, FetchFailure>) -> Void)?
    private var timer = TimerHandle.none
    private var answer: FetchAnswer
    /// Requests that this connection has served: it may have been closed behind our back.
    private var served = 0
    /// Since when it has nothing to do.
    private(set) var idleSince: Instant

    /// No connection yet.
    init(_ address: SocketAddress, loop: Loop, bodyLimit: Int) {
        self.address = address
        self.loop = loop
        answer = FetchAnswer(bodyLimit: bodyLimit)
        idleSince = loop.now
    }

    /// Whether a GET is under way.
    var isBusy: Bool { request != nil }
    /// Whether it may be kept for another GET.
    var isOpen: Bool { stage == .open }

    /// Sends `request`, a whole head; `report` is called once, unless `close` comes first.
    func get(_ request: [UInt8], deadline: Instant, report: @escaping (Result<FetchReply, FetchFailure>) -> Void) {
        assert(!isBusy)
        self.request = request
        self.report = report
        sent = 0
        answer.reset()
        timer = loop.at(deadline) { [weak self] in
            self?.timer = .none
            self?.fail(.timedOut)
        }
        if stage == .open { flush() } else { connect() }
    }

    /// Gives up what is under way without a report, and the connection.
    func close() {
        report = nil
        request = nil
        cancelTimer()
        closeSocket()
    }

    private func connect() {
        served = 0
        switch Socket.connect(to: address) {
        case .connected(let opened):
            socket = consume opened
            stage = .open
            flush()
        case .pending(let opened):
            socket = consume opened
            stage = .connecting
            observe(.writable)
        case .failed(let code):
            // Later, so that who asks one after the other does not do so deeper and deeper in the stack.
            stage = .failing
            loop.at(loop.now) { [weak self] in self?.failed(code) }
        }
    }

    private func failed(_ code: Int32) {
        guard stage == .failing else { return }
        fail(.unreachable("\(SystemError(call: "connect to \(address)", code: code))"))
    }

    /// Sends what the socket takes, and watches it for the rest and for what comes.
    private func flush() {
        guard let request else { return }
        while sent < request.count {
            let result = request.withUnsafeBytes { bytes -> TransferResult in
                let rest = ByteView(UnsafeRawBufferPointer(rebasing: bytes[sent...]))
                return socket?.send(rest) ?? .failed(EBADF)
            }
            switch result {
            case .bytes(let count): sent += count
            case .wouldBlock: return observe([.readable, .writable])
            case .endOfStream: return broke("\(address) closed the connection")
            case .failed(let code): return broke("\(SystemError(call: "send to \(address)", code: code))")
            }
        }
        observe(.readable)
    }

    private func observe(_ interest: Readiness) {
        guard let fd = socket?.fd else { return }
        if let watch { return loop.rewatch(watch, interest) }
        watch = try? loop.watch(fd, interest) { [weak self] in self?.ready($0) }
        if watch == nil { fail(.unreachable("cannot watch the connection to \(address)")) }
    }

    private func ready(_ readiness: Readiness) {
        if stage == .connecting {
            let code = socket?.pendingError ?? EBADF
            guard code == 0 else {
                return fail(.unreachable("\(SystemError(call: "connect to \(address)", code: code))"))
            }
            stage = .open
            return flush()
        }
        guard stage == .open else { return }
        if readiness.contains(.writable), sent < request?.count ?? 0 { flush() }
        guard stage == .open, !readiness.subtracting(.writable).isEmpty else { return }
        let result = withUnsafeTemporaryAllocation(byteCount: Self.readBytes, alignment: 16) { place in
            let result = socket?.receive(into: place) ?? .failed(EBADF)
            if case .bytes(let count) = result {
                heard(ByteView(UnsafeRawBufferPointer(rebasing: place[..<count])))
            }
            return result
        }
        switch result {
        case .bytes, .wouldBlock: break
        case .endOfStream: ended()
        case .failed(let code): broke("\(SystemError(call: "recv from \(address)", code: code))")
        }
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
        broke("\(address) closed the connection")
    }

    private func finish() {
        served += 1
        idleSince = loop.now
        // What was not sent yet would go on behind the answer.
        if !answer.keepsAlive || sent < request?.count ?? 0 { closeSocket() }
        tell(.success(FetchReply(status: answer.status, contentType: answer.contentType, body: answer.body)))
    }

    /// The connection broke. One that had been kept may have been closed before the request came: once more, then.
    private func broke(_ problem: String) {
        guard isBusy else { return closeSocket() }
        guard served > 0, !answer.hasBegun else { return fail(.unreachable(problem)) }
        closeSocket()
        sent = 0
        connect()
    }

    private func fail(_ failure: FetchFailure) {
        closeSocket()
        tell(.failure(failure))
    }

    private func tell(_ result: Result<FetchReply, FetchFailure>) {
        cancelTimer()
        request = nil
        let report = report
        self.report = nil
        report?(result)
    }

    private func cancelTimer() {
        loop.cancel(timer)
        timer = .none
    }

    private func closeSocket() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        socket = nil
        stage = .closed
    }
}
