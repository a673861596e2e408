import HTTP
import Primitives

/// Finds the ends of things, eight bytes at a time. Nothing here reads outside the view it is given.
///
/// In each word the marks of the bytes looked for are exact up to and with the lowest one; a borrow can only set false
/// marks above it, and only the lowest is used.
enum LineScan {
    /// The first byte at or after `start` that may not stand inside a field value: a control byte other than tab, or
    /// DEL. `bytes.count` if there is none.
    @inline(__always)
    static func endOfText(_ bytes: ByteView, from start: Int) -> Int {
        var index = start
        while index &+ 8 <= bytes.count {
            let word = ByteWord.load(bytes, index)
            let marks = (below(word, 0x20) | equal(word, 0x7F)) & ByteWord.highs
            if marks == 0 {
                index &+= 8
                continue
            }
            index &+= marks.trailingZeroBitCount &>> 3
            guard bytes.base[index] == Byte.tab else { return index }
            index &+= 1
        }
        while index < bytes.count, ByteClass.isFieldValue(bytes.base[index]) { index &+= 1 }
        return index
    }

    /// The first byte at or after `start` that may not stand inside a request target: anything but visible ASCII, or
    /// `#`. `bytes.count` if there is none.
    @inline(__always)
    static func endOfTarget(_ bytes: ByteView, from start: Int) -> Int {
        var index = start
        while index &+ 8 <= bytes.count {
            let word = ByteWord.load(bytes, index)
            let marks = (below(word, 0x21) | equal(word, 0x7F) | equal(word, 0x23) | word) & ByteWord.highs
            if marks != 0 { return index &+ marks.trailingZeroBitCount &>> 3 }
            index &+= 8
        }
        while index < bytes.count {
            let byte = bytes.base[index]
            if byte <= 0x20 || byte >= 0x7F || byte == 0x23 { return index }
            index &+= 1
        }
        return index
    }

    /// The first byte at or after `start` that is no token byte; `bytes.count` if there is none.
    @inline(__always)
    static func endOfToken(_ bytes: ByteView, from start: Int) -> Int {
        var index = start
        while index &+ 8 <= bytes.count {
            let stops = ~ByteWord.lettersAndHyphens(ByteWord.load(bytes, index)) & ByteWord.highs
            guard stops != 0 else {
                index &+= 8
                continue
            }
            index &+= stops.trailingZeroBitCount &>> 3
            guard ByteClass.isToken(bytes.base[index]) else { return index }
            index &+= 1
        }
        while index < bytes.count, ByteClass.isToken(bytes.base[index]) { index &+= 1 }
        return index
    }

    /// Looks for the empty line that ends a block of lines, from `scanned` on, and refuses on the way what is legal in
    /// no line: bare CR, bare LF, control bytes.
    ///
    /// - Parameter scanned: Where to begin: 0, or where the last call stopped. Moves so that no byte is searched twice.
    /// - Returns: The offset after the empty line, nil if it is not there yet.
    static func endOfBlock(_ bytes: ByteView, scanned: inout Int) throws(ParseFailure) -> Int? {
        var index = scanned
        while true {
            index = endOfText(bytes, from: index)
            scanned = index
            guard index < bytes.count else { return nil }
            guard bytes.base[index] == Byte.cr else {
                throw ParseFailure(lineFailure(bytes.base[index]), offset: index)
            }
            guard index &+ 1 < bytes.count else { return nil }
            guard bytes.base[index &+ 1] == Byte.lf else { throw ParseFailure(.bareCR, offset: index) }
            guard index &+ 2 < bytes.count else { return nil }
            if bytes.base[index &+ 2] == Byte.cr {
                guard index &+ 3 < bytes.count else { return nil }
                guard bytes.base[index &+ 3] == Byte.lf else { throw ParseFailure(.bareCR, offset: index &+ 2) }
                return index &+ 4
            }
            index &+= 2
        }
    }

    /// Whether a line end, CR LF, stands at `index`. False if the view ends before that can be said.
    @inline(__always)
    static func lineEnd(_ bytes: ByteView, at index: Int) throws(ParseFailure) -> Bool {
        if index &+ 2 <= bytes.count, isLineEnd(bytes, index) { return true }
        return try lineEndFailure(bytes, at: index)
    }

    /// What stands at `index` is no whole line end: false if it may still become one.
    @inline(never)
    private static func lineEndFailure(_ bytes: ByteView, at index: Int) throws(ParseFailure) -> Bool {
        guard index < bytes.count else { return false }
        guard bytes.base[index] == Byte.cr else { throw ParseFailure(lineFailure(bytes.base[index]), offset: index) }
        guard index &+ 1 < bytes.count else { return false }
        throw ParseFailure(.bareCR, offset: index)
    }

    @inline(__always)
    private static func isLineEnd(_ bytes: ByteView, _ index: Int) -> Bool {
        UnsafeRawPointer(bytes.base + index).loadUnaligned(as: UInt16.self) == UInt16(littleEndian: 0x0A0D)
    }

    /// What is wrong with a control byte where text or a line end should stand.
    static func lineFailure(_ byte: UInt8) -> ParseFailure.Reason {
        switch byte {
        case Byte.lf: .bareLF
        case Byte.cr: .bareCR
        default: .controlByte
        }
    }

    /// Marks in the high bits the bytes below `limit`, which is at most 0x80.
    @inline(__always)
    private static func below(_ word: UInt64, _ limit: UInt8) -> UInt64 {
        (word &- ByteWord.ones &* UInt64(limit)) & ~word
    }

    /// Marks in the high bits the bytes equal to `byte`, which is below 0x80.
    @inline(__always)
    private static func equal(_ word: UInt64, _ byte: UInt8) -> UInt64 {
        let difference = word ^ ByteWord.ones &* UInt64(byte)
        return (difference &- ByteWord.ones) & ~difference
    }
}
