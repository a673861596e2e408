import Primitives

/// The classes of bytes of the HTTP grammar. Masks in two words: no table in memory, no lazy initialisation.
public enum ByteClass {
    /// Whether `byte` may stand in a token: a method, a field name, a connection option (RFC 9110 §5.6.2).
    @inlinable
    public static func isToken(_ byte: UInt8) -> Bool {
        contains(byte, low: 0x03FF_6CFA_0000_0000, high: 0x57FF_FFFF_C7FF_FFFE)
    }

    /// Whether `byte` may stand in a host name: letters, digits, `-`, `.` and `_`.
    ///
    /// RFC 3986 §3.2.2 allows more (`%`, `!`, `*` …), but no name that resolves has them, and two programs that read
    /// such a name differently are a way around a route.
    @inlinable
    public static func isHostName(_ byte: UInt8) -> Bool {
        contains(byte, low: 0x03FF_6000_0000_0000, high: 0x07FF_FFFE_87FF_FFFE)
    }

    /// Whether `byte` may stand in a field value or reason phrase: tab, space, visible ASCII, bytes from 0x80
    /// (RFC 9110 §5.5).
    @inlinable
    public static func isFieldValue(_ byte: UInt8) -> Bool { byte >= 0x20 ? byte != 0x7F : byte == 0x09 }

    /// Whether `view` is a token of at least one byte.
    public static func isToken(_ view: ByteView) -> Bool {
        for index in 0..<view.count where !isToken(view.base[index]) { return false }
        return !view.isEmpty
    }

    @inlinable @inline(__always)
    static func contains(_ byte: UInt8, low: UInt64, high: UInt64) -> Bool {
        let word = byte & 0x40 == 0 ? low : high
        return (word &>> UInt64(byte & 63)) & UInt64(~byte &>> 7) != 0
    }
}
