import CNGHTTP2
import HTTP
import Primitives

/// One HTTP/2 connection without its socket (RFC 9113): bytes in, events out; submissions in, bytes out.
///
/// The driver calls `receive` with what it read, `transmit` when it can write and `timeout` at `deadline`, and takes
/// all events with `nextEvent` after each of the three. Framing and HPACK are nghttp2's; limits, floods, the rules for
/// heads and flow control tied to back-pressure are here. See Lifecycle.md.
///
/// A class, one a connection, because nghttp2 keeps its address for callbacks. Owned by one worker's thread. No clock,
/// no descriptor; memory per stream comes from the worker's `HTTP2Pool`.
public final class HTTP2Session {
    /// Which side of the connection we are.
    public enum Role: Equatable, Sendable {
        /// The peer sends requests.
        case server
        /// We send requests.
        case client
    }

    /// Where the connection is.
    enum State: Equatable, Sendable {
        case open
        /// The first GOAWAY of a drain is on its way; the second follows the PING's return, or this instant.
        case noticed(until: Instant)
        /// The last stream has been named; the streams up to it go on.
        case draining
        /// A GOAWAY with an error is to be sent; nothing is read any more.
        case failing
        /// Nothing is sent or read any more.
        case closed
    }

    /// Events that wait to be taken. One frame adds at most three.
    private static var queueCapacity: Int { 16 }
    static var eventsPerFrame: Int { 4 }
    /// The PING that follows the first GOAWAY of a drain.
    static var drainPing: UInt64 { 0x6472_6169_6E69_6E67 }

    /// Which side of the connection we are.
    public let role: Role
    let pool: HTTP2Pool
    private let limitsPlace: UnsafeMutablePointer<HTTP2Limits>
    var handle: OpaquePointer?
    var state = State.open
    var now: Instant

    // Receiving.
    var scanner: FrameScanner
    var floods: FloodGuard
    var history = StreamHistory()
    var lastFrame = FrameHeader()
    /// The head that the current header block fills.
    var block: UnsafeMutablePointer<HTTP2Head>?
    /// Set by callbacks, acted on when nghttp2 has returned.
    var pendingFlood: HTTP2Flood?
    /// A head was queued that the next one of the same stream would overwrite.
    var mustDrain = false

    // Events.
    private let queue: UnsafeMutablePointer<HTTP2Event>
    private var queueStart = 0
    private var queueCount = 0
    var owedFirst = SlabToken.none
    var owedLast = SlabToken.none
    /// The stream whose last event was taken: its record goes with the next call.
    private var told = SlabToken.none

    // Streams.
    /// The stream that nghttp2 was asked for last, and its record: most calls in a row are about one stream. Forgotten
    /// when nghttp2 closes a stream or the record goes.
    var lastNumber: Int32 = 0
    var lastRecord: Record?
    var firstStream = SlabToken.none
    /// Streams that nghttp2 has open, or of which an event is owed.
    public internal(set) var streamCount = 0
    /// Requests that have been taken from the peer, or sent to it.
    public internal(set) var requestCount = 0

    // Sending.
    /// Bytes of bodies that wait in all streams.
    var outboundBytes = 0
    /// Whether `connectionOutboundBytes` was reached, and less than half of it has left since.
    var isCrowded = false
    var pending = ByteView.empty
    var sink: UnsafeMutablePointer<ByteWriter>?

    // Time.
    var settingsDeadline = Instant.distantFuture
    var blockDeadline = Instant.distantFuture
    var stallDeadline = Instant.distantFuture

    /// Why the connection was given up by us; nil while it was not, or for the peer's reasons.
    public internal(set) var failure: HTTP2ErrorCode?
    /// The limit that the peer exceeded, if that is why.
    public internal(set) var flood: HTTP2Flood?
    /// Whether the peer has sent GOAWAY: a client opens no more streams here.
    public internal(set) var peerIsDraining = false
    /// Whether the peer's SETTINGS have come: until then a client can only guess how many streams it may open.
    public internal(set) var peerSettingsAreKnown = false
    /// Whether the peer has acknowledged our SETTINGS.
    public internal(set) var settingsAreAcknowledged = false

    /// A session whose first bytes, SETTINGS and window, wait to be transmitted. Nil without memory.
    public init?(_ role: Role, pool: HTTP2Pool, now: Instant) {
        self.role = role
        self.pool = pool
        limitsPlace = pool.limitsPlace
        self.now = now
        scanner = FrameScanner(expectsPreface: role == .server)
        floods = FloodGuard(pool.limits, now: now)
        queue = .allocate(capacity: Self.queueCapacity)
        let context = Unmanaged.passUnretained(self).toOpaque()
        let (callbacks, memory) = (pool.callbacks, pool.memory.functions)
        let result =
            role == .server
            ? nghttp2_session_server_new3(&handle, callbacks, context, pool.serverOptions, memory)
            : nghttp2_session_client_new3(&handle, callbacks, context, pool.clientOptions, memory)
        guard result == 0, submitSettings() else { return nil }
        settingsDeadline = now.adding(milliseconds: limits.settingsMilliseconds)
    }

    deinit {
        freeAllStreams()
        if let handle { nghttp2_session_del(handle) }
        queue.deallocate()
    }

    /// The pool's, which stays as long as the session.
    var limits: HTTP2Limits { @inline(__always) unsafeAddress { UnsafePointer(limitsPlace) } }

    // MARK: Receiving

    /// Takes bytes of the peer and returns how many: fewer than all when the events of these must be taken first. Call
    /// `nextEvent` until nil, then hand in the rest. The bytes must stay in place until then.
    ///
    /// After the connection was given up everything is taken and dropped.
    public func receive(_ bytes: ByteView, now: Instant) -> Int {
        self.now = now
        releaseTold()
        mustDrain = false
        assert(queueCount == 0, "events must be taken before more is received")
        var cursor = 0
        while cursor < bytes.count, queueCount + Self.eventsPerFrame <= Self.queueCapacity, !mustDrain {
            guard isReading else { return bytes.count }
            let piece = scanner.next(bytes, from: cursor)
            if let header = piece.header { frameBegins(header) }
            guard isReading else { return bytes.count }
            feed(bytes[cursor..<piece.end])
            cursor = piece.end
            if scanner.isBetweenFrames, lastFrame.endsBlock { blockDeadline = .distantFuture }
            actOnFlood()
        }
        if isReading, owesTooMuch { giveUp(.outboundFrames) }
        return cursor
    }

    private var owesTooMuch: Bool {
        handle.map { nghttp2_session_get_outbound_queue_size($0) > limits.outboundFrames } ?? false
    }

    var isReading: Bool {
        switch state {
        case .open, .noticed, .draining: true
        case .failing, .closed: false
        }
    }

    private func frameBegins(_ header: FrameHeader) {
        lastFrame = header
        if let flood = floods.frameBegins(header, isServer: role == .server, limits, now: now) { return giveUp(flood) }
        if let code = violation(header) { return terminate(code) }
        // Frame by frame, where each is answered: past twice the limit nghttp2 would end without a GOAWAY.
        if header.type == FrameType.ping || header.type == FrameType.settings, owesTooMuch {
            return giveUp(.outboundFrames)
        }
        if header.leavesBlockOpen || header.endsBlock, blockDeadline == .distantFuture {
            blockDeadline = now.adding(milliseconds: limits.headMilliseconds)
        }
    }

    /// What is wrong with a frame that nghttp2, keeping no ended streams, would pass over in silence.
    private func violation(_ header: FrameHeader) -> HTTP2ErrorCode? {
        switch header.type {
        case FrameType.priority: return header.stream == 0 ? .protocolError : nil
        case FrameType.headers where role == .server:
            guard header.stream <= history.highest else {
                if header.stream & 1 == 1 { history.opened(header.stream) }
                return nil
            }
        case FrameType.data where role == .server: break
        default: return nil
        }
        guard header.stream != 0, record(number: Int32(header.stream)) == nil else { return nil }
        if history.isSkipped(header.stream) { return .protocolError }
        return history.hasEnded(header.stream) ? .streamClosed : nil
    }

    private func feed(_ piece: ByteView) {
        let taken = nghttp2_session_mem_recv(handle, piece.base, piece.count)
        guard taken < 0 else { return assert(taken == piece.count, "no callback pauses") }
        // Only what leaves no sense in a GOAWAY: no HTTP/2 preface, or no memory.
        close(.protocolError)
    }

    /// Ends the connection if a callback found too much of something.
    func actOnFlood() {
        guard let found = pendingFlood else { return }
        pendingFlood = nil
        giveUp(found)
    }

    // MARK: Events

    /// The next event; nil when there is none. To be called until nil after `receive`, `transmit`, `timeout` and
    /// `transportClosed`, before any of them is called again.
    public func nextEvent() -> HTTP2Event? {
        releaseTold()
        while queueCount > 0 {
            let event = queue[queueStart]
            queueStart = (queueStart + 1) % Self.queueCapacity
            queueCount -= 1
            if isWanted(event) { return event }
        }
        while let record = popOwed() {
            if record.pointee.isClosed {
                told = record.pointee.token
                if record.pointee.isForgotten || !record.pointee.isDelivered {
                    releaseTold()
                    continue
                }
                return lastEvent(record)
            }
            guard record.pointee.owesWritable, !record.pointee.isForgotten else { continue }
            record.pointee.owesWritable = false
            return .writable(record.pointee.token)
        }
        return nil
    }

    func push(_ event: HTTP2Event) {
        guard queueCount < Self.queueCapacity else {
            assertionFailure("a frame made more events than there is room for")
            return giveUp(.outboundFrames)
        }
        queue[(queueStart + queueCount) % Self.queueCapacity] = event
        queueCount += 1
    }

    /// Whether the driver still cares for the stream of an event.
    private func isWanted(_ event: HTTP2Event) -> Bool {
        switch event {
        case .head(let stream), .refused(let stream, _), .data(let stream, _), .trailers(let stream),
            .end(let stream), .writable(let stream), .finished(let stream), .reset(let stream, _):
            record(stream).map { !$0.pointee.isForgotten && !($0.pointee.dropsRest && event.isOfMessage) } ?? false
        case .goAway, .settingsAcknowledged, .pong: true
        }
    }

    private func lastEvent(_ record: Record) -> HTTP2Event {
        let isWhole = record.pointee.hasReceivedEnd && (record.pointee.hasSentEnd || role == .client)
        guard record.pointee.closeCode == .noError, isWhole else {
            return .reset(record.pointee.token, record.pointee.closeCode)
        }
        return .finished(record.pointee.token)
    }

    private func releaseTold() {
        guard told != .none else { return }
        if let record = record(told) { free(record) }
        told = .none
    }

    // MARK: The end

    /// Whether the connection is over: nothing more to read or to send. The driver closes the transport, then takes
    /// the last events.
    public var isFinished: Bool {
        guard state != .closed, let handle else { return true }
        return pending.isEmpty && nghttp2_session_want_read(handle) == 0 && nghttp2_session_want_write(handle) == 0
    }

    /// Whether the peer may still open streams, or a client may.
    public var acceptsRequests: Bool {
        switch state {
        case .open: !peerIsDraining
        case .noticed: role == .server
        case .draining, .failing, .closed: false
        }
    }

    /// Drains: a server first says that it will (GOAWAY with the highest number), and names the last stream when the
    /// peer has seen that, so that no request in flight is lost (RFC 9113 §6.8). Streams go on to their ends.
    public func goAway(now: Instant) {
        self.now = now
        guard state == .open, let handle else { return }
        guard role == .server else { return nameLastStream() }
        nghttp2_submit_shutdown_notice(handle)
        submitPing(Self.drainPing)
        state = .noticed(until: now.adding(milliseconds: limits.drainNoticeMilliseconds))
    }

    /// Gives the connection up: GOAWAY with `code`, then nothing. Its streams end with `.reset`.
    public func abort(_ code: HTTP2ErrorCode, now: Instant) {
        self.now = now
        terminate(code)
    }

    /// The transport is gone: nothing can be sent. Streams that are not complete end with `.reset(…, .cancel)`.
    public func transportClosed(now: Instant) {
        self.now = now
        close(.cancel)
    }

    /// The second step of a drain.
    func nameLastStream() {
        guard let handle, isReading, state != .draining else { return }
        let last = nghttp2_session_get_last_proc_stream_id(handle)
        nghttp2_submit_goaway(handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), last, 0, nil, 0)
        state = .draining
    }

    /// The peer does too much of something.
    func giveUp(_ flood: HTTP2Flood) {
        guard isReading else { return }
        self.flood = flood
        terminate(.enhanceYourCalm)
    }

    func terminate(_ code: HTTP2ErrorCode) {
        guard isReading, let handle else { return }
        failure = code
        state = .failing
        nghttp2_session_terminate_session(handle, code.rawValue)
        (settingsDeadline, blockDeadline, stallDeadline) = (.distantFuture, .distantFuture, .distantFuture)
        abandonStreams(code)
    }

    func close(_ code: HTTP2ErrorCode) {
        guard state != .closed else { return }
        if state != .failing, code != .cancel { failure = code }
        state = .closed
        pending = .empty
        (settingsDeadline, blockDeadline, stallDeadline) = (.distantFuture, .distantFuture, .distantFuture)
        abandonStreams(code)
    }
}
