import HTTP
import Primitives

/// What a session has to tell its driver, in the order it happened for each stream.
public enum HTTP2Event {
    /// A request, or a response with `isInterim` or final: read it with `HTTP2Session.head(of:)`, which stays until
    /// `releaseHead` or the stream's last event.
    case head(HTTP2Stream)
    /// A request that is answered with the reason's status and nothing else: too large, CONNECT, an unknown
    /// expectation. Nothing of it may be forwarded. Submit a response; what the stream still brings is dropped.
    case refused(HTTP2Stream, ParseFailure.Reason)
    /// Bytes of a body, inside what was handed to `receive`: valid until the next call of `receive`. The driver sends
    /// or keeps them, and calls `consume` when they have left.
    case data(HTTP2Stream, ByteView)
    /// Trailer fields, in `HTTP2Session.trailers(of:)`. `.end` follows.
    case trailers(HTTP2Stream)
    /// The peer has sent all of its message.
    case end(HTTP2Stream)
    /// There is room to write again after a `write` that did not take everything.
    case writable(HTTP2Stream)
    /// The last event of a stream whose both sides are complete and sent.
    case finished(HTTP2Stream)
    /// The last event of a stream that was cut short: by the peer, by an error, by the end of the connection. With
    /// `.refusedStream` nothing was done for it and the request may go elsewhere.
    case reset(HTTP2Stream, HTTP2ErrorCode)
    /// The peer opens no more streams to us, or takes no more of ours above `lastStream`; those are reset as refused.
    case goAway(HTTP2ErrorCode, lastStream: Int32)
    /// The peer has acknowledged our SETTINGS.
    case settingsAcknowledged
    /// A PING came back, with its eight bytes.
    case pong(UInt64)
}

extension HTTP2Event {
    /// Whether it is a part of the peer's message, which a driver may have stopped to want.
    var isOfMessage: Bool {
        switch self {
        case .data, .trailers, .end: true
        default: false
        }
    }
}

/// Names one stream of one session of a worker; stale names are recognised.
public typealias HTTP2Stream = SlabToken
