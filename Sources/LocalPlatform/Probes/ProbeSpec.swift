import Probing

/// How to find out whether a pod is started, ready or alive: Kubernetes' probe, for a process on this machine.
///
/// Every probe goes to 127.0.0.1; a `host` is not followed. Source: core/v1 Probe, and Knative's aggressive mode
/// (`pkg/queue/readiness/probe.go`).
public struct ProbeSpec: Equatable, Sendable {
    /// One header of an HTTP probe.
    public typealias Header = ProbeHeader

    /// What is asked. A `port` of nil, or equal to the container port, means the port the pod was given.
    public enum Handler: Equatable, Sendable {
        /// A connection is accepted.
        case tcp(port: UInt16?)
        /// `GET path` is answered with a status of 200 to 399. Scheme `http` only. The pod's own port is asked over
        /// HTTP/2 first if it is said to speak it (`PodSpec.speaksHTTP2`), everything else over HTTP/1.1.
        case http(path: String, port: UInt16?, headers: [Header], scheme: String)
        /// The command exits with code 0. It runs in the pod's directory and environment.
        case exec(command: [String])
        /// `grpc.health.v1.Health/Check` for the service answers SERVING, over HTTP/2 without TLS. A service of nil is
        /// the empty one: the server as a whole.
        case grpc(port: UInt16?, service: String?)
    }

    /// What probes call themselves, as kubelet's and queue-proxy's do; applications know them by the beginning.
    static let userAgent = "kube-probe/"
    /// Longest service name of a gRPC probe, in bytes.
    public static let serviceBytes = 1_024

    /// What is asked.
    public var handler = Handler.tcp(port: nil)
    /// Seconds after the start before the first probe. Default 0.
    public var initialDelaySeconds = 0
    /// Seconds between probes once ready. 0, the default for readiness, is Knative's aggressive mode: probed as fast as
    /// is sensible until it passes, then only when `recheck` asks. For liveness and startup 0 means 10.
    public var periodSeconds = 0
    /// Seconds one probe may take. 0, the default, means 1, and in aggressive mode 100 ms growing with the pod's age
    /// to 1 s.
    public var timeoutSeconds = 0
    /// Passes in a row that make it ready. Default and minimum 1.
    public var successThreshold = 1
    /// Failures in a row that make it unready. 0, the default, means 3, and 1 in aggressive mode.
    public var failureThreshold = 0

    /// Knative's default: a TCP connect to the pod's port, aggressive.
    public init() {}

    /// A probe of the default timing that asks `handler`.
    public init(_ handler: Handler) { self.handler = handler }

    /// What is wrong with the probe, as texts that start with its key; empty if nothing.
    public func problems(key: String) -> [String] {
        var found: [String] = []
        switch handler {
        case .tcp: break
        case .grpc(_, let service):
            if let service, service.utf8.count > Self.serviceBytes {
                found.append("\(key).grpc.service: longer than \(Self.serviceBytes) bytes")
            }
        case .exec(let command):
            if command.isEmpty { found.append("\(key).exec.command: is empty; name a command") }
            if command.contains(where: { $0.utf8.contains(0) }) {
                found.append("\(key).exec.command: holds a NUL byte")
            }
        case .http(let path, _, let headers, let scheme):
            let scheme = scheme.lowercased()
            if scheme == "https" {
                found.append("\(key).httpGet.scheme: HTTPS is not supported for local processes; use HTTP or tcpSocket")
            } else if scheme != "http", !scheme.isEmpty {
                found.append("\(key).httpGet.scheme: unknown scheme \(scheme); HTTP is allowed")
            }
            if path.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7F }) {
                found.append("\(key).httpGet.path: holds a space or control byte; encode it as %XX")
            }
            for header in headers where !Self.isSafe(header) {
                found.append("\(key).httpGet.httpHeaders: \(header.name): not a legal header field")
            }
        }
        let numbers = [initialDelaySeconds, periodSeconds, timeoutSeconds, successThreshold, failureThreshold]
        if numbers.contains(where: { $0 < 0 }) { found.append("\(key): negative number") }
        return found
    }

    private static func isSafe(_ header: Header) -> Bool {
        let isNameLegal =
            !header.name.isEmpty
            && header.name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ":") }
        return isNameLegal && header.value.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }
    }
}
