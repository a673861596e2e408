/// Whose telemetry it is: the attributes of the process, once for all metrics and spans.
public struct TelemetryIdentity: Sendable {
    /// Namespace of the revision (`SERVING_NAMESPACE`).
    public var namespace = ""
    /// Name of the Service, or nothing (`SERVING_SERVICE`).
    public var service = ""
    /// Name of the Configuration (`SERVING_CONFIGURATION`).
    public var configuration = ""
    /// Name of the revision (`SERVING_REVISION`).
    public var revision = ""
    /// Name of the pod (`SERVING_POD`).
    public var pod = ""
    /// Name of the container, `k8s.container.name`.
    public var container = "queue-proxy"
    /// `service.name`; empty means the Service, else the Configuration, the revision or the pod, as Knative chooses.
    public var serviceName = ""
    /// `service.version`.
    public var version = ""
    /// Port of the user's container on 127.0.0.1.
    public var upstreamPort: UInt16 = 8080

    /// An identity without names.
    public init() {}

    /// The resource of OpenTelemetry by sorted names, without those that are empty.
    ///
    /// Source: Knative `serving/pkg/queue/sharedmain/otel.go`.
    public var attributes: [(name: String, value: String)] {
        let chosen = [serviceName, service, configuration, revision, pod].first { !$0.isEmpty } ?? ""
        let all = [
            ("k8s.container.name", container), ("k8s.namespace.name", namespace), ("k8s.pod.name", pod),
            ("kn.configuration.name", configuration), ("kn.revision.name", revision), ("kn.service.name", service),
            ("service.instance.id", pod), ("service.name", chosen), ("service.version", version),
        ]
        return all.filter { !$0.1.isEmpty }.map { (name: $0.0, value: $0.1) }
    }
}
