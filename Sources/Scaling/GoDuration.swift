/// A duration as Knative's configuration and annotations write it (Go's `time.Duration`: `60s`, `1m30s`, `1.5h`).
///
/// Signed nanoseconds, so about ±292 years. A bare number other than `0` has no unit and is refused, as in Go.
public struct GoDuration: Hashable, Comparable, Sendable {
    /// Length in nanoseconds. May be negative: the caller's bounds say whether that is allowed.
    public var nanoseconds: Int64

    /// No time at all.
    public static let zero = GoDuration(nanoseconds: 0)

    /// A duration of `nanoseconds`.
    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// A duration of whole `seconds`; stops at the largest one that fits.
    public static func seconds(_ seconds: Int) -> GoDuration {
        let (product, overflow) = Int64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        return GoDuration(nanoseconds: overflow ? (seconds < 0 ? .min : .max) : product)
    }

    /// Reads Go's syntax: an optional sign, then one or more decimal numbers each with a unit
    /// (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), or a lone `0`. Nil if `text` is anything else or too long to hold.
    public init?(_ text: String) {
        var reader = Reader(bytes: Array(text.utf8))
        guard let total = reader.duration() else { return nil }
        nanoseconds = total
    }

    /// Whole seconds, rounded towards zero.
    public var wholeSeconds: Int { Int(nanoseconds / 1_000_000_000) }

    /// Whether nothing is lost by counting in seconds.
    public var isWholeSeconds: Bool { nanoseconds % 1_000_000_000 == 0 }

    /// Nanoseconds for use with `Instant`; zero if negative.
    public var magnitude: UInt64 { nanoseconds < 0 ? 0 : UInt64(nanoseconds) }

    /// Whether `lhs` is shorter than `rhs`.
    public static func < (lhs: GoDuration, rhs: GoDuration) -> Bool { lhs.nanoseconds < rhs.nanoseconds }
}

extension GoDuration: CustomStringConvertible {
    /// Go's own form, which error messages quote: `0s`, `100ms`, `6s`, `1m30s`, `1h0m0s`.
    public var description: String {
        guard nanoseconds != 0 else { return "0s" }
        let sign = nanoseconds < 0 ? "-" : ""
        let total = nanoseconds.magnitude
        if total < 1_000 { return "\(sign)\(total)ns" }
        if total < 1_000_000 { return sign + GoDuration.decimal(total, unit: 1_000) + "µs" }
        if total < 1_000_000_000 { return sign + GoDuration.decimal(total, unit: 1_000_000) + "ms" }
        let minutes = total / 60_000_000_000
        let seconds = GoDuration.decimal(total % 60_000_000_000, unit: 1_000_000_000) + "s"
        if minutes == 0 { return sign + seconds }
        if minutes < 60 { return "\(sign)\(minutes)m\(seconds)" }
        return "\(sign)\(minutes / 60)h\(minutes % 60)m\(seconds)"
    }

    /// `value / unit` in decimal without trailing zeros. `unit` is a power of ten.
    private static func decimal(_ value: UInt64, unit: UInt64) -> String {
        var rest = value % unit
        guard rest != 0 else { return "\(value / unit)" }
        var place = unit / 10
        var digits = ""
        while rest != 0 {
            digits += "\(rest / place)"
            rest %= place
            place = max(1, place / 10)
        }
        return "\(value / unit).\(digits)"
    }
}

extension GoDuration {
    /// Walks the bytes of one duration.
    private struct Reader {
        let bytes: [UInt8]
        var position = 0

        init(bytes: [UInt8]) { self.bytes = bytes }

        mutating func duration() -> Int64? {
            let isNegative = bytes.first == UInt8(ascii: "-")
            if isNegative || bytes.first == UInt8(ascii: "+") { position = 1 }
            guard position < bytes.count else { return nil }
            if bytes[position...].elementsEqual([UInt8(ascii: "0")]) { return 0 }
            var total: UInt64 = 0
            while position < bytes.count {
                guard let part = term() else { return nil }
                let (sum, overflow) = total.addingReportingOverflow(part)
                guard !overflow, sum <= UInt64(Int64.max) else { return nil }
                total = sum
            }
            return isNegative ? -Int64(total) : Int64(total)
        }

        /// One number with its unit, in nanoseconds.
        private mutating func term() -> UInt64? {
            let start = position
            guard let whole = digits() else { return nil }
            var digitCount = position - start
            var fraction = 0.0
            if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
                position += 1
                var weight = 0.1
                while position < bytes.count, let digit = digit(at: position) {
                    fraction += Double(digit) * weight
                    weight /= 10
                    position += 1
                    digitCount += 1
                }
            }
            guard digitCount > 0, let unit = unit() else { return nil }
            let (product, overflow) = whole.multipliedReportingOverflow(by: unit)
            // Rounded, because a sum of tenths lies a hair beside the true fraction; Go keeps its digits as an integer.
            let rest = UInt64((fraction * Double(unit) + 1e-6).rounded(.down))
            let (sum, carry) = product.addingReportingOverflow(rest)
            return overflow || carry ? nil : sum
        }

        private mutating func digits() -> UInt64? {
            var value: UInt64 = 0
            while position < bytes.count, let digit = digit(at: position) {
                let (product, overflow) = value.multipliedReportingOverflow(by: 10)
                let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
                guard !overflow, !carry else { return nil }
                value = sum
                position += 1
            }
            return value
        }

        private func digit(at index: Int) -> UInt8? {
            let value = bytes[index] &- UInt8(ascii: "0")
            return value < 10 ? value : nil
        }

        /// The unit is everything up to the next digit or point.
        private mutating func unit() -> UInt64? {
            let start = position
            while position < bytes.count, digit(at: position) == nil, bytes[position] != UInt8(ascii: ".") {
                position += 1
            }
            switch String(decoding: bytes[start..<position], as: UTF8.self) {
            case "ns": return 1
            case "us", "µs", "μs": return 1_000
            case "ms": return 1_000_000
            case "s": return 1_000_000_000
            case "m": return 60_000_000_000
            case "h": return 3_600_000_000_000
            case _: return nil
            }
        }
    }
}
