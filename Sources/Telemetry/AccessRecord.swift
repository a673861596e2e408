import Primitives

/// What there is to say about one finished request. Trivial: numbers and windows on bytes that the exchange still owns.
///
/// It lives only for the call that writes the line. Texts come from strangers and are escaped when written; an empty
/// one counts as absent.
public struct AccessRecord {
    /// Wall-clock time of the first byte of the request, in nanoseconds since 1970-01-01T00:00:00Z.
    public var startUnixNanoseconds: UInt64 = 0
    /// Request method.
    public var method = ByteView.empty
    /// Request target as received, query included.
    public var path = ByteView.empty
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2`.
    public var protocolName = ByteView.empty
    /// Host (or `:authority`).
    public var host = ByteView.empty
    /// Status sent; 0 if none was.
    public var status: UInt16 = 0
    /// Why, if there is something to say.
    public var flags = ResponseFlags()
    /// Bytes of the request's body.
    public var bytesReceived: UInt64 = 0
    /// Bytes of the response's body.
    public var bytesSent: UInt64 = 0
    /// From the first byte of the request to the last of the response, in microseconds.
    public var durationMicroseconds: UInt64 = 0
    /// Time spent waiting for a pod, in microseconds.
    public var queuedMicroseconds: UInt64 = 0
    /// From sending to the upstream to its first byte, in microseconds; nil if no byte came.
    public var upstreamMicroseconds: UInt64?
    /// Address of the client's end, as text.
    public var peer = ByteView.empty
    /// `X-Request-Id`.
    public var requestID = ByteView.empty
    /// Trace id of the W3C or B3 context.
    public var traceID = ByteView.empty
    /// `User-Agent`.
    public var userAgent = ByteView.empty
    /// `Referer`.
    public var referer = ByteView.empty
    /// `X-Forwarded-For` as sent upstream.
    public var forwardedFor = ByteView.empty
    /// Name of the revision that served it.
    public var revision = ByteView.empty
    /// Address of the pod that served it.
    public var endpoint = ByteView.empty

    /// A record that says nothing yet.
    public init() {}
}
