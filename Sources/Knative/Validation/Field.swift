/// One value of a document with the path that leads to it, as messages name it.
struct Field {
    let node: YAMLNode
    /// `spec.template.spec.containers[0].image`; empty for the document itself.
    let path: String
    /// Where a problem of this value is shown.
    let mark: YAMLMark

    init(_ node: YAMLNode, path: String, mark: YAMLMark? = nil) {
        self.node = node
        self.path = path
        self.mark = mark ?? node.mark
    }

    /// The path of `key` inside this value.
    func path(_ key: String) -> String { path.isEmpty ? key : path + "." + key }

    /// The value of `key`; nil if it is absent, null, or this is no mapping.
    func child(_ key: String) -> Field? {
        guard let value = node[key], !value.isNull else { return nil }
        return Field(value, path: path(key))
    }

    /// The entries of a mapping; none for anything else.
    var entries: [YAMLNode.Entry] {
        if case .mapping(let entries) = node.content { entries } else { [] }
    }

    /// The elements of a list; none for anything else. A null element stays: it is an empty object to Knative.
    var elements: [Field] {
        guard case .sequence(let nodes) = node.content else { return [] }
        return nodes.enumerated().map { Field($1, path: "\(path)[\($0)]") }
    }
}

/// Collects the problems of one file while its documents are decoded.
///
/// A decoder never stops at a problem: it reports and goes on with a default, so that one run shows everything.
struct Report {
    let file: String
    private let limit: Int
    private(set) var diagnostics: [Diagnostic] = []
    /// Errors so far; a document whose decoding raised it yields no object.
    private(set) var errorCount = 0

    init(file: String, limit: Int = YAMLLimits().problems) {
        self.file = file
        self.limit = limit
    }

    mutating func add(
        _ severity: Diagnostic.Severity, at mark: YAMLMark, key: String, _ problem: String, remedy: String
    ) {
        if severity == .error { errorCount += 1 }
        guard diagnostics.count <= limit else { return }
        guard diagnostics.count < limit else {
            diagnostics.append(
                Diagnostic(
                    severity: .error, file: file, mark: mark, key: "", problem: "too many problems",
                    remedy: "the first \(limit) are shown"))
            return
        }
        diagnostics.append(
            Diagnostic(
                severity: severity, file: file, mark: mark, key: shortenedPath(key), problem: problem, remedy: remedy))
    }

    mutating func error(_ field: Field, _ problem: String, remedy: String = "") {
        add(.error, at: field.mark, key: field.path, problem, remedy: remedy)
    }

    mutating func warn(_ field: Field, _ problem: String, remedy: String) {
        add(.warning, at: field.mark, key: field.path, problem, remedy: remedy)
    }

    /// A rule of Knative's own: `message: path, path`, its detail as the remedy.
    ///
    /// - Parameter paths: absolute paths; the first is the key of the problem, the text names them all, sorted.
    mutating func knative(_ message: String, at mark: YAMLMark, _ paths: String..., remedy: String = "") {
        let paths = paths.map(shortenedPath)
        add(
            .error, at: mark, key: paths.first ?? "", message + ": " + paths.sorted().joined(separator: ", "),
            remedy: remedy)
    }

    /// A path may hold keys the user chose, of any length.
    private func shortenedPath(_ path: String) -> String {
        path.utf8.count <= 256 ? path : String(path.unicodeScalars.prefix(256)) + "…"
    }
}

// MARK: - Typed reading

extension Report {
    /// Reports a value of the wrong type.
    mutating func typeMismatch(_ field: Field, expected: String) {
        var remedy = "write \(expected)"
        if expected == "a string", case .scalar = field.node.content { remedy = "quote it: \(quoted(field.node.text))" }
        error(field, "expected \(expected), found \(field.node.described)", remedy: remedy)
    }

    /// `field` if it is a mapping.
    mutating func mapping(_ field: Field) -> Field? {
        if case .mapping = field.node.content { return field }
        typeMismatch(field, expected: "a mapping")
        return nil
    }

    /// The mapping at `key`, or nil if it is absent or something else.
    mutating func mapping(_ key: String, of parent: Field) -> Field? {
        guard let field = parent.child(key) else { return nil }
        return mapping(field)
    }

    /// The elements of the list at `key`.
    mutating func list(_ key: String, of parent: Field) -> [Field] {
        guard let field = parent.child(key) else { return [] }
        if case .sequence = field.node.content { return field.elements }
        typeMismatch(field, expected: "a list")
        return []
    }

    /// The string at `key`. An empty one counts as absent, as in Go's JSON.
    mutating func string(_ key: String, of parent: Field) -> String? {
        guard let field = parent.child(key), let text = string(field), !text.isEmpty else { return nil }
        return text
    }

    /// The string that `field` is.
    mutating func string(_ field: Field) -> String? {
        if case .scalar(.string(let text)) = field.node.content { return text }
        if field.node.isNull { return "" }
        typeMismatch(field, expected: "a string")
        return nil
    }

    /// The list of strings at `key`.
    mutating func strings(_ key: String, of parent: Field) -> [String] {
        var result: [String] = []
        for element in list(key, of: parent) {
            guard let text = string(element) else { continue }
            if text.utf8.contains(0) {
                error(element, "holds a NUL character", remedy: "a process cannot receive it")
            }
            result.append(text)
        }
        return result
    }

    /// The whole number at `key`; `8080.0` is one too.
    mutating func integer(_ key: String, of parent: Field) -> Int? {
        guard let field = parent.child(key) else { return nil }
        switch field.node.content {
        case .scalar(.integer(let value)): return Int(value)
        case .scalar(.number(let value)):
            if let exact = Int(exactly: value) { return exact }
        default: break
        }
        typeMismatch(field, expected: "an integer")
        return nil
    }

    /// The whole number at `key` if it is in `bounds`; otherwise Knative's message.
    mutating func integer(_ key: String, of parent: Field, in bounds: ClosedRange<Int>) -> Int? {
        guard let value = integer(key, of: parent) else { return nil }
        guard !bounds.contains(value) else { return value }
        let mark = parent.child(key)?.mark ?? parent.mark
        knative("expected \(bounds.lowerBound) <= \(value) <= \(bounds.upperBound)", at: mark, parent.path(key))
        return nil
    }

    /// The boolean at `key`.
    mutating func boolean(_ key: String, of parent: Field) -> Bool? {
        guard let field = parent.child(key) else { return nil }
        if case .scalar(.boolean(let value)) = field.node.content { return value }
        typeMismatch(field, expected: "true or false")
        return nil
    }

    /// The mapping of strings to strings at `key`: labels, annotations.
    mutating func stringMap(_ key: String, of parent: Field) -> [String: String] {
        guard let field = mapping(key, of: parent) else { return [:] }
        var result: [String: String] = [:]
        for entry in field.entries {
            result[entry.key] = string(Field(entry.value, path: field.path(entry.key))) ?? ""
        }
        return result
    }
}
