import HTTP
import Primitives

/// The parts of first lines that requests and responses share.
enum StartLine {
    /// The digits of an HTTP version and where they end.
    struct Version {
        var major: UInt8
        var minor: UInt8
        var end: Int

        /// The version as the rest of the code knows it. A minor version above 1 is read as 1.1 (RFC 9110 §2.5).
        /// Nil for any other major version.
        @inline(__always)
        var known: HTTPVersion? { major == 1 ? (minor == 0 ? .http10 : .http11) : nil }
    }

    /// Reads `HTTP/` DIGIT `.` DIGIT at `start`. Nil if the view ends before that; wrong bytes are refused when seen.
    @inline(__always)
    static func version(_ bytes: ByteView, at start: Int) throws(ParseFailure) -> Version? {
        if start &+ 8 <= bytes.count, ByteWord.load(bytes, start) == ByteWord.load(ByteView("HTTP/1.1"), 0) {
            return Version(major: 1, minor: 1, end: start &+ 8)
        }
        return try otherVersion(bytes, at: start)
    }

    private static func otherVersion(_ bytes: ByteView, at start: Int) throws(ParseFailure) -> Version? {
        let pattern = ByteView("HTTP/0.0")
        var digits: (UInt8, UInt8) = (0, 0)
        for offset in 0..<8 {
            guard start + offset < bytes.count else { return nil }
            let byte = bytes.base[start + offset]
            let isDigitPlace = pattern.base[offset] == 0x30
            guard isDigitPlace ? ASCII.isDigit(byte) : byte == pattern.base[offset] else {
                throw ParseFailure(.invalidVersion, offset: start + offset)
            }
            if isDigitPlace { digits = (digits.1, byte & 15) }
        }
        return Version(major: digits.0, minor: digits.1, end: start + 8)
    }

    /// The line end after the last part of a first line: the offset after it, nil if the view ends before.
    @inline(__always)
    static func end(
        _ bytes: ByteView, at index: Int, otherwise reason: ParseFailure.Reason
    ) throws(ParseFailure) -> Int? {
        guard index < bytes.count else { return nil }
        guard bytes.base[index] == Byte.cr || bytes.base[index] == Byte.lf else {
            throw ParseFailure(reason, offset: index)
        }
        return try LineScan.lineEnd(bytes, at: index) ? index &+ 2 : nil
    }
}
