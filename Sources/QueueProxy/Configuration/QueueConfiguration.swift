import TLS

/// Everything the queue-proxy is told, every value valid. Made from the environment by `read`.
///
/// Source of the names, defaults and rules: Knative `pkg/queue/sharedmain/main.go`, releases 1.16 to 1.23.
public struct QueueConfiguration: Equatable, Sendable {
    /// The three limits in time of a request.
    public struct Timeouts: Equatable, Sendable {
        /// For all of it, in seconds. 0 answers 504 at once, as Knative does; its webhook never lets 0 through.
        public var totalSeconds: Int
        /// For the first byte of the response, in seconds. 0: no limit.
        public var responseStartSeconds: Int
        /// Between two writes of the response, in seconds. 0: no limit.
        public var idleSeconds: Int
    }

    /// Whose sidecar it is. All but `namespace` and `revision` may be empty in practice, each by Knative's rules.
    public struct Revision: Equatable, Sendable {
        /// Its namespace.
        public var namespace: String
        /// The Service it belongs to.
        public var service: String
        /// The Configuration it belongs to.
        public var configuration: String
        /// Its name.
        public var name: String
        /// The pod: `pod_name` of the statistics.
        public var pod: String
        /// The pod's address, for the request log.
        public var podIP: String
    }

    /// The TLS listener, if there is a certificate.
    public struct TLSListener: Equatable, Sendable {
        /// Where. Default every address, QUEUE_SERVING_TLS_PORT.
        public var listen: ListenAddress
        /// Versions, ciphers, groups; no client certificates. Default TLS 1.3.
        public var settings: TLSServerSettings
    }

    /// What telemetry calls this process.
    public struct Resource: Equatable, Sendable {
        /// `service.name`: OTEL_SERVICE_NAME, else the Service, Configuration, revision or pod.
        public var serviceName: String
        /// `k8s.pod.name` and `service.instance.id`: POD_NAME, else HOSTNAME, else empty.
        public var pod: String
    }

    /// Requests the container may serve at a time. 0: no limit, no queue. Knative: `containerConcurrency`.
    /// Range 0...100,000,000.
    public var concurrency: Int
    /// Where requests come in. Default every address, QUEUE_SERVING_PORT.
    public var queueListen: ListenAddress
    /// Where they come in over TLS; nil without a certificate.
    public var tls: TLSListener?
    /// Where `/wait-for-drain` is. Default every address, 8022. Never TLS.
    public var adminListen: ListenAddress
    /// Where the autoscaler reads. Default every address, 9090.
    public var statListen: ListenAddress
    /// Where the container listens, on 127.0.0.1.
    public var userPort: UInt16
    /// The limits in time of a request.
    public var timeouts: Timeouts
    /// How the pod's readiness is found.
    public var readiness: ReadinessSettings
    /// Whether a response may begin before its request has ended (HTTP/1.1). Default no; it can be so always.
    public var isFullDuplex: Bool
    /// Whose sidecar it is.
    public var revision: Revision
    /// What telemetry calls it.
    public var resource: Resource
    /// The sidecar's own log.
    public var log: LogSettings
    /// Metrics, spans, request log.
    public var observability: ObservabilitySettings
    /// Names of metrics. Default those of the Knative that wrote the environment.
    public var metricNames: MetricNames
    /// Which Knative wrote the environment.
    public var generation: KnativeGeneration
    /// Where `tls.crt` and `tls.key` are. Default `/var/lib/knative/certs`.
    public var certificateDirectory: String
    /// How often they are compared with those in use, in milliseconds. Default 60,000. Range 10...3,600,000.
    public var certificateCheckMilliseconds: Int
    /// How long no new request must have come before a drain ends, in milliseconds. Default 30,000, which Knative does
    /// not let one change. Range 0...3,600,000.
    public var drainQuietMilliseconds: Int
    /// How long streams of HTTP/2 and WebSockets are waited for after the last request of HTTP/1.1, when the drain is
    /// over, in milliseconds. Default 60,000, which Knative does not let one change. Range 0...3,600,000.
    public var drainStreamMilliseconds: Int
    /// How long a connection may be without a request, in milliseconds. Default 0: no limit, as Knative's.
    /// Range 0...86,400,000.
    public var keepAliveIdleMilliseconds: Int
    /// Threads that serve. Default 1: a sidecar has a fortieth of a processor. Range 1...64.
    public var workers: Int

    /// Requests that may be in the sidecar, served or waiting, before it answers 503; nil without a limit. Knative
    /// allows ten times as many to wait as are served.
    public var admittedLimit: Int? { concurrency == 0 ? nil : 11 * concurrency }
}

/// What came of reading an environment.
public struct QueueConfigurationReading: Sendable {
    /// The configuration, if there is no problem.
    public let configuration: QueueConfiguration?
    /// Every value that has an effect, with where it came from, in the order read.
    public let entries: [ConfigurationEntry]
    /// What keeps the sidecar from starting. All of it.
    public let problems: [ConfigurationProblem]
    /// What was passed over.
    public let warnings: [ConfigurationProblem]
}
