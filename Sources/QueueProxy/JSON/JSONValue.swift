/// A JSON text as it stands (RFC 8259): the order of keys, keys that occur twice, and numbers as they were written.
enum JSONValue: Equatable, Sendable {
    case null
    case boolean(Bool)
    /// The literal. Go tells `1` from `1.0`, so the text must not become a number too early.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([Entry])

    /// One `"key": value`.
    struct Entry: Equatable, Sendable {
        let key: String
        let value: JSONValue
    }

    /// The value in words for a message, not long: `the number 1.5`, `an object`.
    var described: String {
        switch self {
        case .null: "null"
        case .boolean(let value): value ? "true" : "false"
        case .number(let text): "the number \(text.utf8.count > 40 ? String(text.prefix(40)) + "…" : text)"
        case .string(let text): "the string \(text.quotedForMessage)"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

/// Where a text stops being JSON.
struct JSONFailure: Error, Equatable, Sendable {
    /// Offset in bytes, from 0.
    let offset: Int
    /// What was found or missing there.
    let problem: String
}

/// What one JSON text may cost. An environment variable has at most 128 KiB on Linux (`MAX_ARG_STRLEN`).
enum JSONLimits {
    /// Bytes of a text. 1 MiB.
    static let bytes = 1 << 20
    /// Arrays and objects inside each other. 64; what Knative writes has 5.
    static let depth = 64
}
