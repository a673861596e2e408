import Primitives

/// The version of a message. A higher minor version than 1 is read as 1.1 (RFC 9110 §2.5).
public enum HTTPVersion: UInt8, Sendable, Comparable {
    /// HTTP/1.0: no chunked bodies, a connection ends with its response unless `keep-alive` was agreed.
    case http10
    /// HTTP/1.1.
    case http11
    /// HTTP/2: one stream.
    case http2

    /// Older before newer.
    @inlinable
    public static func < (left: HTTPVersion, right: HTTPVersion) -> Bool { left.rawValue < right.rawValue }
}

/// The request methods that need a decision; any other token is `.other` and passes through (RFC 9110 §9, RFC 5789).
public enum Method: UInt8, CaseIterable, Sendable {
    /// RFC 9110 §9.3.1.
    case get
    /// RFC 9110 §9.3.2: its response has no body.
    case head
    /// RFC 9110 §9.3.3.
    case post
    /// RFC 9110 §9.3.4.
    case put
    /// RFC 9110 §9.3.5.
    case delete
    /// RFC 9110 §9.3.6: refused, this is no tunnel to anywhere.
    case connect
    /// RFC 9110 §9.3.7.
    case options
    /// RFC 9110 §9.3.8.
    case trace
    /// RFC 5789.
    case patch
    /// Some other token; its bytes are in the head.
    case other

    /// The method that `name` spells. Case matters: `get` is `.other` (RFC 9110 §9.1).
    public init(_ name: ByteView) {
        switch name.count {
        case 3: self = name.equals("GET") ? .get : name.equals("PUT") ? .put : .other
        case 4: self = name.equals("POST") ? .post : name.equals("HEAD") ? .head : .other
        case 5: self = name.equals("PATCH") ? .patch : name.equals("TRACE") ? .trace : .other
        case 6: self = name.equals("DELETE") ? .delete : .other
        case 7: self = name.equals("OPTIONS") ? .options : name.equals("CONNECT") ? .connect : .other
        default: self = .other
        }
    }

    /// Whether the client asks for no change on the server (RFC 9110 §9.2.1). False for unknown methods.
    public var isSafe: Bool {
        switch self {
        case .get, .head, .options, .trace: true
        case .post, .put, .delete, .connect, .patch, .other: false
        }
    }

    /// Whether doing it twice is the same as once (RFC 9110 §9.2.2). False for unknown methods.
    public var isIdempotent: Bool {
        switch self {
        case .get, .head, .options, .trace, .put, .delete: true
        case .post, .connect, .patch, .other: false
        }
    }

    /// Whether requests usually have content: one without says so by `Content-Length: 0` (RFC 9110 §8.6).
    public var usuallyHasContent: Bool { self == .post || self == .put || self == .patch }

    /// The method as it stands in a request line; empty for `.other`.
    public var name: StaticString {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .connect: "CONNECT"
        case .options: "OPTIONS"
        case .trace: "TRACE"
        case .patch: "PATCH"
        case .other: ""
        }
    }
}
