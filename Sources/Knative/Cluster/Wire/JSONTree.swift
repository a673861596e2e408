/// A JSON value to be written. Fields keep their order; absent ones are left out.
enum JSONTree {
    case string(String)
    case integer(Int)
    case boolean(Bool)
    case list([JSONTree])
    case object([(String, JSONTree?)])

    /// Strings by key, in order of the keys; nil if there are none.
    static func strings(_ values: [String: String]) -> JSONTree? {
        guard !values.isEmpty else { return nil }
        return .object(values.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })
    }

    /// `text`; nil if it is empty.
    static func nonempty(_ text: String) -> JSONTree? { text.isEmpty ? nil : .string(text) }

    /// The elements; nil if there are none.
    static func nonempty(_ elements: [JSONTree]) -> JSONTree? { elements.isEmpty ? nil : .list(elements) }

    /// Appends the value on one line (RFC 8259), without spaces.
    func write(to bytes: inout [UInt8]) {
        switch self {
        case .string(let text): Self.write(text, to: &bytes)
        case .integer(let value): bytes += String(value).utf8
        case .boolean(let value): bytes += (value ? "true" : "false").utf8
        case .list(let elements):
            bytes.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                element.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let fields):
            bytes.append(UInt8(ascii: "{"))
            var isFirst = true
            for case (let key, let value?) in fields {
                if !isFirst { bytes.append(UInt8(ascii: ",")) }
                isFirst = false
                Self.write(key, to: &bytes)
                bytes.append(UInt8(ascii: ":"))
                value.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }

    /// Characters that end a line in YAML or may not stand in it are escaped too: the same text is read as YAML.
    private static func write(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22, 0x5C:
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(UInt8(truncatingIfNeeded: scalar.value))
            case 0..<0x20, 0x7F..<0xA0, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF: escape(scalar.value, to: &bytes)
            default: if let encoded = UTF8.encode(scalar) { bytes.append(contentsOf: encoded) }
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    static func escape(_ value: UInt32, to bytes: inout [UInt8]) {
        let digits = String(value, radix: 16)
        bytes += "\\u".utf8
        bytes += repeatElement(UInt8(ascii: "0"), count: max(0, 4 - digits.utf8.count))
        bytes += digits.utf8
    }
}
