import Primitives

/// Timestamps of log lines, from the wall clock's nanoseconds since 1970-01-01T00:00:00Z.
extension ByteWriter {
    /// Appends UTC as RFC 3339 with milliseconds: `2026-02-03T04:05:06.789Z`.
    mutating func append(timestamp unixNanoseconds: UInt64) {
        let time = CivilTime(unixNanoseconds: unixNanoseconds)
        guard let place = reserve(24) else { return }
        ByteWriter.put(time.year / 100, at: place)
        ByteWriter.put(time.year % 100, at: place + 2)
        place[4] = UInt8(ascii: "-")
        ByteWriter.put(time.month, at: place + 5)
        place[7] = UInt8(ascii: "-")
        ByteWriter.put(time.day, at: place + 8)
        place[10] = UInt8(ascii: "T")
        ByteWriter.put(clock: time, at: place + 11)
        place[19] = UInt8(ascii: ".")
        ByteWriter.put(time.millisecond / 10, at: place + 20)
        place[22] = UInt8(truncatingIfNeeded: 0x30 + time.millisecond % 10)
        place[23] = UInt8(ascii: "Z")
    }

    /// Appends UTC as the common log format has it: `03/Feb/2026:04:05:06 +0000`.
    mutating func append(commonDate unixNanoseconds: UInt64) {
        let time = CivilTime(unixNanoseconds: unixNanoseconds)
        if let place = reserve(3) {
            ByteWriter.put(time.day, at: place)
            place[2] = UInt8(ascii: "/")
        }
        append(time.monthName)
        if let place = reserve(14) {
            place[0] = UInt8(ascii: "/")
            ByteWriter.put(time.year / 100, at: place + 1)
            ByteWriter.put(time.year % 100, at: place + 3)
            place[5] = ASCII.colon
            ByteWriter.put(clock: time, at: place + 6)
        }
        append(" +0000")
    }

    /// Puts `hh:mm:ss`, eight bytes.
    private static func put(clock time: CivilTime, at place: UnsafeMutablePointer<UInt8>) {
        put(time.hour, at: place)
        place[2] = ASCII.colon
        put(time.minute, at: place + 3)
        place[5] = ASCII.colon
        put(time.second, at: place + 6)
    }

    /// Puts two digits. `value` is below 100.
    private static func put(_ value: UInt64, at place: UnsafeMutablePointer<UInt8>) {
        assert(value < 100)
        place[0] = UInt8(truncatingIfNeeded: 0x30 + value / 10)
        place[1] = UInt8(truncatingIfNeeded: 0x30 + value % 10)
    }
}
