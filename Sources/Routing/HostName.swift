import Primitives

/// Reads a `Host` or `:authority` value down to the bytes that decide the route, and hashes them.
enum HostName {
    /// The longest host that can match, in bytes (RFC 1035 §2.3.4 less the root's dot).
    static let limit = 253

    /// The host without its port and without one trailing dot; nil if it cannot be one.
    ///
    /// An IPv6 literal keeps its brackets. A name with more than one colon and no brackets has no port. The result has
    /// 1...253 bytes.
    static func host(in field: ByteView) -> ByteView? {
        guard let name = withoutPort(field) else { return nil }
        let isDotted = name.count > 1 && name.base[name.count - 1] == UInt8(ascii: ".")
        let host = isDotted ? name[0..<name.count - 1] : name
        return host.isEmpty || host.count > limit ? nil : host
    }

    private static func withoutPort(_ field: ByteView) -> ByteView? {
        // The port stands in the last bytes; a field too long for host, dot and port is not searched at all.
        guard field.count <= limit + 1 + 6, !field.isEmpty else { return nil }
        if field.base[0] == UInt8(ascii: "[") {
            guard let close = field.firstIndex(of: UInt8(ascii: "]")) else { return nil }
            return isPort(field.dropping(first: close + 1)) ? field[0..<close + 1] : nil
        }
        guard let colon = field.firstIndex(of: ASCII.colon) else { return field }
        guard field.firstIndex(of: ASCII.colon, from: colon + 1) == nil else { return field }
        return isPort(field.dropping(first: colon)) ? field[0..<colon] : nil
    }

    /// Whether `rest` is empty or `:` and digits (RFC 3986 §3.2.3 allows none).
    private static func isPort(_ rest: ByteView) -> Bool {
        guard !rest.isEmpty else { return true }
        guard rest.base[0] == ASCII.colon else { return false }
        for index in 1..<rest.count where !ASCII.isDigit(rest.base[index]) { return false }
        return true
    }

    /// Whether every byte may stand in a host: visible ASCII without those that delimit other parts of a target.
    static func isPlausible(_ host: ByteView) -> Bool {
        for index in 0..<host.count {
            switch host.base[index] {
            case 0...0x20, 0x7F...0xFF: return false
            case UInt8(ascii: "/"), UInt8(ascii: "?"), UInt8(ascii: "#"), UInt8(ascii: "@"): return false
            case UInt8(ascii: "*"), UInt8(ascii: ","), UInt8(ascii: "\\"): return false
            default: continue
            }
        }
        return true
    }

    /// A keyed hash of the host, ASCII letters taken as small. Eight bytes a step.
    ///
    /// Not a promise against chosen collisions: the table's bound on probes is.
    static func hash(_ host: ByteView, key: UInt64) -> UInt64 {
        let bytes = UnsafeRawPointer(host.base)
        var state = key ^ UInt64(truncatingIfNeeded: host.count) &* 0x9E37_79B9_7F4A_7C15
        var index = 0
        while index + 8 <= host.count {
            let block = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            state = fold(state ^ lowercased(block), key | 1)
            index += 8
        }
        var tail: UInt64 = 0
        var shift: UInt64 = 0
        while index < host.count {
            tail |= UInt64(host.base[index]) << shift
            shift += 8
            index += 1
        }
        return fold(fold(state ^ lowercased(tail), 0xD6E8_FEB8_6659_FD93), key ^ 0xA5CB_3B1F_92D3_46E7)
    }

    /// Both halves of the full product mixed: every input bit reaches every output bit.
    private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        // Adding `left` back keeps a zero factor from erasing what came before.
        return (product.high ^ product.low) &+ left
    }

    /// Eight bytes with ASCII capitals made small, all at once: bit 7 of each byte tells whether it is in A...Z.
    static func lowercased(_ block: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let low7 = block & (ones &* 0x7F)
        let atLeastA = low7 &+ ones &* (0x80 - 0x41)
        let aboveZ = low7 &+ ones &* (0x80 - 0x5B)
        let isCapital = (atLeastA & ~aboveZ & ~block) & (ones &* 0x80)
        return block | isCapital >> 2
    }
}
