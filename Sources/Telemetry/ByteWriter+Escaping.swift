import Primitives

/// Texts of strangers in log lines: what could end the line, fake a column or steer a terminal is escaped.
extension ByteWriter {
    /// Bytes that mark a text as cut off at its limit.
    static let ellipsis: StaticString = "..."

    /// Appends `text` for the text formats: printable ASCII as it is, `"` and `\` after a backslash, others as `\xhh`.
    ///
    /// - Parameters:
    ///   - limit: most bytes to write before the ellipsis.
    ///   - isQuoted: whether it stands between quotes. If not, spaces are escaped too; absent text is `-` either way.
    mutating func append(escaped text: ByteView, limit: Int, isQuoted: Bool) {
        guard !text.isEmpty else { return append(UInt8(ascii: "-")) }
        let lowest: UInt8 = isQuoted ? 0x20 : 0x21
        let end = count + limit
        var index = 0
        while index < text.count {
            let run = index
            index = ByteWriter.endOfPlain(text, from: index, lowest: lowest)
            if !append(text[run..<index], upTo: end) { return }
            guard index < text.count else { return }
            let byte = text.base[index]
            let isShort = byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
            guard count + (isShort ? 2 : 4) <= end else { return append(ByteWriter.ellipsis) }
            append(UInt8(ascii: "\\"))
            if isShort {
                append(byte)
            } else {
                append(UInt8(ascii: "x"))
                append(hexPair: byte)
            }
            index += 1
        }
    }

    /// Appends `text` as a JSON string with its quotes, or `null` if it is absent (RFC 8259 §7).
    ///
    /// Valid UTF-8 stays as it is, but control characters (C1 and DEL too) are escaped; a byte that belongs to no
    /// character becomes U+FFFD.
    mutating func append(json text: ByteView, limit: Int) {
        guard !text.isEmpty else { return append("null") }
        append(UInt8(ascii: "\""))
        appendJSONContent(text, limit: limit)
        append(UInt8(ascii: "\""))
    }

    private mutating func appendJSONContent(_ text: ByteView, limit: Int) {
        let end = count + limit
        var index = 0
        while index < text.count {
            let run = index
            index = ByteWriter.endOfPlain(text, from: index, lowest: 0x20)
            if !append(text[run..<index], upTo: end) { return }
            guard index < text.count else { return }
            // Six bytes are the longest escape; a character has at most four.
            guard count + 6 <= end else { return append(ByteWriter.ellipsis) }
            let byte = text.base[index]
            let length = ByteWriter.characterLength(text, at: index)
            if length > 1, !(byte == 0xC2 && text.base[index + 1] < 0xA0) {
                append(text[index..<index + length])
            } else {
                // C1 controls are two bytes long; the second one is their number.
                appendEscape(length == 2 ? text.base[index + 1] : byte, isCharacter: length > 0)
            }
            index += max(1, length)
        }
    }

    private mutating func appendEscape(_ byte: UInt8, isCharacter: Bool) {
        guard isCharacter else { return append("\\ufffd") }
        switch byte {
        case UInt8(ascii: "\""): append("\\\"")
        case UInt8(ascii: "\\"): append("\\\\")
        case ASCII.tab: append("\\t")
        case ASCII.lf: append("\\n")
        case ASCII.cr: append("\\r")
        case _:
            append("\\u00")
            append(hexPair: byte)
        }
    }

    /// Appends as much of `run` as fits before `end`, then the ellipsis if something was left out.
    private mutating func append(_ run: ByteView, upTo end: Int) -> Bool {
        let room = max(0, end - count)
        guard run.count > room else {
            append(run)
            return true
        }
        append(run[0..<room])
        append(ByteWriter.ellipsis)
        return false
    }

    private mutating func append(hexPair byte: UInt8) {
        if byte < 0x10 { append(UInt8(ascii: "0")) }
        append(hex: UInt64(byte))
    }

    /// Where the run of plain bytes that begins at `start` ends. Eight bytes a step, since nearly all are plain.
    private static func endOfPlain(_ text: ByteView, from start: Int, lowest: UInt8) -> Int {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let highBits = ones << 7
        var index = start
        while index + 8 <= text.count {
            let word = UnsafeRawPointer(text.base + index).loadUnaligned(as: UInt64.self)
            // Each term sets the high bit of the bytes it looks for, and at worst of more above: then bytes are tried.
            let low = (word &- ones &* UInt64(lowest)) & ~word
            let quote = zeroBytes(word ^ ones &* 0x22)
            let backslash = zeroBytes(word ^ ones &* 0x5C)
            let delete = zeroBytes(word ^ ones &* 0x7F)
            if (word | low | quote | backslash | delete) & highBits != 0 { break }
            index += 8
        }
        while index < text.count, isPlain(text.base[index], from: lowest) { index += 1 }
        return index
    }

    /// High bits of the bytes that are zero; others may be set above one that is.
    private static func zeroBytes(_ word: UInt64) -> UInt64 { (word &- 0x0101_0101_0101_0101) & ~word }

    /// Printable ASCII without quote and backslash.
    private static func isPlain(_ byte: UInt8, from lowest: UInt8) -> Bool {
        byte >= lowest && byte < 0x7F && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
    }

    /// Bytes of the character at `index`: 1 for ASCII, 2...4 for valid UTF-8 (RFC 3629 §4), 0 for anything else.
    static func characterLength(_ text: ByteView, at index: Int) -> Int {
        let first = text.base[index]
        let length: Int
        // The second byte is bounded more narrowly where over-long forms, surrogates or more than U+10FFFF would begin.
        var second: ClosedRange<UInt8> = 0x80...0xBF
        switch first {
        case 0..<0x80: return 1
        case 0xC2...0xDF: length = 2
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xED: (length, second) = (3, 0x80...0x9F)
        case 0xE1...0xEF: length = 3
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        case 0xF1...0xF3: length = 4
        case _: return 0
        }
        guard index + length <= text.count, second.contains(text.base[index + 1]) else { return 0 }
        for offset in 2..<max(2, length) where text.base[index + offset] & 0xC0 != 0x80 { return 0 }
        return length
    }
}
