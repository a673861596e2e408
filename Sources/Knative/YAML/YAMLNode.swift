/// A place in a text: line and column, both counted from 1. The column counts characters, not bytes.
public struct YAMLMark: Hashable, Comparable, Sendable {
    /// The line, from 1. 0 means "no place in the text".
    public var line: Int
    /// The column in characters, from 1.
    public var column: Int

    /// Makes the place at `line` and `column`, both from 1.
    public init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    /// Whether `lhs` stands before `rhs` in the text.
    public static func < (lhs: YAMLMark, rhs: YAMLMark) -> Bool {
        (lhs.line, lhs.column) < (rhs.line, rhs.column)
    }
}

/// The value of a scalar after typing by the rules Kubernetes' tools use (YAML 1.1 core types; quoted means string).
public enum YAMLScalar: Hashable, Sendable {
    /// Nothing, `~`, `null`.
    case null
    /// `true`, `yes`, `on` and their opposites.
    case boolean(Bool)
    /// A whole number that fits 64 bits.
    case integer(Int64)
    /// Any other number.
    case number(Double)
    /// Everything else, and everything quoted.
    case string(String)
}

/// One node of a YAML document: a value with the place it was written at.
///
/// Aliases are resolved already; the shared part is stored once and only counted again (`YAMLLimits`).
public struct YAMLNode: Sendable {
    /// One `key: value` of a mapping.
    public struct Entry: Sendable {
        /// The key as text, as JSON would have it.
        public let key: String
        /// Where the key stands.
        public let keyMark: YAMLMark
        /// The value.
        public let value: YAMLNode
    }

    /// What a node holds.
    public enum Content: Sendable {
        /// A single value.
        case scalar(YAMLScalar)
        /// A list.
        case sequence([YAMLNode])
        /// Keys and values in the order of the text; keys are unique.
        case mapping([Entry])
    }

    /// The value.
    public let content: Content
    /// Where the value begins; for an alias, where the alias stands.
    public let mark: YAMLMark
    /// A scalar as written (without quotes); empty for lists and mappings.
    public let text: String

    /// Whether it is the plain scalar `<<`, which as a key merges another mapping.
    let isMergeKey: Bool
    /// Nodes below and including this one, aliases expanded.
    let weight: Int
    /// Bytes of text below and including this one, aliases expanded.
    let bytes: Int
    /// Levels of nesting below and including this one.
    let height: Int

    init(scalar: YAMLScalar, text: String, mark: YAMLMark, isMergeKey: Bool = false) {
        self.isMergeKey = isMergeKey
        content = .scalar(scalar)
        self.text = text
        self.mark = mark
        (weight, bytes, height) = (1, text.utf8.count, 0)
    }

    init(sequence elements: [YAMLNode], mark: YAMLMark) {
        isMergeKey = false
        content = .sequence(elements)
        text = ""
        self.mark = mark
        weight = elements.reduce(1) { $0 + $1.weight }
        bytes = elements.reduce(0) { $0 + $1.bytes }
        height = 1 + (elements.map(\.height).max() ?? 0)
    }

    init(mapping entries: [Entry], mark: YAMLMark) {
        isMergeKey = false
        content = .mapping(entries)
        text = ""
        self.mark = mark
        weight = entries.reduce(1) { $0 + 1 + $1.value.weight }
        bytes = entries.reduce(0) { $0 + $1.key.utf8.count + $1.value.bytes }
        height = 1 + (entries.map(\.value.height).max() ?? 0)
    }

    private init(_ other: YAMLNode, mark: YAMLMark) {
        (content, text, weight, bytes, height) = (other.content, other.text, other.weight, other.bytes, other.height)
        isMergeKey = false
        self.mark = mark
    }

    /// The same value, said to stand at `mark` (an alias).
    func placed(at mark: YAMLMark) -> YAMLNode { YAMLNode(self, mark: mark) }

    /// The value of `key` if this is a mapping that has it.
    public subscript(key: String) -> YAMLNode? {
        guard case .mapping(let entries) = content else { return nil }
        return entries.first { $0.key == key }?.value
    }

    /// Whether this is nothing, `~` or `null`.
    public var isNull: Bool {
        if case .scalar(.null) = content { true } else { false }
    }

    /// Whether Go's JSON would drop it as unset: null, false, 0, "" or an empty list or mapping.
    var isZeroValue: Bool {
        switch content {
        case .scalar(let scalar):
            scalar == .null || scalar == .boolean(false) || scalar == .integer(0) || scalar == .string("")
        case .sequence(let elements): elements.isEmpty
        case .mapping(let entries): entries.isEmpty
        }
    }

    /// The value in words for a message: `the integer 8080`, `a list`.
    var described: String {
        switch content {
        case .scalar(.null): "nothing"
        case .scalar(.boolean): "the boolean \(shortened(text))"
        case .scalar(.integer): "the integer \(shortened(text))"
        case .scalar(.number): "the number \(shortened(text))"
        case .scalar(.string): "the string \(quoted(text))"
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }

    /// The value on one line, the same for equal values: keys sorted, everything quoted that is a string.
    var canonicalText: String {
        switch content {
        case .scalar(.null): "null"
        case .scalar(.boolean(let value)): value ? "true" : "false"
        case .scalar(.integer(let value)): String(value)
        case .scalar(.number(let value)): String(value)
        case .scalar(.string(let value)): quoted(value, limit: .max)
        case .sequence(let elements): "[" + elements.map(\.canonicalText).joined(separator: ",") + "]"
        case .mapping(let entries):
            "{"
                + entries.sorted { $0.key < $1.key }
                .map { quoted($0.key, limit: .max) + ":" + $0.value.canonicalText }
                .joined(separator: ",") + "}"
        }
    }
}
