/// Writes objects in Kubernetes' own form, on one line.
extension ClusterObject {
    /// The object as JSON without a line's end. `ClusterLoader` reads an equal object from it.
    public var json: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(512)
        tree.write(to: &bytes)
        return bytes
    }

    var tree: JSONTree {
        let (metadata, spec, status, rest) = parts
        var fields: [(String, JSONTree?)] = [
            ("apiVersion", .string(kind.apiVersion)), ("kind", .string(kind.rawValue)), ("metadata", metadata),
        ]
        fields += rest
        return .object(fields + [("spec", spec), ("status", status)])
    }

    private typealias Parts = (
        metadata: JSONTree, spec: JSONTree?, status: JSONTree?, rest: [(String, JSONTree?)]
    )

    private var parts: Parts {
        switch self {
        case .revision(let object): Self.parts(object)
        case .endpoints(let object): Self.parts(object)
        case .service(let object): Self.parts(object)
        case .pod(let object): Self.parts(object)
        case .ingress(let object): Self.parts(object)
        case .podAutoscaler(let object): Self.parts(object)
        case .serverlessService(let object): Self.parts(object)
        case .scale(let object): Self.parts(object)
        }
    }

    private static func metadata(
        _ name: ObjectName, labels: [String: String] = [:], annotations: [String: String] = [:],
        _ more: [(String, JSONTree?)] = []
    ) -> JSONTree {
        .object(
            [
                ("name", .string(name.name)), ("namespace", .string(name.namespace)),
                ("labels", .strings(labels)), ("annotations", .strings(annotations)),
            ] + more)
    }

    private static func parts(_ object: ClusterRevision) -> Parts {
        var labels: [String: String] = [:]
        if !object.service.isEmpty { labels[WellKnown.service] = object.service }
        if !object.configuration.isEmpty { labels[WellKnown.configuration] = object.configuration }
        let metadata = metadata(
            object.name, labels: labels, annotations: object.annotations, [("uid", .nonempty(object.uid))])
        let port = JSONTree.object([
            ("containerPort", .integer(8080)), ("name", .string(object.containerProtocol.rawValue)),
        ])
        // Any exec probe says it: only that there is one is read.
        let probe = JSONTree.object([("exec", .object([("command", .list([.string("true")]))]))])
        let container = JSONTree.object([
            ("name", .string("user-container")), ("ports", .list([port])),
            ("readinessProbe", object.allowsEarlyPods ? nil : probe),
        ])
        let spec = JSONTree.object([
            ("containerConcurrency", .integer(object.containerConcurrency)), ("containers", .list([container])),
            ("timeoutSeconds", .integer(object.timeoutSeconds)),
            ("responseStartTimeoutSeconds", .integer(object.responseStartTimeoutSeconds)),
            ("idleTimeoutSeconds", .integer(object.idleTimeoutSeconds)),
        ])
        return (metadata, spec, nil, [])
    }

    private static func parts(_ object: ClusterEndpoints) -> Parts {
        var subsets: [ArraySlice<ClusterEndpoints.Address>] = []
        for (index, address) in object.addresses.enumerated() {
            // A subset lists what is ready before what is not, and its ports are those of all.
            if let last = subsets.last?.last, last.ports == address.ports, last.isReady || !address.isReady {
                subsets[subsets.count - 1] = object.addresses[(subsets[subsets.count - 1].startIndex)...index]
            } else {
                subsets.append(object.addresses[index...index])
            }
        }
        let list = subsets.map { tree(subset: $0, namespace: object.name.namespace) }
        return (metadata(object.name), nil, nil, [("subsets", .list(list))])
    }

    private static func tree(subset: ArraySlice<ClusterEndpoints.Address>, namespace: String) -> JSONTree {
        func addresses(_ isReady: Bool) -> JSONTree? {
            JSONTree.nonempty(
                subset.filter { $0.isReady == isReady }.map { address -> JSONTree in
                    let target = JSONTree.object([
                        ("kind", .string("Pod")), ("name", .string(address.podName)),
                        ("namespace", .string(namespace)),
                    ])
                    return .object([
                        ("ip", .string(IPv4.text(address.ip))), ("targetRef", address.podName.isEmpty ? nil : target),
                    ])
                })
        }
        return .object([
            ("addresses", addresses(true)), ("notReadyAddresses", addresses(false)),
            ("ports", ports(subset.first?.ports ?? [:])),
        ])
    }

    private static func ports(_ ports: [String: UInt16]) -> JSONTree? {
        JSONTree.nonempty(
            ports.sorted { $0.key < $1.key }.map { name, port -> JSONTree in
                .object([("name", .string(name)), ("port", .integer(Int(port))), ("protocol", .string("TCP"))])
            })
    }

    private static func parts(_ object: ClusterService) -> Parts {
        let spec = JSONTree.object([
            ("clusterIP", .string(object.clusterIP.map(IPv4.text) ?? "None")), ("ports", ports(object.ports)),
        ])
        return (metadata(object.name), spec, nil, [])
    }

    private static func parts(_ object: ClusterPod) -> Parts {
        // Kubernetes says when; only that it is set is read.
        let deletion = object.isTerminating ? JSONTree.string(RFC3339.text(object.startedAt ?? 0)) : nil
        let metadata = metadata(
            object.name, labels: object.revision.isEmpty ? [:] : [WellKnown.revision: object.revision],
            [("deletionTimestamp", deletion)])
        let status = JSONTree.object([
            ("phase", .string(object.isRunning ? "Running" : "Pending")),
            ("conditions", .list([condition("Ready", object.isReady ? "True" : "False")])),
            ("podIP", object.ip.map { JSONTree.string(IPv4.text($0)) }),
            ("startTime", object.startedAt.map { JSONTree.string(RFC3339.text($0)) }),
        ])
        return (metadata, nil, status, [])
    }

    static func condition(_ type: String, _ status: String, reason: String = "", since: Int64? = nil) -> JSONTree {
        .object([
            ("type", .string(type)), ("status", .string(status)), ("reason", .nonempty(reason)),
            ("lastTransitionTime", since.map { JSONTree.string(RFC3339.text($0)) }),
        ])
    }

    private static func parts(_ object: PodAutoscaler) -> Parts {
        let target = JSONTree.object([
            ("apiVersion", .string("apps/v1")), ("kind", .string("Deployment")),
            ("name", .string(object.name.name + "-deployment")),
        ])
        let spec = JSONTree.object([
            ("containerConcurrency", .integer(object.containerConcurrency)), ("scaleTargetRef", target),
            ("reachability", .string(object.isReachable ? "Reachable" : "Unreachable")),
            ("protocolType", .string(object.containerProtocol.rawValue)),
        ])
        let status = JSONTree.object([
            (
                "conditions",
                .list([
                    condition("Active", object.status.active, reason: object.status.reason),
                    condition("ScaleTargetInitialized", object.status.isInitialized ? "True" : "Unknown"),
                ])
            ),
            ("desiredScale", object.status.desiredScale.map { JSONTree.integer($0) }),
            ("actualScale", .integer(object.status.actualScale)),
        ])
        return (metadata(object.name, annotations: object.annotations), spec, status, [])
    }

    private static func parts(_ object: ServerlessService) -> Parts {
        let spec = JSONTree.object([
            ("mode", .string(object.isProxy ? "Proxy" : "Serve")), ("numActivators", .integer(object.activatorCount)),
        ])
        let populated = condition(
            WellKnown.activatorEndpoints, object.proxySince == nil ? "False" : "True", since: object.proxySince)
        return (metadata(object.name), spec, .object([("conditions", .list([populated]))]), [])
    }

    private static func parts(_ object: ClusterScale) -> Parts {
        let annotations = object.explanation.isEmpty ? [:] : [WellKnown.explanation: object.explanation]
        return (
            metadata(object.name, annotations: annotations), .object([("replicas", .integer(object.replicas))]), nil, []
        )
    }
}
