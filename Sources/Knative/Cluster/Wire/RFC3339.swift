/// Times as Kubernetes writes them: `2026-11-21T17:05:19Z` (RFC 3339 §5.6), as seconds of the Unix clock.
enum RFC3339 {
    /// Years 1 to 9999; a fraction is cut off. Nil if the text is something else.
    static func seconds(_ text: String) -> Int64? {
        let bytes = Array(text.utf8)
        guard bytes.count >= 20, bytes.count <= 64 else { return nil }
        func number(_ range: Range<Int>) -> Int64? {
            var value: Int64 = 0
            for byte in bytes[range] {
                guard byte >= 0x30, byte <= 0x39 else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
            return value
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            bytes[4] == 0x2D, bytes[7] == 0x2D, bytes[10] | 0x20 == UInt8(ascii: "t"), bytes[13] == 0x3A,
            bytes[16] == 0x3A, year >= 1, (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60,
            second <= 60
        else { return nil }
        guard let offset = offset(fraction(bytes)) else { return nil }
        return days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + min(second, 59) - offset
    }

    /// What follows the seconds and their fraction: the zone.
    private static func fraction(_ bytes: [UInt8]) -> ArraySlice<UInt8> {
        let rest = bytes[19...]
        guard rest.first == UInt8(ascii: ".") else { return rest }
        return rest.dropFirst().drop { $0 >= 0x30 && $0 <= 0x39 }
    }

    /// Seconds east of Greenwich; nil if `zone` is none.
    private static func offset(_ zone: ArraySlice<UInt8>) -> Int64? {
        let bytes = Array(zone)
        if bytes.count == 1 { return bytes[0] | 0x20 == UInt8(ascii: "z") ? 0 : nil }
        guard bytes.count == 6, bytes[0] == 0x2B || bytes[0] == 0x2D, bytes[3] == 0x3A,
            let hours = Int64(String(decoding: bytes[1...2], as: UTF8.self)), hours >= 0, hours < 24,
            let minutes = Int64(String(decoding: bytes[4...5], as: UTF8.self)), minutes >= 0, minutes < 60
        else { return nil }
        return (bytes[0] == 0x2D ? -1 : 1) * (hours * 3_600 + minutes * 60)
    }

    /// `seconds` in UTC; times outside the years 1 to 9999 as the nearest inside.
    static func text(_ seconds: Int64) -> String {
        let bounded = min(max(seconds, -62_135_596_800), 253_402_300_799)
        let day = bounded >= 0 ? bounded / 86_400 : (bounded + 1) / 86_400 - 1
        let second = Int(bounded - day * 86_400)
        let (year, month, dayOfMonth) = civil(day)
        return zeroPadded(year, width: 4) + "-" + zeroPadded(month, width: 2) + "-" + zeroPadded(dayOfMonth, width: 2)
            + "T" + zeroPadded(second / 3_600, width: 2) + ":" + zeroPadded(second / 60 % 60, width: 2) + ":"
            + zeroPadded(second % 60, width: 2) + "Z"
    }

    /// Days since 1970-01-01. Years that begin in March put the leap day last; 400 of them have 146,097 days.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let year = month <= 2 ? year - 1 : year
        let era = (year >= 0 ? year : year - 399) / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    private static func civil(_ days: Int64) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * month + 2) / 5 + 1
        return (
            Int(yearOfEra + era * 400 + (month >= 10 ? 1 : 0)), Int(month < 10 ? month + 3 : month - 9), Int(day)
        )
    }
}
