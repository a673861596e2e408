/// ASCII bytes by name, and the few operations on them that protocols need.
public enum ASCII {
    /// Horizontal tab.
    public static var tab: UInt8 {
        @inlinable get { UInt8(ascii: "\t") }
    }
    /// Line feed.
    public static var lf: UInt8 {
        @inlinable get { UInt8(ascii: "\n") }
    }
    /// Carriage return.
    public static var cr: UInt8 {
        @inlinable get { UInt8(ascii: "\r") }
    }
    /// Space.
    public static var space: UInt8 {
        @inlinable get { UInt8(ascii: " ") }
    }
    /// Colon.
    public static var colon: UInt8 {
        @inlinable get { UInt8(ascii: ":") }
    }
    /// Comma.
    public static var comma: UInt8 {
        @inlinable get { UInt8(ascii: ",") }
    }

    /// `byte` with an ASCII capital letter made small; other bytes unchanged.
    @inlinable
    public static func lowercased(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

    /// Eight bytes at once with ASCII capital letters made small; other bytes unchanged.
    @inlinable
    public static func lowercased(_ block: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        // Bit 7 of each byte tells whether it is at least `A`, and whether it is above `Z`.
        let low7 = block & (ones &* 0x7F)
        let atLeastA = low7 &+ ones &* (0x80 - 0x41)
        let aboveZ = low7 &+ ones &* (0x80 - 0x5B)
        let isCapital = atLeastA & ~aboveZ & ~block & (ones &* 0x80)
        return block | isCapital >> 2
    }

    /// Whether `byte` is one of `0`…`9`.
    @inlinable
    public static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

    /// The value of a hexadecimal digit, or nil.
    @inlinable
    public static func hexValue(_ byte: UInt8) -> UInt8? {
        if byte &- 0x30 < 10 { return byte &- 0x30 }
        let letter = (byte | 0x20) &- 0x61
        return letter < 6 ? letter &+ 10 : nil
    }
}
