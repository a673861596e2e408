import Primitives
import WebSocket

/// Times and sizes of the control channel between activators and autoscalers. The client's times are Knative's
/// (spec/dataplane 3.9).
public struct StatChannelLimits: Equatable, Sendable {
    // Both ends.

    /// Bytes of one message, a `WireStatMessages`. An entry needs some 90 bytes with usual names and 221 with the
    /// longest that Kubernetes allows in all three places, so that 16,384 revisions, the most that are read, fit in one
    /// frame, as Knative's activator sends them. Beyond: Close 1009; a client does not send it. Default 4194304.
    public var messageBytes = 4 << 20

    /// How long the peer may take to answer a Close frame, or to take our last bytes; then the connection is cut, in
    /// milliseconds. Default 2000.
    public var closeMilliseconds: UInt64 = 2000

    // The client.

    /// From the begin of an attempt to the server's agreement; the name's lookup is a part of it. Default 3000.
    public var handshakeMilliseconds: UInt64 = 3000

    /// The time from one ping to the next. Default 3333.
    public var pingMilliseconds: UInt64 = 3333

    /// How long no pong may come until the connection is given up. Default 10000.
    public var pongMilliseconds: UInt64 = 10_000

    /// The first pause before a new attempt; each is 1.3 times as long as the one before. Default 100.
    public var firstPauseMilliseconds: UInt64 = 100

    /// Pauses until they begin anew with the first. Default 20.
    public var pauseSteps = 20

    /// Bytes of messages that wait for the server. Beyond: `send` drops the message. Default 4194304.
    public var outboundBytes = 4 << 20

    // The server.

    /// Connections at once, those that have not spoken yet with them. Beyond: the newest is closed. Default 1000.
    public var connections = 1000

    /// Bytes of the messages in the making of all connections together. Beyond: Close 1013 for the one that adds to
    /// them. Default 67108864.
    public var gatheredBytes = 64 << 20

    /// From the accept to the end of the head of a request; then the connection is closed, in milliseconds, as by
    /// Knative's server. Default 60000.
    public var headMilliseconds: UInt64 = 60_000

    /// Bytes of the head of a request. Beyond: 431. Default 8192.
    public var headBytes = 8 << 10

    /// How long a client may say nothing until the server pings it: three of a client's pings. Default 10000.
    public var silenceMilliseconds: UInt64 = 10_000

    /// How long a client may say nothing at all until it is taken for dead: six of its pings. Default 20000.
    public var deathMilliseconds: UInt64 = 20_000

    /// How long accepting pauses when descriptors have run out. Default 1000.
    public var acceptPauseMilliseconds: UInt64 = 1000

    /// Connections that are accepted in one wake-up; the others wait for the next. Default 64.
    public var acceptsPerWakeup = 64

    /// Seconds of silence after which the kernel asks whether the client's machine lives, as Go's server does (3
    /// minutes). Default 180.
    public var keepAliveSeconds: Int32 = 180

    /// Knative's times, our sizes.
    public init() {}

    /// What a session of the client may cost. A server has nothing to say to it.
    var client: WebSocketLimits {
        var limits = WebSocketLimits()
        limits.messageBytes = 64 << 10
        limits.outboundBytes = outboundBytes
        return limits
    }

    /// What a session of the server may cost: it sends nothing but pings, pongs and Close frames.
    var server: WebSocketLimits {
        var limits = WebSocketLimits()
        limits.messageBytes = messageBytes
        limits.outboundBytes = 64 << 10
        return limits
    }
}
