/// What one probe found.
public enum ProbeOutcome: Equatable, Sendable {
    /// As wanted.
    case passed
    /// Nothing listens: for certain not ready, and cheap to ask again.
    case refused
    /// No answer in time.
    case timedOut
    /// The port does not speak HTTP/2, for this reason.
    case notHTTP2(String)
    /// Anything else, for this reason.
    case failed(String)

    /// The reason of a failure, for a person.
    public var reason: String {
        switch self {
        case .passed: "passed"
        case .refused: "connection refused"
        case .timedOut: "timed out"
        case .notHTTP2(let text), .failed(let text): text
        }
    }

    /// What a status says: 200 to 399 passes.
    init(status: Int) { self = (200..<400).contains(status) ? .passed : .failed("HTTP status \(status)") }
}

/// One field of an HTTP probe.
public struct ProbeHeader: Equatable, Sendable {
    /// Field name.
    public var name: String
    /// Field value.
    public var value: String

    /// A field.
    public init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// What a probe asks of a port of this machine.
public enum ProbeQuestion: Equatable, Sendable {
    /// A connection is accepted.
    case connect
    /// `GET path` over HTTP/1.1 is answered with a status of 200 to 399.
    case http1(path: String, headers: [ProbeHeader])
    /// The same over HTTP/2 by prior knowledge.
    case http2(path: String, headers: [ProbeHeader])
    /// Over HTTP/2, and should the port not speak it, over HTTP/1.1 on another connection.
    case http2OrHTTP1(path: String, headers: [ProbeHeader])
    /// Over HTTP/1.1 in TLS, with the certificate checked.
    case https(path: String, headers: [ProbeHeader])
    /// `grpc.health.v1.Health/Check` for the service answers SERVING, over HTTP/2 without TLS. The empty service is the
    /// server as a whole.
    case health(service: String)
}
