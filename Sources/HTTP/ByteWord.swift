import Primitives

/// Eight bytes in one word, the first one lowest, and marks in the high bit of each: what searches by words are made
/// of.
///
/// The marks of one search are exact up to and with the lowest one; only the lowest is to be used.
public enum ByteWord {
    /// One in each byte: times a byte it is that byte eight times.
    @inlinable @inline(__always)
    public static var ones: UInt64 { 0x0101_0101_0101_0101 }

    /// The high bit of each byte.
    @inlinable @inline(__always)
    public static var highs: UInt64 { 0x8080_8080_8080_8080 }

    /// The eight bytes from `index`. They must lie inside the view.
    @inlinable @inline(__always)
    public static func load(_ bytes: ByteView, _ index: Int) -> UInt64 {
        UInt64(littleEndian: UnsafeRawPointer(bytes.base + index).loadUnaligned(as: UInt64.self))
    }

    /// Marks the bytes that are ASCII letters or `-`: nearly all of names. Sums carry and differences borrow only
    /// above a byte from 0x80 on, which is itself not marked.
    @inlinable @inline(__always)
    public static func lettersAndHyphens(_ word: UInt64) -> UInt64 {
        let lower = word | ones &* 0x20
        let letters = (lower &+ ones &* (0x80 - 0x61)) & ~(lower &+ ones &* (0x80 - 0x7B))
        return letters & ~word | equal(word, 0x2D)
    }

    /// Marks the bytes equal to `byte`, which is below 0x80: exactly, but for bytes above one from 0x80 on.
    @inlinable @inline(__always)
    public static func equal(_ word: UInt64, _ byte: UInt8) -> UInt64 {
        (highs &- (word ^ ones &* UInt64(byte))) & ~word
    }

    /// Whether `isFine` holds for words that together are all bytes of the view, in any order and some of them more
    /// than once. Nothing outside the view is read. True of an empty view.
    @inlinable @inline(__always)
    public static func allSatisfy(_ bytes: ByteView, _ isFine: (UInt64) -> Bool) -> Bool {
        let count = bytes.count
        guard count >= 8 else { return count == 0 || isFine(repeated(bytes)) }
        var index = 0
        while index &+ 8 < count {
            guard isFine(load(bytes, index)) else { return false }
            index &+= 8
        }
        return isFine(load(bytes, count &- 8))
    }

    /// A word of one to seven bytes, each at least once and nothing else.
    @inlinable @inline(__always)
    static func repeated(_ bytes: ByteView) -> UInt64 {
        let start = UnsafeRawPointer(bytes.base)
        let count = bytes.count
        if count >= 4 {
            let low = UInt64(start.loadUnaligned(as: UInt32.self))
            return low | UInt64(start.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)) &<< 32
        }
        guard count >= 2 else { return ones &* UInt64(bytes.base[0]) }
        let low = UInt64(start.loadUnaligned(as: UInt16.self))
        let pair = low | UInt64(start.loadUnaligned(fromByteOffset: count &- 2, as: UInt16.self)) &<< 16
        return pair | pair &<< 32
    }
}
