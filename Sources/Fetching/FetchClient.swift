import EventLoop
import Primitives

/// Requests to many addresses: connections kept alive, and limits on all of them together. Owned by the loop's thread.
public final class FetchClient {
    /// Limits with their defaults.
    public struct Limits: Sendable {
        /// Connections kept without a request. Default 1,000 (Knative's). At the limit: closed after the answer.
        public var idleConnections = 1_000
        /// How long one is kept without a request, in milliseconds. Default 90,000 (Go's). At the limit: closed.
        public var idleMilliseconds: UInt64 = 90_000
        /// Requests under way at a time. Default 512. At the limit: they wait.
        public var inFlight = 512
        /// Requests that wait. Default 16,384. At the limit: refused.
        public var waiting = 16_384
        /// From the call to the whole answer, waiting included, in milliseconds. Default 3,000 (Knative's).
        public var timeoutMilliseconds: UInt64 = 3_000
        /// Of each answer. Default: bodies of 336 bytes, Knative's for statistics.
        public var answer: AnswerLimits

        /// The defaults.
        public init() {
            answer = AnswerLimits()
            answer.bodyBytes = 336
        }
    }

    private struct Waiting {
        let address: SocketAddress
        let request: [UInt8]
        let keeps: Bool
        let deadline: Instant
        let report: (Result<FetchReply, FetchFailure>) -> Void
    }

    private let limits: Limits
    private let loop: Loop
    /// Without a request under way, by address.
    private var idle: [String: FetchConnection] = [:]
    private var busy: [ObjectIdentifier: FetchConnection] = [:]
    private var waiting: [Waiting] = []
    private var waitingHead = 0
    /// Whether waiting ones are being begun further down the stack.
    private var isBeginning = false
    private var sweepTimer = TimerHandle.none

    /// No connections yet.
    public init(loop: Loop, limits: Limits = Limits()) {
        self.loop = loop
        self.limits = limits
    }

    /// Connections without and with a request.
    public var connectionCount: Int { idle.count + busy.count }

    /// Sends `request`, a whole head, to `address`; `report` is called once, after this has returned.
    ///
    /// - Parameter keeps: whether the connection may serve another request later.
    public func send(
        _ request: [UInt8], at address: SocketAddress, keeps: Bool,
        _ report: @escaping (Result<FetchReply, FetchFailure>) -> Void
    ) {
        let deadline = loop.now.adding(milliseconds: limits.timeoutMilliseconds)
        let wanted = Waiting(address: address, request: request, keeps: keeps, deadline: deadline, report: report)
        if busy.count < limits.inFlight { return begin(wanted) }
        guard waiting.count - waitingHead < limits.waiting else {
            loop.at(loop.now) { report(.failure(.tooBusy)) }
            return
        }
        waiting.append(wanted)
    }

    /// Closes everything; nothing under way is reported.
    public func close() {
        for connection in idle.values { connection.close() }
        for connection in busy.values { connection.close() }
        (idle, busy, waiting, waitingHead) = ([:], [:], [], 0)
        loop.cancel(sweepTimer)
        sweepTimer = .none
    }

    private func begin(_ wanted: Waiting) {
        let key = wanted.address.description
        let kept = wanted.keeps ? idle.removeValue(forKey: key) : nil
        let connection = kept ?? FetchConnection(to: FetchTarget(wanted.address), loop: loop, limits: limits.answer)
        busy[ObjectIdentifier(connection)] = connection
        connection.send(wanted.request, deadline: wanted.deadline) { [weak self] result in
            self?.ended(connection, key, keeps: wanted.keeps)
            wanted.report(result)
            self?.beginNext()
        }
    }

    private func ended(_ connection: FetchConnection, _ key: String, keeps: Bool) {
        busy[ObjectIdentifier(connection)] = nil
        guard keeps, connection.isOpen, idle[key] == nil, idle.count < limits.idleConnections else {
            return connection.close()
        }
        idle[key] = connection
        if sweepTimer == .none { armSweep() }
    }

    private func beginNext() {
        guard !isBeginning else { return }
        isBeginning = true
        defer { isBeginning = false }
        while busy.count < limits.inFlight, waitingHead < waiting.count {
            let next = waiting[waitingHead]
            waitingHead += 1
            if waitingHead == waiting.count { (waiting, waitingHead) = ([], 0) }
            if next.deadline <= loop.now { next.report(.failure(.timedOut)) } else { begin(next) }
        }
    }

    /// Closes connections that nobody has used for long; those that the peer has closed are found here too.
    private func armSweep() {
        sweepTimer = loop.after(milliseconds: limits.idleMilliseconds / 3) { [weak self] in
            guard let self else { return }
            sweepTimer = .none
            for (key, connection) in idle
            where !connection.isOpen || loop.now.milliseconds(since: connection.idleSince) >= limits.idleMilliseconds {
                connection.close()
                idle[key] = nil
            }
            if !idle.isEmpty { armSweep() }
        }
    }
}
