import HTTP
import HTTP1
import HTTP2
import Primitives

/// What is forwarded of a request besides its fields, whatever version it came in: views on the head's bytes, for the
/// moment in which they stand still.
struct RequestParts {
    /// What the head's table of fields refers to.
    let bytes: ByteView
    let version: HTTPVersion
    let method: Method
    let methodBytes: ByteView
    /// The target as received, for the log.
    let target: ByteView
    /// What stands before `path` when it is sent on: `/` or `*` that an absolute form left out.
    let pathPrefix: StaticString
    let path: ByteView
    var authority: ByteView
    let host: ByteView
    let framing: BodyFraming
    let keepsAlive: Bool
    let expectsContinue: Bool
    let acceptsTrailers: Bool
    /// Whether the client asks to change the protocol: HTTP/1.1's upgrade or HTTP/2's extended CONNECT.
    let wantsUpgrade: Bool
    /// Whether the `Host` among the fields is not the authority, since the target said it.
    var hostIsReplaced: Bool
    /// Bytes of the head in the client's inbound buffer; 0 in HTTP/2, whose heads have their own memory.
    let headLength: Int
    let isGRPC: Bool

    /// Of a head that was parsed from `bytes`.
    @inline(__always)
    init(_ head: borrowing RequestHead, of bytes: ByteView) {
        self.bytes = bytes
        version = head.version
        method = head.method
        methodBytes = bytes[head.methodBytes]
        target = bytes[head.target]
        pathPrefix = head.targetPrefix
        path = bytes[head.pathAndQuery]
        authority = bytes[head.authority]
        host = bytes[head.host]
        framing = head.framing
        keepsAlive = head.keepsAlive
        expectsContinue = head.expectsContinue
        acceptsTrailers = head.acceptsTrailers
        wantsUpgrade = head.wantsUpgrade
        hostIsReplaced = head.targetPrefix.utf8CodeUnitCount != 0 || head.target != head.pathAndQuery
        headLength = head.length
        isGRPC = false  // gRPC needs HTTP/2
    }

    /// Of a head of HTTP/2.
    init(_ head: borrowing HTTP2Head) {
        bytes = head.bytes
        version = .http2
        method = head.isWebSocket ? .get : head.method
        methodBytes = head.isWebSocket ? ByteView("GET") : bytes[head.methodBytes]
        target = bytes[head.path]
        pathPrefix = ""
        path = bytes[head.path]
        authority = bytes[head.authority]
        host = bytes[head.host]
        framing = head.framing
        keepsAlive = true
        expectsContinue = head.expectsContinue
        acceptsTrailers = head.acceptsTrailers
        wantsUpgrade = head.isWebSocket
        hostIsReplaced = false
        headLength = 0
        isGRPC = Self.isGRPC(head.fields, bytes)
    }

    /// Whether the content is gRPC's, with any of its encodings (`application/grpc`, `application/grpc+proto`).
    /// gRPC-Web is not.
    private static func isGRPC(_ fields: borrowing FieldTable, _ bytes: ByteView) -> Bool {
        guard let index = fields.firstIndex(of: .contentType) else { return false }
        let value = fields.value(index, in: bytes)
        guard value.count >= 16, value[0..<16].equalsIgnoringCase("application/grpc") else { return false }
        return value.count == 16 || value.base[16] == UInt8(ascii: "+") || value.base[16] == UInt8(ascii: ";")
    }
}

/// What routing, admission and counting need to know of a request. No views: it outlives the head.
struct RequestTraits {
    let version: HTTPVersion
    let method: Method
    let framing: BodyFraming
    let keepsAlive: Bool
    let wantsUpgrade: Bool
    let headLength: Int
    let isGRPC: Bool

    /// Of a head of HTTP/1.1.
    @inline(__always)
    init(_ head: borrowing RequestHead) {
        version = head.version
        method = head.method
        framing = head.framing
        keepsAlive = head.keepsAlive
        wantsUpgrade = head.wantsUpgrade
        headLength = head.length
        isGRPC = false  // gRPC needs HTTP/2
    }

    /// Of a request whose parts are known.
    init(_ parts: RequestParts) {
        version = parts.version
        method = parts.method
        framing = parts.framing
        keepsAlive = parts.keepsAlive
        wantsUpgrade = parts.wantsUpgrade
        headLength = parts.headLength
        isGRPC = parts.isGRPC
    }
}
