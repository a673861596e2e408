extension ByteWriter {
    /// Appends `bytes` in base64 with its padding (RFC 4648 §4).
    public mutating func append(base64 bytes: ByteView) {
        var index = 0
        while index < bytes.count {
            let known = min(3, bytes.count - index)
            var group: UInt32 = 0
            for offset in 0..<3 {
                group = group << 8 | (offset < known ? UInt32(bytes[index + offset]) : 0)
            }
            for digit in 0..<4 {
                let bits = UInt8(truncatingIfNeeded: group >> UInt32(18 - 6 * digit) & 63)
                append(digit <= known ? Self.base64Digit(bits) : UInt8(ascii: "="))
            }
            index += known
        }
    }

    private static func base64Digit(_ value: UInt8) -> UInt8 {
        switch value {
        case 0..<26: UInt8(ascii: "A") + value
        case 26..<52: UInt8(ascii: "a") + value - 26
        case 52..<62: UInt8(ascii: "0") + value - 52
        case 62: UInt8(ascii: "+")
        default: UInt8(ascii: "/")
        }
    }
}
