import Primitives

/// A `Sec-WebSocket-Key` (RFC 6455 §4.1): sixteen random bytes in base64.
struct WebSocketKey {
    private let high: UInt64
    private let low: UInt64

    init(_ high: UInt64, _ low: UInt64) { (self.high, self.low) = (high, low) }

    /// Appends its 24 characters.
    func append(to writer: inout ByteWriter) {
        // Twenty-one digits of six bits, a last one with two, and the padding.
        for digit in 0..<21 {
            let shift = 122 - 6 * digit
            writer.append(Self.character(shift >= 64 ? high >> UInt64(shift - 64) : straddling(shift)))
        }
        writer.append(Self.character(low << 4))
        writer.append("==")
    }

    /// The bits from `shift` on, where the two halves may meet.
    private func straddling(_ shift: Int) -> UInt64 {
        shift == 0 ? low : low >> UInt64(shift) | high << UInt64(64 - shift)
    }

    private static func character(_ bits: UInt64) -> UInt8 {
        let index = UInt8(truncatingIfNeeded: bits & 63)
        return switch index {
        case 0..<26: UInt8(ascii: "A") + index
        case 26..<52: UInt8(ascii: "a") + index - 26
        case 52..<62: UInt8(ascii: "0") + index - 52
        case 62: UInt8(ascii: "+")
        default: UInt8(ascii: "/")
        }
    }
}
