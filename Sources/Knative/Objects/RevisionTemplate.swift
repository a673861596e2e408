/// What a revision is made of (Knative `RevisionTemplateSpec`), defaults filled in.
///
/// Equal templates make no new revision.
public struct RevisionTemplate: Hashable, Sendable {
    /// The revision's name if the user brings one; otherwise it is made from the service and its generation.
    public var name: String?
    /// Labels of the revision.
    public var labels: [String: String] = [:]
    /// Annotations of the revision, the autoscaler's among them, validated.
    public var annotations: [String: String] = [:]
    /// Requests one process may serve at a time; 0 is unlimited. Range 0…1000.
    public var containerConcurrency = 0
    /// Seconds for a whole request. Range 1…600.
    public var timeoutSeconds = 300
    /// Seconds until the first byte of the answer; nil: no limit of its own.
    public var responseStartTimeoutSeconds: Int?
    /// Seconds without a byte in either direction; nil: no limit.
    public var idleTimeoutSeconds: Int?
    /// The container.
    public var container = Container()
    /// Fields without effect on one machine, path and value: a change of one of them makes a new revision, as it does
    /// in a cluster.
    public var inertFields: [String: String] = [:]

    init() {}

    /// The value of an autoscaling annotation in any accepted spelling; the first of `AutoscalingKey.names` wins.
    public func annotation(_ key: AutoscalingKey) -> String? {
        for name in key.names {
            if let value = annotations[name] { return value }
        }
        return nil
    }

    /// Seconds a revision has to become ready, if the template says so (`serving.knative.dev/progress-deadline`).
    public var progressDeadlineSeconds: Int? {
        annotations[Self.progressDeadlineKey].flatMap(GoDuration.nanoseconds).map { Int($0 / 1_000_000_000) }
    }

    static let progressDeadlineKey = "serving.knative.dev/progress-deadline"

    /// Whether `other` has the same spec; names, labels and annotations aside.
    func hasSameSpec(as other: RevisionTemplate) -> Bool {
        var copy = other
        (copy.name, copy.labels, copy.annotations) = (name, labels, annotations)
        return copy == self
    }

    /// What differs from `old`, one `path: -old +new` each, sorted.
    func differences(from old: RevisionTemplate) -> [String] {
        let before = old.flattened
        let after = flattened
        return Set(before.keys).union(after.keys).sorted().compactMap { path in
            guard before[path] != after[path] else { return nil }
            return path + ": "
                + [before[path].map { "-" + $0 }, after[path].map { "+" + $0 }]
                .compactMap { $0 }.joined(separator: " ")
        }
    }

    private var flattened: [String: String] {
        var fields: [String: String] = [:]
        for (key, value) in labels { fields["metadata.labels." + key] = quoted(value) }
        for (key, value) in annotations { fields["metadata.annotations." + key] = quoted(value) }
        fields["spec.containerConcurrency"] = String(containerConcurrency)
        fields["spec.timeoutSeconds"] = String(timeoutSeconds)
        fields["spec.responseStartTimeoutSeconds"] = responseStartTimeoutSeconds.map(String.init)
        fields["spec.idleTimeoutSeconds"] = idleTimeoutSeconds.map(String.init)
        for (path, value) in inertFields { fields[path] = shortened(value) }
        let path = "spec.containers[0]."
        fields[path + "name"] = quoted(container.name)
        fields[path + "image"] = quoted(container.image)
        fields[path + "command"] = container.command.isEmpty ? nil : "\(container.command)"
        fields[path + "args"] = container.args.isEmpty ? nil : "\(container.args)"
        fields[path + "workingDir"] = container.workingDir.map { quoted($0) }
        for variable in container.env { fields[path + "env." + variable.name] = quoted(variable.value) }
        fields[path + "ports"] = "\(container.port.containerPort) \(quoted(container.port.name))"
        fields[path + "readinessProbe"] = "\(container.readinessProbe)"
        fields[path + "livenessProbe"] = container.livenessProbe.map { "\($0)" }
        fields[path + "startupProbe"] = container.startupProbe.map { "\($0)" }
        return fields
    }
}
