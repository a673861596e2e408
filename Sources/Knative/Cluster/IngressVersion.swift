/// The version of an Ingress as Knative's probers compute it (spec/dataplane 5.4).
extension ClusterIngress {
    /// Lower-case hexadecimal SHA-256 of the spec as Go prints it in JSON, the namespace and the name, after Knative's
    /// defaults.
    public var version: String { version(withDefaults: true) }

    func version(withDefaults: Bool) -> String {
        let text = spec(withDefaults: withDefaults) + name.namespace + name.name
        return SHA256.hexDigest(Array(text.utf8))
    }

    private func spec(withDefaults: Bool) -> String {
        var members: [String] = []
        if !tls.isEmpty { members.append("\"tls\":" + GoJSON.list(tls.map { $0.json })) }
        if !rules.isEmpty {
            members.append("\"rules\":" + GoJSON.list(rules.map { $0.json(withDefaults: withDefaults) }))
        }
        if let httpOption { members.append("\"httpOption\":" + GoJSON.text(httpOption.rawValue)) }
        return GoJSON.object(members)
    }
}

extension ClusterIngress.TLS {
    fileprivate var json: String {
        var members: [String] = []
        if !hosts.isEmpty { members.append("\"hosts\":" + GoJSON.list(hosts.map(GoJSON.text))) }
        if !secretName.isEmpty { members.append("\"secretName\":" + GoJSON.text(secretName)) }
        if !secretNamespace.isEmpty { members.append("\"secretNamespace\":" + GoJSON.text(secretNamespace)) }
        return GoJSON.object(members)
    }
}

extension ClusterIngress.Rule {
    fileprivate func json(withDefaults: Bool) -> String {
        var members: [String] = []
        if !hosts.isEmpty { members.append("\"hosts\":" + GoJSON.list(hosts.map(GoJSON.text))) }
        let visibility = isClusterLocal ? "ClusterLocal" : "ExternalIP"
        if isClusterLocal || withDefaults { members.append("\"visibility\":" + GoJSON.text(visibility)) }
        let paths = GoJSON.list(paths.map { $0.json(withDefaults: withDefaults) })
        members.append("\"http\":" + GoJSON.object(["\"paths\":" + paths]))
        return GoJSON.object(members)
    }
}

extension ClusterIngress.Path {
    fileprivate func json(withDefaults: Bool) -> String {
        var members: [String] = []
        if !path.isEmpty { members.append("\"path\":" + GoJSON.text(path)) }
        if let rewriteHost, !rewriteHost.isEmpty { members.append("\"rewriteHost\":" + GoJSON.text(rewriteHost)) }
        if !headers.isEmpty {
            let matches = headers.mapValues { "{\"exact\":" + GoJSON.text($0) + "}" }
            members.append("\"headers\":" + GoJSON.map(matches))
        }
        let isOnly = withDefaults && splits.count == 1
        members.append("\"splits\":" + GoJSON.list(splits.map { $0.json(isOnly: isOnly) }))
        if !appendHeaders.isEmpty {
            members.append("\"appendHeaders\":" + GoJSON.map(appendHeaders.mapValues(GoJSON.text)))
        }
        return GoJSON.object(members)
    }
}

extension ClusterIngress.Split {
    fileprivate func json(isOnly: Bool) -> String {
        var members = [
            "\"serviceNamespace\":" + GoJSON.text(service.namespace), "\"serviceName\":" + GoJSON.text(service.name),
            "\"servicePort\":\(port)",
        ]
        let share = isOnly && percent == 0 ? 100 : percent
        if share != 0 { members.append("\"percent\":\(share)") }
        if !appendHeaders.isEmpty {
            members.append("\"appendHeaders\":" + GoJSON.map(appendHeaders.mapValues(GoJSON.text)))
        }
        return GoJSON.object(members)
    }
}

/// JSON to the byte as Go's encoding/json prints it.
private enum GoJSON {
    static func object(_ members: [String]) -> String { "{" + members.joined(separator: ",") + "}" }
    static func list(_ values: [String]) -> String { "[" + values.joined(separator: ",") + "]" }

    /// Keys in the order of their bytes. The values are JSON already.
    static func map(_ values: [String: String]) -> String {
        let sorted = values.sorted { Array($0.key.utf8).lexicographicallyPrecedes(Array($1.key.utf8)) }
        return object(sorted.map { text($0.key) + ":" + $0.value })
    }

    static func text(_ value: String) -> String {
        var result = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\u{8}": result += "\\b"
            case "\u{C}": result += "\\f"
            case "<", ">", "&", "\u{2028}", "\u{2029}": result += escaped(scalar)
            default: if scalar.value < 0x20 { result += escaped(scalar) } else { result.unicodeScalars.append(scalar) }
            }
        }
        return result + "\""
    }

    private static func escaped(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16)
        return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }
}
