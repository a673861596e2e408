#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Appends bytes to memory that somebody else owns, never past its end.
///
/// What does not fit is left out whole and `overflowed` stays set, so a caller checks once at the end instead of at
/// every step.
@frozen
public struct ByteWriter {
    /// First byte of the memory.
    public let base: UnsafeMutablePointer<UInt8>
    /// How many bytes fit.
    public let capacity: Int
    @usableFromInline var used: Int
    @usableFromInline var full: Bool

    /// Writes to `memory` from its start.
    @inlinable
    public init(_ memory: UnsafeMutableRawBufferPointer) {
        precondition(memory.baseAddress != nil)
        // A buffer without memory cannot be written; the precondition above says so.
        self.base = memory.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
        self.capacity = memory.count
        self.used = 0
        self.full = false
    }

    /// How many bytes have been written.
    @inlinable
    public var count: Int { used }

    /// Whether something did not fit and was left out.
    @inlinable
    public var overflowed: Bool { full }

    /// What has been written.
    @inlinable
    public var written: ByteView { ByteView(base: base, count: used) }

    /// Makes room for `length` bytes and counts them as written; nil if they do not fit.
    @inlinable
    @inline(__always)
    public mutating func reserve(_ length: Int) -> UnsafeMutablePointer<UInt8>? {
        guard length <= capacity &- used, !full else {
            full = true
            return nil
        }
        let place = base + used
        used &+= length
        return place
    }

    /// Appends one byte.
    @inlinable
    public mutating func append(_ byte: UInt8) { reserve(1)?.pointee = byte }

    /// Appends a copy of `view`.
    @inlinable
    public mutating func append(_ view: ByteView) {
        if let place = reserve(view.count) { memcpy(place, view.base, view.count) }
    }

    /// Appends a literal. Inlined, so that the copy of a literal becomes a few stores.
    @inlinable
    @inline(__always)
    public mutating func append(_ literal: StaticString) {
        guard let place = reserve(literal.utf8CodeUnitCount) else { return }
        memcpy(place, literal.utf8Start, literal.utf8CodeUnitCount)
    }

    /// Appends the UTF-8 of `text`. For set-up and cold paths.
    public mutating func append(text: String) {
        var text = text
        text.withUTF8 { utf8 in append(ByteView(UnsafeRawBufferPointer(utf8))) }
    }

    /// Appends a decimal number.
    @inlinable
    public mutating func append(decimal value: UInt64) {
        var rest = value
        var length = 1
        while rest >= 10 {
            rest /= 10
            length += 1
        }
        guard let place = reserve(length) else { return }
        rest = value
        var index = length
        while index > 0 {
            index -= 1
            place[index] = UInt8(truncatingIfNeeded: 0x30 &+ rest % 10)
            rest /= 10
        }
    }

    /// Appends a decimal number with leading zeros up to `width` digits.
    @inlinable
    public mutating func append(decimal value: UInt64, width: Int) {
        var bound: UInt64 = 10
        var digits = 1
        while value >= bound, digits < 20 {
            digits += 1
            bound = bound > UInt64.max / 10 ? .max : bound * 10
        }
        while digits < width {
            append(UInt8(ascii: "0"))
            digits += 1
        }
        append(decimal: value)
    }

    /// Appends a hexadecimal number, lower case, without leading zeros.
    @inlinable
    public mutating func append(hex value: UInt64) {
        let length = max(1, (67 &- value.leadingZeroBitCount) / 4)
        guard let place = reserve(length) else { return }
        var rest = value
        var index = length
        while index > 0 {
            index -= 1
            let digit = UInt8(truncatingIfNeeded: rest & 15)
            place[index] = digit < 10 ? 0x30 &+ digit : 0x57 &+ digit
            rest >>= 4
        }
    }

    /// Appends the eight hexadecimal digits of a number, lower case.
    @inlinable
    public mutating func append(hexDigits value: UInt32) {
        guard let place = reserve(8) else { return }
        UnsafeMutableRawPointer(place).storeBytes(of: Self.hexDigits(value), as: UInt64.self)
    }

    /// The eight hexadecimal digits of a number as they stand in memory, worked out at once: the nibbles are spread to
    /// bytes, then those above 9 are moved on to the letters.
    @inlinable
    public static func hexDigits(_ value: UInt32) -> UInt64 {
        var spread = UInt64(value)
        spread = (spread << 16 | spread) & 0x0000_FFFF_0000_FFFF
        spread = (spread << 8 | spread) & 0x00FF_00FF_00FF_00FF
        spread = (spread << 4 | spread) & 0x0F0F_0F0F_0F0F_0F0F
        let isLetter = (spread &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
        return (spread &+ 0x3030_3030_3030_3030 &+ isLetter &* 0x27).bigEndian
    }

    /// Forgets what was written after `mark`, a former value of `count`, and any overflow since.
    @inlinable
    public mutating func rewind(to mark: Int) {
        precondition(mark >= 0 && mark <= used)
        used = mark
        full = false
    }
}
