import HTTP
import Primitives

/// The paths and fields by which hosts tell requests apart, laid out for matching: no allocation, no lock.
struct PathRules: Sendable {
    /// Longest prefix, in bytes: no request line is longer.
    static let pathLimit = 8_192

    /// One path of one host.
    private struct Rule: Sendable {
        let prefix: Range<Int>
        let conditions: Range<Int>
        /// Where its splits are.
        let entry: Int
    }

    /// One field that must be so. Places are in `texts`.
    private struct Condition: Sendable {
        let known: KnownField
        /// In lower case.
        let name: Range<Int>
        let value: Range<Int>
    }

    private var rules: [Rule] = []
    private var conditions: [Condition] = []
    private var texts: [UInt8] = []

    /// How many rules there are.
    var count: Int { rules.count }

    /// Where the splits of rule `index` are.
    func entry(of index: Int) -> Int { rules[index].entry }

    /// Appends a rule, which is tried after those before it.
    mutating func append(_ path: RoutePath, entry: Int) {
        let start = conditions.count
        for condition in path.conditions {
            let name = Array(condition.name.utf8)
            let known = name.withUnsafeBytes { KnownField.classify(ByteView($0)) }
            conditions.append(
                Condition(
                    known: known, name: store(name.map { ASCII.lowercased($0) }),
                    value: store(Array(condition.value.utf8))))
        }
        rules.append(Rule(prefix: store(Array(path.prefix.utf8)), conditions: start..<conditions.count, entry: entry))
    }

    private mutating func store(_ bytes: [UInt8]) -> Range<Int> {
        texts += bytes
        return texts.count - bytes.count..<texts.count
    }

    /// The entry of the first of `candidates` that takes a request; nil if none does. `path` has no query.
    func match(_ candidates: Range<Int>, path: ByteView, _ fields: borrowing FieldTable, in bytes: ByteView) -> Int? {
        for index in candidates where isPrefix(rules[index].prefix, of: path) {
            if holds(rules[index].conditions, fields, bytes) { return rules[index].entry }
        }
        return nil
    }

    private func isPrefix(_ prefix: Range<Int>, of path: ByteView) -> Bool {
        guard prefix.count <= path.count else { return false }
        return prefix.isEmpty || isText(prefix, path[0..<prefix.count])
    }

    private func holds(_ range: Range<Int>, _ fields: borrowing FieldTable, _ bytes: ByteView) -> Bool {
        for index in range where !holds(conditions[index], fields, bytes) { return false }
        return true
    }

    /// Two lines of one field are a list (RFC 9110 §5.3), which no single value equals.
    private func holds(_ condition: Condition, _ fields: borrowing FieldTable, _ bytes: ByteView) -> Bool {
        guard fields.present.contains(condition.known) else { return false }
        var isFound = false
        for index in 0..<fields.count where fields[index].known == condition.known {
            if condition.known == .other, !isName(condition.name, fields.name(index, in: bytes)) { continue }
            guard !isFound, isText(condition.value, fields.value(index, in: bytes)) else { return false }
            isFound = true
        }
        return isFound
    }

    private func isText(_ range: Range<Int>, _ view: ByteView) -> Bool {
        texts.withUnsafeBytes { view.equals(ByteView($0)[range]) }
    }

    private func isName(_ range: Range<Int>, _ view: ByteView) -> Bool {
        texts.withUnsafeBytes { view.equalsIgnoringCase(ByteView($0)[range]) }
    }
}

extension RoutePath {
    /// Whether it takes every request.
    var takesAll: Bool { prefix.isEmpty && conditions.isEmpty }

    /// What is wrong with it, its splits left out.
    var problems: [RouteTableFailure.Problem] {
        var problems: [RouteTableFailure.Problem] = []
        let isPath = prefix.utf8.count <= PathRules.pathLimit && prefix.utf8.allSatisfy { Self.isPathByte($0) }
        if !isPath { problems.append(.invalidPath(prefix)) }
        for condition in conditions where !condition.isValid { problems.append(.invalidField(condition.name)) }
        return problems
    }

    private static func isPathByte(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte != 0x7F && byte != UInt8(ascii: "?") && byte != UInt8(ascii: "#")
    }
}

extension FieldCondition {
    fileprivate var isValid: Bool { FieldRules.isName(name) && FieldRules.isValue(value) }
}
