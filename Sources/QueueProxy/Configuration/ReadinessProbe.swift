/// One question to a container that decides whether the pod is ready (Knative `pkg/queue/readiness`,
/// `pkg/queue/health`). It always goes to 127.0.0.1.
public struct ReadinessProbe: Equatable, Sendable {
    /// One field of an HTTP probe.
    public struct Header: Equatable, Sendable {
        /// Its name, a legal one (RFC 9110 §5.1).
        public let name: String
        /// Its value, without control characters.
        public let value: String
    }

    /// What is asked.
    public enum Handler: Equatable, Sendable {
        /// A connection is accepted.
        case tcp(port: UInt16)
        /// `GET target` is answered with 200...399. `target` is ready for the request line. Of `headers` those are left
        /// out that Go's client does not send from there: Host, User-Agent, Content-Length, Transfer-Encoding, Trailer.
        case http(target: String, port: UInt16, isTLS: Bool, headers: [Header])
        /// `grpc.health.v1.Health/Check` of the service answers SERVING, in plain HTTP/2. The empty service is the
        /// server as a whole.
        case grpc(port: UInt16, service: String)
        /// It fails each time with this text: an exec probe, or none at all.
        case failing(String)
    }

    /// What HTTP and gRPC probes call themselves; kubelet's versions are missing in Knative's as well.
    public static let userAgent = "kube-probe//"
    /// In aggressive mode: how long one try may take. 100 ms.
    public static let aggressiveTryMilliseconds = 100
    /// In aggressive mode: between the beginnings of two tries. 50 ms.
    public static let aggressiveRetryMilliseconds = 50
    /// In aggressive mode: how long a run of tries may take in all. 10 s.
    public static let aggressiveRunMilliseconds = 10_000

    /// What is asked.
    public let handler: Handler
    /// Whether to try again and again until it passes, which is what a period of 0 means. Otherwise one try decides.
    public let isAggressive: Bool
    /// How long the one try may take if not aggressive, in seconds. At least 1.
    public let timeoutSeconds: Int
    /// Passes in a row that make a run succeed, if aggressive; the count is kept between runs. At least 1.
    public let successThreshold: Int
}

/// How the pod's readiness is found.
public struct ReadinessSettings: Equatable, Sendable {
    /// All of these must pass; they are asked at the same time. None: always ready.
    public var probes: [ReadinessProbe] = []
    /// Whether HTTP probes ask over HTTP/2 first (`ENABLE_HTTP2_AUTO_DETECTION`). Default no.
    public var detectsHTTP2 = false
}

extension ReadinessProbe: CustomStringConvertible {
    /// For the effective configuration: `tcp 127.0.0.1:8080, aggressive, 1 success`.
    public var description: String {
        let mode = isAggressive ? "aggressive, \(successThreshold) in a row" : "one try of \(timeoutSeconds) s"
        return switch handler {
        case .tcp(let port): "tcp 127.0.0.1:\(port), \(mode)"
        case .http(let target, let port, let isTLS, let headers):
            "\(isTLS ? "https" : "http")://127.0.0.1:\(port)\(target), \(headers.count) headers, \(mode)"
        case .grpc(let port, let service): "grpc 127.0.0.1:\(port) service \(service.quotedForMessage), \(mode)"
        case .failing(let reason): "never ready: \(reason)"
        }
    }
}
