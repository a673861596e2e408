import Primitives

/// The Date field's text (IMF-fixdate, RFC 9110 §5.6.7), made once a second.
struct HTTPDate {
    private static let days: StaticString = "ThuFriSatSunMonTueWed"  // 1970-01-01 was a Thursday
    private static let months: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"

    private var second = UInt64.max
    private var text = InlineArray<29, UInt8>(repeating: 0)

    /// Brings the text up to date.
    mutating func update(unixSeconds: UInt64) {
        guard unixSeconds != second else { return }
        second = unixSeconds
        withUnsafeMutableBytes(of: &text) { place in
            var writer = ByteWriter(place)
            Self.write(unixSeconds: unixSeconds, to: &writer)
        }
    }

    /// Appends the text.
    func append(to writer: inout ByteWriter) {
        withUnsafeBytes(of: text) { writer.append(ByteView($0)) }
    }

    static func write(unixSeconds: UInt64, to writer: inout ByteWriter) {
        let day = unixSeconds / 86_400
        let time = unixSeconds % 86_400
        let (year, month, dayOfMonth) = civil(daysSinceEpoch: Int(day))
        let weekday = Int(day % 7) * 3
        writer.append(ByteView(days)[weekday..<weekday + 3])
        writer.append(", ")
        writer.append(decimal: UInt64(dayOfMonth), width: 2)
        writer.append(ASCII.space)
        writer.append(ByteView(months)[(month - 1) * 3..<month * 3])
        writer.append(ASCII.space)
        writer.append(decimal: UInt64(year), width: 4)
        writer.append(ASCII.space)
        writer.append(decimal: time / 3_600, width: 2)
        writer.append(ASCII.colon)
        writer.append(decimal: time / 60 % 60, width: 2)
        writer.append(ASCII.colon)
        writer.append(decimal: time % 60, width: 2)
        writer.append(" GMT")
    }

    /// Year, month and day of the proleptic Gregorian calendar. Counts in years that begin in March, so that leap days
    /// fall at the end.
    private static func civil(daysSinceEpoch: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = daysSinceEpoch + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }
}
