#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A window on bytes that somebody else owns: trivial to copy, checked on every access.
///
/// It is valid only as long as the memory it was made from; the driver that owns a buffer hands views down a call and
/// never stores one. Inner loops of codecs may take `base` once and stay inside `count`.
@frozen
public struct ByteView {
    /// First byte. Only for inner loops that keep inside `count`.
    public let base: UnsafePointer<UInt8>
    /// How many bytes the window shows.
    public let count: Int

    /// A window on `count` bytes from `base`.
    @inlinable
    public init(base: UnsafePointer<UInt8>, count: Int) {
        precondition(count >= 0)
        self.base = base
        self.count = count
    }

    /// A window on a whole buffer; an empty one if the buffer has no memory.
    @inlinable
    public init(_ buffer: UnsafeRawBufferPointer) {
        self.base = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self) ?? ByteView.nowhere
        self.count = buffer.count
    }

    /// A window on a literal's bytes.
    @inlinable
    public init(_ literal: StaticString) {
        self.base = literal.utf8Start
        self.count = literal.utf8CodeUnitCount
    }

    /// A window on nothing.
    public static var empty: ByteView {
        @inlinable get { ByteView(base: nowhere, count: 0) }
    }

    @usableFromInline
    static var nowhere: UnsafePointer<UInt8> {
        let literal: StaticString = ""
        return literal.utf8Start
    }

    /// Whether there are no bytes.
    @inlinable
    public var isEmpty: Bool { count == 0 }

    /// The byte at `index`, which must be in `0..<count`.
    @inlinable
    public subscript(index: Int) -> UInt8 {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "ByteView: index out of range")
        return base[index]
    }

    /// The window on a part of this one, which must lie inside.
    @inlinable
    public subscript(range: Range<Int>) -> ByteView {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "ByteView: range out of bounds")
        return ByteView(base: base + range.lowerBound, count: range.count)
    }

    /// The window from `start` to the end.
    @inlinable
    public func dropping(first start: Int) -> ByteView { self[start..<count] }

    /// Whether these are exactly the bytes of `other`.
    @inlinable
    public func equals(_ other: ByteView) -> Bool { count == other.count && memcmp(base, other.base, count) == 0 }

    /// Whether these are exactly the bytes of `literal`.
    @inlinable
    @inline(__always)
    public func equals(_ literal: StaticString) -> Bool {
        // With the literal's count, so that the comparison becomes one of words.
        count == literal.utf8CodeUnitCount && memcmp(base, literal.utf8Start, literal.utf8CodeUnitCount) == 0
    }

    /// Whether these are the bytes of `lowercase`, ASCII letters compared without case. `lowercase` must be lower case.
    @inlinable
    public func equalsIgnoringCase(_ lowercase: StaticString) -> Bool { equalsIgnoringCase(ByteView(lowercase)) }

    /// Whether these are the bytes of `lowercase`, ASCII letters compared without case. `lowercase` must be lower case.
    @inlinable
    public func equalsIgnoringCase(_ lowercase: ByteView) -> Bool {
        guard count == lowercase.count else { return false }
        let left = UnsafeRawPointer(base)
        let right = UnsafeRawPointer(lowercase.base)
        var index = 0
        while index + 8 <= count {
            let block = ASCII.lowercased(left.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            guard block == right.loadUnaligned(fromByteOffset: index, as: UInt64.self) else { return false }
            index += 8
        }
        while index < count {
            guard ASCII.lowercased(base[index]) == lowercase.base[index] else { return false }
            index += 1
        }
        return true
    }

    /// Whether these are the bytes of `other`, ASCII letters of both compared without case.
    public func matchesIgnoringCase(_ other: ByteView) -> Bool {
        guard count == other.count else { return false }
        for index in 0..<count where ASCII.lowercased(base[index]) != ASCII.lowercased(other.base[index]) {
            return false
        }
        return true
    }

    /// Whether the bytes begin with `literal`.
    @inlinable
    public func hasPrefix(_ literal: StaticString) -> Bool {
        count >= literal.utf8CodeUnitCount && memcmp(base, literal.utf8Start, literal.utf8CodeUnitCount) == 0
    }

    /// Position of the first `byte` at or after `start`; nil if there is none.
    @inlinable
    public func firstIndex(of byte: UInt8, from start: Int = 0) -> Int? {
        precondition(start >= 0 && start <= count)
        guard start < count, let found = memchr(base + start, Int32(byte), count - start) else { return nil }
        return UnsafeRawPointer(found) - UnsafeRawPointer(base)
    }

    /// The window without leading and trailing spaces and tabs (OWS, RFC 9110 §5.6.3).
    @inlinable
    public func trimmingWhitespace() -> ByteView {
        var start = 0
        var end = count
        while start < end, base[start] == ASCII.space || base[start] == ASCII.tab { start += 1 }
        while end > start, base[end - 1] == ASCII.space || base[end - 1] == ASCII.tab { end -= 1 }
        return ByteView(base: base + start, count: end - start)
    }

    /// A copy as text, invalid UTF-8 repaired. Allocates: for logs, errors and tests, never per request.
    public var string: String { String(decoding: UnsafeBufferPointer(start: base, count: count), as: UTF8.self) }
}
