import Admission
import Balancing
import HTTP
import HTTP1
import HTTP2
import Primitives
import Telemetry

/// One request and its response, from the complete head to the last byte: the unit of routing, admission and counting.
///
/// Protocol-neutral: it knows its downstream and upstream by token only, and which stream of them it is, if they speak
/// HTTP/2. See Lifecycle.md for the states.
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
    /// The client's stream; none in HTTP/1.1.
    let stream: HTTP2Stream
    let target: RevisionTarget
    var stage = Stage.waiting
    var ticket: WaitTicket?
    /// The endpoint whose slot it holds.
    var endpoint: Endpoint?
    var upstream = SlabToken.none
    /// The stream on the pod's connection; none in HTTP/1.1.
    var upstreamStream = HTTP2Stream.none

    // The request.
    let method: Method
    let clientVersion: HTTPVersion
    let framing: BodyFraming
    let wantsUpgrade: Bool
    /// Whether errors of ours are told as gRPC's.
    let isGRPC: Bool
    let headLength: Int
    /// The body as it comes from the client.
    var decoder: BodyDecoder
    /// How many bytes of the downstream's inbound buffer (HTTP/2: of `requestBody`) have been forwarded or are framing.
    var consumed: Int
    /// HTTP/2: bytes of the body that wait for the pod, and before them those that may have to be sent again.
    var requestBody = Buffer.none
    /// HTTP/2: the client has ended its side; what waits in `requestBody` is the rest.
    var requestHasEnded: Bool
    /// HTTP/2: whether the worker will look at the bodies when it has understood all that was read.
    var isPumped = false
    /// HTTP/2: until when the client must send more of a body that we wait for; gRPC's streams may be silent.
    var requestDeadline = Instant.distantFuture
    /// The whole request has been read and handed on.
    var requestIsComplete: Bool
    /// HTTP/2: the pod has agreed to the WebSocket; before that it gets none of its bytes.
    var tunnelIsOpen = false
    /// Whether everything forwarded so far is still there, so that it could be sent again.
    var isReplayable = true
    var connectAttempts = 0
    var hasRetried = false

    // The response.
    var status = 0
    var interimResponses = 0
    /// Whether the final head has been written to the client: from then on an error can only cut the connection.
    var responseHasStarted = false
    /// The length of the response is not known; in HTTP/1.1 it goes in chunks.
    var responseIsChunked = false
    /// HTTP/2: the end of the response has been handed to the client's stream.
    var responseIsEnded = false
    /// HTTP/2: bytes of the pod's body that wait for the client.
    var responseBody = Buffer.none
    /// HTTP/2: the pod has ended its side; what waits in `responseBody` is the rest.
    var responseHasEnded = false
    /// HTTP/2: the pod's trailers, kept until the body before them has left.
    var responseTrailers: UnsafeMutablePointer<HTTP2Head>?
    var closesDownstream: Bool
    /// Whether an activator counts it too.
    var isProxied = false

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
    /// What telemetry keeps of it (`RequestNote`); none without telemetry.
    var note = Buffer.none

    /// When the next of the revision's three limits passes (Knative: spec/dataplane 1.7), or that of the body.
    ///
    /// All three start with the exchange, so waiting for capacity counts. Idle runs from the last part of the
    /// response. A 1xx head counts as a part; a tunnel begins with its first byte.
    ///
    /// Inlined: a call with an exchange makes a copy of it first.
    @inline(__always)
    var deadline: Instant {
        let limits = target.timeouts
        var nearest = limits.total == 0 ? Instant.distantFuture : arrivedAt.adding(nanoseconds: limits.total)
        let hasBegun = firstByteAt != .distantFuture || interimResponses > 0
        if limits.responseStart != 0, !hasBegun {
            nearest = min(nearest, arrivedAt.adding(nanoseconds: limits.responseStart))
        }
        if limits.idle != 0 { nearest = min(nearest, lastResponseProgress.adding(nanoseconds: limits.idle)) }
        return min(nearest, requestDeadline)
    }

    /// Whether the request may be sent again on a fresh connection after a reused one broke without an answer.
    ///
    /// `nothingAccepted` says that the peer's system acknowledged none of it; then even a POST is safe (RFC 9110
    /// §9.2.2).
    func mayRetry(nothingAccepted: Bool) -> Bool {
        !hasRetried && isReplayable && !responseHasStarted && interimResponses == 0
            && (method.isIdempotent || nothingAccepted)
    }

    /// Inlined, so that it is built where it stays.
    @inline(__always)
    init(
        token: SlabToken, downstream: SlabToken, stream: HTTP2Stream = .none, target: consuming RevisionTarget,
        request: RequestTraits, limits: HTTPLimits, now: Instant
    ) {
        self.token = token
        self.downstream = downstream
        self.stream = stream
        self.target = target
        method = request.method
        clientVersion = request.version
        framing = request.framing
        wantsUpgrade = request.wantsUpgrade
        isGRPC = request.isGRPC
        headLength = request.headLength
        decoder = BodyDecoder(request.framing, limits: limits)
        consumed = request.headLength
        requestHasEnded = request.framing.isEmpty
        requestIsComplete = request.framing.isEmpty && !(request.wantsUpgrade && stream != .none)
        closesDownstream = !request.keepsAlive
        arrivedAt = now
        grantedAt = now
        lastResponseProgress = now
    }

    /// Whether nothing of the body is missing. In HTTP/2 a body with a length is whole before its stream has ended.
    var hasWholeBody: Bool {
        if case .length(let length) = framing, bytesReceived >= length { return true }
        return requestIsComplete
    }

    /// Whether the client speaks HTTP/2.
    var isStream: Bool { stream != .none }

    /// Whether it is an extended CONNECT: what follows the head is no body, but the bytes of a tunnel to be.
    var asksForTunnel: Bool { isStream && wantsUpgrade }

    /// Makes the request stand at its beginning again, to be sent once more.
    mutating func rewind(limits: HTTPLimits) {
        consumed = headLength
        decoder = BodyDecoder(framing, limits: limits)
        requestIsComplete = framing.isEmpty && !asksForTunnel
        bytesReceived = 0
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

extension BodyFraming {
    /// Whether a request's head is all of it.
    var isEmpty: Bool { self == .none || self == .length(0) }
}
