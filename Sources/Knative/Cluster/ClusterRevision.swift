/// What a container is spoken to in: the name of its port (`h2c`, else HTTP/1.1).
public enum ContainerProtocol: String, Sendable, Equatable {
    case http1
    case h2c
}

/// A revision as data planes see it (serving.knative.dev/v1 `Revision`). Immutable in a cluster but for annotations.
public struct ClusterRevision: Sendable, Equatable {
    /// Its name.
    public var name: ObjectName
    /// `metadata.uid`; empty if the source has none.
    public var uid = ""
    /// Label `serving.knative.dev/service`; empty: none.
    public var service = ""
    /// Label `serving.knative.dev/configuration`; empty: none.
    public var configuration = ""
    /// `metadata.annotations`.
    public var annotations: [String: String] = [:]
    /// `spec.containerConcurrency`; 0 is unlimited.
    public var containerConcurrency = 0
    /// `spec.timeoutSeconds`.
    public var timeoutSeconds = 300
    /// `spec.responseStartTimeoutSeconds`; 0: off.
    public var responseStartTimeoutSeconds = 0
    /// `spec.idleTimeoutSeconds`; 0: off.
    public var idleTimeoutSeconds = 0
    /// By the name of the serving container's port.
    public var containerProtocol = ContainerProtocol.http1
    /// Whether a pod that is not ready yet may be used when its queue-proxy says so: the readiness probe is no exec,
    /// and no container has a startup probe (spec/dataplane 3.6).
    public var allowsEarlyPods = true

    /// A revision with Knative's defaults.
    public init(name: ObjectName) { self.name = name }
}
