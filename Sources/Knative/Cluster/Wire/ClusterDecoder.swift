/// Turns one document into a `ClusterObject`, reporting everything that is wrong with it.
///
/// Objects come from clusters with fields that nobody here reads: these are skipped. A key that is nearly one that is
/// read gives a warning, a field of the wrong type an error.
struct ClusterDecoder {
    let kind: ObjectKind

    /// Keys of real objects that are near to some that are read.
    private static let neighbours: Set<String> = [
        "clusterIPs", "podIPs", "hostIP", "hostIPs", "hostname", "hosts", "status", "data", "items", "labels",
        "finalizers", "selfLink", "uid", "tls", "httpOption", "template", "selector", "type", "subsets", "generation",
    ]

    /// - Returns: the object, or nil if any error was reported.
    func decode(_ document: Field, into report: inout Report) -> ClusterObject? {
        let errorsBefore = report.errorCount
        let object = read(document, &report)
        return report.errorCount == errorsBefore ? object : nil
    }

    private func read(_ document: Field, _ report: inout Report) -> ClusterObject? {
        let body = kind == .endpoints ? "subsets" : kind == .pod ? "status" : "spec"
        Self.suggest(document, ["apiVersion", "kind", "metadata", body], &report)
        guard let metadata = report.mapping("metadata", of: document) else {
            if document.child("metadata") == nil {
                report.error(document, "has no metadata", remedy: "set metadata.name")
            }
            return nil
        }
        Self.suggest(metadata, ["name", "namespace", "labels", "annotations"], &report)
        guard let name = Self.name(of: metadata, &report) else { return nil }
        switch kind {
        case .revision: return .revision(revision(name, document, metadata, &report))
        case .endpoints: return .endpoints(Self.endpoints(name, document, &report))
        case .service: return .service(Self.service(name, document, &report))
        case .pod: return .pod(pod(name, document, metadata, &report))
        case .ingress: return .ingress(Self.ingress(name, document, metadata, &report))
        case .podAutoscaler: return .podAutoscaler(podAutoscaler(name, document, metadata, &report))
        case .serverlessService: return .serverlessService(serverlessService(name, document, &report))
        case .scale: return .scale(scale(name, document, metadata, &report))
        }
    }

    /// Warns of keys that look like one of `known`.
    static func suggest(_ field: Field, _ known: [String], _ report: inout Report) {
        for entry in field.entries where !known.contains(entry.key) && !neighbours.contains(entry.key) {
            guard let meant = nearest(to: entry.key, among: known) else { continue }
            report.add(
                .warning, at: entry.keyMark, key: field.path(shortened(entry.key)),
                "unknown key \(quoted(entry.key)), skipped", remedy: "did you mean `\(meant)`?")
        }
    }

    // MARK: - Metadata

    /// Name and namespace; they also name files, so nothing but Kubernetes' letters may stand in them.
    static func name(of metadata: Field, _ report: inout Report) -> ObjectName? {
        let namespace = report.string("namespace", of: metadata) ?? "default"
        guard let name = report.string("name", of: metadata) else {
            if metadata.child("name").map({ $0.node.text.isEmpty }) ?? true {
                report.error(metadata, "has no name", remedy: "set metadata.name")
            }
            return nil
        }
        if !isSubdomain(name) {
            report.error(
                metadata.child("name") ?? metadata, "\(quoted(name)) is no name of an object",
                remedy: "lower case letters, digits, '-' and '.', at most 253, a letter or digit at both ends")
        }
        if !Names.isDNS1123Label(namespace) {
            report.error(
                metadata.child("namespace") ?? metadata, "\(quoted(namespace)) is no name of a namespace",
                remedy: "lower case letters, digits and '-', at most 63, a letter or digit at both ends")
        }
        return ObjectName(namespace: namespace, name: name)
    }

    /// A DNS-1123 subdomain: the rule for names of most objects.
    static func isSubdomain(_ text: String) -> Bool {
        text.utf8.count <= 253
            && text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { part in
                guard let first = part.utf8.first, let last = part.utf8.last else { return false }
                return Names.isLowerOrDigit(first) && Names.isLowerOrDigit(last)
                    && part.utf8.allSatisfy { Names.isLowerOrDigit($0) || $0 == UInt8(ascii: "-") }
            }
    }

    // MARK: - Kinds

    private func revision(
        _ name: ObjectName, _ document: Field, _ metadata: Field, _ report: inout Report
    ) -> ClusterRevision {
        var revision = ClusterRevision(name: name)
        let labels = report.stringMap("labels", of: metadata)
        revision.uid = report.string("uid", of: metadata) ?? ""
        revision.service = labels[WellKnown.service] ?? ""
        revision.configuration = labels[WellKnown.configuration] ?? ""
        revision.annotations = report.stringMap("annotations", of: metadata)
        guard let spec = report.mapping("spec", of: document) else { return revision }
        Self.suggest(
            spec,
            [
                "containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds", "idleTimeoutSeconds",
                "containers",
            ], &report)
        let bounds = 0...Int(Int32.max)
        revision.containerConcurrency = report.integer("containerConcurrency", of: spec, in: bounds) ?? 0
        revision.timeoutSeconds = report.integer("timeoutSeconds", of: spec, in: bounds) ?? 300
        revision.responseStartTimeoutSeconds =
            report.integer("responseStartTimeoutSeconds", of: spec, in: bounds) ?? 0
        revision.idleTimeoutSeconds = report.integer("idleTimeoutSeconds", of: spec, in: bounds) ?? 0
        readContainers(of: spec, into: &revision, &report)
        return revision
    }

    /// The serving container is the only one, or the one with a port.
    private func readContainers(of spec: Field, into revision: inout ClusterRevision, _ report: inout Report) {
        let containers = report.list("containers", of: spec).compactMap { report.mapping($0) }
        var serving = containers.first
        for container in containers {
            if container.child("startupProbe") != nil { revision.allowsEarlyPods = false }
            let ports = report.list("ports", of: container)
            guard let port = ports.first.flatMap({ report.mapping($0) }) else { continue }
            serving = container
            revision.containerProtocol = report.string("name", of: port) == "h2c" ? .h2c : .http1
        }
        guard let serving, let probe = report.mapping("readinessProbe", of: serving) else { return }
        if probe.child("exec") != nil { revision.allowsEarlyPods = false }
    }

    private func pod(
        _ name: ObjectName, _ document: Field, _ metadata: Field, _ report: inout Report
    ) -> ClusterPod {
        let labels = report.stringMap("labels", of: metadata)
        var pod = ClusterPod(name: name, revision: labels[WellKnown.revision] ?? "")
        pod.isTerminating = report.string("deletionTimestamp", of: metadata) != nil
        guard let status = report.mapping("status", of: document) else { return pod }
        Self.suggest(status, ["phase", "podIP", "startTime", "conditions"], &report)
        pod.ip = Self.address("podIP", of: status, &report)
        pod.isRunning = report.string("phase", of: status) == "Running"
        pod.startedAt = Self.time("startTime", of: status, &report)
        pod.isReady = Self.condition("Ready", of: status, &report)?.isTrue ?? false
        return pod
    }

    private func podAutoscaler(
        _ name: ObjectName, _ document: Field, _ metadata: Field, _ report: inout Report
    ) -> PodAutoscaler {
        var object = PodAutoscaler(name: name)
        object.annotations = report.stringMap("annotations", of: metadata)
        if let spec = report.mapping("spec", of: document) {
            Self.suggest(spec, ["containerConcurrency", "reachability", "protocolType", "scaleTargetRef"], &report)
            let bounds = 0...Int(Int32.max)
            object.containerConcurrency = report.integer("containerConcurrency", of: spec, in: bounds) ?? 0
            object.isReachable = report.string("reachability", of: spec) != "Unreachable"
            object.containerProtocol = report.string("protocolType", of: spec) == "h2c" ? .h2c : .http1
        }
        guard let status = report.mapping("status", of: document) else { return object }
        Self.suggest(status, ["desiredScale", "actualScale", "conditions"], &report)
        object.status.desiredScale = report.integer("desiredScale", of: status, in: -1...Int(Int32.max))
        object.status.actualScale = report.integer("actualScale", of: status, in: 0...Int(Int32.max)) ?? 0
        if let active = Self.condition("Active", of: status, &report) {
            object.status.active = active.status
            object.status.reason = active.reason
        }
        object.status.isInitialized = Self.condition("ScaleTargetInitialized", of: status, &report)?.isTrue ?? false
        return object
    }

    private func serverlessService(
        _ name: ObjectName, _ document: Field, _ report: inout Report
    ) -> ServerlessService {
        var object = ServerlessService(name: name)
        if let spec = report.mapping("spec", of: document) {
            Self.suggest(spec, ["mode", "numActivators"], &report)
            let mode = report.string("mode", of: spec) ?? "Serve"
            if mode != "Proxy", mode != "Serve" {
                report.error(spec.child("mode") ?? spec, "unknown mode \(quoted(mode))", remedy: "Proxy or Serve")
            }
            object.isProxy = mode == "Proxy"
            object.activatorCount = report.integer("numActivators", of: spec, in: 0...Int(Int32.max)) ?? 0
        }
        guard let status = report.mapping("status", of: document) else { return object }
        if let populated = Self.condition(WellKnown.activatorEndpoints, of: status, &report), populated.isTrue {
            object.proxySince = populated.since ?? 0
        }
        return object
    }

    private func scale(
        _ name: ObjectName, _ document: Field, _ metadata: Field, _ report: inout Report
    ) -> ClusterScale {
        var scale = ClusterScale(name: name, replicas: 0)
        scale.explanation = report.stringMap("annotations", of: metadata)[WellKnown.explanation] ?? ""
        guard let spec = report.mapping("spec", of: document) else { return scale }
        Self.suggest(spec, ["replicas"], &report)
        scale.replicas = report.integer("replicas", of: spec, in: 0...Int(Int32.max)) ?? 0
        return scale
    }

    // MARK: - Values

    /// A condition of a status.
    struct Condition {
        let status: String
        let reason: String
        let since: Int64?
        var isTrue: Bool { status == "True" }
    }

    /// The condition of this type; nil if there is none.
    static func condition(_ type: String, of status: Field, _ report: inout Report) -> Condition? {
        for element in status.child("conditions") == nil ? [] : report.list("conditions", of: status) {
            guard case .mapping = element.node.content, element.node["type"]?.text == type else { continue }
            return Condition(
                status: report.string("status", of: element) ?? "Unknown",
                reason: report.string("reason", of: element) ?? "",
                since: time("lastTransitionTime", of: element, &report))
        }
        return nil
    }

    static func time(_ key: String, of parent: Field, _ report: inout Report) -> Int64? {
        guard let text = report.string(key, of: parent) else { return nil }
        if let seconds = RFC3339.seconds(text) { return seconds }
        report.error(
            parent.child(key) ?? parent, "\(quoted(text)) is no time", remedy: "as 2026-11-21T17:05:19Z (RFC 3339)")
        return nil
    }

    /// The IPv4 address at `key`; nil for none and for IPv6, which is skipped with a warning.
    static func address(_ key: String, of parent: Field, _ report: inout Report) -> UInt32? {
        parent.child(key).flatMap { address($0, &report) }
    }

    /// The same of a value.
    static func address(_ field: Field, _ report: inout Report) -> UInt32? {
        guard let text = report.string(field), !text.isEmpty else { return nil }
        if let address = IPv4.parse(text) { return address }
        if text.contains(":") {
            report.warn(field, "\(quoted(text)) is skipped", remedy: "only IPv4 addresses are used")
        } else {
            report.error(field, "\(quoted(text)) is no address", remedy: "an IPv4 address as 10.0.0.1")
        }
        return nil
    }
}
