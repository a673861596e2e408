import Admission

/// How much an ingress takes from a cluster. What is above is left out and said in the log.
public struct IngressLimits: Sendable {
    /// Ingress objects. Default 20,000. At the limit: the youngest are not served.
    public var ingresses = 20_000
    /// Hosts of all of them. Default 50,000. At the limit: the youngest are not served.
    public var hosts = 50_000
    /// Paths of one host. Default 512: they are searched one by one. At the limit: the host is not served.
    public var pathsPerHost = 512
    /// Fields that one path looks at. Default 16. At the limit: the path is not served.
    public var conditionsPerPath = 16
    /// Splits of one path. Default 100. At the limit: the path is not served.
    public var splitsPerPath = 100
    /// Endpoints of one service. Default 5,000. At the limit: the others get no requests.
    public var endpointsPerService = 5_000
    /// Problems told in the log after one change. Default 20.
    public var problemsTold = 20
    /// Requests of one service that may wait for an endpoint. Default 1,000. At the limit: 503.
    public var queueLimit = RevisionGate.defaultQueueLimit
    /// Requests of all services that may wait for an endpoint. Default 10,000. At the limit: 503.
    public var queueLimitOverall = WaitBudget.defaultLimit
    /// The pause before an endpoint that refused a connection is tried again, in milliseconds; it doubles with each
    /// failure. Default 20.
    public var recheckMilliseconds: UInt64 = 20
    /// The longest such pause, in milliseconds. Default 2,000.
    public var recheckLongestMilliseconds: UInt64 = 2_000
    /// How long such a try may take, in milliseconds. Default 1,000.
    public var recheckConnectMilliseconds: UInt64 = 1_000

    /// The defaults.
    public init() {}
}

/// What an ingress is told at the start.
public struct IngressOptions: Sendable {
    /// Its limits.
    public var limits = IngressLimits()
    /// The cluster's domain: hosts `NAME.NAMESPACE.svc.DOMAIN` are served by their short forms too. Default
    /// `cluster.local`.
    public var clusterDomain = "cluster.local"
    /// Whether requests without TLS to hosts that are not cluster-local are redirected whatever their Ingress says.
    /// Default false.
    public var redirectsToHTTPS = false
    /// Whether the source takes the status of Ingresses: that all workers use the routes of their newest generation.
    /// Default false.
    public var writesStatus = false

    /// The defaults.
    public init() {}
}
