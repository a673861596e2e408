import HTTP
import Primitives

/// What one HTTP/2 connection may cost, and how much odd behaviour of the peer is borne.
///
/// The names and defaults are those of the documentation's table of limits. Sizes of heads, fields and trailers are
/// those of `http`, so that a request is refused alike whatever version it came in.
public struct HTTP2Limits: Equatable, Sendable {
    /// Sizes of heads. `headBytes` is also the header list size that the peer is told (RFC 9113 §6.5.2), counted with
    /// 32 bytes for each field; `trailerBytes` bounds trailers the same way. Beyond: 431, or a reset of the stream.
    public var http = HTTPLimits()

    /// Streams that the peer may have open at once. Beyond: REFUSED_STREAM until the peer has acknowledged the limit,
    /// then GOAWAY PROTOCOL_ERROR (RFC 9113 §5.1.2). Default 100. Range 1...10000.
    public var concurrentStreams = 100

    /// Bytes of body that a stream may send before some are consumed: the most that one stream can leave with us.
    /// Default 65535. Range 1024...16777216.
    public var streamWindowBytes = 65_535

    /// The same for all streams of a connection together. Default 1048576. Range 65535...1073741824. A client allows at
    /// least a window for each of `concurrentStreams`.
    public var connectionWindowBytes = 1 << 20

    /// Bytes of body that wait in a stream for the peer's window. A writer gets no more in. Default 65536.
    /// Range 4096...262144.
    public var outboundBytes = 64 << 10

    /// The same for all streams of a connection together. Once it is reached a stream keeps only 4096 bytes, until
    /// half of it is free. Default 1048576. Range 65536...1073741824.
    public var connectionOutboundBytes = 1 << 20

    /// Requests that a connection serves before it is drained. Default 100000. Range 1...1000000000.
    public var requestsPerConnection = 100_000

    /// CONTINUATION frames in one header block (CVE-2024-27316). Beyond: GOAWAY ENHANCE_YOUR_CALM.
    /// Default 8. Range 0...1000.
    public var continuationFrames = 8

    /// How many times `headBytes` a header list may decode to before the connection is given up, not only the request:
    /// bounds the work that a small compressed block can ask for. Default 4. Range 1...64.
    public var headBombFactor = 4

    /// Streams that ended early through the peer, by its RST_STREAM (CVE-2023-44487) or by an error of its making that
    /// we had to answer with one (CVE-2025-8671). Server side only. Beyond: GOAWAY ENHANCE_YOUR_CALM.
    /// Default 100 a second, 500 at once.
    public var resets = FloodLimit(perSecond: 100, burst: 500)

    /// Frames that bring no request further: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown types, DATA of ended
    /// streams. Any progress fills the allowance up again. Beyond: GOAWAY ENHANCE_YOUR_CALM.
    /// Default 10000 at once, 10 a second come back by themselves, so that an idle connection may be pinged for ever.
    public var idleFrames = FloodLimit(perSecond: 10, burst: 10_000)

    /// DATA frames without data that do not end their stream. Beyond: GOAWAY ENHANCE_YOUR_CALM.
    /// Default 100 a second, 100 at once.
    public var emptyData = FloodLimit(perSecond: 100, burst: 100)

    /// Frames of ours that wait to be sent: answers to a peer that asks and does not read. Beyond: GOAWAY
    /// ENHANCE_YOUR_CALM. Default 1000. Range 100...100000.
    public var outboundFrames = 1000

    /// How long a stream with something to send may get no window from the peer. Beyond: RST_STREAM CANCEL.
    /// Default 60000. Range 1...3600000.
    public var stallMilliseconds: UInt64 = 60_000

    /// How long the peer may take to acknowledge our SETTINGS; its first frames are covered by it too. Beyond: GOAWAY
    /// SETTINGS_TIMEOUT. Default 10000. Range 1...3600000.
    public var settingsMilliseconds: UInt64 = 10_000

    /// How long one header block may take from its first frame to its last. Beyond: GOAWAY ENHANCE_YOUR_CALM.
    /// Default 10000. Range 1...3600000.
    public var headMilliseconds: UInt64 = 10_000

    /// How long a draining server waits for its PING to come back before it names the last stream. Default 1000.
    /// Range 1...60000.
    public var drainNoticeMilliseconds: UInt64 = 1000

    /// Whether a server takes extended CONNECT (RFC 8441), for WebSocket alone. Default true.
    public var allowsWebSocket = true

    /// The limits of a public listener.
    public init() {}

    /// The limits of the sidecar in front of one application.
    public static var sidecar: HTTP2Limits {
        var limits = HTTP2Limits()
        limits.http = .sidecar
        limits.concurrentStreams = 250
        limits.continuationFrames = 72  // 1 MiB of head in frames of 16 KiB
        limits.headMilliseconds = 60_000
        return limits
    }
}
