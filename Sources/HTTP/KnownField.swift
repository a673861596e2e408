import Primitives

/// The fields that something in the data plane looks at, found once while a head is parsed. All others are `.other`.
public enum KnownField: UInt8, CaseIterable, Sendable {
    /// Any field that is not listed here.
    case other = 0
    /// `Host`.
    case host
    /// `Connection`.
    case connection
    /// `Keep-Alive`.
    case keepAlive
    /// `Proxy-Connection`.
    case proxyConnection
    /// `Proxy-Authenticate`.
    case proxyAuthenticate
    /// `Proxy-Authorization`.
    case proxyAuthorization
    /// `TE`.
    case te
    /// `Trailer`.
    case trailer
    /// `Transfer-Encoding`.
    case transferEncoding
    /// `Upgrade`.
    case upgrade
    /// `Content-Length`.
    case contentLength
    /// `Content-Type`.
    case contentType
    /// `Expect`.
    case expect
    /// `Date`.
    case date
    /// `Server`.
    case server
    /// `Via`.
    case via
    /// `User-Agent`.
    case userAgent
    /// `Cookie`.
    case cookie
    /// `Retry-After`.
    case retryAfter
    /// `Forwarded`.
    case forwarded
    /// `X-Forwarded-For`.
    case xForwardedFor
    /// `X-Forwarded-Proto`.
    case xForwardedProto
    /// `X-Forwarded-Host`.
    case xForwardedHost
    /// `X-Forwarded-Port`.
    case xForwardedPort
    /// `X-Real-Ip`.
    case xRealIp
    /// `X-Request-Id`.
    case xRequestId
    /// `traceparent`.
    case traceparent
    /// `tracestate`.
    case tracestate
    /// `b3`.
    case b3
    /// `X-B3-TraceId`.
    case xB3TraceId
    /// `K-Proxy-Request`.
    case kProxyRequest
    /// `K-Original-Host`.
    case kOriginalHost
    /// `K-Passthrough-Lb`.
    case kPassthroughLb
    /// `K-Network-Probe`.
    case kNetworkProbe
    /// `K-Network-Hash`.
    case kNetworkHash
    /// `K-Kubelet-Probe`.
    case kKubeletProbe
    /// `Knative-Serving-Revision`.
    case knativeServingRevision
    /// `Knative-Serving-Namespace`.
    case knativeServingNamespace
    /// `Knative-Serving-Tag`.
    case knativeServingTag
    /// `Knative-Serving-Default-Route`.
    case knativeServingDefaultRoute
    /// `Knative-Direct-Lb`.
    case knativeDirectLb
    /// `HTTP2-Settings`.
    case http2Settings
    /// `Authorization`.
    case authorization
    /// `Accept-Encoding`.
    case acceptEncoding
    /// `Content-Encoding`.
    case contentEncoding
    /// `Location`.
    case location
    /// `Set-Cookie`.
    case setCookie
    /// `X-Envoy-Immediate-Health-Check-Fail`: who answers will not go on for long.
    case xEnvoyImmediateHealthCheckFail

    /// The name as it is usually spelt; empty for `.other`.
    public var name: StaticString {
        switch self {
        case .other: ""
        case .host: "Host"
        case .connection: "Connection"
        case .keepAlive: "Keep-Alive"
        case .proxyConnection: "Proxy-Connection"
        case .proxyAuthenticate: "Proxy-Authenticate"
        case .proxyAuthorization: "Proxy-Authorization"
        case .te: "TE"
        case .trailer: "Trailer"
        case .transferEncoding: "Transfer-Encoding"
        case .upgrade: "Upgrade"
        case .contentLength: "Content-Length"
        case .contentType: "Content-Type"
        case .expect: "Expect"
        case .date: "Date"
        case .server: "Server"
        case .via: "Via"
        case .userAgent: "User-Agent"
        case .cookie: "Cookie"
        case .retryAfter: "Retry-After"
        case .forwarded: "Forwarded"
        case .xForwardedFor: "X-Forwarded-For"
        case .xForwardedProto: "X-Forwarded-Proto"
        case .xForwardedHost: "X-Forwarded-Host"
        case .xForwardedPort: "X-Forwarded-Port"
        case .xRealIp: "X-Real-Ip"
        case .xRequestId: "X-Request-Id"
        case .traceparent: "traceparent"
        case .tracestate: "tracestate"
        case .b3: "b3"
        case .xB3TraceId: "X-B3-TraceId"
        case .kProxyRequest: "K-Proxy-Request"
        case .kOriginalHost: "K-Original-Host"
        case .kPassthroughLb: "K-Passthrough-Lb"
        case .kNetworkProbe: "K-Network-Probe"
        case .kNetworkHash: "K-Network-Hash"
        case .kKubeletProbe: "K-Kubelet-Probe"
        case .knativeServingRevision: "Knative-Serving-Revision"
        case .knativeServingNamespace: "Knative-Serving-Namespace"
        case .knativeServingTag: "Knative-Serving-Tag"
        case .knativeServingDefaultRoute: "Knative-Serving-Default-Route"
        case .knativeDirectLb: "Knative-Direct-Lb"
        case .http2Settings: "HTTP2-Settings"
        case .authorization: "Authorization"
        case .acceptEncoding: "Accept-Encoding"
        case .contentEncoding: "Content-Encoding"
        case .location: "Location"
        case .setCookie: "Set-Cookie"
        case .xEnvoyImmediateHealthCheckFail: "X-Envoy-Immediate-Health-Check-Fail"
        }
    }
}

/// A set of known fields: one word.
public struct KnownFieldSet: OptionSet, Sendable {
    /// Bit n stands for the field with raw value n.
    public let rawValue: UInt64

    /// The set with these bits.
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// The set of `field` alone.
    @inlinable
    public init(_ field: KnownField) { self.rawValue = 1 &<< UInt64(field.rawValue) }

    /// The set of these fields.
    @inlinable
    public init(_ fields: KnownField...) {
        var bits: UInt64 = 0
        for field in fields { bits |= 1 &<< UInt64(field.rawValue) }
        self.rawValue = bits
    }

    /// Whether `field` is in the set.
    @inlinable
    public func contains(_ field: KnownField) -> Bool { rawValue &>> UInt64(field.rawValue) & 1 != 0 }

    /// Adds `field`.
    @inlinable
    public mutating func insert(_ field: KnownField) {
        self = KnownFieldSet(rawValue: rawValue | 1 &<< UInt64(field.rawValue))
    }
}

// Computed, so that a constant folds into the code and no global has to be initialised on the way. Written with `|`,
// since a variadic list builds an array where it is used.
extension KnownFieldSet {
    /// Fields of one connection, never forwarded (RFC 9110 §7.6.1; RFC 7540 §3.2.1 for HTTP2-Settings).
    @inlinable public static var hopByHop: KnownFieldSet {
        one(.connection) | one(.keepAlive) | one(.proxyConnection) | one(.proxyAuthenticate)
            | one(.proxyAuthorization) | one(.te) | one(.trailer) | one(.transferEncoding) | one(.upgrade)
            | one(.http2Settings)
    }

    /// Fields that `Connection` may not name away: framing, host, and what says who asked and through whom.
    @inlinable public static var undroppable: KnownFieldSet {
        one(.host) | one(.contentLength) | one(.forwarded) | one(.xForwardedFor) | one(.xForwardedProto)
            | one(.xForwardedHost) | one(.xForwardedPort) | one(.xRealIp) | one(.xRequestId) | knative
    }

    /// The fields by which Knative's parts talk to each other.
    @inlinable public static var knative: KnownFieldSet {
        one(.kProxyRequest) | one(.kOriginalHost) | one(.kPassthroughLb) | one(.kNetworkProbe) | one(.kNetworkHash)
            | one(.kKubeletProbe) | one(.knativeServingRevision) | one(.knativeServingNamespace)
            | one(.knativeServingTag) | one(.knativeServingDefaultRoute) | one(.knativeDirectLb)
    }

    /// Fields that mean nothing, or something dangerous, after the body: framing, routing, authentication, content,
    /// controls (RFC 9110 §6.5.1). Fields that `undroppable` or `hopByHop` hold are forbidden there too.
    @inlinable public static var forbiddenInTrailers: KnownFieldSet {
        one(.contentType) | one(.contentEncoding) | one(.expect) | one(.authorization) | one(.cookie)
            | one(.setCookie) | one(.location) | one(.retryAfter) | one(.date) | one(.via) | one(.userAgent)
            | one(.acceptEncoding) | one(.traceparent) | one(.tracestate) | one(.b3) | one(.xB3TraceId)
    }

    @inlinable @inline(__always)
    static func one(_ field: KnownField) -> KnownFieldSet { KnownFieldSet(field) }

    /// The fields of both sets. A constant if both are, unlike a list handed to `init(_:)`: for use in each request.
    @inlinable @inline(__always)
    public static func | (left: KnownFieldSet, right: KnownFieldSet) -> KnownFieldSet {
        KnownFieldSet(rawValue: left.rawValue | right.rawValue)
    }
}
