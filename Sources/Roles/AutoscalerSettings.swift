import Knative
import Scaling

/// Reads Knative's ConfigMap `config-autoscaler` as the command line gives it.
enum AutoscalerSettings {
    /// The settings of entries `KEY=VALUE` and of files with the whole ConfigMap. The later of two wins, and entries
    /// win over files. Every problem is appended, each a sentence for the user.
    static func read(
        entries: [String], files: [String] = [], option: String = "--config-autoscaler", _ problems: inout [String]
    ) -> ScalingConfig {
        var data: [String: String] = [:]
        for file in files { readFile(file, into: &data, &problems) }
        for entry in entries {
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2 else {
                problems.append("\(option) \(entry): expected KEY=VALUE, for example stable-window=30s")
                continue
            }
            guard isKnown(parts[0], "\(option) \(entry)", &problems) else { continue }
            data[parts[0]] = parts[1]
        }
        var found: [ScalingProblem] = []
        let config = ScalingConfig(parsing: data, problems: &found)
        problems += found.map { "\(option) " + $0.rendered(under: "") }
        return config
    }

    private static func isKnown(_ key: String, _ place: String, _ problems: inout [String]) -> Bool {
        guard !ScalingConfig.keys.contains(key) else { return true }
        let hint = nearest(to: key, among: ScalingConfig.keys).map { "; did you mean `\($0)`?" } ?? ""
        problems.append("\(place): unknown key \(key)\(hint)")
        return false
    }

    /// A file with the ConfigMap or with its `data` alone. `_example` is Knative's own documentation.
    private static func readFile(_ path: String, into data: inout [String: String], _ problems: inout [String]) {
        let read = ManifestFiles(paths: [path]).read()
        problems += read.diagnostics.map { "--config: \($0)" }
        guard let text = read.sources.first?.text, read.diagnostics.isEmpty else { return }
        let parsed = YAMLParser.parse(text)
        problems += parsed.problems.map { "--config \(path): \($0)" }
        guard parsed.problems.isEmpty else { return }
        guard parsed.documents.count == 1, let document = parsed.documents.first else {
            return problems.append(
                "--config \(path): expected one ConfigMap, found \(parsed.documents.count) documents")
        }
        let map = document["data"] ?? document
        guard case .mapping(let entries) = map.content else {
            return problems.append("--config \(path): expected keys and values under `data`")
        }
        for entry in entries where entry.key != "_example" {
            let place = "--config \(path):\(entry.keyMark.line):\(entry.keyMark.column)"
            guard case .scalar = entry.value.content else {
                problems.append("\(place): \(entry.key): expected a value")
                continue
            }
            if isKnown(entry.key, place, &problems) { data[entry.key] = entry.value.text }
        }
    }
}

extension AllInOneOptions {
    /// Takes on entries of Knative's ConfigMap `config-autoscaler`, each `KEY=VALUE`.
    ///
    /// Every problem is appended, each a sentence for the user. `allowZeroInitialScale` is short for the key of that
    /// name.
    public mutating func setAutoscaler(
        _ arguments: [String], allowZeroInitialScale: Bool, _ problems: inout [String]
    ) {
        let entries = arguments + (allowZeroInitialScale ? ["allow-zero-initial-scale=true"] : [])
        control.scaling = AutoscalerSettings.read(entries: entries, &problems)
        // What the autoscaler allows is what a manifest may ask for.
        workload.load.defaults.allowZeroInitialScale = control.scaling.allowsZeroInitialScale
        workload.load.defaults.maxScaleLimit = control.scaling.maxScaleLimit
    }
}
