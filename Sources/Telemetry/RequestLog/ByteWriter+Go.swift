import Primitives

/// Values as Go's `fmt` and `text/template` write them.
extension ByteWriter {
    /// Appends a value as `{{.}}` and `%v` do.
    mutating func append(_ value: GoValue, of record: RequestLogRecord) {
        switch value {
        case .string(let text): append(text)
        case .integer(let number): append(signed: number)
        case .float(let number): append(goFloat: number)
        case .bool(let isTrue): append(isTrue ? "true" : "false")
        case .strings(let name):
            append(UInt8(ascii: "["))
            var index = 0
            while !name.isEmpty, let text = record.header(name, at: index) {
                if index > 0 { append(ASCII.space) }
                append(text)
                index += 1
            }
            append(UInt8(ascii: "]"))
        case .url: append(url: RequestTarget(record.requestURI))
        case .tls: append(tls: record.tls ?? RequestLogTLS())
        case .nilPointer: append("<nil>")
        }
    }

    mutating func append(signed number: Int64) {
        if number < 0 { append(UInt8(ascii: "-")) }
        append(decimal: number.magnitude)
    }

    /// Appends the beginning of Go's `tls.ConnectionState` as `%v` writes it: version, whether the handshake is
    /// complete, whether it was resumed, cipher suite, protocol, whether that was agreed on, server name. Certificates
    /// are left out.
    private mutating func append(tls: RequestLogTLS) {
        append(UInt8(ascii: "{"))
        append(decimal: UInt64(tls.version))
        append(" true ")
        append(tls.isResumed ? "true" : "false")
        append(ASCII.space)
        append(decimal: UInt64(tls.cipherSuite))
        append(ASCII.space)
        append(tls.negotiatedProtocol)
        append(" true ")
        append(tls.serverName)
        append(UInt8(ascii: "}"))
    }

    // MARK: Numbers

    /// Appends a float64 with the fewest digits that tell it from its neighbours, with an exponent below 1e-4 and from
    /// 1e6 on: as `%v` and strconv's `'g', -1` do, and Prometheus with them.
    mutating func append(goFloat value: Double) {
        guard value.isFinite else {
            return append(value.isNaN ? "NaN" : value < 0 ? "-Inf" : "+Inf")
        }
        if value.sign == .minus { append(UInt8(ascii: "-")) }
        guard value != 0 else { return append(UInt8(ascii: "0")) }
        var text = ShortestDigits()
        value.magnitude.write(to: &text)
        text.finish()
        let exponent = text.point - 1
        guard exponent >= -4, exponent < 6 else {
            append(text[0])
            if text.count > 1 { append(UInt8(ascii: ".")) }
            for index in 1..<max(1, text.count) { append(text[index]) }
            append(UInt8(ascii: "e"))
            append(exponent < 0 ? UInt8(ascii: "-") : UInt8(ascii: "+"))
            return append(decimal: UInt64(exponent.magnitude), width: 2)
        }
        if text.point <= 0 {
            append("0.")
            for _ in text.point..<0 { append(UInt8(ascii: "0")) }
        }
        for index in 0..<max(text.count, text.point) {
            if index == text.point, index > 0 { append(UInt8(ascii: ".")) }
            append(index < text.count ? text[index] : UInt8(ascii: "0"))
        }
    }

    // MARK: Escaping

    /// Appends what `js` makes of a text: no quote, angle bracket, `&`, `=` or control character stays.
    ///
    /// As in Go, a byte that belongs to no character passes as it is.
    mutating func append(js text: ByteView) {
        var index = 0
        while index < text.count {
            let run = index
            while index < text.count, ByteWriter.isPlainInScript(text.base[index]) { index += 1 }
            append(text[run..<index])
            guard index < text.count else { return }
            let byte = text.base[index]
            switch byte {
            case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""):
                append(UInt8(ascii: "\\"))
                append(byte)
            case 0..<0x80:
                append("\\u00")
                append(upperHexPair: byte)
            case _:
                let length = ByteWriter.characterLength(text, at: index)
                let character = text[index..<index + max(1, length)]
                if length == 0 || ByteWriter.scalar(character).isPrintableInGo {
                    append(character)
                } else {
                    append("\\u")
                    append(upperHex: ByteWriter.scalar(character).value, width: 4)
                }
                index += max(1, length) - 1
            }
            index += 1
        }
    }

    private static func isPlainInScript(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""), UInt8(ascii: "<"), UInt8(ascii: ">"),
            UInt8(ascii: "&"), UInt8(ascii: "="):
            false
        case _: byte >= 0x20 && byte < 0x80
        }
    }

    /// Appends what `html` makes of a text.
    mutating func append(html text: ByteView) {
        for index in 0..<text.count {
            switch text.base[index] {
            case 0: append("\u{FFFD}")
            case UInt8(ascii: "\""): append("&#34;")
            case UInt8(ascii: "'"): append("&#39;")
            case UInt8(ascii: "&"): append("&amp;")
            case UInt8(ascii: "<"): append("&lt;")
            case UInt8(ascii: ">"): append("&gt;")
            case let byte: append(byte)
            }
        }
    }

    /// Appends what `urlquery` makes of a text.
    mutating func append(urlQuery text: ByteView) {
        for index in 0..<text.count {
            let byte = text.base[index]
            if byte == ASCII.space {
                append(UInt8(ascii: "+"))
            } else if ByteWriter.isUnreserved(byte) {
                append(byte)
            } else {
                append(UInt8(ascii: "%"))
                append(upperHexPair: byte)
            }
        }
    }

    /// Appends a text between quotes as a Go string constant (`%q`).
    mutating func append(goQuoted text: ByteView) {
        append(UInt8(ascii: "\""))
        var index = 0
        while index < text.count {
            let byte = text.base[index]
            let length = ByteWriter.characterLength(text, at: index)
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                append(UInt8(ascii: "\\"))
                append(byte)
            case 7: append("\\a")
            case 8: append("\\b")
            case 9: append("\\t")
            case 10: append("\\n")
            case 11: append("\\v")
            case 12: append("\\f")
            case 13: append("\\r")
            case 0x20..<0x7F: append(byte)
            case _ where length <= 1:
                append("\\x")
                append(hex: UInt64(byte >> 4))
                append(hex: UInt64(byte & 15))
            case _:
                let scalar = ByteWriter.scalar(text[index..<index + length])
                if scalar.isPrintableInGo {
                    append(text[index..<index + length])
                } else {
                    append(scalar.value < 0x10000 ? "\\u" : "\\U")
                    append(lowerHex: scalar.value, width: scalar.value < 0x10000 ? 4 : 8)
                }
            }
            index += max(1, length)
        }
        append(UInt8(ascii: "\""))
    }

    // MARK: URLs

    /// Appends a URL as Go's `URL.String` writes it: a path with bytes that should have been escaped is escaped anew.
    mutating func append(url target: RequestTarget) {
        if !target.scheme.isEmpty {
            append(target.scheme)
            append("://")
            append(target.host)
        }
        if ByteWriter.isEncoded(target.path) || target.path.equals("*") {
            append(target.path)
        } else {
            ByteWriter.decode(target.path) { byte in
                if ByteWriter.isUnreserved(byte) || ByteWriter.isOneOf(byte, "$&+,/:;=@") { return append(byte) }
                append(UInt8(ascii: "%"))
                append(upperHexPair: byte)
            }
        }
        guard target.hasQuery else { return }
        append(UInt8(ascii: "?"))
        append(target.query)
    }

    /// Appends a path with its percent escapes undone.
    mutating func append(decoding path: ByteView) { ByteWriter.decode(path) { append($0) } }

    private static func decode(_ path: ByteView, _ take: (UInt8) -> Void) {
        var index = 0
        while index < path.count {
            if path[index] == UInt8(ascii: "%"), index + 2 < path.count, let high = ASCII.hexValue(path[index + 1]),
                let low = ASCII.hexValue(path[index + 2])
            {
                take(high << 4 | low)
                index += 3
            } else {
                take(path[index])
                index += 1
            }
        }
    }

    private static func isEncoded(_ path: ByteView) -> Bool {
        for index in 0..<path.count {
            let byte = path.base[index]
            guard isUnreserved(byte) || isOneOf(byte, "!$&'()*+,;=:@[]%/") else { return false }
        }
        return true
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        (byte | 0x20) &- 0x61 < 26 || ASCII.isDigit(byte) || isOneOf(byte, "-_.~")
    }

    private static func isOneOf(_ byte: UInt8, _ set: StaticString) -> Bool {
        ByteView(set).firstIndex(of: byte) != nil
    }

    // MARK: Characters

    private mutating func append(upperHexPair byte: UInt8) { append(upperHex: UInt32(byte), width: 2) }

    mutating func append(upperHex value: UInt32, width: Int) { append(hex: value, width: width, letters: 0x37) }

    mutating func append(lowerHex value: UInt32, width: Int) { append(hex: value, width: width, letters: 0x57) }

    private mutating func append(hex value: UInt32, width: Int, letters: UInt8) {
        let digits = max(width, (35 - value.leadingZeroBitCount) / 4)
        for index in (0..<digits).reversed() {
            let digit = UInt8(truncatingIfNeeded: value >> UInt32(4 * index)) & 15
            append(digit < 10 ? 0x30 + digit : letters + digit)
        }
    }

    /// The character that `bytes`, valid UTF-8 of one, is.
    static func scalar(_ bytes: ByteView) -> Unicode.Scalar {
        var value = UInt32(bytes[0])
        if bytes.count > 1 { value &= 0x7F >> UInt32(bytes.count) }
        for index in 1..<max(1, bytes.count) { value = value << 6 | UInt32(bytes[index] & 0x3F) }
        return Unicode.Scalar(value) ?? "\u{FFFD}"
    }
}

extension Unicode.Scalar {
    /// Go's `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols, and of all spaces the one of ASCII.
    var isPrintableInGo: Bool {
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .nonspacingMark,
            .spacingMark, .enclosingMark, .decimalNumber, .letterNumber, .otherNumber, .connectorPunctuation,
            .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation, .finalPunctuation,
            .otherPunctuation, .mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol:
            true
        case _: self == " "
        }
    }
}
