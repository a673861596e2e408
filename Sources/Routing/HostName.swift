import Primitives

/// Reads a `Host` or `:authority` value down to the bytes that decide the route, and hashes them.
enum HostName {
    /// The longest host that can match, in bytes (RFC 1035 §2.3.4 less the root's dot).
    static let limit = 253

    /// The host without its port and without one trailing dot; nil if nothing or too much is left.
    ///
    /// It only looks at the end of the field: digits after a colon are a port. What is left may still be no host at all
    /// (`a:80`, `[:`, `a/b`); such a name is in no table, because `isName` keeps it out.
    static func host(in field: ByteView) -> ByteView? {
        let bytes = field.base
        var end = field.count
        while end > 0, ASCII.isDigit(bytes[end - 1]) { end -= 1 }
        end = end > 0 && bytes[end - 1] == ASCII.colon ? end - 1 : field.count
        if end > 1, bytes[end - 1] == UInt8(ascii: "."), bytes[end - 2] != UInt8(ascii: "]") { end -= 1 }
        return end > 0 && end <= limit ? field[0..<end] : nil
    }

    /// Whether a table may list `host`: a name or IPv4 address, or an IPv6 literal in brackets.
    ///
    /// Names are taken generously, any visible ASCII that delimits nothing in a request target or list; but no colon,
    /// so that a name can never be mistaken for one with a port.
    static func isName(_ host: ByteView) -> Bool {
        guard host.base[0] != UInt8(ascii: "[") else { return isBracketed(host) }
        guard host.base[0] != UInt8(ascii: ".") else { return false }
        for index in 0..<host.count {
            switch host.base[index] {
            case 0...0x20, 0x7F...0xFF: return false
            case UInt8(ascii: "/"), UInt8(ascii: "?"), UInt8(ascii: "#"), UInt8(ascii: "@"), ASCII.colon: return false
            case UInt8(ascii: "*"), ASCII.comma, UInt8(ascii: "\\"), UInt8(ascii: "["), UInt8(ascii: "]"): return false
            default: continue
            }
        }
        return true
    }

    /// `[`, hexadecimal digits, colons and dots, `]` (RFC 3986 §3.2.2; the address itself is not checked).
    private static func isBracketed(_ host: ByteView) -> Bool {
        guard host.count > 3, host.base[host.count - 1] == UInt8(ascii: "]") else { return false }
        for index in 1..<host.count - 1 {
            let byte = host.base[index]
            let isPart = byte == ASCII.colon || byte == UInt8(ascii: ".") || ASCII.hexValue(byte) != nil
            guard isPart else { return false }
        }
        return true
    }

    /// A keyed hash of the host, ASCII letters taken as small. Eight bytes a step.
    ///
    /// Not a promise against chosen collisions: the table's bound on probes is.
    static func hash(_ host: ByteView, key: UInt64) -> UInt64 {
        var state = key ^ UInt64(truncatingIfNeeded: host.count) &* 0x9E37_79B9_7F4A_7C15
        var index = 0
        while index &+ 8 < host.count {
            state = fold(state ^ block(host.base, at: index), key | 1)
            index &+= 8
        }
        return fold(fold(state ^ tail(host), 0xD6E8_FEB8_6659_FD93), key ^ 0xA5CB_3B1F_92D3_46E7)
    }

    /// Whether `host` is the `count` bytes at `name`, which are lower case.
    static func matches(_ host: ByteView, lowercase name: UnsafePointer<UInt8>, count: Int) -> Bool {
        guard host.count == count else { return false }
        var index = 0
        while index &+ 8 < count {
            guard block(host.base, at: index) == rawBlock(name, at: index) else { return false }
            index &+= 8
        }
        return tail(host) == tail(ByteView(base: name, count: count))
    }

    /// Eight bytes from `index` on, lower case. They must be there.
    @inline(__always)
    private static func block(_ bytes: UnsafePointer<UInt8>, at index: Int) -> UInt64 {
        ASCII.lowercased(rawBlock(bytes, at: index))
    }

    @inline(__always)
    private static func rawBlock(_ bytes: UnsafePointer<UInt8>, at index: Int) -> UInt64 {
        UInt64(littleEndian: UnsafeRawPointer(bytes).loadUnaligned(fromByteOffset: index, as: UInt64.self))
    }

    /// The last eight bytes, or all if there are fewer, lower case. In longer hosts they overlap the block before.
    @inline(__always)
    private static func tail(_ host: ByteView) -> UInt64 {
        if host.count >= 8 { return block(host.base, at: host.count - 8) }
        var tail: UInt64 = 0
        for index in 0..<host.count { tail = tail << 8 | UInt64(host.base[index]) }
        return ASCII.lowercased(tail)
    }

    /// Both halves of the full product mixed: every input bit reaches every output bit.
    private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        // Adding `left` back keeps a zero factor from erasing what came before.
        return (product.high ^ product.low) &+ left
    }
}
