/// EndpointSlices.
extension ClusterDecoder {
    /// The kind, which no role writes or watches by itself: slices become `Endpoints`.
    static let sliceKind = "EndpointSlice"
    static let sliceVersion = "discovery.k8s.io/v1"
    /// The conditions of an endpoint that is there to stay: both say whether it is ready.
    static let sliceConditions = ["ready", "serving"]

    /// Whether a document says that it is one.
    static func isSlice(_ document: Field) -> Bool {
        guard case .mapping = document.node.content else { return false }
        return document.node["kind"]?.text == sliceKind && document.node["apiVersion"]?.text == sliceVersion
    }

    /// A slice; nil if any error was reported, or, with a warning, if no service owns it.
    static func slice(_ document: Field, _ report: inout Report) -> EndpointSlice? {
        let errorsBefore = report.errorCount
        suggest(document, ["apiVersion", "kind", "metadata", "addressType", "endpoints", "ports"], &report)
        guard let metadata = report.mapping("metadata", of: document), let name = name(of: metadata, &report) else {
            if document.child("metadata") == nil {
                report.error(document, "has no metadata", remedy: "set metadata.name")
            }
            return nil
        }
        guard let service = report.stringMap("labels", of: metadata)[WellKnown.sliceService] else {
            report.warn(
                metadata, "the slice is skipped", remedy: "its label \(WellKnown.sliceService) names the service")
            return nil
        }
        guard isSubdomain(service) else {
            report.error(
                metadata.child("labels") ?? metadata, "\(quoted(service)) is no name of a service",
                remedy: "lower case letters, digits and '-'")
            return nil
        }
        var slice = EndpointSlice(name: name, service: ObjectName(namespace: name.namespace, name: service))
        let type = report.string("addressType", of: document) ?? "IPv4"
        guard type == "IPv4" else {
            // The service may have slices of both families: this one adds nothing.
            report.warn(
                document.child("addressType") ?? document, "addresses of type \(quoted(type)) are skipped",
                remedy: "only IPv4 addresses are used")
            return slice
        }
        let ports = ports(of: document, isNumberNeeded: false, &report)
        for element in report.list("endpoints", of: document) {
            guard let field = report.mapping(element) else { continue }
            if let address = endpoint(field, ports, &report) { slice.addresses.append(address) }
        }
        return report.errorCount == errorsBefore ? slice : nil
    }

    /// One endpoint; nil for one that `Endpoints` would not list: it ends, and is not ready.
    private static func endpoint(
        _ field: Field, _ ports: [String: UInt16], _ report: inout Report
    ) -> ClusterEndpoints.Address? {
        suggest(field, ["addresses", "conditions", "targetRef", "nodeName", "hostname", "zone", "hints"], &report)
        let conditions = report.mapping("conditions", of: field)
        func condition(_ key: String) -> Bool? {
            guard let conditions, conditions.child(key)?.node.isNull == false else { return nil }
            return report.boolean(key, of: conditions)
        }
        let isTerminating = condition("terminating") ?? false
        let isServing = condition("serving")
        // Unknown is ready (the API's words); `ready` says less than `serving` only of what ends.
        let isReady = condition("ready") ?? ((isServing ?? true) && !isTerminating)
        let addresses = report.list("addresses", of: field)
        guard let first = addresses.first else {
            report.error(field, "has no addresses", remedy: "one address as 10.0.0.1")
            return nil
        }
        // All addresses of an endpoint are the same pod: Kubernetes' own proxies use the first.
        guard let ip = address(first, &report) else { return nil }
        guard isReady || !isTerminating else { return nil }
        let pod = report.mapping("targetRef", of: field).flatMap { report.string("name", of: $0) } ?? ""
        return .init(ip: ip, isReady: isReady, podName: pod, ports: ports)
    }
}

extension EndpointSlice {
    /// As Kubernetes writes it. The ports are those of the first address: a slice has one list of them.
    var tree: JSONTree {
        let labels = JSONTree.strings([WellKnown.sliceService: service.name])
        let metadata = JSONTree.object([
            ("name", .string(name.name)), ("namespace", .string(name.namespace)), ("labels", labels),
        ])
        let endpoints = addresses.map { address -> JSONTree in
            let conditions = ClusterDecoder.sliceConditions.map { key -> (String, JSONTree?) in
                (key, .boolean(address.isReady))
            }
            let target = JSONTree.object([("kind", .string("Pod")), ("name", .string(address.podName))])
            return .object([
                ("addresses", .list([.string(IPv4.text(address.ip))])), ("conditions", .object(conditions)),
                ("targetRef", address.podName.isEmpty ? nil : target),
            ])
        }
        let ports = (addresses.first?.ports ?? [:]).sorted { $0.key < $1.key }.map { name, port -> JSONTree in
            .object([("name", .string(name)), ("port", .integer(Int(port))), ("protocol", .string("TCP"))])
        }
        return .object([
            ("apiVersion", .string(ClusterDecoder.sliceVersion)), ("kind", .string(ClusterDecoder.sliceKind)),
            ("metadata", metadata), ("addressType", .string("IPv4")), ("endpoints", .list(endpoints)),
            ("ports", .list(ports)),
        ])
    }
}
