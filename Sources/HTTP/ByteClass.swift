import Primitives

/// The classes of bytes of the HTTP grammar.
public enum ByteClass {
    /// One digit a byte value: bit 0 for tokens, bit 1 for host names. A literal, so a look-up is one load: a global
    /// array would cost an initialiser check at each use.
    @inlinable @inline(__always)
    static var table: UnsafePointer<UInt8> {
        let classes: StaticString = """
            00000000000000000000000000000000\
            01011111001103303333333333000000\
            03333333333333333333333333300013\
            13333333333333333333333333301010\
            00000000000000000000000000000000\
            00000000000000000000000000000000\
            00000000000000000000000000000000\
            00000000000000000000000000000000
            """
        return classes.utf8Start
    }

    /// Whether `byte` may stand in a token: a method, a field name, a connection option (RFC 9110 §5.6.2).
    @inlinable
    public static func isToken(_ byte: UInt8) -> Bool { table[Int(byte)] & 1 != 0 }

    /// Whether `byte` may stand in a host name: letters, digits, `-`, `.` and `_`.
    ///
    /// RFC 3986 §3.2.2 allows more (`%`, `!`, `*` …), but no name that resolves has them, and two programs that read
    /// such a name differently are a way around a route.
    @inlinable
    public static func isHostName(_ byte: UInt8) -> Bool { table[Int(byte)] & 2 != 0 }

    /// Whether `byte` may stand in a field value or reason phrase: tab, space, visible ASCII, bytes from 0x80
    /// (RFC 9110 §5.5).
    @inlinable
    public static func isFieldValue(_ byte: UInt8) -> Bool { byte >= 0x20 ? byte != 0x7F : byte == 0x09 }

    /// Whether `view` is a token of at least one byte.
    public static func isToken(_ view: ByteView) -> Bool {
        for index in 0..<view.count where !isToken(view.base[index]) { return false }
        return !view.isEmpty
    }
}
