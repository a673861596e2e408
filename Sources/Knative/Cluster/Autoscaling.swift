/// What is scaled (autoscaling.internal.knative.dev/v1alpha1 `PodAutoscaler`), named like its revision.
public struct PodAutoscaler: Sendable, Equatable {
    /// What the autoscaler says of it.
    public struct Status: Sendable, Equatable {
        /// `desiredScale`; nil: never decided.
        public var desiredScale: Int?
        /// `actualScale`: ready pods.
        public var actualScale = 0
        /// The condition `Active`: `True`, `False`, `Unknown`.
        public var active = "Unknown"
        /// The condition's reason.
        public var reason = ""
        /// The condition `ScaleTargetInitialized` is true.
        public var isInitialized = false

        /// The defaults.
        public init() {}
    }

    /// Its name.
    public var name: ObjectName
    /// `metadata.annotations`: the settings.
    public var annotations: [String: String] = [:]
    /// `spec.containerConcurrency`; 0 is unlimited.
    public var containerConcurrency = 0
    /// `spec.reachability` is not `Unreachable`.
    public var isReachable = true
    /// `spec.protocolType`.
    public var containerProtocol = ContainerProtocol.http1
    /// Written by the autoscaler.
    public var status = Status()

    /// A value with these parts.
    public init(name: ObjectName) { self.name = name }
}

/// Whether requests of a revision go through activators (networking.internal.knative.dev/v1alpha1
/// `ServerlessService`), named like the revision. Spec written by the autoscaler, status by the platform.
public struct ServerlessService: Sendable, Equatable {
    /// Its name.
    public var name: ObjectName
    /// `spec.mode` is `Proxy` (else `Serve`).
    public var isProxy = true
    /// `spec.numActivators`: how many activators stand before it; 0: all.
    public var activatorCount = 0
    /// Since when the public endpoints are activators (the condition `ActivatorEndpointsPopulated`), unix seconds; nil:
    /// they are not.
    public var proxySince: Int64?

    /// A value with these parts.
    public init(name: ObjectName) { self.name = name }
}

/// How many pods a revision shall have (autoscaling/v1 `Scale`): written by the autoscaler, carried out by the
/// platform.
public struct ClusterScale: Sendable, Equatable {
    /// The revision's name.
    public var name: ObjectName
    /// `spec.replicas`.
    public var replicas: Int
    /// Why: shown by `martlet explain`. Not part of Kubernetes' object: an annotation.
    public var explanation = ""

    /// A value with these parts.
    public init(name: ObjectName, replicas: Int) {
        self.name = name
        self.replicas = replicas
    }
}
