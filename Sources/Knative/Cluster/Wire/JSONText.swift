/// JSON made fit for the YAML parser, which reads all of it but for a few spellings inside strings.
enum JSONText {
    /// `bytes` with pairs of surrogate escapes as the character they mean, lone ones as U+FFFD, and characters that
    /// YAML takes for a line's end or refuses as escapes. Most texts have none of these and come back as they are.
    static func readableAsYAML(_ bytes: [UInt8]) -> [UInt8] {
        guard let first = firstOddity(in: bytes) else { return bytes }
        var result = Array(bytes[..<first])
        result.reserveCapacity(bytes.count + 16)
        var index = first
        while index < bytes.count {
            let taken = translate(bytes, at: index, to: &result)
            if taken == 0 { result.append(bytes[index]) }
            index += max(1, taken)
        }
        return result
    }

    /// Where the first byte stands that could begin an oddity; nil if there is none.
    private static func firstOddity(in bytes: [UInt8]) -> Int? {
        bytes.firstIndex { $0 == UInt8(ascii: "\\") || $0 == 0x7F || $0 == 0xC2 || $0 == 0xE2 || $0 == 0xEF }
    }

    /// Appends what stands for the oddity at `index`; returns how many bytes it took, 0 if it is none.
    private static func translate(_ bytes: [UInt8], at index: Int, to result: inout [UInt8]) -> Int {
        func byte(_ offset: Int) -> UInt8 { index + offset < bytes.count ? bytes[index + offset] : 0 }
        switch bytes[index] {
        case UInt8(ascii: "\\"): return escape(bytes, at: index, to: &result)
        case 0x7F:
            JSONTree.escape(0x7F, to: &result)
            return 1
        case 0xC2 where byte(1) >= 0x80 && byte(1) < 0xA0:
            JSONTree.escape(UInt32(byte(1)), to: &result)
            return 2
        case 0xE2 where byte(1) == 0x80 && (byte(2) == 0xA8 || byte(2) == 0xA9):
            JSONTree.escape(byte(2) == 0xA8 ? 0x2028 : 0x2029, to: &result)
            return 3
        case 0xEF where byte(1) == 0xBF && byte(2) >= 0xBE && byte(2) <= 0xBF:
            JSONTree.escape(byte(2) == 0xBE ? 0xFFFE : 0xFFFF, to: &result)
            return 3
        case 0xEF where byte(1) == 0xBB && byte(2) == 0xBF && index > 0:
            JSONTree.escape(0xFEFF, to: &result)
            return 3
        default: return 0
        }
    }

    /// Two bytes are kept together, so that the second backslash of a pair begins nothing.
    private static func escape(_ bytes: [UInt8], at index: Int, to result: inout [UInt8]) -> Int {
        guard let unit = codeUnit(bytes, at: index), unit >= 0xD800, unit < 0xE000 else {
            result += bytes[index..<min(bytes.count, index + 2)]
            return 2
        }
        guard unit < 0xDC00, let low = codeUnit(bytes, at: index + 6), low >= 0xDC00, low < 0xE000 else {
            result += "\u{FFFD}".utf8
            return 6
        }
        let value = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
        if let scalar = Unicode.Scalar(value), let encoded = UTF8.encode(scalar) { result += Array(encoded) }
        return 12
    }

    /// The number of the `\uXXXX` that begins at `index`; nil if there is none.
    private static func codeUnit(_ bytes: [UInt8], at index: Int) -> UInt32? {
        guard index + 6 <= bytes.count, bytes[index] == UInt8(ascii: "\\"), bytes[index + 1] == UInt8(ascii: "u")
        else { return nil }
        var value: UInt32 = 0
        for byte in bytes[index + 2..<index + 6] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { return nil }
            value = value << 4 | UInt32(digit)
        }
        return value
    }
}
