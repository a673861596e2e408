import Primitives

/// Tells HTTP/2 by prior knowledge from HTTP/1 by a connection's first bytes (RFC 9113 §3.4).
public enum HTTP2Preface {
    /// What the bytes so far mean.
    public enum Answer: Equatable, Sendable {
        /// HTTP/2.
        case yes
        /// Something else.
        case no
        /// Could be either.
        case needMore
    }

    /// How long the preface is.
    public static var bytes: Int { 24 }

    static var text: StaticString { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" }

    /// Compares all that a connection has sent so far with the preface. Nothing is consumed: hand the same bytes to the
    /// session. No method of HTTP/1 begins with these 24 bytes, so one wrong byte decides.
    public static func match(_ bytes: ByteView) -> Answer {
        let expected = ByteView(text)
        let count = min(bytes.count, expected.count)
        guard bytes[0..<count].equals(expected[0..<count]) else { return .no }
        return count == expected.count ? .yes : .needMore
    }
}

/// Decodes base64url without padding (RFC 4648 §5), as `HTTP2-Settings` carries it (RFC 7540 §3.2.1).
enum Base64URL {
    /// Writes what `text` stands for. False if it is malformed or does not fit.
    static func decode(_ text: ByteView, to writer: inout ByteWriter) -> Bool {
        var bits: UInt32 = 0
        var count = 0
        for index in 0..<text.count {
            guard let digit = value(text.base[index]) else { return false }
            bits = bits << 6 | UInt32(digit)
            count += 1
            guard count == 4 else { continue }
            writer.append(UInt8(truncatingIfNeeded: bits >> 16))
            writer.append(UInt8(truncatingIfNeeded: bits >> 8))
            writer.append(UInt8(truncatingIfNeeded: bits))
            (bits, count) = (0, 0)
        }
        switch count {
        case 0: break
        case 2: writer.append(UInt8(truncatingIfNeeded: bits >> 4))
        case 3:
            writer.append(UInt8(truncatingIfNeeded: bits >> 10))
            writer.append(UInt8(truncatingIfNeeded: bits >> 2))
        default: return false
        }
        return !writer.overflowed
    }

    private static func value(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "-"): 62
        case UInt8(ascii: "_"): 63
        default: nil
        }
    }
}
