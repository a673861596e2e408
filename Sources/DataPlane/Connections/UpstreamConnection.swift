import Balancing
import EventLoop
import HTTP
import HTTP1
import HTTP2
import Primitives

/// One connection to a pod. Lives in a worker's slab. In HTTP/1.1 it serves one exchange or waits in the pool;
/// in HTTP/2 it is shared by as many as it has streams for.
struct UpstreamConnection: ~Copyable {
    enum Phase: Equatable {
        case connecting
        /// Connected; the TLS handshake is under way.
        case handshaking
        /// Serves an exchange; the response's head has not been seen, or only 1xx ones.
        case awaitingHead
        /// Serves an exchange; the body of the response flows.
        case body
        case tunnel
        /// Waits in the pool.
        case pooled
        /// HTTP/2: the bytes are the session's.
        case shared
        case closed
    }

    let socket: Socket
    let token: SlabToken
    let endpoint: Endpoint
    /// Whether it speaks HTTP/2.
    let isShared: Bool
    var phase: Phase
    /// What TLS must be made of when it is connected; nil: it stays plain.
    var security: UpstreamSecurity?
    /// TLS; nil on a plain connection.
    var tls: Secure?
    var exchange = SlabToken.none
    /// HTTP/2's part of the connection, in phase `shared`.
    var session: HTTP2Session?
    /// Exchanges that get a stream when it is connected.
    var waiting: [SlabToken] = []
    var isTouched = false
    /// HTTP/2: the transport is gone.
    var isLost = false
    var isReadable = false
    var isWritable: Bool
    var peerHasClosed = false
    /// A response head or trailer section in the making.
    var inbound = Buffer.none
    /// Request bytes the kernel did not take yet. While there are any, the client is not read.
    var outbound = Buffer.none
    var scanned = 0
    var decoder = BodyDecoder(.none, limits: HTTPLimits())
    /// Whether the response allows another request after it.
    var keepsAlive = false
    /// Whether `readResponse` is at work on it, so that a failure inside does not read again.
    var isBeingRead = false
    /// Requests it has served; above 0 it may have gone stale in the pool.
    var requestsServed = 0
    /// Bytes handed to the kernel since the connection began.
    var bytesSent: UInt64 = 0
    /// `bytesSent` when the present request began: what the peer acknowledged beyond it belongs to this request.
    var bytesBeforeRequest: UInt64 = 0
    var isQueuedForTurn = false
    /// In a tunnel: the end of this side's bytes has been read.
    var hasEnded = false
    var idleSince: Instant
    var timer = TimerHandle.none
    var timerInstant = Instant.distantFuture

    /// Whether it is still being made, and its timer limits that.
    var isBeingMade: Bool { phase == .connecting || phase == .handshaking }

    init(
        socket: consuming Socket, token: SlabToken, endpoint: Endpoint, isShared: Bool, isConnected: Bool, now: Instant
    ) {
        self.socket = socket
        self.token = token
        self.endpoint = endpoint
        self.isShared = isShared
        phase = isConnected ? .awaitingHead : .connecting
        isWritable = isConnected
        idleSince = now
    }

    deinit { tls?.destroy() }
}
