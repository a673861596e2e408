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
    public mutating func append(_ name: ByteView, _ value: ByteView) {
        guard count < capacity else {
            overflowed = true
            return
        }
        (entries + count).initialize(
            to: nghttp2_nv(
                name: UnsafeMutablePointer(mutating: name.base), value: UnsafeMutablePointer(mutating: value.base),
                namelen: name.count, valuelen: value.count, flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue)))
        count += 1
    }

    /// Appends one field with a literal name, in lower case.
    public mutating func append(_ name: StaticString, _ value: ByteView) { append(ByteView(name), value) }

    /// Appends one field with a decimal number, at most three in a list.
    public mutating func append(_ name: StaticString, decimal value: UInt64) {
        guard digitsUsed + 20 <= Self.digitRoom else {
            overflowed = true
            return
        }
        var writer = ByteWriter(UnsafeMutableRawBufferPointer(start: digits + digitsUsed, count: 20))
        writer.append(decimal: value)
        digitsUsed += writer.count
        append(ByteView(name), writer.written)
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
            append(bytes[line.nameRange], bytes[line.valueRange])
        }
    }
}
