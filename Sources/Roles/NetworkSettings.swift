import Knative

/// Reads what a role uses of Knative's ConfigMap `config-network` as the command line gives it.
enum NetworkSettings {
    /// How pods are reached.
    struct Reach: Equatable {
        /// `mesh-compatibility-mode`.
        var meshMode = MeshMode.auto
        /// `enable-mesh-pod-addressability`.
        var isPodAddressable = false
    }

    static let meshKey = "mesh-compatibility-mode"
    static let addressabilityKey = "enable-mesh-pod-addressability"

    /// The settings of entries `KEY=VALUE`, of which the later of two wins, and of `meshMode`, which wins over them.
    /// Every problem is appended, each a sentence for the user.
    static func read(_ entries: [String], meshMode: String?, _ problems: inout [String]) -> Reach {
        var reach = Reach()
        for entry in entries {
            let place = "--config-network \(entry)"
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2 else {
                problems.append("\(place): expected KEY=VALUE, for example \(meshKey)=enabled")
                continue
            }
            switch parts[0] {
            case meshKey: reach.meshMode = mode(parts[1], place, &problems) ?? reach.meshMode
            case addressabilityKey:
                switch parts[1].lowercased() {
                case "true": reach.isPodAddressable = true
                case "false": reach.isPodAddressable = false
                case _: problems.append("\(place): expected true or false")
                }
            case let key:
                let hint = nearest(to: key, among: [meshKey, addressabilityKey]).map { "did you mean `\($0)`?" }
                problems.append("\(place): not read here; \(hint ?? "what is read: \(meshKey), \(addressabilityKey)")")
            }
        }
        if let meshMode { reach.meshMode = mode(meshMode, "--mesh-mode \(meshMode)", &problems) ?? reach.meshMode }
        return reach
    }

    /// Letters of either case, as Knative takes them.
    private static func mode(_ text: String, _ place: String, _ problems: inout [String]) -> MeshMode? {
        if let mode = MeshMode(rawValue: text.lowercased()) { return mode }
        problems.append("\(place): expected auto, enabled or disabled")
        return nil
    }
}

extension AutoscalerRoleOptions {
    /// Takes on entries of Knative's ConfigMap `config-network`, each `KEY=VALUE`, and a mesh mode, which wins.
    ///
    /// Every problem is appended, each a sentence for the user.
    public mutating func setNetwork(_ entries: [String], meshMode: String?, _ problems: inout [String]) {
        let reach = NetworkSettings.read(entries, meshMode: meshMode, &problems)
        (engine.meshMode, engine.isPodAddressable) = (reach.meshMode, reach.isPodAddressable)
    }
}
