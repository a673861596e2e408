import Primitives

/// What one WebSocket connection may cost, and how much odd behaviour of the peer is borne.
public struct WebSocketLimits: Equatable, Sendable {
    /// Bytes of one message of the peer, all fragments together. Memory grows with what has come, not with what was
    /// announced. Beyond: Close 1009. Default 1048576. Range 0...1073741824.
    public var messageBytes = 1 << 20

    /// Bytes of messages of ours that wait to be sent. Beyond: `send` refuses; if it is an answer to the peer, Close
    /// 1008. Default 1048576. Range 125...1073741824.
    public var outboundBytes = 1 << 20

    /// Messages of ours that wait to be sent, answers to pings among them. Beyond: as for `outboundBytes`.
    /// Default 1000. Range 1...100000.
    public var outboundMessages = 1000

    /// Frames of the peer that bring no message further: pings, pongs, fragments without bytes. Beyond: Close 1008.
    /// Default 10 a second, 100 at once.
    public var idleFrames = FloodLimit(perSecond: 10, burst: 100)

    /// The limits of a small control channel.
    public init() {}
}
