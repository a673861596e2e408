import CNGHTTP2
import Glibc
import HTTP
import Primitives

/// The fields of a head to be sent, as views on memory of others: one value serves a worker as scratch.
///
/// The memory behind the views must stay until the head was submitted; nghttp2 copies it then, and makes names lower
/// case. Only validated bytes and literals may go in: of HTTP/1.1's fields those that may be forwarded, and none of its
/// connection. What does not fit sets `overflowed`, and such a list is refused by every submit.
public struct HTTP2Fields: ~Copyable {
    private let entries: UnsafeMutablePointer<nghttp2_nv>
    /// How many fields fit.
    public let capacity: Int
    /// How many there are, pseudo-fields with them.
    public private(set) var count = 0
    /// The method of a request.
    private(set) var method = Method.other
    /// Whether one did not fit.
    public private(set) var overflowed = false
    // Digits of the status and of numbers, which have no memory of their own.
    private let digits: UnsafeMutablePointer<UInt8>
    private var digitsUsed = 0
    private static var digitRoom: Int { 64 }

    /// An empty list for at most `capacity` fields.
    public init(capacity: Int = 128) {
        self.capacity = max(8, capacity)
        entries = .allocate(capacity: self.capacity)
        digits = .allocate(capacity: Self.digitRoom)
    }

    deinit {
        entries.deallocate()
        digits.deallocate()
    }

    /// The list, for nghttp2, which only reads it.
    var list: UnsafeMutablePointer<nghttp2_nv> { entries }

    /// Forgets all fields; keeps the memory.
    public mutating func removeAll() { (count, digitsUsed, overflowed) = (0, 0, false) }

    /// Starts a request: pseudo-fields must come first (RFC 9113 §8.3).
    ///
    /// - Parameter protocolName: For extended CONNECT (RFC 8441); empty otherwise.
    public mutating func beginRequest(
        method: ByteView, scheme: ByteView, authority: ByteView, path: ByteView, protocolName: ByteView = .empty
    ) {
        removeAll()
        self.method = Method(method)
        append(":method", method)
        append(":scheme", scheme)
        append(":authority", authority)
        append(":path", path)
        if !protocolName.isEmpty { append(":protocol", protocolName) }
    }

    /// Starts a response or an interim response. `status` is 100...999 and not 101.
    public mutating func beginResponse(status: Int) {
        assert(status >= 100 && status <= 999 && status != 101)
        removeAll()
        append(":status", decimal: UInt64(truncatingIfNeeded: status))
    }

    /// Appends one field.
    public mutating func append(_ name: ByteView, _ value: ByteView) { append(name, value, flags: Self.plain) }

    /// Appends one field with a literal name, in lower case.
    ///
    /// - Parameter isRepeated: Whether other requests have the same value. One that is new each time is not indexed
    ///   (RFC 7541 §6.2.3): it would only push others out of both sides' tables, and be searched for in ours.
    @inline(__always)
    public mutating func append(_ name: StaticString, _ value: ByteView, isRepeated: Bool = true) {
        assert(!ByteView(name).string.utf8.contains { $0 &- 0x41 < 26 }, "the name goes out as it stands")
        append(ByteView(name), value, flags: isRepeated ? Self.literal : Self.literal | Self.unindexed)
    }

    private static var plain: UInt8 { UInt8(NGHTTP2_NV_FLAG_NONE.rawValue) }
    /// The name is in lower case and in memory that stays: nghttp2 copies it no more.
    private static var literal: UInt8 { UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue) }
    private static var unindexed: UInt8 { UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) }

    private mutating func append(_ name: ByteView, _ value: ByteView, flags: UInt8) {
        guard count < capacity else {
            overflowed = true
            return
        }
        (entries + count).initialize(
            to: nghttp2_nv(
                name: UnsafeMutablePointer(mutating: name.base), value: UnsafeMutablePointer(mutating: value.base),
                namelen: name.count, valuelen: value.count, flags: flags))
        count += 1
    }

    /// Appends one field with a decimal number, at most three in a list.
    public mutating func append(_ name: StaticString, decimal value: UInt64) {
        guard digitsUsed + 20 <= Self.digitRoom else {
            overflowed = true
            return
        }
        var writer = ByteWriter(UnsafeMutableRawBufferPointer(start: digits + digitsUsed, count: 20))
        writer.append(decimal: value)
        digitsUsed += writer.count
        append(name, writer.written)
    }

    /// Appends the fields of a parsed head or trailer section that may be forwarded, in order, as `HeadWriter` would.
    ///
    /// `Host` is always left out: it is `:authority` here. So are the connection's fields.
    /// - Parameter bytes: The view that `fields` was parsed from.
    public mutating func append(
        _ fields: borrowing FieldTable, of bytes: ByteView, excluding: KnownFieldSet = []
    ) {
        let excluded = excluding.union(KnownFieldSet(.host))
        for index in 0..<fields.count {
            let line = fields[index]
            if line.isHopByHop || excluded.contains(line.known) { continue }
            let value = bytes[line.valueRange]
            guard line.known != .other, let name = Self.literal(line.known) else {
                append(bytes[line.nameRange], value)
                continue
            }
            append(name, value, isRepeated: Self.isRepeated(line.known))
        }
    }

    /// Whether the field may have the same value in another request.
    private static func isRepeated(_ field: KnownField) -> Bool {
        switch field {
        case .xRequestId, .traceparent, .tracestate, .b3, .xB3TraceId: false
        default: true
        }
    }

    /// The names of frequent fields as HTTP/2 has them; nil for others, which are copied.
    static func literal(_ field: KnownField) -> StaticString? {
        switch field {
        case .te: "te"
        case .contentLength: "content-length"
        case .contentType: "content-type"
        case .contentEncoding: "content-encoding"
        case .acceptEncoding: "accept-encoding"
        case .userAgent: "user-agent"
        case .date: "date"
        case .server: "server"
        case .cookie: "cookie"
        case .setCookie: "set-cookie"
        case .authorization: "authorization"
        case .location: "location"
        case .xRequestId: "x-request-id"
        case .traceparent: "traceparent"
        case .tracestate: "tracestate"
        case .b3: "b3"
        case .xB3TraceId: "x-b3-traceid"
        default: nil
        }
    }
}
