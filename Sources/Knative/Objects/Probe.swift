/// How a container is asked whether it started, is ready, or is alive (Kubernetes `Probe`, Knative's defaults).
public struct Probe: Hashable, Sendable {
    /// One header of an HTTP probe.
    public struct Header: Hashable, Sendable {
        /// The name; letters, digits and `-`.
        public var name: String
        /// The value; no control characters.
        public var value: String

        /// Makes the header.
        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// `http` or `https`.
    public enum Scheme: String, Sendable {
        /// Plain.
        case http = "HTTP"
        /// TLS, certificate not verified.
        case https = "HTTPS"
    }

    /// What is asked. A port of nil is the container's own port, wherever the process was told to listen.
    public enum Handler: Hashable, Sendable {
        /// A GET that answers 200…399.
        case httpGet(path: String, port: Int?, scheme: Scheme, headers: [Header])
        /// A connection that is accepted.
        case tcpSocket(port: Int?)
        /// A command that exits 0.
        case exec(command: [String])
        /// `grpc.health.v1.Health/Check` of a service.
        case grpc(port: Int?, service: String)
    }

    /// What is asked.
    public var handler: Handler
    /// Seconds between the start of the process and the first probe. Default 0.
    public var initialDelaySeconds = 0
    /// Seconds between probes. Default 10; of a readiness probe 0: as often as is useful until it succeeds once.
    public var periodSeconds = 10
    /// Seconds for one answer. Default 1; 0 with a period of 0: the prober's own short time.
    public var timeoutSeconds = 1
    /// Successes in a row that count as success. Default 1.
    public var successThreshold = 1
    /// Failures in a row that count as failure. Default 3; 0 with a period of 0: it is tried until the deadline.
    public var failureThreshold = 3

    /// Kubernetes' defaults for a liveness or startup probe.
    public init(handler: Handler) { self.handler = handler }

    /// Knative's default: connect to the container's port until it is accepted.
    public static var defaultReadiness: Probe {
        var probe = Probe(handler: .tcpSocket(port: nil))
        (probe.periodSeconds, probe.timeoutSeconds, probe.failureThreshold) = (0, 0, 0)
        return probe
    }
}
