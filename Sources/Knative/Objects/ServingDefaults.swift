/// The cluster-wide settings that decide defaults and bounds (Knative's `config-defaults` and `config-autoscaler`).
public struct ServingDefaults: Hashable, Sendable {
    /// `revision-timeout-seconds`. Default 300.
    public var revisionTimeoutSeconds = 300
    /// `max-revision-timeout-seconds`. Default 600.
    public var maxRevisionTimeoutSeconds = 600
    /// `revision-response-start-timeout-seconds`; used where it is shorter than the revision's timeout. Default 300.
    public var revisionResponseStartTimeoutSeconds = 300
    /// `revision-idle-timeout-seconds`; 0 is off. Default 0.
    public var revisionIdleTimeoutSeconds = 0
    /// `container-name-template`. Default `user-container`.
    public var containerName = "user-container"
    /// `container-concurrency`. Default 0, unlimited.
    public var containerConcurrency = 0
    /// `container-concurrency-max-limit`. Default 1000.
    public var containerConcurrencyMaxLimit = 1000
    /// `allow-container-concurrency-zero`. Default true.
    public var allowContainerConcurrencyZero = true
    /// `max-scale-limit`; 0 is none. Default 0.
    public var maxScaleLimit = 0
    /// `allow-zero-initial-scale`. Default false.
    public var allowZeroInitialScale = false
    /// `pod-autoscaler-class`. Default `kpa.autoscaling.knative.dev`.
    public var podAutoscalerClass = "kpa.autoscaling.knative.dev"

    /// Knative's defaults.
    public init() {}
}
