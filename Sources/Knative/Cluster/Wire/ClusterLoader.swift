/// The objects of one text, and what was wrong with it.
public struct ClusterFile: Sendable {
    /// An object and where it stands.
    public struct Place: Sendable {
        /// The object.
        public let object: ClusterObject
        /// Its line, from 1.
        public let line: Int
    }

    /// The objects without errors, in the order of the text.
    public let objects: [Place]
    /// The slices without errors, and their lines, in the order of the text.
    public let slices: [(slice: EndpointSlice, line: Int)]
    /// Every problem, in the order found.
    public let diagnostics: [Diagnostic]
}

/// Reads Kubernetes' and Knative's objects from YAML or JSON, as `kubectl get -o yaml` prints them.
public enum ClusterLoader {
    /// What a file of objects may cost: 8 MiB, 1,000,000 values, 16 MiB of text, 10,000 documents.
    public static var limits: YAMLLimits {
        var limits = YAMLLimits()
        limits.fileBytes = 8 << 20
        limits.nodes = 1_000_000
        limits.expandedBytes = 16 << 20
        limits.documents = 10_000
        return limits
    }

    /// Reads every object of `text`, EndpointSlices with them; `file` is only used in messages. Objects of other kinds
    /// are skipped with a warning.
    public static func load(file: String, text: [UInt8], limits: YAMLLimits = ClusterLoader.limits) -> ClusterFile {
        var report = Report(file: file, limit: limits.problems)
        let isJSON = file.hasSuffix(".json")
        let parsed = YAMLParser.parse(isJSON ? JSONText.readableAsYAML(text) : text, limits: limits)
        for problem in parsed.problems {
            report.add(.error, at: problem.mark, key: "", problem.problem, remedy: problem.remedy)
        }
        var found = Found()
        for document in parsed.documents { load(Field(document, path: ""), into: &found, &report, isItem: false) }
        return ClusterFile(objects: found.objects, slices: found.slices, diagnostics: report.diagnostics)
    }

    private struct Found {
        var objects: [ClusterFile.Place] = []
        var slices: [(slice: EndpointSlice, line: Int)] = []
    }

    private static func load(
        _ document: Field, into found: inout Found, _ report: inout Report, isItem: Bool
    ) {
        guard let document = report.mapping(document) else { return }
        let kind = document.node["kind"]?.text ?? ""
        guard kind == "List" || kind.hasSuffix("List"), !isItem else {
            let line = document.mark.line
            if ClusterDecoder.isSlice(document) {
                if let slice = ClusterDecoder.slice(document, &report) { found.slices.append((slice, line)) }
            } else if let object = object(document, into: &report) {
                found.objects.append(.init(object: object, line: line))
            }
            return
        }
        for item in report.list("items", of: document) {
            load(Field(item.node, path: ""), into: &found, &report, isItem: true)
        }
    }

    /// One object; nil if it has errors or is of a kind that nobody reads.
    static func object(_ document: Field, into report: inout Report) -> ClusterObject? {
        guard let document = report.mapping(document) else { return nil }
        let errorsBefore = report.errorCount
        let kind = report.string("kind", of: document)
        let version = report.string("apiVersion", of: document)
        guard let kind, let version else {
            if report.errorCount == errorsBefore {
                report.error(document, "has no \(kind == nil ? "kind" : "apiVersion")", remedy: supported)
            }
            return nil
        }
        guard let known = ObjectKind(rawValue: kind) else {
            let meant = nearest(to: kind, among: ObjectKind.allCases.map(\.rawValue))
            report.warn(
                document.child("kind") ?? document, "objects of kind \(quoted(kind)) are skipped",
                remedy: meant.map { "did you mean `\($0)`?" } ?? supported)
            return nil
        }
        guard version == known.apiVersion else {
            let parts = version.split(separator: "/")
            let place = document.child("apiVersion") ?? document
            if (parts.count > 1 ? parts[0] : "") == known.group {
                report.error(
                    place, "\(kind) of \(quoted(version)) is not supported", remedy: "write \(known.apiVersion)")
            } else {
                report.warn(
                    place, "\(kind) of \(quoted(version)) is skipped", remedy: "\(kind) of \(known.apiVersion) is read")
            }
            return nil
        }
        return ClusterDecoder(kind: known).decode(document, into: &report)
    }

    private static let supported =
        "supported: "
        + ObjectKind.allCases.map { "\($0.rawValue) of \($0.apiVersion)" }.joined(separator: ", ")
}
