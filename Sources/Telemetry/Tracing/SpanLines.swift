import Primitives

/// Spans as lines of JSON: each is a whole `TracesData` of OTLP's JSON encoding with one span, which readers of OTLP
/// files take. For the control side: it allocates.
public enum SpanLines {
    /// The lines of all spans in an `ExportTraceServiceRequest`, as `SpanBatch` makes it; what cannot be read is left
    /// out.
    public static func lines(of request: [UInt8]) -> [UInt8] {
        var lines: [UInt8] = []
        request.withUnsafeBytes { bytes in
            try? each(ByteView(bytes), 1) { resourceSpans throws(ProtobufFailure) in
                var resource = JSONText()
                try each(resourceSpans, 1) { message throws(ProtobufFailure) in
                    resource.add("{\"attributes\":")
                    try resource.add(attributesOf: message, field: 1)
                    resource.add("}")
                }
                try each(resourceSpans, 2) { scopeSpans throws(ProtobufFailure) in
                    try each(scopeSpans, 2) { span throws(ProtobufFailure) in
                        var line = JSONText()
                        line.add("{\"resourceSpans\":[{\"resource\":")
                        line.bytes += resource.bytes.isEmpty ? Array("{}".utf8) : resource.bytes
                        line.add(",\"scopeSpans\":[{\"scope\":{\"name\":\"martlet\"},\"spans\":[")
                        try line.add(span: span)
                        line.add("]}]}]}\n")
                        lines += line.bytes
                    }
                }
            }
        }
        return lines
    }

    /// Calls `body` with each message in field `number`.
    fileprivate static func each(
        _ message: ByteView, _ number: Int, _ body: (ByteView) throws(ProtobufFailure) -> Void
    ) throws(ProtobufFailure) {
        var reader = ProtobufReader(message)
        while let field = try reader.next() {
            if field.number == number { try body(field.bytes) }
        }
    }
}

/// JSON in the making (RFC 8259; OTLP's rules: ids in hexadecimal, 64-bit numbers as texts).
private struct JSONText {
    var bytes: [UInt8] = []

    mutating func add(_ literal: StaticString) { literal.withUTF8Buffer { bytes += $0 } }

    mutating func add(text: ByteView) {
        bytes.append(UInt8(ascii: "\""))
        for scalar in text.string.unicodeScalars {
            switch scalar {
            case "\"", "\\":
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(UInt8(truncatingIfNeeded: scalar.value))
            case _
            where scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || scalar.value == 0x2028
                || scalar.value == 0x2029:
                let digits = String(scalar.value, radix: 16)
                bytes += Array("\\u\(String(repeating: "0", count: 4 - digits.utf8.count))\(digits)".utf8)
            case _: bytes += Array(String(scalar).utf8)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    mutating func add(hex: ByteView) {
        bytes.append(UInt8(ascii: "\""))
        for index in 0..<hex.count {
            for digit in [hex[index] >> 4, hex[index] & 15] { bytes.append(digit < 10 ? 0x30 + digit : 0x57 + digit) }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    mutating func add(number: UInt64, isQuoted: Bool = false) {
        bytes += Array((isQuoted ? "\"\(number)\"" : "\(number)").utf8)
    }

    /// Adds the attributes in field `number` of a message as an array.
    mutating func add(attributesOf message: ByteView, field number: Int) throws(ProtobufFailure) {
        add("[")
        var isFirst = true
        var reader = ProtobufReader(message)
        while let field = try reader.next() {
            guard field.number == number else { continue }
            if !isFirst { add(",") }
            isFirst = false
            try add(attribute: field.bytes)
        }
        add("]")
    }

    private mutating func add(attribute: ByteView) throws(ProtobufFailure) {
        var reader = ProtobufReader(attribute)
        var key = ByteView.empty, value = ByteView.empty
        while let field = try reader.next() {
            if field.number == 1 { key = field.bytes }
            if field.number == 2 { value = field.bytes }
        }
        add("{\"key\":")
        add(text: key)
        add(",\"value\":{")
        var values = ProtobufReader(value)
        if let content = try values.next() {
            if content.number == 1 {
                add("\"stringValue\":")
                add(text: content.bytes)
            } else if content.number == 3 {
                add("\"intValue\":")
                add(number: content.bits, isQuoted: true)
            }
        }
        add("}}")
    }

    /// Adds a span as an object.
    mutating func add(span: ByteView) throws(ProtobufFailure) {
        add("{")
        var isFirst = true
        var reader = ProtobufReader(span)
        while let field = try reader.next() {
            guard let name = JSONText.name(of: field.number) else { continue }
            if !isFirst { add(",") }
            isFirst = false
            add(name)
            switch field.number {
            case 1, 2, 4: add(hex: field.bytes)
            case 3, 5: add(text: field.bytes)
            case 7, 8: add(number: field.bits, isQuoted: true)
            case 15:
                var status = ProtobufReader(field.bytes)
                add("{")
                if let code = try status.next() {
                    add("\"code\":")
                    add(number: code.bits)
                }
                add("}")
            case _: add(number: field.bits)
            }
        }
        add(isFirst ? "\"attributes\":" : ",\"attributes\":")
        try add(attributesOf: span, field: 9)
        add("}")
    }

    /// OTLP's names of a span's fields but its attributes, with the colon.
    private static func name(of field: Int) -> StaticString? {
        switch field {
        case 1: "\"traceId\":"
        case 2: "\"spanId\":"
        case 3: "\"traceState\":"
        case 4: "\"parentSpanId\":"
        case 5: "\"name\":"
        case 6: "\"kind\":"
        case 7: "\"startTimeUnixNano\":"
        case 8: "\"endTimeUnixNano\":"
        case 15: "\"status\":"
        case 16: "\"flags\":"
        case _: nil
        }
    }
}
