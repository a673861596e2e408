import Admission
import Balancing
import EventLoop
import Glibc
import HTTP
import HTTP1
import HTTP2
import Primitives
import TLS
import Telemetry

/// What all workers share, fixed for life.
public struct WorkerOptions: Sendable {
    /// Which of the workers this is, from 0.
    public var index = 0
    /// How many there are.
    public var count = 1
    /// The limits.
    public var limits = DataPlaneLimits()
    /// Whether X-Forwarded-* and Forwarded from clients are believed and added to, because another proxy stands in
    /// front. Default false: they are overwritten. X-Request-Id is kept either way: it steers nothing.
    public var trustsForwarded = false
    /// Whom the workers stand in for: an ingress that routes by host, or the sidecar of one container. Default ingress.
    public var forwarding = ForwardingMode.ingress
    /// Where probes, and requests at listeners of other purposes, are told from traffic and answered. Nil: all is
    /// traffic. Default nil.
    public var questions: QuestionDesk?
    /// What TLS listeners serve first; `WorkerCommand.certificates` replaces it. Nil: there are no TLS listeners.
    public var certificates: CertificateSet?
    /// Keys of session tickets, shared by all workers. Nil: sessions are not resumed.
    public var tickets: TicketKeyRing?
    /// Request log, metrics and spans. Nil: there are none. Default nil.
    public var telemetry: RequestTelemetry?
    /// The form of the access log.
    public var accessLog = AccessLogFormat.off
    /// Seed of the random choices.
    public var seed: UInt64 = 0

    /// The defaults.
    public init() {}
}

/// The timer of a place in the slab of exchanges, armed for the earliest deadline of those who had the place since it
/// last fired.
struct ExchangeTimer {
    /// When it fires; `distantFuture`: it is not armed.
    var instant = Instant.distantFuture
    var handle = TimerHandle.none
}

/// One data-plane thread: its event loop, its connections, its exchanges, its pool.
///
/// Everything here belongs to the worker's thread but the mailbox. Events come in from the poller, the timers and the
/// mailbox; each is handled to its end; connections closed and exchanges ended meanwhile keep their places until the
/// end of the wake-up, so that no pointer goes stale inside one.
public final class Worker {
    let options: WorkerOptions
    let limits: DataPlaneLimits
    /// Whether it forwards as a sidecar (`ForwardingMode`).
    let isSidecar: Bool
    /// Whether it forwards as an activator.
    let isActivator: Bool
    /// Whether who asks is one of Knative's parts, or has been through one: it looks at HTTP's status and text.
    var isBehindIngress: Bool { isSidecar || isActivator }
    /// Whether it forwards as a gateway.
    let isGateway: Bool
    /// Request log, metrics and spans; nil if there are none.
    let telemetry: WorkerTelemetry?
    let desk: QuestionDesk?
    /// Every worker's mailbox; `mailbox` is this one's.
    let peers: [Mailbox<WorkerCommand>]
    let mailbox: Mailbox<WorkerCommand>
    let events: Mailbox<WorkerEvent>
    let log: LogSink?
    var logLines: LogLines
    let connectionBudget: ConnectionBudget
    let poller: Poller
    /// The client's side of TLS to pods.
    var clientContexts = ClientContexts()
    /// In the order of the options; empty when accepting has ended.
    var listeners: [WorkerListener]
    /// TLS handshakes of clients under way, failed since the start, and steps made in this wake-up.
    var handshakes = 0
    var failedHandshakes = 0
    var handshakeSteps = 0
    var timers: TimerWheel
    var buffers: BufferPool
    var downstreams: Slab<DownstreamConnection>
    var upstreams: Slab<UpstreamConnection>
    var exchanges: Slab<Exchange>
    /// Requests that wait for an answer of the control thread's.
    var questions: Slab<PendingQuestion>
    /// What the request log will say of some of them.
    var probeNotes: Slab<ProbeNote>
    /// How many of them are being answered in pieces.
    var longAnswers = 0
    var pool = UpstreamPool()
    var snapshot: RoutingSnapshot
    var now: Instant
    var random: SeededRandom
    var date = HTTPDate()
    var isDraining = false
    var isClosingDown = false
    var isStopping = false
    var saidDrained = false
    var sweepIsArmed = false
    /// The timer of every place of `exchanges` that ever had one, and how many of them are armed.
    var exchangeTimers: [ExchangeTimer] = []
    var armedExchangeTimers = 0

    // Reused for every message, so that none allocates.
    var requestHead: RequestHead
    /// Whose head `requestHead` describes; another connection's may have been parsed since.
    var headOwner = SlabToken.none
    var responseHead: ResponseHead
    var trailers: FieldTable
    var output: SendList
    /// The head that is being submitted to a session.
    var streamFields: HTTP2Fields
    /// What the sessions of this worker share.
    let sessionPool: HTTP2Pool
    /// Where bodies and response heads are read. The headroom lets a rewritten head be put right before the body.
    let scratch: UnsafeMutableRawBufferPointer
    static let headroom = 4096
    /// The part of `scratch` behind the headroom.
    var readPlace: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(rebasing: scratch[Self.headroom...]) }
    /// Most bytes of one read. With our framing around them they fit 64 KiB, so no more waits for a slow peer.
    static let readBytes = 60 * 1024

    /// Where TLS passes bytes on.
    let cipherScratch = CipherScratch()
    /// Where sessions are read: apart from `scratch`, which serves what their events cause.
    let sessionPlace: UnsafeMutableRawBufferPointer
    /// Where sessions write.
    let transmitPlace: UnsafeMutableRawBufferPointer
    static let sessionBytes = 64 * 1024

    // Work left for the end of the event or the wake-up.
    /// Connections whose session may have something to transmit.
    var touchedSessions: [TaggedToken] = []
    /// Exchanges whose bodies go on when all that was read has been understood.
    var pumps: [SlabToken] = []
    var localGrants: [(RevisionTarget, Grant)] = []
    var turns: [TaggedToken] = []
    var closedDownstreams = Stack<SlabToken>()
    var closedUpstreams = Stack<SlabToken>()
    var endedExchanges = Stack<SlabToken>()
    var listedTargets: [RevisionTarget] = []
    var addressCounts: [UInt64: Int] = [:]

    /// A worker that takes connections from `listeners`, whose descriptors it owns from now on, and routes by
    /// `snapshot`. Make it on its own thread.
    public init(
        options: WorkerOptions, listeners: [(descriptor: Int32, options: ListenerOptions)], snapshot: RoutingSnapshot,
        mailboxes: [Mailbox<WorkerCommand>], events: Mailbox<WorkerEvent>, connectionBudget: ConnectionBudget,
        log: LogSink?
    ) throws(SystemError) {
        self.options = options
        limits = options.limits
        isSidecar = options.forwarding == .sidecar
        isActivator = options.forwarding == .activator
        isGateway = options.forwarding == .gateway
        telemetry = options.telemetry.map { shared in
            // Ids must not come again when the process starts anew, so the clock is part of their seed.
            let seed = MonotonicClock.wallNanoseconds() &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(options.index) << 48
            return WorkerTelemetry(shared, worker: options.index, seed: seed ^ options.seed)
        }
        desk = options.questions
        peers = mailboxes
        mailbox = mailboxes[options.index]
        self.events = events
        self.connectionBudget = connectionBudget
        self.log = log
        logLines = LogLines(isUsed: options.accessLog != .off || options.telemetry?.settings.logTemplate != nil)
        self.snapshot = snapshot
        poller = try Poller()
        now = MonotonicClock.now()
        timers = TimerWheel(now: now)
        buffers = BufferPool(limit: limits.bufferedBytes)
        downstreams = Slab(limit: limits.connections)
        upstreams = Slab(limit: limits.connections * 2)
        exchanges = Slab(limit: max(limits.connections, limits.streams))
        questions = Slab(limit: limits.questions)
        probeNotes = Slab(limit: limits.questions)
        random = SeededRandom(seed: options.seed &+ UInt64(options.index) &* 0x1234_5678_9ABC_DEF1)
        output = SendList(headBytes: limits.http.headBytes)
        requestHead = RequestHead(limits: limits.http)
        responseHead = ResponseHead(limits: limits.http)
        trailers = FieldTable(capacity: limits.http.fieldCount)
        scratch = .allocate(byteCount: Self.headroom + Self.readBytes, alignment: 64)
        sessionPlace = .allocate(byteCount: Self.sessionBytes, alignment: 64)
        transmitPlace = .allocate(byteCount: Self.sessionBytes, alignment: 64)
        streamFields = HTTP2Fields(capacity: limits.http.fieldCount + 16 + GatewayRule.fieldLimit)
        sessionPool = HTTP2Pool(
            limits: limits.http2Limits, streams: limits.streams, outboundBytes: limits.bufferedBytes,
            heads: limits.bufferedBytes / BufferPool.smallest)
        var made: [WorkerListener] = []
        for (descriptor, listener) in listeners {
            made.append(try WorkerListener(owning: descriptor, listener, options))
        }
        self.listeners = made
        try register()
    }

    private func register() throws(SystemError) {
        var code = poller.watch(mailbox.fd, for: .readable, token: TaggedToken(.mailbox).packed)
        guard code == 0 else { throw SystemError(call: "epoll_ctl", code: code) }
        for index in listeners.indices {
            code = watchListener(index)
            guard code == 0 else { throw SystemError(call: "epoll_ctl", code: code) }
        }
    }

    deinit {
        scratch.deallocate()
        sessionPlace.deallocate()
        transmitPlace.deallocate()
    }

    // MARK: The loop

    /// Runs until the `stop` command.
    public func run() {
        while !isStopping { turn() }
        handOverSpans()
    }

    /// One wake-up.
    private func turn() {
        let deadline = turns.isEmpty && touchedSessions.isEmpty ? timers.nextDeadline : now
        let count = poller.wait(until: deadline, now: now)
        now = MonotonicClock.now()
        handshakeSteps = 0
        date.update(unixSeconds: MonotonicClock.wallNanoseconds() / 1_000_000_000)
        for index in 0..<count { dispatch(poller.token(index), poller.readiness(index)) }
        while let payload = timers.expire(now: now) { timerFired(TaggedToken(packed: payload)) }
        takeTurns()
        transmitSessions()
        sayDrainedIfSo()
        freeClosed()
        flushLog()
    }

    private func dispatch(_ packed: UInt64, _ readiness: Readiness) {
        let tagged = TaggedToken(packed: packed)
        switch tagged.kind {
        case .downstream: downstreamReady(tagged.token, readiness)
        case .upstream: upstreamReady(tagged.token, readiness)
        case .listener: acceptConnections(Int(tagged.token.index))
        case .mailbox: takeCommands()
        case .exchange, .sweep, .resumeAccept, .wake, .question, .spans, nil:
            assertionFailure("only timers carry these")
        }
        handOutLocalGrants()
    }

    /// Connections that stopped at a limit of one wake-up go on here; edge-triggered epoll would not tell again.
    private func takeTurns() {
        var left = turns.count
        var index = 0
        while left > 0 {
            let tagged = turns[index]
            index += 1
            left -= 1
            if tagged.kind == .downstream, let connection = downstreams[tagged.token] {
                connection.pointee.isQueuedForTurn = false
                downstreamReady(tagged.token, [])
            } else if tagged.kind == .upstream, let connection = upstreams[tagged.token] {
                connection.pointee.isQueuedForTurn = false
                upstreamReady(tagged.token, [])
            }
            handOutLocalGrants()
        }
        turns.removeFirst(index)
    }

    func queueTurn(_ connection: UnsafeMutablePointer<DownstreamConnection>) {
        guard !connection.pointee.isQueuedForTurn else { return }
        connection.pointee.isQueuedForTurn = true
        turns.append(TaggedToken(.downstream, connection.pointee.token))
    }

    func queueTurn(_ connection: UnsafeMutablePointer<UpstreamConnection>) {
        guard !connection.pointee.isQueuedForTurn else { return }
        connection.pointee.isQueuedForTurn = true
        turns.append(TaggedToken(.upstream, connection.pointee.token))
    }

    private func freeClosed() {
        while let token = closedDownstreams.popLast() { downstreams.remove(token) }
        while let token = closedUpstreams.popLast() { upstreams.remove(token) }
        while let token = endedExchanges.popLast() { exchanges.remove(token) }
    }

    // MARK: Commands

    private func takeCommands() {
        for command in mailbox.takeAll() {
            switch command {
            case .publish(let new):
                snapshot = new
                clientContexts.keep(usedBy: new)
                events.post(.published(worker: options.index, generation: new.generation))
            case .grant(let target, let grant): granted(grant, of: target)
            case .refuse(let waiter): waiterRefused(SlabToken(packed: waiter.token))
            case .report: report()
            case .answer(let asker, let answer): answered(asker, answer)
            case .gauges(let asker): asker.post(gauges)
            case .certificates(let new):
                for listener in listeners where !listener.ownsCertificates { listener.tls?.certificates = new }
            case .forget(let endpoint):
                for token in pool.takeAll(endpoint: endpoint.id) { closePooled(token) }
                for token in pool.shared(endpoint: endpoint.id) { retireShared(token) }
                clientContexts.forget(endpoint)
            case .drain: beginDrain()
            case .stopAccepting: stopAccepting()
            case .stop: isStopping = true
            }
        }
    }

    /// Sends the statistics of every revision that had a request in the window or has one now.
    private func report() {
        var reports: [RevisionReport] = []
        // Its windows follow one another without a gap, be there requests or not.
        if isSidecar, let target = snapshot.targets.first, !target.cell(options.index).pointee.isListed {
            listedTargets.append(target)
        }
        listedTargets.removeAll { target in
            let cell = target.cell(options.index)
            reports.append(RevisionReport(target: target, sums: cell.pointee.stats.report(now: now)))
            cell.pointee.isListed = cell.pointee.stats.concurrency > 0
            return !cell.pointee.isListed
        }
        events.post(.report(worker: options.index, reports))
    }

    /// Delivers slots that went to requests of this very worker, oldest first. A delivery may add to the list.
    @inline(__always)
    func handOutLocalGrants() {
        if !localGrants.isEmpty { handOutGrantsThatCame() }
    }

    private func handOutGrantsThatCame() {
        var index = 0
        while index < localGrants.count {
            let (target, grant) = localGrants[index]
            index += 1
            granted(grant, of: target)
        }
        localGrants.removeAll(keepingCapacity: true)
    }

    // MARK: Timers

    private func timerFired(_ tagged: TaggedToken) {
        switch tagged.kind {
        case .downstream: downstreamTimerFired(tagged.token)
        case .upstream: upstreamTimerFired(tagged.token)
        case .exchange: exchangeTimerFired(tagged.token.index)
        case .sweep: sweepPool()
        case .resumeAccept: _ = watchListener(Int(tagged.token.index))
        case .wake: break
        case .spans: spanTimerFired()
        case .question: questionTimerFired(tagged.token)
        case .listener, .mailbox, nil: assertionFailure("these have no timer")
        }
        handOutLocalGrants()
    }

    /// Only while connections are kept: a worker at rest does not wake.
    func armSweep() {
        guard !sweepIsArmed else { return }
        sweepIsArmed = true
        _ = timers.arm(now.adding(milliseconds: 5_000), payload: TaggedToken(.sweep).packed)
    }
}
