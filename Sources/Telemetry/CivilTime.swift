/// A moment of the civil calendar in UTC (proleptic Gregorian, no leap seconds), for timestamps of log lines and Date
/// fields.
///
/// Own arithmetic: the C library's conversion takes a lock and may allocate.
public struct CivilTime: Equatable, Sendable {
    /// 1970 and later.
    public let year: UInt64
    /// 1...12.
    public let month: UInt64
    /// 1...31.
    public let day: UInt64
    /// 0...23.
    public let hour: UInt64
    /// 0...59.
    public let minute: UInt64
    /// 0...59.
    public let second: UInt64
    /// 0...999.
    public let millisecond: UInt64

    /// The civil moment `unixNanoseconds` after 1970-01-01T00:00:00Z.
    public init(unixNanoseconds: UInt64) {
        self.init(
            unixSeconds: unixNanoseconds / 1_000_000_000, millisecond: unixNanoseconds % 1_000_000_000 / 1_000_000)
    }

    /// The civil moment `unixSeconds` and `millisecond` after 1970-01-01T00:00:00Z.
    public init(unixSeconds seconds: UInt64, millisecond: UInt64 = 0) {
        self.millisecond = millisecond
        let secondOfDay = seconds % 86_400
        (hour, minute, second) = (secondOfDay / 3_600, secondOfDay / 60 % 60, secondOfDay % 60)

        // Years that begin in March put the leap day last; 400 of them have 146,097 days.
        let days = seconds / 86_400 + 719_468
        let dayOfEra = days % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        year = days / 146_097 * 400 + yearOfEra + (month <= 2 ? 1 : 0)
    }

    /// The English abbreviation of the day of the week.
    public static func weekdayName(unixSeconds: UInt64) -> StaticString {
        switch unixSeconds / 86_400 % 7 {  // 1970-01-01 was a Thursday
        case 0: "Thu"
        case 1: "Fri"
        case 2: "Sat"
        case 3: "Sun"
        case 4: "Mon"
        case 5: "Tue"
        case _: "Wed"
        }
    }

    /// The English abbreviation of the month that log lines and the Date field use.
    public var monthName: StaticString {
        switch month {
        case 1: "Jan"
        case 2: "Feb"
        case 3: "Mar"
        case 4: "Apr"
        case 5: "May"
        case 6: "Jun"
        case 7: "Jul"
        case 8: "Aug"
        case 9: "Sep"
        case 10: "Oct"
        case 11: "Nov"
        case _: "Dec"
        }
    }
}
