import Primitives

/// Reads `host [":" port]` (RFC 9110 §7.2, RFC 3986 §3.2), more strictly than the grammar: what two programs could read
/// differently is refused. One rule for `Host`, `:authority` and absolute-form targets.
///
/// In the path of every request, so it is compiled into the modules that call it.
public enum Authority {
    /// Checks the authority at `range`, which must lie inside `bytes`, and returns its host: brackets kept, port left
    /// out.
    ///
    /// - Throws: `.emptyHost` or `.invalidHost` with the offset in `bytes`.
    @inlinable
    public static func host(_ bytes: ByteView, at range: Range<Int>) throws(ParseFailure) -> Range<Int> {
        guard !range.isEmpty else { throw ParseFailure(.emptyHost, offset: range.lowerBound) }
        var index = range.lowerBound
        if bytes[index] == UInt8(ascii: "[") {
            index = try literalEnd(bytes, at: range)
        } else {
            index = endOfHostName(bytes[range]) &+ range.lowerBound
        }
        let host = range.lowerBound..<index
        guard !host.isEmpty else { throw ParseFailure(.invalidHost, offset: index) }
        if index < range.upperBound { try checkPort(bytes, at: index..<range.upperBound) }
        return host
    }

    /// The first byte that may not stand in a host name; `bytes.count` if there is none.
    @inlinable @inline(__always)
    static func endOfHostName(_ bytes: ByteView) -> Int {
        var index = 0
        while index &+ 8 <= bytes.count {
            let word = ByteWord.load(bytes, index)
            let stops = ~(ByteWord.lettersAndHyphens(word) | ByteWord.equal(word, 0x2E)) & ByteWord.highs
            guard stops != 0 else {
                index &+= 8
                continue
            }
            index &+= stops.trailingZeroBitCount &>> 3
            guard ByteClass.isHostName(bytes.base[index]) else { return index }
            index &+= 1
        }
        while index < bytes.count, ByteClass.isHostName(bytes.base[index]) { index &+= 1 }
        return index
    }

    /// The end of an IPv6 address in brackets. Zone identifiers and future versions are refused.
    @usableFromInline
    static func literalEnd(_ bytes: ByteView, at range: Range<Int>) throws(ParseFailure) -> Int {
        var index = range.lowerBound + 1
        var colons = 0
        while index < range.upperBound, bytes.base[index] != UInt8(ascii: "]") {
            let byte = bytes.base[index]
            guard ASCII.hexValue(byte) != nil || byte == Byte.colon || byte == UInt8(ascii: ".") else {
                throw ParseFailure(.invalidHost, offset: index)
            }
            if byte == Byte.colon { colons += 1 }
            index += 1
        }
        let length = index - range.lowerBound - 1
        guard index < range.upperBound, colons >= 2, length <= 45 else {
            throw ParseFailure(.invalidHost, offset: range.lowerBound)
        }
        return index + 1
    }

    /// Checks `:` and a decimal port of at most 65535, which may be empty.
    @inlinable
    static func checkPort(_ bytes: ByteView, at range: Range<Int>) throws(ParseFailure) {
        guard bytes[range.lowerBound] == Byte.colon, range.count <= 6 else {
            throw ParseFailure(.invalidHost, offset: range.lowerBound)
        }
        var port = 0
        for index in range.dropFirst() {
            guard ASCII.isDigit(bytes[index]) else { throw ParseFailure(.invalidHost, offset: index) }
            port = port * 10 + Int(bytes[index] & 15)
        }
        guard port <= 65535 else { throw ParseFailure(.invalidHost, offset: range.lowerBound) }
    }
}
