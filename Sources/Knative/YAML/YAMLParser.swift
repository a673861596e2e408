/// The documents of one text, and what was wrong with it.
public struct YAMLParse: Sendable {
    /// The documents that could be read; empty ones are left out.
    public let documents: [YAMLNode]
    /// Problems in the order found. After a syntax error the rest of the text is not read.
    public let problems: [YAMLProblem]
}

/// Turns YAML text into node trees (YAML 1.1 as Kubernetes' tools read it: `sigs.k8s.io/yaml`).
public enum YAMLParser {
    /// Reads every document of `bytes`. Never traps; the cost is bounded by `limits`.
    public static func parse(_ bytes: [UInt8], limits: YAMLLimits = YAMLLimits()) -> YAMLParse {
        guard bytes.count <= limits.fileBytes else {
            let problem = YAMLProblem(
                "the file has \(bytes.count) bytes", at: YAMLMark(line: 1, column: 1),
                remedy: "at most \(limits.fileBytes) are allowed")
            return YAMLParse(documents: [], problems: [problem])
        }
        var builder = YAMLTreeBuilder(bytes, limits: limits)
        var documents: [YAMLNode] = []
        do {
            while let document = try builder.nextDocument() {
                if !document.isNull { documents.append(document) }
            }
        } catch {
            builder.problems.append(error)
        }
        return YAMLParse(documents: documents, problems: builder.problems)
    }
}

/// Builds node trees from libyaml's events. Recursion is bounded by `YAMLLimits.depth`.
struct YAMLTreeBuilder: ~Copyable {
    private let reader: YAMLEventReader
    private let limits: YAMLLimits
    private var anchors: [String: YAMLNode] = [:]
    private var documentCount = 0
    private var nodeCount = 0
    private var byteCount = 0
    var problems: [YAMLProblem] = []

    init(_ bytes: [UInt8], limits: YAMLLimits) {
        reader = YAMLEventReader(bytes)
        self.limits = limits
    }

    /// The next document, or nil at the end. An empty document is a null scalar.
    mutating func nextDocument() throws(YAMLProblem) -> YAMLNode? {
        anchors.removeAll()
        guard case (.documentStart, let mark)? = try reader.next() else { return nil }
        documentCount += 1
        guard documentCount <= limits.documents else {
            throw YAMLProblem("too many documents", at: mark, remedy: "a file holds at most \(limits.documents)")
        }
        let root = try nextNode(depth: 0) ?? YAMLNode(scalar: .null, text: "", mark: mark)
        _ = try reader.next()  // the document's end
        return root
    }

    /// The next node, or nil at the end of the enclosing list, mapping or document.
    private mutating func nextNode(depth: Int) throws(YAMLProblem) -> YAMLNode? {
        guard let (event, mark) = try reader.next() else { return nil }
        switch event {
        case .documentStart, .documentEnd, .sequenceEnd, .mappingEnd: return nil
        case .alias(let name): return try resolve(alias: name, at: mark, depth: depth)
        case .scalar(let text, let isPlain, let tag, let anchor):
            try spend(nodes: 1, bytes: text.utf8.count, at: mark)
            let scalar = try YAMLScalar(text: text, isPlain: isPlain, tag: tag, at: mark)
            let isMergeKey = isPlain && tag == nil && text == "<<"
            return remember(YAMLNode(scalar: scalar, text: text, mark: mark, isMergeKey: isMergeKey), as: anchor)
        case .sequenceStart(let tag, let anchor):
            try enter(tag: tag, expected: "seq", depth: depth, at: mark)
            var elements: [YAMLNode] = []
            while let element = try nextNode(depth: depth + 1) { elements.append(element) }
            return remember(YAMLNode(sequence: elements, mark: mark), as: anchor)
        case .mappingStart(let tag, let anchor):
            try enter(tag: tag, expected: "map", depth: depth, at: mark)
            return remember(try mapping(at: mark, depth: depth + 1), as: anchor)
        }
    }

    private mutating func mapping(at mark: YAMLMark, depth: Int) throws(YAMLProblem) -> YAMLNode {
        var entries: [YAMLNode.Entry] = []
        var merged: [YAMLNode.Entry] = []
        var lines: [String: Int] = [:]
        while let keyNode = try nextNode(depth: depth) {
            guard let value = try nextNode(depth: depth) else { break }
            if keyNode.isMergeKey {
                merged += try mergeSource(value)
                continue
            }
            let key = try keyText(keyNode)
            if let line = lines[key] {
                let problem = YAMLProblem(
                    "key \(quoted(key)) is already set at line \(line)", at: keyNode.mark,
                    remedy: "remove one of the two")
                if problems.count < limits.problems { problems.append(problem) }
                continue
            }
            lines[key] = keyNode.mark.line
            entries.append(YAMLNode.Entry(key: key, keyMark: keyNode.mark, value: value))
        }
        for entry in merged where lines.updateValue(0, forKey: entry.key) == nil { entries.append(entry) }
        return YAMLNode(mapping: entries, mark: mark)
    }

    /// What `<<: *base` brings in: entries that the mapping's own keys override (YAML 1.1 merge keys).
    private func mergeSource(_ value: YAMLNode) throws(YAMLProblem) -> [YAMLNode.Entry] {
        switch value.content {
        case .mapping(let entries): return entries
        case .sequence(let elements):
            var entries: [YAMLNode.Entry] = []
            for element in elements { entries += try mergeSource(element) }
            return entries
        case .scalar:
            throw YAMLProblem(
                "`<<` merges a mapping, not \(value.described)", at: value.mark, remedy: "write `<<: *anchor`")
        }
    }

    private func keyText(_ node: YAMLNode) throws(YAMLProblem) -> String {
        switch node.content {
        case .scalar(.string(let text)): return text
        case .scalar(.integer(let value)): return String(value)
        case .scalar(.boolean(let value)): return value ? "true" : "false"
        case .scalar(.number): return node.text
        case .scalar(.null), .sequence, .mapping:
            throw YAMLProblem("\(node.described) as a key", at: node.mark, remedy: "a key must be a string")
        }
    }

    private mutating func resolve(alias name: String, at mark: YAMLMark, depth: Int) throws(YAMLProblem) -> YAMLNode {
        guard let node = anchors[name] else {
            throw YAMLProblem(
                "alias \(quoted("*" + name)) refers to nothing", at: mark,
                remedy: "an anchor \(quoted("&" + name)) must stand before it, and not around it")
        }
        guard depth + node.height <= limits.depth else { throw tooDeep(at: mark) }
        try spend(nodes: node.weight, bytes: node.bytes, at: mark)
        return node.placed(at: mark)
    }

    private mutating func remember(_ node: YAMLNode, as anchor: String?) -> YAMLNode {
        if let anchor { anchors[anchor] = node }
        return node
    }

    private mutating func enter(tag: String?, expected: String, depth: Int, at mark: YAMLMark) throws(YAMLProblem) {
        guard depth < limits.depth else { throw tooDeep(at: mark) }
        try spend(nodes: 1, bytes: 0, at: mark)
        guard let tag, tag != "!", tag != YAMLScalar.coreTag + expected else { return }
        throw YAMLProblem("tag \(quoted(tag)) is not supported", at: mark, remedy: "remove the tag")
    }

    private func tooDeep(at mark: YAMLMark) -> YAMLProblem {
        YAMLProblem(
            "lists and mappings are nested too deep", at: mark, remedy: "at most \(limits.depth) levels are allowed")
    }

    /// Both counts stay below limit plus one file, so the sums cannot overflow.
    private mutating func spend(nodes: Int, bytes: Int, at mark: YAMLMark) throws(YAMLProblem) {
        nodeCount += nodes
        byteCount += bytes
        guard nodeCount <= limits.nodes, byteCount <= limits.expandedBytes else {
            throw YAMLProblem(
                "the file is too large when its aliases are expanded", at: mark,
                remedy: "at most \(limits.nodes) values and \(limits.expandedBytes) bytes of text are allowed")
        }
    }
}
