/// How manifests are read.
public struct LoadOptions: Sendable {
    /// What images run: `--image REF=COMMAND`, reference to command.
    public var images: [String: [String]] = [:]
    /// Cluster-wide defaults and bounds.
    public var defaults = ServingDefaults()
    /// What one file may cost.
    public var limits = YAMLLimits()

    /// No images, Knative's defaults.
    public init() {}

    /// The command of an image: the same text first, then the same image written differently (`:latest`, `docker.io/`),
    /// then a mapping of the repository without tag, which stands for all its tags.
    func command(forImage text: String) -> [String]? { mapping(forImage: text).flatMap { images[$0] } }

    /// The key of `images` that stands for an image.
    func mapping(forImage text: String) -> String? {
        if images[text] != nil { return text }
        guard let image = ImageReference(text) else { return nil }
        var anyTag: String?
        for key in images.keys.sorted() {
            guard let candidate = ImageReference(key), candidate.registry == image.registry,
                candidate.repository == image.repository
            else { continue }
            if (candidate.tag ?? "latest", candidate.digest) == (image.tag ?? "latest", image.digest) { return key }
            if candidate.tag == nil, candidate.digest == nil { anyTag = key }
        }
        return anyTag
    }
}

/// What the manifests hold.
public struct LoadResult: Sendable {
    /// The services without errors, in the order of sources and documents; a service may appear more than once.
    public var services: [ServiceObject]
    /// Every problem, sorted by source and place. Nothing should be applied if it `hasErrors`.
    public var diagnostics: [Diagnostic]
}

/// Reads manifests as `kubectl apply -f` would, and reports every problem of every file at once.
public enum ManifestLoader {
    private static let group = "serving.knative.dev"
    private static let supported = "supported: Service of serving.knative.dev/v1, and List of v1 that holds Services"
    private static let kinds = ["Service", "List"]

    /// Reads `sources` in order. A name is only used in messages.
    public static func load(
        sources: [(name: String, text: [UInt8])], options: LoadOptions = LoadOptions()
    ) -> LoadResult {
        var result = LoadResult(services: [], diagnostics: [])
        for source in sources {
            var report = Report(file: source.name, limit: options.limits.problems)
            let parsed = YAMLParser.parse(source.text, limits: options.limits)
            for problem in parsed.problems {
                report.add(.error, at: problem.mark, key: "", problem.problem, remedy: problem.remedy)
            }
            for document in parsed.documents {
                load(Field(document, path: ""), into: &result.services, &report, options: options)
            }
            if parsed.documents.isEmpty, parsed.problems.isEmpty {
                report.add(
                    .warning, at: YAMLMark(line: 1, column: 1), key: "", "the file holds no document",
                    remedy: supported)
            }
            result.diagnostics += report.diagnostics.enumerated()
                .sorted {
                    ($0.element.line, $0.element.column, $0.offset) < ($1.element.line, $1.element.column, $1.offset)
                }
                .map(\.element)
        }
        if !result.diagnostics.hasErrors { warnUnusedImages(options, &result) }
        return result
    }

    /// A mapping that no service needs is most often a slip in its reference.
    private static func warnUnusedImages(_ options: LoadOptions, _ result: inout LoadResult) {
        let used = Set(result.services.compactMap { options.mapping(forImage: $0.template.container.image) })
        for reference in options.images.keys.sorted() where !used.contains(reference) {
            result.diagnostics.append(
                Diagnostic(
                    severity: .warning, file: "--image", mark: YAMLMark(line: 0, column: 0), key: reference,
                    problem: "no service has this image", remedy: "write it as the manifest does"))
        }
    }

    private static func load(
        _ document: Field, into services: inout [ServiceObject], _ report: inout Report, options: LoadOptions
    ) {
        guard let document = report.mapping(document) else { return }
        let kind = report.string("kind", of: document)
        let version = report.string("apiVersion", of: document)
        guard let kind, let version else { return missingType(document, kind: kind, version: version, &report) }
        switch (kind, version) {
        case ("Service", group + "/v1"):
            if let service = ServiceDecoder(options: options).decode(document, into: &report) {
                services.append(service)
            }
        case ("List", "v1"):
            report.check(document, against: FieldTable(known: ["apiVersion", "kind", "metadata", "items"]))
            for item in report.list("items", of: document) {
                // A list in a list would be a way around the limit of nesting and is never written.
                if item.child("kind")?.node.text == "List" {
                    report.error(item, "a List inside a List", remedy: supported)
                } else {
                    load(item.rebased, into: &services, &report, options: options)
                }
            }
        default: unsupported(document, kind: kind, version: version, &report)
        }
    }

    private static func missingType(_ document: Field, kind: String?, version: String?, _ report: inout Report) {
        for (key, value, example) in [("apiVersion", version, group + "/v1"), ("kind", kind, "Service")] {
            // A value of another type has been reported already.
            guard value == nil, document.child(key).map({ $0.node.text.isEmpty }) ?? true else { continue }
            report.knative(
                "missing field(s)", at: document.mark, document.path(key), remedy: "write \(key): \(example)")
        }
    }

    private static func unsupported(_ document: Field, kind: String, version: String, _ report: inout Report) {
        let parts = version.split(separator: "/", omittingEmptySubsequences: false)
        var place = document.child("kind") ?? document
        var remedy = supported
        if kind == "Service" {
            place = document.child("apiVersion") ?? document
            remedy = "a Knative Service is of apiVersion \(group)/v1"
        } else if parts.first == Substring(group), let meant = nearest(to: kind, among: kinds) {
            remedy = "did you mean `\(meant)`?"
        }
        report.error(place, "\(shortened(kind)) of \(shortened(version)) is not supported", remedy: remedy)
    }
}

extension Field {
    /// The same value with paths that begin anew: messages about an item of a List read as if it stood alone, and the
    /// line tells which one it is.
    fileprivate var rebased: Field { Field(node, path: "") }
}
