extension YAMLScalar {
    /// The prefix of YAML's own tags: `!!int` is `tag:yaml.org,2002:int`.
    static let coreTag = "tag:yaml.org,2002:"

    /// Types a scalar. Quoted and block scalars are strings; a plain one is what it looks like.
    init(text: String, isPlain: Bool, tag: String?, at mark: YAMLMark) throws(YAMLProblem) {
        guard let tag, tag != "!" else {
            self = isPlain && tag == nil ? Self.typed(text) : .string(text)
            return
        }
        let plain = Self.typed(text)
        switch (tag, plain) {
        case (Self.coreTag + "str", _): self = .string(text)
        case (Self.coreTag + "int", .integer), (Self.coreTag + "bool", .boolean), (Self.coreTag + "null", .null),
            (Self.coreTag + "float", .number):
            self = plain
        case (Self.coreTag + "float", .integer(let value)): self = .number(Double(value))
        default:
            throw YAMLProblem(
                "tag \(quoted(tag)) does not fit \(quoted(text)) or is not supported", at: mark,
                remedy: "remove the tag, or quote the value")
        }
    }

    /// The type of a plain scalar, as go-yaml 2 and so kubectl decides it.
    static func typed(_ text: String) -> YAMLScalar {
        guard let first = text.utf8.first else { return .null }
        switch first {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."):
            return number(text) ?? .string(text)
        default: return word(text) ?? .string(text)
        }
    }

    private static func word(_ text: String) -> YAMLScalar? {
        switch text {
        case "~", "null", "Null", "NULL": .null
        case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON": .boolean(true)
        case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF": .boolean(false)
        default: nil
        }
    }

    private static func number(_ text: String) -> YAMLScalar? {
        switch text {
        case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF": return .number(.infinity)
        case "-.inf", "-.Inf", "-.INF": return .number(-.infinity)
        case ".nan", ".NaN", ".NAN": return .number(.nan)
        default: break
        }
        guard text.utf8.count <= 64 else { return nil }
        let plain = text.filter { $0 != "_" }
        if let value = integer(plain) { return .integer(value) }
        return isDecimal(plain) ? Double(plain).map(YAMLScalar.number) : nil
    }

    /// Go's `ParseInt` with base 0: `0x`, `0o`, `0b`, a leading 0 for octal.
    private static func integer(_ text: String) -> Int64? {
        var digits = Substring(text)
        var sign = ""
        if digits.first == "-" { sign = "-" }
        if digits.first == "-" || digits.first == "+" { digits = digits.dropFirst() }
        guard let first = digits.utf8.first, first >= UInt8(ascii: "0"), first <= UInt8(ascii: "9") else { return nil }
        guard digits.count > 1, first == UInt8(ascii: "0") else { return Int64(sign + digits) }
        let (body, radix): (Substring, Int) =
            switch digits.dropFirst().first {
            case "x", "X": (digits.dropFirst(2), 16)
            case "o", "O": (digits.dropFirst(2), 8)
            case "b", "B": (digits.dropFirst(2), 2)
            default: (digits.dropFirst(), 8)
            }
        guard body.first != "-", body.first != "+" else { return nil }
        return Int64(sign + body, radix: radix)
    }

    /// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
    private static func isDecimal(_ text: String) -> Bool {
        var rest = Substring(text).utf8
        func digits() -> Int {
            let run = rest.prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }.count
            rest = rest.dropFirst(run)
            return run
        }
        func skip(_ bytes: [UInt8]) -> Bool {
            guard let first = rest.first, bytes.contains(first) else { return false }
            rest = rest.dropFirst()
            return true
        }
        _ = skip([UInt8(ascii: "-"), UInt8(ascii: "+")])
        let whole = digits()
        let fraction = skip([UInt8(ascii: ".")]) ? digits() : 0
        guard whole + fraction > 0 else { return false }
        if skip([UInt8(ascii: "e"), UInt8(ascii: "E")]) {
            _ = skip([UInt8(ascii: "-"), UInt8(ascii: "+")])
            guard digits() > 0 else { return false }
        }
        return rest.isEmpty
    }
}
