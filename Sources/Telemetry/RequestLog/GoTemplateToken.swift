import Primitives

/// A word of an action.
struct GoTemplateToken {
    enum Kind: Equatable {
        case identifier(String)
        /// `.Name`, without the dot.
        case field(String)
        /// `$name` or `$`.
        case variable(String)
        case string([UInt8])
        case integer(Int64)
        case float(Double)
        case dot, pipe, open, close, declare, assign, comma
    }

    let kind: Kind
    /// Where it begins in the template.
    let offset: Int
    /// Where it ends.
    let end: Int
}

/// Cuts what stands between `{{` and `}}` into words.
struct GoTemplateLexer {
    let source: [UInt8]
    var cursor: Int

    /// Reads up to and including the closing braces.
    ///
    /// - Returns: the words, and whether whitespace after the action is to be left out (`-}}`).
    mutating func action() throws(GoTemplateLexer.Stop) -> (tokens: [GoTemplateToken], trimsAfter: Bool) {
        let opening = cursor
        var tokens: [GoTemplateToken] = []
        while true {
            let start = cursor
            while cursor < source.count, isSpace(source[cursor]) { cursor += 1 }
            if cursor > start, matches("-}}", at: cursor) {
                cursor += 3
                return (tokens, true)
            }
            guard cursor < source.count else { throw Stop(offset: opening, message: "unclosed action") }
            if matches("}}", at: cursor) {
                cursor += 2
                return (tokens, false)
            }
            let offset = cursor
            let kind = try word()
            tokens.append(GoTemplateToken(kind: kind, offset: offset, end: cursor))
        }
    }

    /// Why reading ended, with its place.
    struct Stop: Error {
        let offset: Int
        let message: String
    }

    func matches(_ text: StaticString, at place: Int) -> Bool {
        let view = ByteView(text)
        guard place >= 0, place + view.count <= source.count else { return false }
        for index in 0..<view.count where source[place + index] != view.base[index] { return false }
        return true
    }

    func isSpace(_ byte: UInt8) -> Bool {
        byte == ASCII.space || byte == ASCII.tab || byte == ASCII.lf || byte == ASCII.cr
    }

    private func isLetter(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "_") || (byte | 0x20) &- 0x61 < 26 || ASCII.isDigit(byte)
    }

    private mutating func name() -> String {
        let start = cursor
        while cursor < source.count, isLetter(source[cursor]) { cursor += 1 }
        return String(decoding: source[start..<cursor], as: UTF8.self)
    }

    private mutating func word() throws(Stop) -> GoTemplateToken.Kind {
        let byte = source[cursor]
        let next = cursor + 1 < source.count ? source[cursor + 1] : 0
        switch byte {
        case UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "|"), UInt8(ascii: ","), UInt8(ascii: "="):
            cursor += 1
            return switch byte {
            case UInt8(ascii: "("): .open
            case UInt8(ascii: ")"): .close
            case UInt8(ascii: "|"): .pipe
            case UInt8(ascii: ","): .comma
            case _: .assign
            }
        case UInt8(ascii: ":") where next == UInt8(ascii: "="):
            cursor += 2
            return .declare
        case UInt8(ascii: "$"):
            cursor += 1
            return .variable(name())
        case UInt8(ascii: "\""), UInt8(ascii: "`"), UInt8(ascii: "'"): return try quoted(byte)
        case UInt8(ascii: "."):
            guard !ASCII.isDigit(next) else { return try number() }
            cursor += 1
            let field = name()
            return field.isEmpty ? .dot : .field(field)
        case UInt8(ascii: "+"), UInt8(ascii: "-"): return try number()
        case _ where ASCII.isDigit(byte): return try number()
        case _ where isLetter(byte): return .identifier(name())
        case _: throw Stop(offset: cursor, message: "unexpected byte 0x\(String(byte, radix: 16)) in action")
        }
    }

    private mutating func number() throws(Stop) -> GoTemplateToken.Kind {
        let start = cursor
        cursor += 1
        while cursor < source.count {
            let byte = source[cursor]
            let isSign = byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-")
            let follows = source[cursor - 1] | 0x20 == UInt8(ascii: "e")
            guard isLetter(byte) || byte == UInt8(ascii: ".") || (isSign && follows) else { break }
            cursor += 1
        }
        let text = String(decoding: source[start..<cursor], as: UTF8.self)
        let digits = text.filter { $0 != "_" }
        if let value = Int64(digits) { return .integer(value) }
        if digits.lowercased().hasPrefix("0x"), let value = Int64(digits.dropFirst(2), radix: 16) {
            return .integer(value)
        }
        guard let value = Double(digits), value.isFinite else {
            throw Stop(offset: start, message: "bad number syntax: \(text)")
        }
        return .float(value)
    }

    private mutating func quoted(_ quote: UInt8) throws(Stop) -> GoTemplateToken.Kind {
        let start = cursor
        cursor += 1
        var bytes: [UInt8] = []
        while true {
            guard cursor < source.count, source[cursor] != ASCII.lf || quote == UInt8(ascii: "`") else {
                throw Stop(offset: start, message: "unterminated quoted string")
            }
            let byte = source[cursor]
            cursor += 1
            if byte == quote { break }
            if byte == UInt8(ascii: "\\"), quote != UInt8(ascii: "`") {
                try escape(into: &bytes, quote: quote)
            } else {
                bytes.append(byte)
            }
        }
        guard quote == UInt8(ascii: "'") else { return .string(bytes) }
        let scalars = Array(String(decoding: bytes, as: UTF8.self).unicodeScalars)
        guard scalars.count == 1 else { throw Stop(offset: start, message: "malformed character constant") }
        return .integer(Int64(scalars[0].value))
    }

    private mutating func escape(into bytes: inout [UInt8], quote: UInt8) throws(Stop) {
        let start = cursor - 1
        let simple: [(UInt8, UInt8)] = [
            (UInt8(ascii: "a"), 7), (UInt8(ascii: "b"), 8), (UInt8(ascii: "f"), 12), (UInt8(ascii: "n"), 10),
            (UInt8(ascii: "r"), 13), (UInt8(ascii: "t"), 9), (UInt8(ascii: "v"), 11), (UInt8(ascii: "\\"), 0x5C),
            (quote, quote),
        ]
        let letter = cursor < source.count ? source[cursor] : 0
        cursor += 1
        if let pair = simple.first(where: { $0.0 == letter }) { return bytes.append(pair.1) }
        let length: Int
        switch letter {
        case UInt8(ascii: "x"): length = 2
        case UInt8(ascii: "u"): length = 4
        case UInt8(ascii: "U"): length = 8
        case _: throw Stop(offset: start, message: "unknown escape in quoted string")
        }
        var value: UInt32 = 0
        for _ in 0..<length {
            guard cursor < source.count, let digit = ASCII.hexValue(source[cursor]) else {
                throw Stop(offset: start, message: "malformed escape in quoted string")
            }
            value = value << 4 | UInt32(digit)
            cursor += 1
        }
        if length == 2 { return bytes.append(UInt8(value)) }
        guard let scalar = Unicode.Scalar(value) else {
            throw Stop(offset: start, message: "escape in quoted string is no Unicode character")
        }
        bytes.append(contentsOf: Array(String(scalar).utf8))
    }
}
