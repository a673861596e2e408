@testable import Knative

/// Where a line of a test's own goes in the sample manifest.
enum Spot {
    case metadata, spec, templateMetadata, revisionSpec, container
}

/// A valid Service named hello, 12 lines and `extra`, which is given without indentation.
///
/// The extra line is number 5 in `metadata`, 10 in `templateMetadata`, 12 in `revisionSpec`, 13 in `container`, 13 in
/// `spec`.
func manifest(_ extra: String = "", at spot: Spot = .container) -> String {
    func lines(_ here: Spot, indent: Int) -> [String] {
        guard here == spot, !extra.isEmpty else { return [] }
        return extra.split(separator: "\n", omittingEmptySubsequences: false)
            .map { String(repeating: " ", count: indent) + $0 }
    }
    let parts: [[String]] = [
        ["apiVersion: serving.knative.dev/v1", "kind: Service", "metadata:", "  name: hello"],
        lines(.metadata, indent: 2),
        ["spec:", "  template:", "    metadata:", "      labels: {app: hello}"],
        lines(.templateMetadata, indent: 6),
        ["    spec:"],
        lines(.revisionSpec, indent: 6),
        ["      containers:", "      - image: example.com/hello:1", "        command: [hello]"],
        lines(.container, indent: 8),
        lines(.spec, indent: 2),
    ]
    return parts.flatMap { $0 }.joined(separator: "\n") + "\n"
}

func load(_ text: String, _ options: LoadOptions = LoadOptions()) -> LoadResult {
    ManifestLoader.load(sources: [("f.yaml", Array(text.utf8))], options: options)
}

func messages(_ text: String, _ options: LoadOptions = LoadOptions()) -> [String] {
    load(text, options).diagnostics.map(\.description)
}
