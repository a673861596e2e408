import EventLoop
import Testing

@testable import Activator

/// What the environment may say (spec/dataplane 3.1).
@Suite struct ConfigurationTests {
    @Test func defaults() throws {
        let configuration = try ActivatorConfiguration([:])
        #expect(configuration.podName == "activator" && configuration.podIP == 0x7F00_0001)
        #expect(configuration.systemNamespace == "knative-serving" && configuration.clusterDomain == "cluster.local")
        #expect(configuration.listeners.http.port == 8012 && configuration.listeners.http2.port == 8013)
        #expect(configuration.listeners.tls.port == 8112 && configuration.listeners.metrics.port == 9090)
        #expect(configuration.idleConnectionsPerPod == 100 && configuration.probeConnectMilliseconds == 300)
        #expect(configuration.finder.slowPauseMilliseconds == 200 && configuration.drainMilliseconds == 45_000)
        #expect(configuration.queueLimit == 10_000 && configuration.finder.mesh == .auto)
        #expect(configuration.doubtFailures == 5 && configuration.finder.doubtAnswerMilliseconds == 1_000)
        #expect(configuration.finder.setAsidePercent == 50 && configuration.certificateCheckMilliseconds == 10_000)
    }

    @Test func knatives() throws {
        let configuration = try ActivatorConfiguration([
            "POD_NAME": "activator-7", "POD_IP": "10.1.2.3", "SYSTEM_NAMESPACE": "sys", "CLUSTER_DOMAIN": "a.b",
            "MAX_IDLE_PROXY_CONNS": "10", "MAX_IDLE_PROXY_CONNS_PER_HOST": "5", "PROBE_TIMEOUT": "1.5s",
            "PROBE_FREQUENCY": "50ms",
        ])
        #expect(configuration.podName == "activator-7" && configuration.podIP == 0x0A01_0203)
        #expect(configuration.systemNamespace == "sys" && configuration.clusterDomain == "a.b")
        #expect(configuration.idleConnections == 10 && configuration.idleConnectionsPerPod == 5)
        #expect(configuration.probeConnectMilliseconds == 1_500)
        #expect(configuration.finder.slowPauseMilliseconds == 50)
    }

    @Test func ours() throws {
        let configuration = try ActivatorConfiguration([
            "MARTLET_HTTP_LISTEN": "127.0.0.9:1", "MARTLET_HTTP2_LISTEN": "127.0.0.9:2", "MARTLET_TLS_LISTEN": ":3",
            "MARTLET_METRICS_LISTEN": "4", "MARTLET_AUTOSCALER": "autoscaler:8080", "MARTLET_CLUSTER": "unix:/x",
            "MARTLET_WORKERS": "3", "MARTLET_QUEUE_LIMIT": "7", "MARTLET_QUEUE_LIMIT_OVERALL": "8",
            "MARTLET_PROBE_HOLD_MILLISECONDS": "9", "MARTLET_MESH": "Enabled", "MARTLET_CERTIFICATES": "/c",
            "MARTLET_DRAIN_MILLISECONDS": "0", "MARTLET_DRAIN_LIMIT_MILLISECONDS": "10",
            "MARTLET_DOUBT_FAILURES": "0", "MARTLET_DOUBT_ANSWER_MILLISECONDS": "11", "MARTLET_SET_ASIDE_PERCENT": "90",
            "MARTLET_CERTIFICATE_CHECK_MILLISECONDS": "10",
        ])
        #expect(configuration.podIP == 0x7F00_0009, "the listener's address is its own")
        #expect("\(configuration.listeners.http2)" == "127.0.0.9:2" && "\(configuration.listeners.tls)" == "0.0.0.0:3")
        #expect(configuration.autoscaler == "autoscaler:8080" && configuration.cluster == "unix:/x")
        #expect(configuration.workers == 3 && configuration.queueLimit == 7 && configuration.queueLimitOverall == 8)
        #expect(configuration.probeHoldMilliseconds == 9 && configuration.finder.mesh == .enabled)
        #expect(configuration.certificates == "/c" && configuration.drainMilliseconds == 0)
        #expect(configuration.drainLimitMilliseconds == 10 && configuration.doubtFailures == 0)
        #expect(configuration.finder.doubtAnswerMilliseconds == 11 && configuration.finder.setAsidePercent == 90)
        #expect(configuration.certificateCheckMilliseconds == 10)
    }

    /// Everything that is wrong, with what is allowed, at once.
    @Test func problems() {
        let environment = [
            "POD_IP": "::1", "PROBE_TIMEOUT": "3", "PROBE_FREQUENCY": "-1s", "MAX_IDLE_PROXY_CONNS": "x",
            "MARTLET_MESH": "perhaps", "MARTLET_HTTP_LISTEN": "here", "MARTLET_WORKERS": "0",
            "MARTLET_AUTOSCALER": "autoscaler", "MARTLET_DRAIN_MILLISECONDS": "1e9",
            "POD_NAME": String(repeating: "a", count: 254), "MARTLET_DOUBT_FAILURES": "-1",
            "MARTLET_SET_ASIDE_PERCENT": "91",
        ]
        let failure = #expect(throws: ActivatorConfiguration.Failure.self) { try ActivatorConfiguration(environment) }
        let problems = failure?.problems ?? []
        #expect(problems.count == environment.count, "\(problems)")
        for name in environment.keys {
            #expect(problems.contains { $0.hasPrefix("\(name) is \"") && $0.contains("; allowed: ") }, "\(name)")
        }
    }

    struct Domain: Sendable {
        let text: String
        let name: String?
    }

    @Test(arguments: [
        Domain(
            text: "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 1.1.1.1",
            name: "cluster.local"),
        Domain(text: "# x\n\tsearch a.b\tsvc.k8s.example.\n", name: "k8s.example"),
        Domain(text: "nameserver 1.1.1.1\nsearch example.com\n", name: nil), Domain(text: "", name: nil),
        Domain(text: "research svc.a", name: nil),
    ]) func domains(domain: Domain) throws {
        #expect(ClusterDomain.name(inResolver: domain.text) == domain.name)
        let configuration = try ActivatorConfiguration([:], resolver: domain.text)
        #expect(configuration.clusterDomain == domain.name ?? "cluster.local")
    }

    @Test func places() {
        #expect(HostAndPort("a.b:80").map { "\($0.host) \($0.port)" } == "a.b 80")
        #expect(HostAndPort("[::1]:8080").map { "\($0.host) \($0.port)" } == "::1 8080")
        for text in ["", "a", "a:", ":1", "a:0", "a:65536", "a b:1", "a:+1", "[]:1"] {
            #expect(HostAndPort(text) == nil)
        }
    }
}
