/// Why a line was refused.
public struct LinkProblem: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was wrong, with column and key.
    public let description: String
}

extension LinkMessage {
    /// Reads a line without its end.
    ///
    /// Nil for what is meant for others: an object of a kind nobody reads, a type of message of a later version.
    /// - Throws: the first problems of the line.
    public init?(line: [UInt8]) throws(LinkProblem) {
        let parsed = YAMLParser.parse(JSONText.readableAsYAML(line), limits: Self.limits)
        var report = Report(file: "line", limit: Self.limits.problems)
        for problem in parsed.problems {
            report.add(.error, at: problem.mark, key: "", problem.problem, remedy: problem.remedy)
        }
        guard let document = parsed.documents.first, parsed.problems.isEmpty else {
            throw LinkProblem(report, empty: "the line holds no JSON object")
        }
        let message = Self.read(Field(document, path: ""), &report)
        guard report.errorCount == 0 else { throw LinkProblem(report, empty: "") }
        guard let message else { return nil }
        self = message
    }

    private static func read(_ line: Field, _ report: inout Report) -> LinkMessage? {
        guard let line = report.mapping(line) else { return nil }
        guard let type = report.string("type", of: line) else {
            report.error(line, "has no type", remedy: "WATCH, APPLY, EXPLAIN or an event")
            return nil
        }
        switch type {
        case "WATCH": return watch(line, &report)
        case "EXPLAIN": return .explain(report.string("name", of: line) ?? "")
        case "TEXT": return .text(report.list("lines", of: line).compactMap { report.string($0) })
        case "BOOKMARK": return .bookmark
        case "ERROR": return .error(report.string("message", of: line) ?? "")
        case "DELETED": return deleted(line, &report)
        case "APPLY", "ADDED", "MODIFIED":
            guard let place = line.child("object") else {
                report.error(line, "has no object", remedy: "an object of Kubernetes")
                return nil
            }
            if type != "APPLY", ClusterDecoder.isSlice(place) {
                return ClusterDecoder.slice(place, &report).map { .slice($0) }
            }
            guard let object = ClusterLoader.object(place, into: &report) else { return nil }
            return type == "APPLY" ? .apply(object) : type == "ADDED" ? .added(object) : .modified(object)
        default: return nil
        }
    }

    private static func watch(_ line: Field, _ report: inout Report) -> LinkMessage {
        var kinds: Set<ObjectKind> = []
        for element in report.list("kinds", of: line) {
            guard let name = report.string(element) else { continue }
            if let kind = ObjectKind(rawValue: name) {
                kinds.insert(kind)
            } else {
                let names = ObjectKind.allCases.map(\.rawValue)
                let remedy = nearest(to: name, among: names).map { "did you mean `\($0)`?" }
                report.error(
                    element, "unknown kind \(quoted(name))", remedy: remedy ?? names.joined(separator: ", "))
            }
        }
        return .watch(kinds)
    }

    private static func deleted(_ line: Field, _ report: inout Report) -> LinkMessage? {
        guard let object = report.mapping("object", of: line), let metadata = report.mapping("metadata", of: object),
            let name = report.string("name", of: metadata)
        else {
            report.error(line, "names no object", remedy: "kind, metadata.name and metadata.namespace")
            return nil
        }
        let full = ObjectName(namespace: report.string("namespace", of: metadata) ?? "default", name: name)
        guard let kind = report.string("kind", of: object) else { return nil }
        if kind == ClusterDecoder.sliceKind { return .sliceDeleted(full) }
        return ObjectKind(rawValue: kind).map { .deleted($0, full) }
    }
}

extension LinkProblem {
    fileprivate init(_ report: Report, empty: String) {
        let errors = report.diagnostics.filter { $0.severity == .error }.map(\.description)
        description = errors.isEmpty ? empty : errors.joined(separator: " | ")
    }
}
