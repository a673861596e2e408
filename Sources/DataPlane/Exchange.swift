import Admission
import Balancing
import HTTP
import HTTP1
import Primitives
import Telemetry

/// One request and its response, from the complete head to the last byte: the unit of routing, admission and counting.
///
/// Protocol-neutral: it knows its downstream and upstream by token only. See Lifecycle.md for the states.
struct Exchange: ~Copyable {
    enum Stage: Equatable {
        /// In the revision's queue, without a slot.
        case waiting
        /// Has a slot; its connection is being made.
        case connecting
        /// Has a slot and a connection; both bodies may flow.
        case active
        /// Switched protocols (101): bytes flow uninterpreted.
        case tunnel
        /// Over; the place is freed at the end of the wake-up.
        case ended
    }

    let token: SlabToken
    let downstream: SlabToken
    let target: RevisionTarget
    var stage = Stage.waiting
    var ticket: WaitTicket?
    /// The endpoint whose slot it holds.
    var endpoint: Endpoint?
    var upstream = SlabToken.none

    // The request.
    let method: Method
    let clientVersion: HTTPVersion
    let framing: BodyFraming
    let wantsUpgrade: Bool
    let headLength: Int
    /// The body as it comes from the client.
    var decoder: BodyDecoder
    /// How many bytes of the downstream's inbound buffer have been forwarded or are framing.
    var consumed: Int
    var requestIsComplete: Bool
    /// Whether everything forwarded so far still stands in the inbound buffer, so that it could be sent again.
    var isReplayable = true
    var connectAttempts = 0
    var hasRetried = false

    // The response.
    var status = 0
    var interimResponses = 0
    /// Whether the final head has been written to the client: from then on an error can only cut the connection.
    var responseHasStarted = false
    var responseIsChunked = false
    var closesDownstream: Bool

    // Accounting.
    let arrivedAt: Instant
    var waited = false
    var grantedAt: Instant
    var firstByteAt = Instant.distantFuture
    /// When the last part of the response came; the arrival, as long as none has.
    var lastResponseProgress: Instant
    var bytesReceived: UInt64 = 0
    var bytesSent: UInt64 = 0
    var flags = ResponseFlags()
    var log = LogNote()

    var timer = TimerHandle.none

    /// When the next of the revision's three limits passes (Knative: spec/dataplane 1.7).
    ///
    /// All three start with the exchange, so waiting for capacity counts. Idle runs from the last part of the
    /// response. A 1xx head counts as a part; a tunnel begins with its first byte.
    var deadline: Instant {
        let limits = target.timeouts
        var nearest = limits.total == 0 ? Instant.distantFuture : arrivedAt.adding(nanoseconds: limits.total)
        let hasBegun = firstByteAt != .distantFuture || interimResponses > 0
        if limits.responseStart != 0, !hasBegun {
            nearest = min(nearest, arrivedAt.adding(nanoseconds: limits.responseStart))
        }
        if limits.idle != 0 { nearest = min(nearest, lastResponseProgress.adding(nanoseconds: limits.idle)) }
        return nearest
    }

    /// Whether the request may be sent again on a fresh connection after a reused one broke without an answer.
    ///
    /// `nothingAccepted` says that the peer's system acknowledged none of it; then even a POST is safe (RFC 9110
    /// §9.2.2).
    func mayRetry(nothingAccepted: Bool) -> Bool {
        !hasRetried && isReplayable && !responseHasStarted && interimResponses == 0
            && (method.isIdempotent || nothingAccepted)
    }

    init(
        token: SlabToken, downstream: SlabToken, target: RevisionTarget, head: borrowing RequestHead,
        limits: HTTPLimits, now: Instant
    ) {
        self.token = token
        self.downstream = downstream
        self.target = target
        method = head.method
        clientVersion = head.version
        framing = head.framing
        wantsUpgrade = head.wantsUpgrade
        headLength = head.length
        decoder = BodyDecoder(head.framing, limits: limits)
        consumed = head.length
        requestIsComplete = head.framing == .none || head.framing == .length(0)
        closesDownstream = !head.keepsAlive
        arrivedAt = now
        grantedAt = now
        lastResponseProgress = now
    }
}

/// Where the parts of a request that the access log shows stand in a pooled buffer. Empty when the log is off.
struct LogNote: ~Copyable {
    var bytes = Buffer.none
    var method = 0..<0
    var target = 0..<0
    var host = 0..<0
    var userAgent = 0..<0
    var referer = 0..<0
    var requestID = 0..<0
    var forwardedFor = 0..<0
    var traceparent = 0..<0
    /// Where it was sent last; port 0 for nowhere.
    var endpoint = EndpointAddress(ipv4: 0, port: 0)
}
