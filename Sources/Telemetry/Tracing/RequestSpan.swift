import Primitives

/// One of the two spans of a proxied request. Trivial: windows on bytes that the exchange still owns.
///
/// Attributes are those of OpenTelemetry's conventions for HTTP as otelhttp 0.69 sets them. Texts are cut off at
/// `SpanBatch.textLimit`; what is no UTF-8 becomes U+FFFD.
public struct RequestSpan {
    /// Which side of the proxy it tells of. The raw value is OTLP's `SpanKind`.
    public enum Kind: UInt8, Sendable {
        /// Neither: a part of the work, with a name of its own.
        case `internal` = 1
        /// From the caller's request to the end of our response.
        case server = 2
        /// From our request to the end of the upstream's response.
        case client = 3
    }

    /// Which side it tells of.
    public var kind = Kind.server
    /// The name of an internal span; the others have theirs from the method.
    public var name: StaticString = ""
    /// Server side only: the revision, in a role that serves many.
    public var revision: RequestLogRevision?
    /// The span's own context.
    public var context: TraceContext
    /// The span it belongs to; 0 for none.
    public var parentSpanID: UInt64 = 0
    /// Whether that one is another process's.
    public var isParentRemote = false
    /// `tracestate` as received; empty for none.
    public var traceState = ByteView.empty
    /// Wall-clock time of its begin, in nanoseconds since 1970.
    public var startUnixNanoseconds: UInt64 = 0
    /// Wall-clock time of its end.
    public var endUnixNanoseconds: UInt64 = 0
    /// Request method.
    public var method = ByteView.empty
    /// Server side: `Host` of the request. Client side: address and port of the upstream.
    public var host = ByteView.empty
    /// Whether the connection of that side is a TLS one.
    public var isTLS = false
    /// Request target.
    public var target = ByteView.empty
    /// `1.0`, `1.1` or `2.0`.
    public var protocolVersion = ByteView.empty
    /// Status of the response, 0 if there was none.
    public var status: UInt16 = 0
    /// Server side only: address and port of the peer.
    public var peer = ByteView.empty
    /// Server side only: `User-Agent`.
    public var userAgent = ByteView.empty
    /// Server side only: `X-Forwarded-For`, whose first entry is the client.
    public var forwardedFor = ByteView.empty
    /// Server side only: `kn.route.tag`.
    public var routeTag = ByteView.empty
    /// Server side only: bytes of the request's body.
    public var requestBytes: UInt64 = 0
    /// Server side only: bytes of the response's body.
    public var responseBytes: UInt64 = 0

    /// A span of the given side and context that says nothing else yet.
    public init(_ kind: Kind, context: TraceContext) {
        self.kind = kind
        self.context = context
    }
}

/// `host:port`, `[host]:port` or `host`, taken apart as otelhttp does.
struct HostAndPort {
    var host: ByteView
    /// 0 if there is none.
    var port: UInt64 = 0

    init(_ text: ByteView) {
        host = text
        var end = text.count
        if text.hasPrefix("[") {
            guard let bracket = text.firstIndex(of: UInt8(ascii: "]")) else {
                host = .empty
                return
            }
            host = text[1..<bracket]
            end = bracket + 1
        } else {
            guard let colon = text.firstIndex(of: ASCII.colon) else { return }
            // More than one colon outside brackets is no address with a port.
            guard text.firstIndex(of: ASCII.colon, from: colon + 1) == nil else {
                host = .empty
                return
            }
            host = text[0..<colon]
            end = colon
        }
        guard end < text.count, text[end] == ASCII.colon else { return }
        var value: UInt64 = 0
        for index in end + 1..<text.count {
            guard ASCII.isDigit(text[index]), value < 65_536 else { return }
            value = value * 10 + UInt64(text[index] - 0x30)
        }
        port = value < 65_536 ? value : 0
    }

    /// The port, or 0 if it is the usual one.
    func port(isTLS: Bool) -> UInt64 { port == (isTLS ? 443 : 80) ? 0 : port }
}

/// The methods that telemetry names; all others are one, so that strangers cannot make up new ones.
enum KnownMethod {
    /// Whether `method` is one of HTTP's nine, in capitals.
    static func isKnown(_ method: ByteView) -> Bool {
        method.equals("GET") || method.equals("POST") || method.equals("PUT") || method.equals("HEAD")
            || method.equals("DELETE") || method.equals("OPTIONS") || method.equals("PATCH")
            || method.equals("CONNECT") || method.equals("TRACE")
    }
}
