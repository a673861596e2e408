import Primitives
import Telemetry

/// The Date field's text (IMF-fixdate, RFC 9110 §5.6.7), made once a second.
struct HTTPDate {
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
        let time = CivilTime(unixSeconds: unixSeconds)
        writer.append(CivilTime.weekdayName(unixSeconds: unixSeconds))
        writer.append(", ")
        writer.append(decimal: time.day, width: 2)
        writer.append(ASCII.space)
        writer.append(time.monthName)
        writer.append(ASCII.space)
        writer.append(decimal: time.year, width: 4)
        writer.append(ASCII.space)
        writer.append(decimal: time.hour, width: 2)
        writer.append(ASCII.colon)
        writer.append(decimal: time.minute, width: 2)
        writer.append(ASCII.colon)
        writer.append(decimal: time.second, width: 2)
        writer.append(" GMT")
    }
}
