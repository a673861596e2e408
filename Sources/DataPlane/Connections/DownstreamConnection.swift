import EventLoop
import HTTP2
import Primitives
import TLS

/// One client connection: its socket, what is known of its readiness, and the bytes in between.
///
/// Lives in a worker's slab. The worker moves its bytes; rules about messages are in HTTP1, rules about requests in
/// `Exchange`.
struct DownstreamConnection: ~Copyable {
    enum Phase: Equatable {
        /// The TLS handshake is under way.
        case handshake
        /// Between two requests; nothing has been read.
        case idle
        /// A head has begun.
        case head
        /// A request waits for an answer of the control thread's.
        case asking
        /// A request is under way; the connection belongs to its exchange.
        case exchange
        /// Bytes go both ways uninterpreted (RFC 9110 §7.8).
        case tunnel
        /// HTTP/2: the bytes are the session's, and every request is a stream with an exchange of its own.
        case session
        /// The last word is said; what still comes is thrown away, so that the client can read it.
        case lingering
        /// Closed; the place is freed at the end of the wake-up.
        case closed
    }

    let socket: Socket
    let token: SlabToken
    let peer: SocketAddress
    let acceptedAt: Instant
    var phase = Phase.idle
    /// TLS; nil on a plain connection.
    var tls: Secure?
    /// What ALPN settled; nil on a plain connection and for clients without ALPN.
    var applicationProtocol: ApplicationProtocol?
    /// Requests are answered with a redirect to `https` at this port; 0: they are served.
    var redirectPort: UInt16 = 0
    /// What its requests are for.
    var purpose = ListenerPurpose.traffic
    /// Whether its listener serves cluster-local hosts.
    var servesClusterLocal = false
    /// Whether what it says about who asked is believed.
    var believesForwarded = false
    /// What waits in phase `asking`.
    var question = SlabToken.none
    /// How many of its streams wait for an answer of the control thread's.
    var streamQuestions = 0
    /// Readiness as remembered from epoll's edges.
    var isReadable = false
    var isWritable = true
    /// The peer has said that it will send no more. A read may still find bytes before the end.
    var peerHasClosed = false
    /// Bytes read and not done with: a head in the making, a request under way, the beginning of the next.
    var inbound = Buffer.none
    /// Bytes the kernel did not take yet. While there are any, the upstream is not read.
    var outbound = Buffer.none
    /// How far the end of the head was searched.
    var scanned = 0
    var exchange = SlabToken.none
    /// HTTP/2's part of the connection, in phase `session`.
    var session: HTTP2Session?
    /// How many of its streams have an exchange.
    var streamExchanges = 0
    /// Whether the worker will ask the session for bytes to transmit at the end of the wake-up.
    var isTouched = false
    var requestsBegun = 0
    var closesAfterFlush = false
    var isQueuedForTurn = false
    /// In a tunnel: the end of this side's bytes has been read.
    var hasEnded = false
    var lingeredBytes = 0
    /// When the present phase must have moved on; the timer may be armed for earlier and is then armed again.
    var deadline = Instant.distantFuture
    var timer = TimerHandle.none
    var timerInstant = Instant.distantFuture
    /// The last time a byte went either way.
    var lastProgress: Instant
    /// The last time the client took a byte of what waits, or something first had to wait.
    var lastTaken: Instant
    private var peerText = InlineArray<46, UInt8>(repeating: 0)
    private var peerTextCount = 0

    init(socket: consuming Socket, token: SlabToken, peer: SocketAddress, now: Instant) {
        self.socket = socket
        self.token = token
        self.peer = peer
        acceptedAt = now
        lastProgress = now
        lastTaken = now
        let count = withUnsafeMutableBytes(of: &peerText) { peer.writeHost(to: $0) }
        peerTextCount = count
    }

    /// The scheme of what the client asks for.
    var scheme: StaticString { tls == nil ? "http" : "https" }

    deinit { tls?.destroy() }

    /// Appends the client's address, as X-Forwarded-For has it.
    func appendPeer(to writer: inout ByteWriter) {
        withPeerText { writer.append($0) }
    }

    /// The client's address as text, valid inside `body`.
    func withPeerText<Result>(_ body: (ByteView) -> Result) -> Result {
        withUnsafeBytes(of: peerText) { body(ByteView($0)[0..<peerTextCount]) }
    }
}
