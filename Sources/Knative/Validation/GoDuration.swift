/// Durations as Go writes them: `90s`, `1h30m`, `1.5s`, `300ms`.
enum GoDuration {
    /// Nanoseconds of `text`, or nil if it is none or does not fit.
    static func nanoseconds(_ text: String) -> Int64? {
        var rest = Substring(text).utf8
        let isNegative = rest.first == UInt8(ascii: "-")
        if isNegative || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
        if rest.elementsEqual([UInt8(ascii: "0")]) { return 0 }
        guard !rest.isEmpty, rest.count <= 64 else { return nil }
        var total: Double = 0
        while !rest.isEmpty {
            let number = rest.prefix { isDigit($0) || $0 == UInt8(ascii: ".") }
            let unit = rest.dropFirst(number.count).prefix { !isDigit($0) && $0 != UInt8(ascii: ".") }
            let isWhole = !number.contains(UInt8(ascii: "."))
            // Go allows `1.s` and `.5s`; the zeros make both a number for Swift, two points still are none.
            guard number.contains(where: isDigit),
                let value = Double("0" + String(Substring(number)) + (isWhole ? "" : "0")),
                let scale = scale(String(Substring(unit)))
            else { return nil }
            total += value * scale
            rest = rest.dropFirst(number.count + unit.count)
        }
        guard total.rounded() < 9.2e18 else { return nil }
        return isNegative ? -Int64(total.rounded()) : Int64(total.rounded())
    }

    private static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

    private static func scale(_ unit: String) -> Double? {
        switch unit {
        case "ns": 1
        case "us", "µs", "μs": 1e3
        case "ms": 1e6
        case "s": 1e9
        case "m": 60e9
        case "h": 3600e9
        default: nil
        }
    }
}
