/// Ingress objects on the wire (spec/dataplane 5.1).
extension ClusterObject {
    static func parts(
        _ object: ClusterIngress
    ) -> (metadata: JSONTree, spec: JSONTree?, status: JSONTree?, rest: [(String, JSONTree?)]) {
        let metadata = JSONTree.object([
            ("name", .string(object.name.name)), ("namespace", .string(object.name.namespace)),
            ("generation", object.generation == 0 ? nil : .integer(object.generation)),
            ("creationTimestamp", object.createdAt.map { JSONTree.string(RFC3339.text($0)) }),
        ])
        let spec = JSONTree.object([
            ("httpOption", object.httpOption.map { JSONTree.string($0.rawValue) }),
            ("tls", .nonempty(object.tls.map(tree))),
            ("rules", .list(object.rules.map(tree))),
        ])
        return (metadata, spec, object.status.map(tree), [])
    }

    private static func tree(_ status: ClusterIngress.Status) -> JSONTree {
        .object([
            ("observedGeneration", .integer(status.observedGeneration)),
            ("conditions", .list([condition("Ready", status.isReady ? "True" : "Unknown")])),
        ])
    }

    private static func tree(_ tls: ClusterIngress.TLS) -> JSONTree {
        .object([
            ("hosts", .nonempty(tls.hosts.map { .string($0) })), ("secretName", .nonempty(tls.secretName)),
            ("secretNamespace", .nonempty(tls.secretNamespace)),
        ])
    }

    private static func tree(_ rule: ClusterIngress.Rule) -> JSONTree {
        .object([
            ("hosts", .nonempty(rule.hosts.map { .string($0) })),
            ("visibility", .string(rule.isClusterLocal ? "ClusterLocal" : "ExternalIP")),
            ("http", .object([("paths", .list(rule.paths.map(tree)))])),
        ])
    }

    private static func tree(_ path: ClusterIngress.Path) -> JSONTree {
        let headers = path.headers.sorted { $0.key < $1.key }.map { name, value -> (String, JSONTree?) in
            (name, JSONTree?.some(.object([("exact", .string(value))])))
        }
        return .object([
            ("path", .nonempty(path.path)), ("rewriteHost", path.rewriteHost.map { JSONTree.string($0) }),
            ("headers", headers.isEmpty ? nil : .object(headers)), ("splits", .list(path.splits.map(tree))),
            ("appendHeaders", .strings(path.appendHeaders)),
        ])
    }

    private static func tree(_ split: ClusterIngress.Split) -> JSONTree {
        .object([
            ("serviceNamespace", .string(split.service.namespace)), ("serviceName", .string(split.service.name)),
            ("servicePort", .integer(Int(split.port))), ("percent", .integer(split.percent)),
            ("appendHeaders", .strings(split.appendHeaders)),
        ])
    }
}
