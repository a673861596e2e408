import Primitives

/// Walks the elements of a comma-separated field value, white space around each removed, empty ones skipped
/// (RFC 9110 §5.6.1.2). Quoted strings are not understood: only for lists of tokens.
public struct ListElements {
    let value: ByteView
    var cursor = 0

    /// The elements of `value`.
    public init(_ value: ByteView) { self.value = value }

    /// The next element as a range of the value; nil at the end.
    public mutating func nextRange() -> Range<Int>? {
        while cursor < value.count {
            let end = value.firstIndex(of: Byte.comma, from: cursor) ?? value.count
            var (first, last) = (cursor, end)
            cursor = min(end + 1, value.count)
            while first < last, Self.isBlank(value.base[first]) { first += 1 }
            while last > first, Self.isBlank(value.base[last - 1]) { last -= 1 }
            if first < last { return first..<last }
        }
        return nil
    }

    /// The next element; nil at the end.
    public mutating func next() -> ByteView? { nextRange().map { value[$0] } }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == Byte.space || byte == Byte.tab }
}
