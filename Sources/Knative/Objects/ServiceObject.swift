/// The name of an object within a namespace.
public struct ServiceName: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The namespace.
    public let namespace: String
    /// The name.
    public let name: String

    /// Makes the name.
    public init(namespace: String = "default", name: String) {
        self.namespace = namespace
        self.name = name
    }

    /// By namespace, then name.
    public static func < (lhs: ServiceName, rhs: ServiceName) -> Bool {
        (lhs.namespace, lhs.name) < (rhs.namespace, rhs.name)
    }

    /// `namespace/name`.
    public var description: String { namespace + "/" + name }
}

/// The part of Kubernetes' object metadata that the user writes.
public struct ObjectMetadata: Hashable, Sendable {
    /// A DNS-1035 label.
    public var name: String
    /// A DNS-1123 label. Default `default`.
    public var namespace = "default"
    /// Labels.
    public var labels: [String: String] = [:]
    /// Annotations.
    public var annotations: [String: String] = [:]

    /// Makes metadata that only names the object.
    public init(name: String, namespace: String = "default") {
        self.name = name
        self.namespace = namespace
    }
}

/// One entry of `spec.traffic`, defaults filled in.
public struct TrafficTarget: Hashable, Sendable {
    /// The share of the main host in percent. Default 0.
    public var percent = 0
    /// The tag: the target's own host in front of the service's.
    public var tag: String?
    /// The revision; nil follows the latest ready one.
    public var revisionName: String?

    /// Everything to the latest ready revision.
    public static var latest: TrafficTarget { TrafficTarget(percent: 100) }

    /// Makes a target.
    public init(percent: Int = 0, tag: String? = nil, revisionName: String? = nil) {
        self.percent = percent
        self.tag = tag
        self.revisionName = revisionName
    }

    /// Whether it follows the latest ready revision.
    public var isLatestRevision: Bool { revisionName == nil }
}

/// A Knative Service as one document describes it, valid and with defaults filled in (`serving.knative.dev/v1`).
public struct ServiceObject: Sendable {
    /// Where a document says what later checks may complain about.
    struct Places: Sendable {
        var file: String
        var object = YAMLMark(line: 0, column: 0)
        var revisionName = YAMLMark(line: 0, column: 0)
        var traffic = YAMLMark(line: 0, column: 0)
    }

    /// Name, namespace, labels, annotations.
    public var metadata: ObjectMetadata
    /// What its revisions are made of.
    public var template: RevisionTemplate
    /// Where requests go. Never empty; percents sum to 100.
    public var traffic: [TrafficTarget]
    var places: Places

    /// Namespace and name.
    public var serviceName: ServiceName { ServiceName(namespace: metadata.namespace, name: metadata.name) }

    /// Whether it may be reached under cluster-local names only (label `networking.knative.dev/visibility`).
    public var isClusterLocal: Bool { metadata.labels["networking.knative.dev/visibility"] == "cluster-local" }

    /// The annotation that states `rolloutSeconds`, and Knative's other name of it; the first that is there counts.
    static let rolloutDurationKeys = ["serving.knative.dev/rollout-duration", "serving.knative.dev/rolloutDuration"]

    /// How long the traffic takes to move to a new latest revision, in whole seconds; 0: it moves at once, the default.
    /// Annotation `serving.knative.dev/rollout-duration`.
    public var rolloutSeconds: Int {
        let stated = Self.rolloutDurationKeys.lazy.compactMap { metadata.annotations[$0] }.first { !$0.isEmpty }
        guard let nanoseconds = stated.flatMap(GoDuration.nanoseconds), nanoseconds > 0 else { return 0 }
        return Int(nanoseconds / 1_000_000_000)
    }

    /// The file and place the object was read from, for messages.
    public var origin: (file: String, mark: YAMLMark) { (places.file, places.object) }

    /// The service that `martlet run --name NAME -- COMMAND` means: all defaults, no file.
    ///
    /// - Parameter annotations: of the template, for example `autoscaling.knative.dev/max-scale`; validated.
    /// - Throws: the first problem, with Knative's message.
    public static func make(
        name: String, namespace: String = "default", command: [String], annotations: [String: String] = [:]
    ) throws(Diagnostic) -> ServiceObject {
        var report = Report(file: "command line")
        let nowhere = YAMLMark(line: 0, column: 0)
        report.validateName(name, key: "metadata.name", at: nowhere)
        report.validateNamespace(namespace, at: nowhere)
        if command.isEmpty {
            report.add(.error, at: nowhere, key: "command", "nothing to run", remedy: "write the command after `--`")
        }
        if command.contains(where: { $0.utf8.contains(0) }) {
            report.add(.error, at: nowhere, key: "command", "holds a NUL character", remedy: "")
        }
        report.validateAutoscaling(
            AnnotationPlaces(annotations: annotations, path: "annotations", marks: [:], mark: nowhere),
            settings: ServingDefaults())
        if let first = report.diagnostics.first(where: { $0.severity == .error }) { throw first }
        var template = RevisionTemplate()
        template.annotations = annotations
        template.container.image = "local/" + name
        template.container.command = command
        template.container.launch = command
        return ServiceObject(
            metadata: ObjectMetadata(name: name, namespace: namespace), template: template, traffic: [.latest],
            places: Places(file: "command line"))
    }
}
