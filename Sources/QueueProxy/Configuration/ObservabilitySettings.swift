import TLS

/// Which controller wrote the environment, as far as the names of variables tell.
public enum KnativeGeneration: Equatable, Sendable {
    /// 1.19 and later: OBSERVABILITY_CONFIG. Also if there is no variable of either kind.
    case current
    /// Up to 1.18: a variable for each setting, OpenCensus, Zipkin.
    case previous
}

/// Names of the metrics for users.
public enum MetricNames: String, CaseIterable, Equatable, Sendable {
    /// `kn_serving_…`, `http_server_…`: Knative 1.19 and later.
    case current
    /// `revision_…`: Knative up to 1.18.
    case previous
    /// Both sets.
    case both
}

/// Where an OTLP exporter sends to (OpenTelemetry Protocol 1.x).
public struct OTLPEndpoint: Equatable, Sendable {
    /// How it speaks.
    public enum Transport: String, Equatable, Sendable {
        /// Protobuf in HTTP/1.1 POSTs.
        case http = "http/protobuf"
        /// gRPC.
        case grpc = "grpc"
    }

    /// How it speaks.
    public var transport: Transport
    /// Whether over TLS.
    public var isTLS: Bool
    /// Host name or address, IPv6 without brackets.
    public var host: String
    /// Port. Without one in the text 443 or 80 by the scheme; gRPC: 443.
    public var port: UInt16
    /// Path of the requests. Of no meaning to gRPC.
    public var path: String
}

/// What happens to the metrics of requests.
public enum RequestMetrics: Equatable, Sendable {
    /// They are not kept.
    case off
    /// They can be fetched with `GET /metrics`.
    case prometheus(PrometheusListener)
    /// They are pushed each so many milliseconds.
    case otlp(OTLPEndpoint, intervalMilliseconds: Int)
    /// They are pushed to an OpenCensus agent at `address` (Knative up to 1.18). A period of 0 is its own, 60 s.
    case openCensus(address: String, periodSeconds: Int)
}

/// The listener for Prometheus.
public struct PrometheusListener: Equatable, Sendable {
    /// Certificate and clients.
    public struct Security: Equatable, Sendable {
        /// PEM file of the certificate chain.
        public var certificateFile: String
        /// PEM file of the key.
        public var keyFile: String
        /// PEM file of those who sign the certificates of clients; nil if clients show none.
        public var clientAuthorityFile: String?
        /// Versions, ciphers, and whether clients show a certificate. The authorities come from the file.
        public var settings: TLSServerSettings
    }

    /// Where. Default every address, port 9091.
    public var listen: ListenAddress
    /// Nil: plain.
    public var security: Security?
}

/// What happens to spans.
public enum TraceExport: Equatable, Sendable {
    /// There are none; an incoming context is passed on.
    case off
    /// They are pushed.
    case otlp(OTLPEndpoint)
    /// They are written to standard output.
    case standardOutput
    /// They are pushed to Zipkin at a URL (Knative up to 1.18).
    case zipkin(url: String)
}

/// Which requests are traced.
public struct TraceSampling: Equatable, Sendable {
    /// Share of the traces that begin here. 0...1.
    public var ratio: Double
    /// Whether a request that brings a trace context is traced if its sender traces it, whatever the ratio.
    public var followsParent: Bool

    static let always = TraceSampling(ratio: 1, followsParent: false)
    static let never = TraceSampling(ratio: 0, followsParent: false)

    /// As Knative turns a rate into a sampler: the ends are absolute, between them the caller's decision goes first.
    init(rate: Double) {
        self.init(ratio: min(max(rate, 0), 1), followsParent: rate > 0 && rate < 1)
    }

    /// A ratio and whether the caller's decision goes first.
    public init(ratio: Double, followsParent: Bool) {
        self.ratio = ratio
        self.followsParent = followsParent
    }
}

/// Whether and how requests are logged.
public struct RequestLogSettings: Equatable, Sendable {
    /// Whether there is a request log. Default no; never with an empty template.
    public var isEnabled = false
    /// Whether probes are in it. Default no.
    public var includesProbes = false
    /// Go template of a line.
    public var template = RequestLogSettings.defaultTemplate

    /// Knative's default template (`pkg/observability/config.go`), field by field, since log collectors parse it.
    public static let defaultTemplate = #"""
        {"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js .Request.RequestURI}}", \#
        "requestSize": "{{.Request.ContentLength}}", "status": {{.Response.Code}}, \#
        "responseSize": "{{.Response.Size}}", "userAgent": "{{js .Request.UserAgent}}", \#
        "remoteIp": "{{js .Request.RemoteAddr}}", "serverIp": "{{.Revision.PodIP}}", \#
        "referer": "{{js .Request.Referer}}", "latency": "{{.Response.Latency}}s", \#
        "protocol": "{{.Request.Proto}}"}, "traceId": "{{.TraceID}}"}
        """#
}

/// What the sidecar reports about its requests and itself.
public struct ObservabilitySettings: Equatable, Sendable {
    /// Metrics of requests. Default off.
    public var requestMetrics = RequestMetrics.off
    /// Spans. Default off.
    public var tracing = TraceExport.off
    /// Which requests are traced. Default none.
    public var sampling = TraceSampling.never
    /// The request log. Default off.
    public var requestLog = RequestLogSettings()
    /// Whether Go's profiling was asked for. There is no such thing here; say so once.
    public var isProfilingAsked = false
}
