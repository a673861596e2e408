/// The variables that Knative does not have: for tests, for local use, and for what it leaves fixed.
///
/// Empty means absent.
public enum OwnVariable: String, CaseIterable, Sendable {
    /// Where requests come in.
    case queueListen = "MARTLET_QUEUE_LISTEN"
    /// Where requests come in over TLS.
    case tlsListen = "MARTLET_TLS_LISTEN"
    /// Where `/wait-for-drain` is.
    case adminListen = "MARTLET_ADMIN_LISTEN"
    /// Where the autoscaler reads.
    case statListen = "MARTLET_STAT_LISTEN"
    /// Where Prometheus reads, if it is on.
    case metricsListen = "MARTLET_METRICS_LISTEN"
    /// Where `tls.crt` and `tls.key` are.
    case certificateDirectory = "MARTLET_CERTIFICATE_DIRECTORY"
    /// How often they are looked at.
    case certificateCheck = "MARTLET_CERTIFICATE_CHECK_MILLISECONDS"
    /// How long no new request must have come before a drain ends.
    case drainQuiet = "MARTLET_DRAIN_QUIET_MILLISECONDS"
    /// How many threads serve.
    case workers = "MARTLET_WORKERS"
    /// How long a connection may be without a request.
    case keepAliveIdle = "MARTLET_KEEP_ALIVE_IDLE_MILLISECONDS"
    /// How long streams and WebSockets are waited for at the end.
    case drainStreams = "MARTLET_DRAIN_STREAMS_MILLISECONDS"
    /// Which names metrics have.
    case metricNames = "MARTLET_METRIC_NAMES"

    /// The default, in words.
    public var standard: String {
        switch self {
        case .queueListen: ":QUEUE_SERVING_PORT"
        case .tlsListen: ":QUEUE_SERVING_TLS_PORT"
        case .adminListen: ":8022"
        case .statListen: ":9090"
        case .metricsListen: ":9091, or as METRICS_PROMETHEUS_* says"
        case .certificateDirectory: "/var/lib/knative/certs"
        case .certificateCheck: "60000"
        case .drainQuiet: "30000"
        case .workers: "1"
        case .keepAliveIdle: "0"
        case .drainStreams: "60000"
        case .metricNames: "those of the Knative that wrote the environment"
        }
    }

    /// What it does, in a line.
    public var meaning: String {
        switch self {
        case .queueListen: "address of the main listener"
        case .tlsListen: "address of the TLS listener"
        case .adminListen: "address of /wait-for-drain"
        case .statListen: "address of the statistics for the autoscaler"
        case .metricsListen: "address of the metrics for Prometheus"
        case .certificateDirectory: "where tls.crt and tls.key are"
        case .certificateCheck: "how often they are compared with those in use; 10...3600000"
        case .drainQuiet: "how long no request must come before a drain ends; 0...3600000"
        case .workers: "threads that serve; 1...64"
        case .keepAliveIdle: "how long a connection may be without a request; 0...86400000, 0: no limit"
        case .drainStreams: "how long streams and WebSockets are waited for at the end; 0...3600000"
        case .metricNames: "current (kn_...), previous (revision_...) or both"
        }
    }

    /// The table of `--help`.
    public static var table: String {
        allCases.map { "  \($0.rawValue)\n      \($0.meaning)\n      default: \($0.standard)\n" }.joined()
    }

    /// Warns of names that look like ours and are not. Variables that Kubernetes makes for a Service called martlet
    /// (`MARTLET_PORT`, `MARTLET_SERVICE_HOST`) are none of them.
    static func warnOfUnknown(_ environment: [String: String], _ reader: inout VariableReader) {
        let known = Set(allCases.map(\.rawValue))
        for name in environment.keys.sorted() where name.hasPrefix("MARTLET_") && !known.contains(name) {
            let isServiceLink = "\(name)_".cut(at: "_PORT_") != nil || name.cut(at: "_SERVICE_") != nil
            if !isServiceLink { reader.warn(name, found: "is not known", "it is passed over; see --help") }
        }
    }
}
