/// ASCII bytes that HTTP is made of. Computed, so that they are constants in other modules too: there a stored global
/// is a call to its addressor.
public enum Byte {
    /// Horizontal tab.
    @inlinable public static var tab: UInt8 { 0x09 }
    /// Line feed.
    @inlinable public static var lf: UInt8 { 0x0A }
    /// Carriage return.
    @inlinable public static var cr: UInt8 { 0x0D }
    /// Space.
    @inlinable public static var space: UInt8 { 0x20 }
    /// Comma.
    @inlinable public static var comma: UInt8 { 0x2C }
    /// Colon.
    @inlinable public static var colon: UInt8 { 0x3A }
}
