import HTTP
import Primitives
import TLS
import Telemetry

/// Every reason for which Martlet itself answers a request: the status, the text, and the flag in the access log.
///
/// Texts that Knative's components send are theirs to the letter (spec/dataplane 1.6 to 1.8, 3.2).
enum Refusal: Equatable {
    /// No rule has the request's host. The text lists nothing.
    case noRoute
    /// A plain request came to a TLS port.
    case plainHTTP
    /// The head is not one we can read for sure.
    case parseFailure(ParseFailure)
    /// The head did not come in time.
    case headTimeout
    /// The body did not come in time.
    case bodyTimeout
    /// Connections, exchanges or memory are at their limits.
    case overloaded
    /// The revision's queue, or all queues together, are full.
    case queueFull
    /// No capacity within the revision's timeout.
    case queueTimeout
    /// No complete response within the revision's timeout.
    case responseTimeout
    /// An activator's: no complete response within the revision's timeout, though a pod has the request.
    case activatorTimeout
    /// An activator's: the revision was deleted while the request waited.
    case revisionDeleted
    /// An activator's: no pod took a connection.
    case podsUnreachable
    /// The revision was deleted, or its pods failed to start, while the request waited.
    case revisionGone
    /// The service that a gateway's route leads to has no endpoint. The text is Envoy's.
    case noEndpoint
    /// No pod took a connection.
    case connectFailed
    /// The container beside a sidecar took no connection.
    case containerUnreachable
    /// The pod's certificate was refused, or no TLS came about with it.
    case upstreamTLS(TLSFailure.Kind)
    /// The pod closed or broke the connection without an answer.
    case upstreamReset
    /// The pod's answer cannot be read for sure.
    case badResponse

    var status: Int {
        switch self {
        case .noRoute: 404
        case .plainHTTP: 400
        case .parseFailure(let failure): failure.status
        case .headTimeout, .bodyTimeout: 408
        case .overloaded, .queueFull, .revisionGone, .noEndpoint, .connectFailed: 503
        case .queueTimeout, .responseTimeout, .activatorTimeout: 504
        case .revisionDeleted: 500
        case .podsUnreachable, .upstreamReset, .upstreamTLS, .badResponse, .containerUnreachable: 502
        }
    }

    var text: StaticString {
        switch self {
        case .noRoute: "not found\n"
        case .plainHTTP: "plain HTTP request sent to TLS port\n"
        case .parseFailure(let failure): failure.reason.text
        case .headTimeout: "request head timeout\n"
        case .bodyTimeout: "request body timeout\n"
        case .overloaded: "overloaded\n"
        case .queueFull: "pending request queue full\n"
        case .queueTimeout, .activatorTimeout: "activator request timeout"
        case .revisionDeleted: ""
        case .responseTimeout: "request timeout"
        case .revisionGone: "the revision has no pod that can serve\n"
        case .noEndpoint: "no healthy upstream"
        case .connectFailed, .podsUnreachable: "no pod of the revision accepts connections\n"
        case .containerUnreachable: "the container accepts no connections\n"
        case .upstreamTLS(.certificateRefused): "the pod's certificate was refused\n"
        case .upstreamTLS(.requiredNameMissing): "the pod's certificate lacks the required name\n"
        case .upstreamTLS: "the TLS handshake with the pod failed\n"
        case .upstreamReset: "the pod closed the connection without a response\n"
        case .badResponse: "the pod's response is not valid HTTP\n"
        }
    }

    var flag: ResponseFlag {
        switch self {
        case .noRoute: .noRoute
        case .parseFailure, .plainHTTP: .downstreamProtocolError
        case .headTimeout, .bodyTimeout: .downstreamProtocolError
        case .overloaded: .upstreamOverflow
        case .queueFull: .queueFull
        case .queueTimeout: .queueTimeout
        case .responseTimeout, .activatorTimeout: .upstreamTimeout
        case .revisionGone, .revisionDeleted, .noEndpoint: .noHealthyUpstream
        case .connectFailed, .podsUnreachable, .containerUnreachable, .upstreamTLS: .upstreamConnectionFailure
        case .upstreamReset: .upstreamConnectionTermination
        case .badResponse: .upstreamProtocolError
        }
    }

    /// The status of gRPC for it, as Envoy maps HTTP's (gRPC, "HTTP to gRPC Status Code Mapping"): 2 UNKNOWN,
    /// 12 UNIMPLEMENTED, 13 INTERNAL, 14 UNAVAILABLE.
    var grpcStatus: Int {
        switch status {
        case 400: 13
        case 404: 12
        case 429, 502, 503, 504: 14
        default: 2
        }
    }

    /// How an activator says it (spec/dataplane 3.2, 3.4).
    var ofActivator: Refusal {
        switch self {
        case .responseTimeout: .activatorTimeout
        case .revisionGone: .revisionDeleted
        case .connectFailed: .podsUnreachable
        default: self
        }
    }

    /// Whether the endpoint that had the request failed as a gateway does (Envoy's `gateway_failure`).
    var isEndpointsFault: Bool {
        switch self {
        case .upstreamReset, .upstreamTLS, .badResponse, .activatorTimeout: true
        default: false
        }
    }

    /// Whether the client should come back soon: we are full, not broken.
    var hasRetryAfter: Bool {
        switch self {
        case .overloaded, .queueFull, .connectFailed, .revisionGone, .noEndpoint: true
        default: false
        }
    }
}
