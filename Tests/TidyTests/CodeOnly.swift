/// Blanks comments and the contents of string literals, so that words are only found where they are code.
///
/// Knows Swift's nested comments, raw and multi-line strings, and C's; interpolated code counts as string. Line ends
/// stay where they are.
enum CodeOnly {
    private enum State: Equatable {
        case code, lineComment, blockComment(depth: Int), text(hashes: Int, isMultiline: Bool)
    }

    private static let newline = UInt8(ascii: "\n"), space = UInt8(ascii: " ")
    private static let quote = UInt8(ascii: "\""), hash = UInt8(ascii: "#")
    private static let slash = UInt8(ascii: "/"), star = UInt8(ascii: "*"), backslash = UInt8(ascii: "\\")

    static func blanked(_ bytes: [UInt8]) -> [UInt8] {
        var out = bytes, state = State.code, at = 0
        while at < bytes.count {
            let (next, consumed) = step(bytes, at, state)
            if state != .code || next != .code {
                for index in at..<(at + consumed) where bytes[index] != newline { out[index] = space }
            }
            state = next
            at += consumed
        }
        return out
    }

    /// What holds after the bytes at `at`, and how many of them were looked at.
    private static func step(_ bytes: [UInt8], _ at: Int, _ state: State) -> (State, Int) {
        let byte = bytes[at], following = at + 1 < bytes.count ? bytes[at + 1] : 0
        switch state {
        case .code:
            if byte == slash && following == slash { return (.lineComment, 2) }
            if byte == slash && following == star { return (.blockComment(depth: 1), 2) }
            return opening(bytes, at) ?? (.code, 1)
        case .lineComment:
            return (byte == newline ? .code : .lineComment, 1)
        case .blockComment(let depth):
            if byte == slash && following == star { return (.blockComment(depth: depth + 1), 2) }
            guard byte == star && following == slash else { return (state, 1) }
            return (depth == 1 ? .code : .blockComment(depth: depth - 1), 2)
        case .text(let hashes, let isMultiline):
            if byte == backslash && hashes == 0 && at + 1 < bytes.count { return (state, 2) }
            if byte == newline && !isMultiline { return (.code, 1) }
            let quotes = isMultiline ? 3 : 1
            let ends = count(of: quote, bytes, at) >= quotes && count(of: hash, bytes, at + quotes) >= hashes
            return ends ? (.code, quotes + hashes) : (state, 1)
        }
    }

    /// A string literal that starts here, as (state, bytes of its opening).
    private static func opening(_ bytes: [UInt8], _ at: Int) -> (State, Int)? {
        let hashes = count(of: hash, bytes, at)
        let quotes = count(of: quote, bytes, at + hashes)
        // A character literal of C, '"', is none.
        guard quotes > 0, at == 0 || bytes[at - 1] != UInt8(ascii: "'") else { return nil }
        if quotes >= 3 { return (.text(hashes: hashes, isMultiline: true), hashes + 3) }
        return (.text(hashes: hashes, isMultiline: false), hashes + 1)
    }

    private static func count(of byte: UInt8, _ bytes: [UInt8], _ start: Int) -> Int {
        var at = start
        while at < bytes.count && bytes[at] == byte { at += 1 }
        return at - start
    }
}
