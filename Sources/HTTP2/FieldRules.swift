import HTTP
import Primitives

/// Reads `host [":" port]` as strictly as HTTP/1.1's heads do: what two programs could read differently is refused.
enum HostRule {
    /// How many bytes of `authority` are its host, brackets kept; nil if it is none.
    static func host(_ authority: ByteView) -> Int? {
        guard !authority.isEmpty else { return nil }
        let end = authority.base[0] == UInt8(ascii: "[") ? literalEnd(authority) : nameEnd(authority)
        guard end > 0, end == authority.count || isPort(authority.dropping(first: end)) else { return nil }
        return end
    }

    /// Whether two authorities are the same bytes, letters compared without case.
    static func same(_ left: ByteView, _ right: ByteView) -> Bool {
        guard left.count == right.count else { return false }
        for index in 0..<left.count where ASCII.lowercased(left.base[index]) != ASCII.lowercased(right.base[index]) {
            return false
        }
        return true
    }

    private static func nameEnd(_ authority: ByteView) -> Int {
        var index = 0
        while index < authority.count, ByteClass.isHostName(authority.base[index]) { index += 1 }
        return index
    }

    /// The end of an IPv6 address in brackets, 0 if it is none. No zones, no future versions.
    private static func literalEnd(_ authority: ByteView) -> Int {
        var index = 1
        var colons = 0
        while index < authority.count, authority.base[index] != UInt8(ascii: "]") {
            let byte = authority.base[index]
            guard ASCII.hexValue(byte) != nil || byte == Byte.colon || byte == UInt8(ascii: ".") else { return 0 }
            if byte == Byte.colon { colons += 1 }
            index += 1
        }
        return index < authority.count && colons >= 2 && index <= 46 ? index + 1 : 0
    }

    /// `:` and a decimal port of at most 65535, which may be empty.
    private static func isPort(_ text: ByteView) -> Bool {
        guard text.base[0] == Byte.colon, text.count <= 6 else { return false }
        var port = 0
        for index in 1..<text.count {
            guard ASCII.isDigit(text.base[index]) else { return false }
            port = port * 10 + Int(text.base[index] & 15)
        }
        return port <= 65535
    }
}

/// Which fields must not come after the body (RFC 9110 §6.5.1): they are kept and flagged, so that no writer forwards
/// them.
enum TrailerRule {
    static func isForbidden(_ known: KnownField, _ name: ByteView) -> Bool {
        if known != .other {
            return KnownFieldSet.forbiddenInTrailers.contains(known) || KnownFieldSet.undroppable.contains(known)
        }
        return hasPrefix(name, "x-forwarded-") || hasPrefix(name, "k-") || hasPrefix(name, "knative-")
            || (name.count > 8 && hasPrefix(name, "content-")) || isRare(name)
    }

    /// Controls, conditions, negotiation, authentication: fields without a case of their own.
    private static func isRare(_ name: ByteView) -> Bool {
        switch name.count {
        case 3: name.equals("age")
        case 4: name.equals("vary")
        case 5: name.equals("range")
        case 6: name.equals("pragma") || name.equals("accept")
        case 7: name.equals("expires") || name.equals("warning")
        case 8: name.equals("if-match") || name.equals("if-range")
        case 12: name.equals("max-forwards")
        case 13: name.equals("cache-control") || name.equals("if-none-match")
        case 16: name.equals("www-authenticate")
        case 17: name.equals("if-modified-since")
        case 19: name.equals("if-unmodified-since")
        default: false
        }
    }

    /// Names in HTTP/2 are lower case already.
    private static func hasPrefix(_ name: ByteView, _ prefix: StaticString) -> Bool { name.hasPrefix(prefix) }
}
