import Primitives

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The formats of `printf`: `%[-+ 0][width][.precision]verb` with the verbs v s q d x X f e g t and `%%`.
struct GoFormat {
    /// Largest width or precision.
    static let widthLimit = 64

    /// One verb.
    struct Verb {
        var letter: UInt8 = 0
        var isLeft = false
        var hasPlus = false
        var hasSpace = false
        var padsZeros = false
        var width = 0
        var precision: Int?
    }

    /// What comes next in a format.
    enum Piece {
        case text(Range<Int>)
        case verb(Verb)
        /// It breaks off, or asks for something that is not supported.
        case malformed
        case end
    }

    let format: ByteView
    private var cursor = 0

    init(_ format: ByteView) { self.format = format }

    mutating func next() -> Piece {
        guard cursor < format.count else { return .end }
        let start = cursor
        if format[cursor] != UInt8(ascii: "%") {
            cursor = format.firstIndex(of: UInt8(ascii: "%"), from: start) ?? format.count
            return .text(start..<cursor)
        }
        cursor += 1
        if cursor < format.count, format[cursor] == UInt8(ascii: "%") {
            cursor += 1
            return .text(cursor - 1..<cursor)
        }
        var verb = Verb()
        flags(of: &verb)
        guard let width = number() else { return .malformed }
        verb.width = width.value
        if cursor < format.count, format[cursor] == UInt8(ascii: ".") {
            cursor += 1
            guard let precision = number() else { return .malformed }
            verb.precision = precision.value
        }
        guard cursor < format.count else { return .malformed }
        verb.letter = format[cursor]
        cursor += 1
        return .verb(verb)
    }

    private mutating func flags(of verb: inout Verb) {
        while cursor < format.count {
            switch format[cursor] {
            case UInt8(ascii: "-"): verb.isLeft = true
            case UInt8(ascii: "+"): verb.hasPlus = true
            case ASCII.space: verb.hasSpace = true
            case UInt8(ascii: "0"): verb.padsZeros = true
            case _: return
            }
            cursor += 1
        }
    }

    /// The digits that stand here, none for none; nil if it is more than the limit.
    private mutating func number() -> (value: Int, Bool)? {
        var value = 0
        while cursor < format.count, ASCII.isDigit(format[cursor]) {
            value = value * 10 + Int(format[cursor]) - 0x30
            cursor += 1
            guard value <= GoFormat.widthLimit else { return nil }
        }
        return (value, true)
    }

    /// What is wrong with a format for arguments of those types; nil if nothing is.
    static func problem(of format: [UInt8], with types: [GoType]) -> String? {
        format.withUnsafeBytes { bytes in
            var pieces = GoFormat(ByteView(bytes))
            var index = 0
            while true {
                switch pieces.next() {
                case .text: continue
                case .malformed:
                    return "a verb is cut off, or its width or precision is more than \(widthLimit)"
                case .end:
                    return index == types.count ? nil : "the format has \(index) verbs for \(types.count) arguments"
                case .verb(let verb):
                    let letter = String(Unicode.Scalar(verb.letter))
                    guard let allowed = verb.allowedTypes else {
                        return "%\(letter) is not supported; there are v s q d x X f e g t"
                    }
                    guard index < types.count else { return "no argument for %\(letter)" }
                    guard allowed.contains(types[index]) || types[index] == .unknown else {
                        return "%\(letter) cannot format a \(types[index].name)"
                    }
                    index += 1
                }
            }
        }
    }
}

extension GoFormat.Verb {
    /// What it can print; nil if it is no verb of ours.
    var allowedTypes: [GoType]? {
        switch letter {
        case UInt8(ascii: "v"): [.string, .integer, .float, .bool, .strings, .url, .tls]
        case UInt8(ascii: "s"): [.string, .strings, .url]
        case UInt8(ascii: "q"): [.string]
        case UInt8(ascii: "d"): [.integer]
        case UInt8(ascii: "x"), UInt8(ascii: "X"): [.integer, .string]
        case UInt8(ascii: "f"), UInt8(ascii: "e"), UInt8(ascii: "g"): [.float]
        case UInt8(ascii: "t"): [.bool]
        case _: nil
        }
    }

    /// Whether it can print `value`, whose type the compiler may not have known.
    func takes(_ value: GoValue) -> Bool {
        let type: GoType =
            switch value {
            case .string: .string
            case .integer: .integer
            case .float: .float
            case .bool: .bool
            case .strings: .strings
            case .url: .url
            case .tls, .nilPointer: .tls
            }
        return allowedTypes?.contains(type) ?? false
    }
}

extension ByteWriter {
    /// Appends `value` as `verb` says, with padding.
    mutating func append(_ value: GoValue, verb: GoFormat.Verb, of record: RequestLogRecord) {
        let start = count
        var isNumber = false
        guard verb.takes(value) else {
            append("%!")
            append(verb.letter)
            append(UInt8(ascii: "("))
            append(value.typeName)
            append(UInt8(ascii: "="))
            append(value, of: record)
            return append(UInt8(ascii: ")"))
        }
        switch value {
        case .string(let text): append(text, verb: verb)
        case .integer(let number):
            isNumber = true
            append(sign: number < 0, verb: verb)
            append(number.magnitude, verb: verb)
        case .float(let number):
            isNumber = number.isFinite
            append(sign: number.sign == .minus, verb: verb)
            append(number.magnitude, verb: verb)
        case .bool, .strings, .url, .tls, .nilPointer: append(value, of: record)
        }
        pad(from: start, verb: verb, isNumber: isNumber)
    }

    private mutating func append(sign isNegative: Bool, verb: GoFormat.Verb) {
        if isNegative {
            append(UInt8(ascii: "-"))
        } else if verb.hasPlus {
            append(UInt8(ascii: "+"))
        } else if verb.hasSpace {
            append(ASCII.space)
        }
    }

    private mutating func append(_ number: UInt64, verb: GoFormat.Verb) {
        let minimum = verb.precision ?? 0
        guard verb.letter == UInt8(ascii: "x") || verb.letter == UInt8(ascii: "X") else {
            return append(decimal: number, width: minimum)
        }
        let digits = max(1, (67 - number.leadingZeroBitCount) / 4)
        let letters: UInt8 = verb.letter == UInt8(ascii: "x") ? 0x57 : 0x37
        for index in (0..<max(digits, minimum)).reversed() {
            let digit = index < 16 ? UInt8(truncatingIfNeeded: number >> UInt64(4 * index)) & 15 : 0
            append(digit < 10 ? 0x30 + digit : letters + digit)
        }
    }

    private mutating func append(_ text: ByteView, verb: GoFormat.Verb) {
        var text = text
        if let limit = verb.precision, verb.letter != UInt8(ascii: "x"), verb.letter != UInt8(ascii: "X") {
            var (end, characters) = (0, 0)
            while end < text.count, characters < limit {
                end += max(1, ByteWriter.characterLength(text, at: end))
                characters += 1
            }
            text = text[0..<end]
        }
        switch verb.letter {
        case UInt8(ascii: "q"): append(goQuoted: text)
        case UInt8(ascii: "x"): for index in 0..<text.count { append(lowerHex: UInt32(text[index]), width: 2) }
        case UInt8(ascii: "X"): for index in 0..<text.count { append(upperHex: UInt32(text[index]), width: 2) }
        case _: append(text)
        }
    }

    /// Appends a float that is not negative.
    private mutating func append(_ number: Double, verb: GoFormat.Verb) {
        let isGeneral = verb.letter == UInt8(ascii: "g") || verb.letter == UInt8(ascii: "v")
        guard number.isFinite, !isGeneral || verb.precision != nil else { return append(goFloat: number) }
        // A float has at most 309 digits before the point.
        guard let place = reserve(GoFormat.widthLimit + 320) else { return }
        let format = isGeneral ? "%.*g" : verb.letter == UInt8(ascii: "e") ? "%.*e" : "%.*f"
        let precision = Int32(verb.precision ?? 6)
        let length = withVaList([precision, number]) { arguments in
            vsnprintf(
                UnsafeMutableRawPointer(place).assumingMemoryBound(to: CChar.self), GoFormat.widthLimit + 320,
                format, arguments)
        }
        rewind(to: place - base + max(0, Int(length)))
    }

    private mutating func pad(from start: Int, verb: GoFormat.Verb, isNumber: Bool) {
        guard !overflowed else { return }
        var characters = 0
        var index = start
        while index < count {
            index += max(1, ByteWriter.characterLength(written, at: index))
            characters += 1
        }
        let missing = verb.width - characters
        guard missing > 0 else { return }
        let zeros = verb.padsZeros && isNumber && !verb.isLeft
        let length = count - start
        guard let end = reserve(missing) else { return }
        guard !verb.isLeft else {
            for index in 0..<missing { end[index] = ASCII.space }
            return
        }
        let first = base[start]
        let isSigned = zeros && (first == UInt8(ascii: "-") || first == UInt8(ascii: "+") || first == ASCII.space)
        let place = base + start + (isSigned ? 1 : 0)
        memmove(place + missing, place, length - (isSigned ? 1 : 0))
        for index in 0..<missing { place[index] = zeros ? UInt8(ascii: "0") : ASCII.space }
    }
}
