/// Texts of the lines that a program writes about itself, now and then. Lines about requests are written by
/// `ByteWriter`, without a `String`.
public enum LogText {
    /// A string of JSON (RFC 8259 §7). Control characters are escaped, DEL among them: a terminal shows these lines.
    public static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case let control where control.value < 0x20 || control.value == 0x7F:
                let hex = String(control.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.utf8.count) + hex
            case _: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    /// UTC as RFC 3339 with a fraction of `digits` digits, 1...9: `2026-01-02T03:04:05.006Z`.
    public static func timestamp(_ unixNanoseconds: UInt64, digits: Int) -> String {
        assert((1...9).contains(digits))
        let time = CivilTime(unixNanoseconds: unixNanoseconds)
        let fraction = padded(unixNanoseconds % 1_000_000_000, 9).prefix(digits)
        return "\(time.dayText)T\(time.clockText).\(fraction)Z"
    }

    /// A decimal number with leading zeros up to `width` digits.
    static func padded(_ number: UInt64, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}

extension CivilTime {
    /// `2026-01-02`.
    public var dayText: String { "\(year)-\(LogText.padded(month, 2))-\(LogText.padded(day, 2))" }
    /// `03:04:05`.
    public var clockText: String {
        "\(LogText.padded(hour, 2)):\(LogText.padded(minute, 2)):\(LogText.padded(second, 2))"
    }
}
