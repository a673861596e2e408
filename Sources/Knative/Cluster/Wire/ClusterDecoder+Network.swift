/// Endpoints, Services and Ingresses.
extension ClusterDecoder {
    static func endpoints(_ name: ObjectName, _ document: Field, _ report: inout Report) -> ClusterEndpoints {
        var endpoints = ClusterEndpoints(name: name)
        for element in report.list("subsets", of: document) {
            guard let subset = report.mapping(element) else { continue }
            suggest(subset, ["addresses", "notReadyAddresses", "ports"], &report)
            let ports = ports(of: subset, &report)
            for (key, isReady) in [("addresses", true), ("notReadyAddresses", false)] {
                for place in report.list(key, of: subset) {
                    guard let field = report.mapping(place) else { continue }
                    suggest(field, ["ip", "targetRef", "nodeName"], &report)
                    if field.child("ip") == nil { report.error(field, "has no ip", remedy: "an address as 10.0.0.1") }
                    guard let ip = address("ip", of: field, &report) else { continue }
                    let target = report.mapping("targetRef", of: field)
                    let pod = target.flatMap { report.string("name", of: $0) } ?? ""
                    endpoints.addresses.append(.init(ip: ip, isReady: isReady, podName: pod, ports: ports))
                }
            }
        }
        return endpoints
    }

    /// TCP ports by name. One without a number stands for all of a slice, and is skipped.
    static func ports(
        of parent: Field, isNumberNeeded: Bool = true, _ report: inout Report
    ) -> [String: UInt16] {
        var ports: [String: UInt16] = [:]
        for element in report.list("ports", of: parent) {
            guard let field = report.mapping(element) else { continue }
            suggest(field, ["name", "port", "protocol", "appProtocol", "nodePort", "targetPort"], &report)
            let transport = report.string("protocol", of: field) ?? "TCP"
            guard let port = report.integer("port", of: field, in: 1...65_535) else {
                if field.child("port") == nil, isNumberNeeded {
                    report.error(field, "has no port", remedy: "a number, 1 to 65535")
                }
                continue
            }
            let name = report.string("name", of: field) ?? ""
            if transport == "TCP" { ports[name] = UInt16(port) }
        }
        return ports
    }

    static func service(_ name: ObjectName, _ document: Field, _ report: inout Report) -> ClusterService {
        var service = ClusterService(name: name)
        guard let spec = report.mapping("spec", of: document) else { return service }
        suggest(spec, ["clusterIP", "ports"], &report)
        if report.string("clusterIP", of: spec) != "None" {
            service.clusterIP = address("clusterIP", of: spec, &report)
        }
        service.ports = ports(of: spec, &report)
        return service
    }

    static func ingress(
        _ name: ObjectName, _ document: Field, _ metadata: Field, _ report: inout Report
    ) -> ClusterIngress {
        var ingress = ClusterIngress(name: name)
        ingress.createdAt = time("creationTimestamp", of: metadata, &report)
        ingress.generation = report.integer("generation", of: metadata, in: 0...Int.max) ?? 0
        if let status = report.mapping("status", of: document),
            let observed = report.integer("observedGeneration", of: status, in: 0...Int.max)
        {
            let isReady = condition("Ready", of: status, &report)?.isTrue ?? false
            ingress.status = .init(observedGeneration: observed, isReady: isReady)
        }
        guard let spec = report.mapping("spec", of: document) else { return ingress }
        suggest(spec, ["rules", "tls", "httpOption"], &report)
        if let option = report.string("httpOption", of: spec) {
            ingress.httpOption = ClusterIngress.HTTPOption(rawValue: option)
            if ingress.httpOption == nil {
                report.error(
                    spec.child("httpOption") ?? spec, "unknown httpOption \(quoted(option))",
                    remedy: "Enabled or Redirected")
            }
        }
        for element in report.list("tls", of: spec) {
            guard let field = report.mapping(element) else { continue }
            ingress.tls.append(
                .init(
                    hosts: report.strings("hosts", of: field),
                    secretName: report.string("secretName", of: field) ?? "",
                    secretNamespace: report.string("secretNamespace", of: field) ?? ""))
        }
        for element in report.list("rules", of: spec) {
            guard let field = report.mapping(element) else { continue }
            ingress.rules.append(rule(field, namespace: name.namespace, &report))
        }
        return ingress
    }

    private static func rule(
        _ field: Field, namespace: String, _ report: inout Report
    ) -> ClusterIngress.Rule {
        suggest(field, ["hosts", "visibility", "http"], &report)
        let visibility = report.string("visibility", of: field) ?? "ExternalIP"
        if visibility != "ExternalIP", visibility != "ClusterLocal" {
            report.error(
                field.child("visibility") ?? field, "unknown visibility \(quoted(visibility))",
                remedy: "ExternalIP or ClusterLocal")
        }
        var rule = ClusterIngress.Rule(hosts: report.strings("hosts", of: field), paths: [])
        rule.isClusterLocal = visibility == "ClusterLocal"
        let errorsBefore = report.errorCount
        let http = report.mapping("http", of: field)
        let paths = http.map { report.list("paths", of: $0) } ?? []
        if paths.isEmpty, report.errorCount == errorsBefore {
            report.error(field, "has no http.paths", remedy: "add one")
        }
        rule.paths = paths.compactMap { path($0, namespace: namespace, &report) }
        return rule
    }

    private static func path(
        _ element: Field, namespace: String, _ report: inout Report
    ) -> ClusterIngress.Path? {
        guard let field = report.mapping(element) else { return nil }
        suggest(field, ["path", "rewriteHost", "headers", "appendHeaders", "splits"], &report)
        var path = ClusterIngress.Path(splits: [])
        path.path = report.string("path", of: field) ?? ""
        path.rewriteHost = report.string("rewriteHost", of: field)
        path.appendHeaders = report.stringMap("appendHeaders", of: field)
        for entry in report.mapping("headers", of: field)?.entries ?? [] {
            let match = Field(entry.value, path: field.path("headers") + "." + shortened(entry.key))
            guard let match = report.mapping(match) else { continue }
            path.headers[entry.key] = report.string("exact", of: match) ?? ""
        }
        let splits = report.list("splits", of: field)
        if splits.isEmpty, field.child("splits").map(\.elements.isEmpty) ?? true {
            report.error(field, "has no splits", remedy: "name at least one service")
        }
        path.splits = splits.compactMap { split($0, namespace: namespace, isOnly: splits.count == 1, &report) }
        let sum = path.splits.reduce(0) { $0 + $1.percent }
        if sum != 100, !path.splits.isEmpty, path.splits.count == splits.count {
            report.error(field.child("splits") ?? field, "percents sum to \(sum)", remedy: "they must sum to 100")
        }
        return path
    }

    private static func split(
        _ element: Field, namespace: String, isOnly: Bool, _ report: inout Report
    ) -> ClusterIngress.Split? {
        guard let field = report.mapping(element) else { return nil }
        suggest(
            field, ["serviceNamespace", "serviceName", "servicePort", "percent", "appendHeaders"], &report)
        let space = report.string("serviceNamespace", of: field) ?? namespace
        guard let name = report.string("serviceName", of: field) else {
            report.error(field, "has no serviceName", remedy: "name a service")
            return nil
        }
        let percent = report.integer("percent", of: field, in: 0...100) ?? 0
        return ClusterIngress.Split(
            service: ObjectName(namespace: space, name: name), port: port(of: field, &report),
            percent: isOnly && percent == 0 ? 100 : percent,
            appendHeaders: report.stringMap("appendHeaders", of: field))
    }

    /// `servicePort`: a number, or 80 for any name.
    private static func port(of field: Field, _ report: inout Report) -> UInt16 {
        if let place = field.child("servicePort"), case .scalar(.string) = place.node.content { return 80 }
        return UInt16(report.integer("servicePort", of: field, in: 0...65_535) ?? 80)
    }
}
