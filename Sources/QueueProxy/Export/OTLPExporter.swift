import EventLoop
import Fetching
import Primitives
import TLS

/// Sends telemetry to one OTLP endpoint by HTTP (OTLP 1.x, "OTLP/HTTP"): one POST at a time on one connection, again
/// after a pause where that may help, from a queue that is bounded. Owned by the thread of its loop, which it never
/// blocks.
///
/// Answered with 429, 502, 503 or 504, or not at all, a message is sent again; anything else ends it. What is lost is
/// counted, and said in one line a minute at most.
public final class OTLPExporter {
    /// Its limits.
    public struct Limits: Equatable, Sendable {
        /// One POST with connection and answer, in milliseconds. Default 10,000 (OTEL_EXPORTER_OTLP_TIMEOUT's).
        public var attemptMilliseconds: UInt64 = 10_000
        /// The pause before the second attempt, in milliseconds, up to a quarter more by chance; each further one is
        /// twice as long. Default 1,000.
        public var firstPauseMilliseconds: UInt64 = 1_000
        /// The longest pause, in milliseconds; `Retry-After` may ask for one up to this. Default 30,000.
        public var longestPauseMilliseconds: UInt64 = 30_000
        /// How long a message is tried for, in milliseconds; then it is lost. Default 60,000.
        public var messageMilliseconds: UInt64 = 60_000
        /// Messages that may wait. Default 16. At the limit: the oldest that is not under way is lost.
        public var messages = 16
        /// Their bytes together. Default 4 MiB. At the limit: likewise.
        public var bytes = 4 << 20
        /// Time between two lines about losses, in milliseconds. Default 60,000.
        public var lineMilliseconds: UInt64 = 60_000

        /// The defaults.
        public init() {}
    }

    /// Of an answer the status counts: its body, at most 64 KiB, is thrown away.
    private static var answerLimits: AnswerLimits {
        var limits = AnswerLimits()
        limits.headBytes = 64 << 10
        limits.fieldCount = 100
        limits.keepsBody = false
        return limits
    }

    private struct Message {
        let body: [UInt8]
        let items: Int
        let isSnapshot: Bool
        var giveUpAt: Instant
        var attempts = 0
    }

    /// Items (spans, or series of metrics) that an endpoint has taken.
    public private(set) var delivered = 0
    /// Items that were lost.
    public private(set) var lost = 0

    private let name: String
    private let loop: Loop
    private let limits: Limits
    private let connection: FetchConnection
    /// What a request begins with, up to the length of its body.
    private let head: String
    private let say: (String) -> Void
    private var queue: [Message] = []
    private var queuedBytes = 0
    private var isSending = false
    private var pause: TimerHandle?
    private var random: SeededRandom
    private var unsaidItems = 0
    private var unsaidReason = ""
    private var lineAt: Instant?
    private var lineTimer: TimerHandle?
    private var whenEmpty: (() -> Void)?

    /// An exporter that has nothing to do yet.
    ///
    /// - Parameters:
    ///   - name: what it exports, for its lines: "spans".
    ///   - context: whom to trust; needed if and only if the endpoint has TLS. It must offer HTTP/1.1 only.
    ///   - say: takes a line for the log, without its end.
    public init(
        _ name: String, to endpoint: OTLPEndpoint, loop: Loop, context: TLSClientContext? = nil,
        limits: Limits = Limits(), say: @escaping (String) -> Void
    ) {
        self.name = name
        self.loop = loop
        self.limits = limits
        self.say = say
        precondition(endpoint.isTLS == (context != nil))
        let target = FetchTarget(host: endpoint.host, port: endpoint.port)
        connection = FetchConnection(to: target, loop: loop, limits: Self.answerLimits, security: context)
        let host = endpoint.host.utf8.contains(ASCII.colon) ? "[\(endpoint.host)]" : endpoint.host
        let port = endpoint.port == (endpoint.isTLS ? 443 : 80) ? "" : ":\(endpoint.port)"
        head =
            "POST \(endpoint.path) HTTP/1.1\r\nHost: \(host)\(port)\r\nUser-Agent: martlet-queue\r\n"
            + "Content-Type: application/x-protobuf\r\nContent-Length: "
        random = SeededRandom(seed: MonotonicClock.wallNanoseconds())
    }

    /// Takes a message for the endpoint.
    ///
    /// - Parameters:
    ///   - items: how many spans or metrics it holds, for the counts.
    ///   - isSnapshot: whether it replaces an earlier one that still waits, as cumulative metrics do.
    public func send(_ body: [UInt8], items: Int, isSnapshot: Bool = false) {
        let first = isSending ? 1 : 0
        if isSnapshot, let index = queue[first...].firstIndex(where: \.isSnapshot) { remove(index) }
        guard body.count <= limits.bytes else { return lose(items, "a message is too long") }
        while queue.count > first, queue.count >= limits.messages || queuedBytes + body.count > limits.bytes {
            lose(remove(first).items, "the queue is full")
        }
        guard queue.count < limits.messages, queuedBytes + body.count <= limits.bytes else {
            return lose(items, "the queue is full")
        }
        let giveUpAt = MonotonicClock.now().adding(milliseconds: limits.messageMilliseconds)
        queue.append(Message(body: body, items: items, isSnapshot: isSnapshot, giveUpAt: giveUpAt))
        queuedBytes += body.count
        next()
    }

    /// Sends what waits without pauses, then calls `then`: at the latest after `milliseconds`, when the rest is lost.
    /// Nothing is sent after that.
    public func finish(withinMilliseconds milliseconds: UInt64, then: @escaping () -> Void) {
        let timer = loop.after(milliseconds: milliseconds) { [weak self] in self?.abandon() }
        whenEmpty = { [loop] in
            loop.cancel(timer)
            then()
        }
        endPause()
        next()
    }

    @discardableResult
    private func remove(_ index: Int) -> Message {
        let message = queue.remove(at: index)
        queuedBytes -= message.body.count
        return message
    }

    // MARK: Sending

    private func next() {
        guard !isSending, pause == nil else { return }
        guard let message = queue.first else { return ended() }
        isSending = true
        let request = Array("\(head)\(message.body.count)\r\n\r\n".utf8) + message.body
        let deadline = MonotonicClock.now().adding(milliseconds: limits.attemptMilliseconds)
        connection.send(request, deadline: deadline) { [weak self] result in self?.took(result) }
    }

    private func took(_ result: Result<FetchReply, FetchFailure>) {
        isSending = false
        var wanted: Int?
        let reason: String
        switch result {
        case .success(let reply) where (200..<300).contains(reply.status):
            delivered += remove(0).items
            return next()
        case .success(let reply) where [429, 502, 503, 504].contains(reply.status):
            (reason, wanted) = ("status \(reply.status)", reply.retryAfterSeconds)
        case .success(let reply):
            lose(remove(0).items, "status \(reply.status)")
            return next()
        case .failure(.timedOut): reason = "no answer within \(limits.attemptMilliseconds) ms"
        case .failure(let failure): reason = "\(failure)"
        }
        wait(reason, seconds: wanted)
    }

    /// Tries the first message again after a pause, if there is time left.
    private func wait(_ reason: String, seconds: Int?) {
        queue[0].attempts += 1
        var milliseconds = limits.firstPauseMilliseconds
        for _ in 1..<queue[0].attempts where milliseconds < limits.longestPauseMilliseconds { milliseconds *= 2 }
        if let seconds { milliseconds = max(milliseconds, UInt64(seconds) * 1000) }
        milliseconds = min(milliseconds, limits.longestPauseMilliseconds)
        milliseconds += random.next() % (milliseconds / 4 + 1)
        let again = MonotonicClock.now().adding(milliseconds: milliseconds)
        guard again < queue[0].giveUpAt, whenEmpty == nil else {
            lose(remove(0).items, reason)
            return next()
        }
        pause = loop.at(again) { [weak self] in
            self?.pause = nil
            self?.next()
        }
    }

    private func endPause() {
        if let pause { loop.cancel(pause) }
        pause = nil
    }

    /// There is nothing left.
    private func ended() {
        guard let then = whenEmpty else { return }
        whenEmpty = nil
        connection.close()
        sayLosses()
        then()
    }

    private func abandon() {
        guard whenEmpty != nil else { return }
        connection.close()
        isSending = false
        endPause()
        while !queue.isEmpty { lose(remove(0).items, "the process ends") }
        ended()
    }

    // MARK: Losses

    private func lose(_ items: Int, _ reason: String) {
        lost += items
        unsaidItems += items
        unsaidReason = reason
        let now = MonotonicClock.now()
        guard let lineAt, now < lineAt else { return sayLosses() }
        guard lineTimer == nil else { return }
        lineTimer = loop.at(lineAt) { [weak self] in self?.sayLosses() }
    }

    private func sayLosses() {
        if let lineTimer { loop.cancel(lineTimer) }
        lineTimer = nil
        guard unsaidItems > 0 else { return }
        lineAt = MonotonicClock.now().adding(milliseconds: limits.lineMilliseconds)
        say("telemetry: \(unsaidItems) \(name) lost, the last because: \(unsaidReason)")
        unsaidItems = 0
    }
}
