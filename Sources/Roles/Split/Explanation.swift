import ClusterLink
import Knative

/// The text of `martlet explain`: what the autoscaler was told, what it decided, and by which rule.
enum Explanation {
    /// `name` is `namespace/revision`, a revision of the namespace `default`, or empty for all.
    static func answer(_ name: String, in store: ObjectStore) -> LinkAnswer {
        let scales = store.all([.scale]).map(\.name)
        guard !name.isEmpty else {
            let all = scales.flatMap { lines(of: $0, in: store) }
            return .lines(all.isEmpty ? ["no revision has been scaled yet"] : all)
        }
        let parts = name.split(separator: "/", maxSplits: 1).map(String.init)
        let wanted =
            parts.count == 2
            ? ObjectName(namespace: parts[0], name: parts[1]) : ObjectName(namespace: "default", name: name)
        guard scales.contains(wanted) else {
            let known = scales.map(\.description)
            let hint = nearest(to: "\(wanted)", among: known).map { "; did you mean \($0)?" } ?? ""
            let names = known.isEmpty ? "none has been scaled yet" : "known: " + known.joined(separator: ", ")
            return .refused("no revision \(wanted)\(hint)\n\(names)")
        }
        return .lines(lines(of: wanted, in: store))
    }

    private static func lines(of name: ObjectName, in store: ObjectStore) -> [String] {
        var lines = ["\(name)"]
        if case .scale(let scale)? = store[ObjectKey(.scale, name)] {
            lines.append("  scale      \(scale.replicas)")
            if !scale.explanation.isEmpty { lines.append("  because    \(scale.explanation)") }
        }
        if case .podAutoscaler(let autoscaler)? = store[ObjectKey(.podAutoscaler, name)] {
            let status = autoscaler.status
            let reason = status.reason.isEmpty ? "" : " (\(status.reason))"
            lines.append("  active     \(status.active)\(reason)")
            let wanted = status.desiredScale.map { "\($0)" } ?? "never decided"
            lines.append("  status     desired \(wanted), actual \(status.actualScale)")
            let limit = autoscaler.containerConcurrency
            lines.append("  settings   container concurrency \(limit == 0 ? "unlimited" : "\(limit)")")
            if !autoscaler.isReachable { lines.append("  settings   no traffic leads here") }
            for (key, value) in autoscaler.annotations.sorted(by: { $0.key < $1.key })
            where key.hasPrefix("autoscaling.") { lines.append("  settings   \(key)=\(value)") }
        }
        if case .serverlessService(let service)? = store[ObjectKey(.serverlessService, name)] {
            let count = service.activatorCount == 0 ? "all" : "\(service.activatorCount)"
            let actual = service.proxySince == nil ? "to pods" : "through activators"
            lines.append(
                "  mode       \(service.isProxy ? "Proxy" : "Serve"), activators \(count); requests go \(actual)")
        }
        if case .endpoints(let pods)? = store[ObjectKey(.endpoints, name.with(suffix: "-private"))] {
            let ready = pods.addresses.count(where: \.isReady)
            lines.append("  pods       \(ready) ready, \(pods.addresses.count - ready) starting")
        }
        return lines
    }
}
