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

    /// Whether all bytes of `view` may stand in a field value. True of an empty one.
    @inlinable
    public static func isFieldValue(_ view: ByteView) -> Bool {
        let isPlain = ByteWord.allSatisfy(view) { word in
            // A borrow or a carry can only mark a byte too many, and then the bytes decide.
            let delete = word ^ ByteWord.ones &* 0x7F
            let marks = (word &- ByteWord.ones &* 0x20) & ~word | (delete &- ByteWord.ones) & ~delete
            return marks & ByteWord.highs == 0
        }
        return isPlain || isFieldValueByBytes(view)
    }

    /// For values with a tab, or with bytes that the words could not tell.
    @usableFromInline @inline(never)
    static func isFieldValueByBytes(_ view: ByteView) -> Bool {
        for index in 0..<view.count where !isFieldValue(view.base[index]) { return false }
        return true
    }

    /// Whether `view` is a token of at least one byte without capital letters: a field name of HTTP/2 (RFC 9113
    /// §8.2.1).
    @inlinable
    public static func isLowercaseToken(_ view: ByteView) -> Bool {
        guard !view.isEmpty else { return false }
        let isPlain = ByteWord.allSatisfy(view) { word in
            // Sums carry only above a byte from 0x80 on, which is itself not marked.
            let letters = (word &+ ByteWord.ones &* (0x80 - 0x61)) & ~(word &+ ByteWord.ones &* (0x80 - 0x7B)) & ~word
            return (letters | ByteWord.equal(word, 0x2D)) & ByteWord.highs == ByteWord.highs
        }
        return isPlain || isLowercaseTokenByBytes(view)
    }

    /// For names with more than letters and hyphens.
    @usableFromInline @inline(never)
    static func isLowercaseTokenByBytes(_ view: ByteView) -> Bool {
        for index in 0..<view.count {
            let byte = view.base[index]
            if !isToken(byte) || byte &- 0x41 < 26 { return false }
        }
        return !view.isEmpty
    }

    /// Whether all bytes of `view` may stand in path and query: visible ASCII but `#` (RFC 9112 §3.2). True of an
    /// empty one.
    @inlinable
    public static func isTarget(_ view: ByteView) -> Bool {
        ByteWord.allSatisfy(view) { word in
            // Marks that a borrow sets are above one that is meant, so there are none if and only if all is fine.
            let delete = word ^ ByteWord.ones &* 0x7F
            let fragment = word ^ ByteWord.ones &* 0x23
            let marks =
                (word &- ByteWord.ones &* 0x21) & ~word | (delete &- ByteWord.ones) & ~delete
                | (fragment &- ByteWord.ones) & ~fragment | word
            return marks & ByteWord.highs == 0
        }
    }

    /// Whether `view` is a token of at least one byte.
    public static func isToken(_ view: ByteView) -> Bool {
        for index in 0..<view.count where !isToken(view.base[index]) { return false }
        return !view.isEmpty
    }
}
