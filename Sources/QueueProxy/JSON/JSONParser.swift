import Primitives

/// Reads JSON as strictly as Go's `encoding/json`: RFC 8259, no comment, no trailing comma, one value and nothing after
/// it. As there, bytes that are no UTF-8 and halves of surrogate pairs become U+FFFD.
///
/// libyaml is not used for it. It takes what Go refuses (`yes`, `0o17`, 'single quotes', comments, anchors, tags), has
/// lost the spelling of a number when it hands it over, and refuses JSON that Go takes (escaped surrogate pairs,
/// control characters above U+007F). And the sidecar would have to link it.
struct JSONParser {
    private let bytes: [UInt8]
    private var cursor = 0

    private init(_ text: String) { bytes = Array(text.utf8) }

    /// The value of `text`. Never traps; time and memory are linear in the text.
    static func parse(_ text: String) throws(JSONFailure) -> JSONValue {
        var parser = JSONParser(text)
        guard parser.bytes.count <= JSONLimits.bytes else {
            throw JSONFailure(offset: JSONLimits.bytes, problem: "more than \(JSONLimits.bytes) bytes")
        }
        parser.skipSpace()
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        if parser.cursor < parser.bytes.count { throw parser.failure("text after the value") }
        return value
    }

    // MARK: Values

    private mutating func value(depth: Int) throws(JSONFailure) -> JSONValue {
        guard depth < JSONLimits.depth else { throw failure("nested deeper than \(JSONLimits.depth)") }
        guard let first = peek else { throw failure("the text ends where a value must stand") }
        switch first {
        case UInt8(ascii: "{"): return .object(try object(depth: depth))
        case UInt8(ascii: "["): return .array(try array(depth: depth))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .boolean(true))
        case UInt8(ascii: "f"): return try literal("false", .boolean(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
        case _: throw failure("no value begins with this character")
        }
    }

    private mutating func object(depth: Int) throws(JSONFailure) -> [JSONValue.Entry] {
        cursor += 1
        var entries: [JSONValue.Entry] = []
        skipSpace()
        if take(UInt8(ascii: "}")) { return entries }
        while true {
            skipSpace()
            guard peek == UInt8(ascii: "\"") else { throw failure("a key in double quotes must stand here") }
            let key = try string()
            skipSpace()
            guard take(ASCII.colon) else { throw failure("a colon must follow the key") }
            skipSpace()
            entries.append(JSONValue.Entry(key: key, value: try value(depth: depth + 1)))
            skipSpace()
            if take(UInt8(ascii: "}")) { return entries }
            guard take(ASCII.comma) else { throw failure("a comma or } must follow the value") }
        }
    }

    private mutating func array(depth: Int) throws(JSONFailure) -> [JSONValue] {
        cursor += 1
        var elements: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return elements }
        while true {
            skipSpace()
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if take(UInt8(ascii: "]")) { return elements }
            guard take(ASCII.comma) else { throw failure("a comma or ] must follow the value") }
        }
    }

    private mutating func literal(_ word: StaticString, _ value: JSONValue) throws(JSONFailure) -> JSONValue {
        let isWord = word.withUTF8Buffer { bytes[cursor...].starts(with: $0) }
        guard isWord else { throw failure("no value begins with this character") }
        cursor += word.utf8CodeUnitCount
        return value
    }

    private mutating func number() throws(JSONFailure) -> String {
        let start = cursor
        _ = take(UInt8(ascii: "-"))
        if !take(UInt8(ascii: "0")) { try digits() }
        if take(UInt8(ascii: ".")) { try digits() }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            if !take(UInt8(ascii: "-")) { _ = take(UInt8(ascii: "+")) }
            try digits()
        }
        return String(decoding: bytes[start..<cursor], as: UTF8.self)
    }

    private mutating func digits() throws(JSONFailure) {
        let start = cursor
        while let byte = peek, ASCII.isDigit(byte) { cursor += 1 }
        guard cursor > start else { throw failure("a digit must stand here") }
    }

    // MARK: Strings

    private mutating func string() throws(JSONFailure) -> String {
        cursor += 1
        var text: [UInt8] = []
        while let byte = peek {
            cursor += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"): try escape(into: &text)
            case 0x20...: text.append(byte)
            case _:
                cursor -= 1
                throw failure("a control character inside a string")
            }
        }
        throw failure("the text ends inside a string")
    }

    private mutating func escape(into text: inout [UInt8]) throws(JSONFailure) {
        guard let byte = peek else { throw failure("the text ends inside a string") }
        cursor += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(ASCII.lf)
        case UInt8(ascii: "r"): text.append(ASCII.cr)
        case UInt8(ascii: "t"): text.append(ASCII.tab)
        case UInt8(ascii: "u"): text += try scalar().utf8.map { $0 }
        case _:
            cursor -= 1
            throw failure("no such escape")
        }
    }

    /// What follows `\u`: a character, or half of one with the other half behind it.
    private mutating func scalar() throws(JSONFailure) -> String {
        let unit = try codeUnit()
        if let scalar = Unicode.Scalar(UInt32(unit)) { return String(scalar) }
        let isPair =
            unit < 0xDC00 && cursor + 1 < bytes.count && bytes[cursor] == UInt8(ascii: "\\")
            && bytes[cursor + 1] == UInt8(ascii: "u")
        guard isPair else { return "\u{FFFD}" }
        let mark = cursor
        cursor += 2
        let low = try codeUnit()
        guard 0xDC00...0xDFFF ~= low,
            let scalar = Unicode.Scalar(0x10000 + (UInt32(unit) - 0xD800) << 10 + (UInt32(low) - 0xDC00))
        else {
            cursor = mark  // the second escape stands for itself
            return "\u{FFFD}"
        }
        return String(scalar)
    }

    private mutating func codeUnit() throws(JSONFailure) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = peek, let digit = ASCII.hexValue(byte) else {
                throw failure("four hexadecimal digits must follow \\u")
            }
            unit = unit << 4 | UInt16(digit)
            cursor += 1
        }
        return unit
    }

    // MARK: Bytes

    private var peek: UInt8? { cursor < bytes.count ? bytes[cursor] : nil }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard peek == byte else { return false }
        cursor += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = peek, byte == ASCII.space || byte == ASCII.tab || byte == ASCII.lf || byte == ASCII.cr {
            cursor += 1
        }
    }

    private func failure(_ problem: String) -> JSONFailure { JSONFailure(offset: cursor, problem: problem) }
}
