import Primitives

/// Numbers and truth values as Go's `strconv` reads them, which is what envconfig uses.
enum GoText {
    /// `ParseInt(text, 0, 64)`: a sign, then decimal, `0x`, `0o`, `0b` or, after a plain zero, octal digits;
    /// underscores between digits. No space. Nil for anything else and beyond 64 bits.
    static func integer(_ text: String) -> Int64? {
        var rest = Array(text.utf8)[...]
        let isNegative = rest.first == UInt8(ascii: "-")
        if isNegative || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
        let (radix, prefix) = radix(of: rest)
        rest = rest.dropFirst(prefix)
        var value: UInt64 = 0, isAfterDigit = prefix > 0
        guard !rest.isEmpty else { return nil }
        for byte in rest {
            if byte == UInt8(ascii: "_") {
                guard isAfterDigit else { return nil }
                isAfterDigit = false
                continue
            }
            guard let digit = ASCII.hexValue(byte), UInt64(digit) < radix else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: radix)
            let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
            guard !overflow, !carry else { return nil }
            (value, isAfterDigit) = (sum, true)
        }
        guard isAfterDigit else { return nil }
        if !isNegative { return Int64(exactly: value) }
        return value == UInt64(1) << 63 ? .min : Int64(exactly: value).map { -$0 }
    }

    /// The base, and how many bytes say it.
    private static func radix(of digits: ArraySlice<UInt8>) -> (radix: UInt64, prefix: Int) {
        guard digits.first == UInt8(ascii: "0"), digits.count > 1 else { return (10, 0) }
        guard digits.count > 2 else { return (8, 1) }
        switch ASCII.lowercased(digits[digits.startIndex + 1]) {
        case UInt8(ascii: "x"): return (16, 2)
        case UInt8(ascii: "o"): return (8, 2)
        case UInt8(ascii: "b"): return (2, 2)
        case _: return (8, 1)
        }
    }

    /// `ParseBool`.
    static func boolean(_ text: String) -> Bool? {
        switch text {
        case "1", "t", "T", "true", "TRUE", "True": true
        case "0", "f", "F", "false", "FALSE", "False": false
        case _: nil
        }
    }

    /// A port as Go's resolver reads a decimal one: digits alone.
    static func port(_ text: String) -> UInt16? {
        text.utf8.allSatisfy(ASCII.isDigit) ? UInt16(text) : nil
    }
}
