import HTTP
import HTTP2

/// Every limit of the data plane, with its default. Figures are a worker's own unless said otherwise.
public struct DataPlaneLimits: Sendable {
    /// Limits on heads and trailers, by bytes and count.
    public var http = HTTPLimits()
    /// First to last byte of a request head, in milliseconds. Default 10,000. At the limit: 408, close.
    public var headTimeoutMilliseconds: UInt64 = 10_000
    /// Silence of a client in the middle of a body, in either direction, in milliseconds. Default 60,000. At the
    /// limit: 408 if no response has begun, else the connection is cut.
    public var bodyIdleTimeoutMilliseconds: UInt64 = 60_000
    /// Silence of a tunnel of which one side has ended, in milliseconds. Default 60,000. At the limit: cut.
    public var halfTunnelMilliseconds: UInt64 = 60_000
    /// A client connection without a request, in milliseconds. Default 75,000. At the limit: close.
    public var keepAliveIdleMilliseconds: UInt64 = 75_000
    /// The same for a connection that has never sent one. Default nil: as for the others.
    public var firstRequestMilliseconds: UInt64?
    /// An upstream connection without a request, in milliseconds. Default 60,000. At the limit: close.
    public var upstreamIdleMilliseconds: UInt64 = 60_000
    /// One attempt to connect to a pod, in milliseconds. Default 1,000.
    public var upstreamConnectMilliseconds: UInt64 = 1_000
    /// The TLS handshake with a pod, from the made connection to its end, in milliseconds. Default 10,000 (Go's). At
    /// the limit: as for a refused connection.
    public var upstreamHandshakeMilliseconds: UInt64 = 10_000
    /// Attempts to connect for one request while nothing was sent. Default 3. At the limit: 503, flag UF.
    public var upstreamConnectTries = 3
    /// Failures of a gateway in a row (502, 503, 504, a broken connection, no answer in time) after which an activator
    /// asks a pod whether it is ready. Default 5 (Envoy's `consecutive_gateway_failure`); 0: none do.
    public var gatewayFailures = 5
    /// How long a gateway's request waits for an endpoint when its service has none that takes connections, in
    /// milliseconds: long enough for one set of endpoints to follow another. Default 1,000. At the limit: 503, flag UH.
    public var endpointWaitMilliseconds: UInt64 = 1_000
    /// Unused upstream connections kept for one pod. Default 1,000 (Knative's, for unlimited revisions).
    public var upstreamIdleConnections = 1_000
    /// Requests on one client connection. Default 100,000. At the limit: `Connection: close`.
    public var requestsPerConnection = 100_000
    /// Client connections of all workers. Default 50,000, less if descriptors are fewer. At the limit: the newest is
    /// closed.
    public var connections = 50_000
    /// Client connections of one address, loopback excepted. Default 1,000. At the limit: the newest is closed.
    public var connectionsPerAddress = 1_000
    /// A TLS handshake, from accept to its end, in milliseconds. Default 10,000. At the limit: close.
    public var handshakeTimeoutMilliseconds: UInt64 = 10_000
    /// TLS handshakes of clients under way. Default 1,000. At the limit: the newest connection is closed.
    public var handshakes = 1_000
    /// Steps of such handshakes in one wake-up, each up to 1 ms of processor time. Default 4. The others wait for the
    /// next one, behind the connections that are open.
    public var handshakesPerWakeup = 4
    /// Memory for bytes in flight. Default 64 MiB. At the limit: new requests get 503, transfers are cut.
    public var bufferedBytes = 64 << 20
    /// Bytes taken from one connection before others have their turn, in reads of 64 KiB. Default 16.
    public var readsPerWakeup = 16
    /// Connections taken from the listener in one wake-up. Default 64.
    public var acceptsPerWakeup = 64
    /// Limits of HTTP/2 connections; sizes of heads and requests on a connection are those above and below.
    public var http2 = HTTP2Limits()
    /// Streams of HTTP/2, clients' and pods' together. Default 250,000. At the limit: REFUSED_STREAM, 503.
    public var streams = 250_000
    /// How much of the body of an HTTP/2 request is kept in case it must be sent again, in bytes. Default 16 KiB.
    public var replayBytes = 16 << 10
    /// 1xx responses to one request. Default 16. At the limit: 502.
    public var interimResponses = 16
    /// How long a connection is read to its end after we have said the last word, in milliseconds. Default 2,000.
    public var lingerMilliseconds: UInt64 = 2_000
    /// How much is read and thrown away meanwhile, in bytes. Default 256 KiB.
    public var lingerBytes = 256 << 10
    /// What `Retry-After` says when we are full, in seconds. Default 1.
    public var retryAfterSeconds: UInt64 = 1

    /// Requests that wait for an answer of the control thread (`Question`). Default 1,000. At the limit: 503.
    public var questions = 1_000
    /// How long such a request may wait, in milliseconds. Default 3,600,000: a drain lasts as long as its requests. At
    /// the limit: 503.
    public var questionMilliseconds: UInt64 = 3_600_000
    /// Long answers that are being sent in pieces. Default 16. At the limit: 503.
    public var longAnswers = 16
    /// How long the client of such an answer may take nothing, in milliseconds. Default 10,000. At the limit: cut.
    public var longAnswerMilliseconds: UInt64 = 10_000

    /// The defaults.
    public init() {}

    /// The limits of sessions: what holds for both versions of HTTP is said once.
    var http2Limits: HTTP2Limits {
        var limits = http2
        limits.http = http
        limits.requestsPerConnection = requestsPerConnection
        limits.stallMilliseconds = bodyIdleTimeoutMilliseconds
        limits.headMilliseconds = headTimeoutMilliseconds
        return limits
    }
}
