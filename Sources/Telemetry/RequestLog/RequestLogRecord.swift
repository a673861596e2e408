import Primitives

/// One field of a request's head: windows on bytes that the exchange still owns.
public struct RequestLogHeader {
    /// Name in any case.
    public var name: ByteView
    /// Value without surrounding whitespace.
    public var value: ByteView

    /// A field of that name and value.
    public init(name: ByteView, value: ByteView) {
        self.name = name
        self.value = value
    }
}

/// What the template of the request log may ask of the connection's TLS (`.Request.TLS`).
public struct RequestLogTLS {
    /// Version on the wire: 0x0303 for TLS 1.2, 0x0304 for 1.3.
    public var version: UInt16 = 0x0304
    /// Whether an earlier session was resumed.
    public var isResumed = false
    /// Cipher suite by its IANA number.
    public var cipherSuite: UInt16 = 0
    /// What ALPN agreed on.
    public var negotiatedProtocol = ByteView.empty
    /// The name the client asked for (SNI).
    public var serverName = ByteView.empty

    /// A TLS 1.3 connection of which nothing else is known.
    public init() {}
}

/// The revision a queue-proxy stands for: what `.Revision` holds. Windows on texts that live as long as the process.
public struct RequestLogRevision {
    /// Name of the revision.
    public var name = ByteView.empty
    /// Its namespace.
    public var namespace = ByteView.empty
    /// Name of the Service, or nothing.
    public var service = ByteView.empty
    /// Name of the Configuration.
    public var configuration = ByteView.empty
    /// Name of the pod.
    public var podName = ByteView.empty
    /// Address of the pod.
    public var podIP = ByteView.empty

    /// A revision without a name.
    public init() {}
}

/// What the request log says about one finished request, as Go's `http.Request` of a server would hold it.
///
/// It lives only for the call that writes the line. Source: Knative `serving/pkg/http/request_log.go`.
public struct RequestLogRecord {
    /// Request method as received.
    public var method = ByteView.empty
    /// Request target as received; for HTTP/2 `:path`.
    public var requestURI = ByteView.empty
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`, as Go writes it.
    public var protocolName = ByteView("HTTP/1.1")
    /// `Host`, or `:authority`.
    public var host = ByteView.empty
    /// Address and port of the peer: `10.0.0.7:4711`, `[::1]:4711`.
    public var remoteAddress = ByteView.empty
    /// Announced length of the body in bytes; -1 if it was not announced, 0 if there is none.
    public var contentLength: Int64 = 0
    /// The connection's TLS, nil on a plain one.
    public var tls: RequestLogTLS?
    /// The fields of the request, or at least those in `GoTemplate.headerNames`.
    public var headers = UnsafeBufferPointer<RequestLogHeader>(start: nil, count: 0)
    /// Status sent; 200 if none was chosen, 500 if the exchange failed inside the proxy.
    public var status: UInt16 = 200
    /// Bytes of the response's body.
    public var responseBytes: UInt64 = 0
    /// From the arrival of the request to the end of the response, in nanoseconds.
    public var latencyNanoseconds: UInt64 = 0
    /// Whose pod it is.
    public var revision = RequestLogRevision()

    /// A record that says nothing yet.
    public init() {}

    /// The value of the `index`th field of that name, whatever its case; nil if there are not so many.
    func header(_ name: ByteView, at index: Int = 0) -> ByteView? {
        var left = index
        for header in headers where header.name.matchesIgnoringCase(name) {
            if left == 0 { return header.value }
            left -= 1
        }
        return nil
    }

    /// The trace's id as Knative takes it: the second part of `traceparent` whatever it is, else `X-B3-Traceid`.
    var traceID: ByteView {
        if let parent = header(ByteView("traceparent")), let dash = parent.firstIndex(of: UInt8(ascii: "-")) {
            let rest = parent.dropping(first: dash + 1)
            return rest[0..<(rest.firstIndex(of: UInt8(ascii: "-")) ?? rest.count)]
        }
        return header(ByteView("x-b3-traceid")) ?? .empty
    }

    /// Latency in seconds, added up as Go's `Duration.Seconds` does, so that it prints the same digits.
    var latencySeconds: Double {
        Double(latencyNanoseconds / 1_000_000_000) + Double(latencyNanoseconds % 1_000_000_000) / 1e9
    }
}

/// The parts of a request target, found in place as Go's `url.ParseRequestURI` finds them.
struct RequestTarget {
    var scheme = ByteView.empty
    var host = ByteView.empty
    /// Undecoded.
    var path = ByteView.empty
    var query = ByteView.empty
    var hasQuery = false

    init(_ target: ByteView) {
        var rest = target
        if let first = rest.isEmpty ? nil : rest[0], first != UInt8(ascii: "/"),
            let colon = rest.firstIndex(of: ASCII.colon),
            rest.dropping(first: colon).hasPrefix("://")
        {
            scheme = rest[0..<colon]
            rest = rest.dropping(first: colon + 3)
            var end = 0
            while end < rest.count, rest[end] != UInt8(ascii: "/"), rest[end] != UInt8(ascii: "?") { end += 1 }
            host = rest[0..<end]
            rest = rest.dropping(first: end)
        }
        if let mark = rest.firstIndex(of: UInt8(ascii: "?")) {
            hasQuery = true
            query = rest.dropping(first: mark + 1)
            rest = rest[0..<mark]
        }
        path = rest
    }
}
