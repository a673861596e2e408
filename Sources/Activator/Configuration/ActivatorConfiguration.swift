import Admission
import EventLoop
import Glibc

/// How an activator is set up: Knative's variables and our own (spec/dataplane 3.1).
public struct ActivatorConfiguration: Sendable {
    /// Everything that is wrong, a line each: the variable, what was found, what is allowed.
    public struct Failure: Error, Equatable, Sendable {
        /// At least one.
        public let problems: [String]
    }

    /// Where connections are taken.
    public struct Listeners: Sendable {
        /// `MARTLET_HTTP_LISTEN`: HTTP/1.1 and h2c; the endpoints' port `http`. Default `:8012`.
        public var http = SocketAddress(ipv4: 0, port: 8012)
        /// `MARTLET_HTTP2_LISTEN`: the same; the endpoints' port `http2`. Default `:8013`.
        public var http2 = SocketAddress(ipv4: 0, port: 8013)
        /// `MARTLET_TLS_LISTEN`: with a certificate only. Default `:8112`.
        public var tls = SocketAddress(ipv4: 0, port: 8112)
        /// `MARTLET_METRICS_LISTEN`: Prometheus. Default `:9090`.
        public var metrics = SocketAddress(ipv4: 0, port: 9090)

        /// The defaults.
        public init() {}
    }

    /// `POD_NAME`: who tells the stats. Default `activator`.
    public var podName = "activator"
    /// `POD_IP`: this activator among the public endpoints, IPv4 in host order. Default the address of the listener
    /// for HTTP, or 127.0.0.1 if that is every address.
    public var podIP: UInt32 = 0x7F00_0001
    /// `SYSTEM_NAMESPACE`. Default `knative-serving`.
    public var systemNamespace = "knative-serving"
    /// `CLUSTER_DOMAIN`. Default what /etc/resolv.conf says, else `cluster.local`.
    public var clusterDomain = ClusterDomain.standard
    /// Where connections are taken.
    public var listeners = Listeners()
    /// `MARTLET_AUTOSCALER`: HOST:PORT of its stat server; empty: none, and health says so. Default none.
    public var autoscaler = ""
    /// `MARTLET_CLUSTER`: a folder, or `unix:PATH`.
    public var cluster = ""
    /// `MARTLET_WORKERS`: data-plane threads. Default one a core.
    public var workers = Machine.coreCount
    /// `MARTLET_QUEUE_LIMIT`: requests of one revision that may wait. Default 10,000, what Knative's constant promises.
    public var queueLimit = 10_000
    /// `MARTLET_QUEUE_LIMIT_OVERALL`: requests of all revisions that may wait. Default 20,000.
    public var queueLimitOverall = 20_000
    /// `MAX_IDLE_PROXY_CONNS_PER_HOST`: unused connections kept for one pod, all workers together. Default 100.
    public var idleConnectionsPerPod = 100
    /// `MAX_IDLE_PROXY_CONNS`: read for Knative's sake; connections that are not used are closed by their age.
    /// Default 1,000.
    public var idleConnections = 1_000
    /// `PROBE_TIMEOUT`: how long the connection of a probe may take, in milliseconds. Default 300.
    public var probeConnectMilliseconds: UInt64 = 300
    /// `MARTLET_PROBE_HOLD_MILLISECONDS`: how long a pod may take to answer a probe. Default 11,000: longer than a
    /// queue-proxy waits for its container.
    public var probeHoldMilliseconds: UInt64 = 11_000
    /// The rules of finding pods. `PROBE_FREQUENCY` is the slow pause, `MARTLET_MESH` (auto, enabled, disabled) is
    /// config-network's `mesh-compatibility-mode`.
    ///
    /// `MARTLET_DOUBT_ANSWER_MILLISECONDS` and `MARTLET_SET_ASIDE_PERCENT` are those of doubts.
    public var finder = PodFinder.Settings()
    /// `MARTLET_DOUBT_FAILURES`: failures in a row after which a pod is asked whether it is ready; 0: none do.
    /// Default 5.
    public var doubtFailures = 5
    /// `MARTLET_CERTIFICATES`: a folder with `tls.crt`, `tls.key` for the listener with TLS and, to speak TLS to pods,
    /// `ca.crt` and `bundle.crt`. Default none.
    public var certificates = ""
    /// `MARTLET_CERTIFICATE_CHECK_MILLISECONDS`: how often its files are compared with those in use. Default 10,000.
    public var certificateCheckMilliseconds: UInt64 = 10_000
    /// `MARTLET_DRAIN_MILLISECONDS`: how long requests are taken after SIGTERM. Default 45,000 (Knative's).
    public var drainMilliseconds: UInt64 = 45_000
    /// `MARTLET_DRAIN_LIMIT_MILLISECONDS`: how long those under way are waited for afterwards. Default 540,000: shortly
    /// before the 600 s after which Kubernetes ends a pod of the activator.
    public var drainLimitMilliseconds: UInt64 = 540_000

    /// The defaults.
    public init() {}

    /// Reads an environment. `resolver` is the text of /etc/resolv.conf.
    public init(_ environment: [String: String], resolver: String = "") throws(Failure) {
        var reader = EnvironmentReader(environment)
        podName = reader.value("POD_NAME", default: podName, allowed: "a name of at most 253 bytes") {
            $0.utf8.count <= 253 ? $0 : nil
        }
        systemNamespace = reader.text("SYSTEM_NAMESPACE") ?? systemNamespace
        clusterDomain =
            reader.text("CLUSTER_DOMAIN") ?? ClusterDomain.name(inResolver: resolver) ?? ClusterDomain.standard
        listeners.http = reader.address("MARTLET_HTTP_LISTEN", default: listeners.http)
        listeners.http2 = reader.address("MARTLET_HTTP2_LISTEN", default: listeners.http2)
        listeners.tls = reader.address("MARTLET_TLS_LISTEN", default: listeners.tls)
        listeners.metrics = reader.address("MARTLET_METRICS_LISTEN", default: listeners.metrics)
        autoscaler = reader.value("MARTLET_AUTOSCALER", default: "", allowed: "HOST:PORT") {
            HostAndPort($0) == nil ? nil : $0
        }
        cluster = reader.text("MARTLET_CLUSTER") ?? ""
        certificates = reader.text("MARTLET_CERTIFICATES") ?? ""
        readLimits(&reader)
        podIP = readOwnAddress(&reader)
        guard reader.problems.isEmpty else { throw Failure(problems: reader.problems) }
    }

    private mutating func readLimits(_ reader: inout EnvironmentReader) {
        workers = reader.count("MARTLET_WORKERS", default: workers, in: 1...256)
        queueLimit = reader.count("MARTLET_QUEUE_LIMIT", default: queueLimit, in: 0...1_000_000)
        queueLimitOverall = reader.count("MARTLET_QUEUE_LIMIT_OVERALL", default: queueLimitOverall, in: 0...10_000_000)
        idleConnectionsPerPod = reader.count(
            "MAX_IDLE_PROXY_CONNS_PER_HOST", default: idleConnectionsPerPod, in: 0...100_000)
        idleConnections = reader.count("MAX_IDLE_PROXY_CONNS", default: idleConnections, in: 0...1_000_000)
        probeConnectMilliseconds = reader.duration("PROBE_TIMEOUT", default: probeConnectMilliseconds)
        probeHoldMilliseconds = reader.milliseconds(
            "MARTLET_PROBE_HOLD_MILLISECONDS", default: probeHoldMilliseconds, in: 1...600_000)
        finder.slowPauseMilliseconds = reader.duration("PROBE_FREQUENCY", default: finder.slowPauseMilliseconds)
        finder.mesh = reader.choice("MARTLET_MESH", default: finder.mesh)
        certificateCheckMilliseconds = reader.milliseconds(
            "MARTLET_CERTIFICATE_CHECK_MILLISECONDS", default: certificateCheckMilliseconds, in: 10...3_600_000)
        doubtFailures = reader.count("MARTLET_DOUBT_FAILURES", default: doubtFailures, in: 0...1_000_000)
        finder.doubtAnswerMilliseconds = reader.milliseconds(
            "MARTLET_DOUBT_ANSWER_MILLISECONDS", default: finder.doubtAnswerMilliseconds, in: 1...600_000)
        finder.setAsidePercent = reader.count(
            "MARTLET_SET_ASIDE_PERCENT", default: finder.setAsidePercent, in: 0...90)
        drainMilliseconds = reader.milliseconds(
            "MARTLET_DRAIN_MILLISECONDS", default: drainMilliseconds, in: 0...3_600_000)
        drainLimitMilliseconds = reader.milliseconds(
            "MARTLET_DRAIN_LIMIT_MILLISECONDS", default: drainLimitMilliseconds, in: 0...86_400_000)
    }

    private func readOwnAddress(_ reader: inout EnvironmentReader) -> UInt32 {
        let listened = Self.ipv4(listeners.http.host) ?? 0
        let standard = listened == 0 ? 0x7F00_0001 : listened
        return reader.value("POD_IP", default: standard, allowed: "an IPv4 address") { Self.ipv4($0) }
    }

    /// An IPv4 address in host order.
    static func ipv4(_ text: String) -> UInt32? {
        var address = in_addr()
        return inet_pton(AF_INET, text, &address) == 1 ? UInt32(bigEndian: address.s_addr) : nil
    }
}
