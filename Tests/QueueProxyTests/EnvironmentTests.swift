import EventLoop
import TLS
import Testing

@testable import QueueProxy

/// The table of variables, row by row.
@Suite struct EnvironmentTests {
    // MARK: Required

    @Test func theRequiredOnesAreEnough() throws {
        let reading = Environments.read()
        #expect(reading.problems == [] && reading.warnings == [])
        let configuration = try #require(reading.configuration)
        #expect(configuration.concurrency == 0 && configuration.admittedLimit == nil)
        #expect(configuration.queueListen == ListenAddress(port: 8012) && configuration.userPort == 8080)
        #expect(configuration.tls == QueueConfiguration.TLSListener(listen: ListenAddress(port: 8112), settings: tls13))
        #expect(configuration.adminListen == ListenAddress(port: 8022))
        #expect(configuration.statListen == ListenAddress(port: 9090))
        #expect(configuration.timeouts == .init(totalSeconds: 300, responseStartSeconds: 0, idleSeconds: 0))
        #expect(configuration.readiness == ReadinessSettings() && configuration.readiness.probes.isEmpty)
        #expect(configuration.revision.service == "" && configuration.revision.podIP == "10.1.2.3")
        #expect(configuration.resource == .init(serviceName: "hello", pod: ""))
        #expect(configuration.log == LogSettings() && configuration.log.level == .info)
        #expect(configuration.observability == ObservabilitySettings())
        #expect(configuration.generation == .current && configuration.metricNames == .current)
        #expect(configuration.certificateDirectory == "/var/lib/knative/certs")
        #expect(configuration.certificateCheckMilliseconds == 60_000)
        #expect(configuration.drainQuietMilliseconds == 30_000 && !configuration.isFullDuplex)
    }

    private var tls13: TLSServerSettings {
        var settings = TLSServerSettings()
        settings.common.lowestVersion = .tls13
        return settings
    }

    @Test(arguments: Environments.required.keys.sorted()) func eachIsRequired(name: String) {
        let reading = Environments.read([name: nil])
        #expect(reading.configuration == nil)
        #expect(reading.problems.map(\.variable) == [name] && reading.problems[0].found == "is not set")
    }

    @Test func allThatIsMissingIsNamed() {
        let reading = QueueConfiguration.read([:]) { _ in false }
        #expect(Set(reading.problems.map(\.variable)) == Set(Environments.required.keys))
        #expect(reading.problems.count == Environments.required.count)
    }

    /// envconfig asks whether a variable exists; a number must then be one.
    @Test func emptyIsAText() {
        let texts = [
            "SERVING_LOGGING_CONFIG", "SERVING_LOGGING_LEVEL", "SERVING_NAMESPACE", "SERVING_CONFIGURATION",
            "SERVING_REVISION", "SERVING_POD", "SERVING_POD_IP", "SERVING_SERVICE", "SERVING_READINESS_PROBE",
            "OBSERVABILITY_CONFIG",
        ]
        for name in texts { #expect(Environments.read([name: ""]).problems == [], "\(name)") }
        let others = [
            "CONTAINER_CONCURRENCY", "QUEUE_SERVING_PORT", "QUEUE_SERVING_TLS_PORT", "USER_PORT",
            "REVISION_TIMEOUT_SECONDS", "REVISION_RESPONSE_START_TIMEOUT_SECONDS", "REVISION_IDLE_TIMEOUT_SECONDS",
            "ENABLE_HTTP_FULL_DUPLEX", "ENABLE_HTTP2_AUTO_DETECTION", "ENABLE_MULTI_CONTAINER_PROBES",
        ]
        for name in others { #expect(Environments.read([name: ""]).problems.map(\.variable) == [name]) }
    }

    // MARK: Values

    struct Row: Sendable, CustomTestStringConvertible {
        let name: String, text: String
        let isRight: @Sendable (QueueConfiguration) -> Bool
        var testDescription: String { "\(name)=\(text)" }

        init(_ name: String, _ text: String, _ isRight: @escaping @Sendable (QueueConfiguration) -> Bool) {
            (self.name, self.text, self.isRight) = (name, text, isRight)
        }
    }

    static let rows: [Row] = [
        Row("CONTAINER_CONCURRENCY", "10") { $0.concurrency == 10 && $0.admittedLimit == 110 },
        Row("CONTAINER_CONCURRENCY", "-1") { $0.concurrency == 0 && $0.admittedLimit == nil },
        Row("CONTAINER_CONCURRENCY", "0x10") { $0.concurrency == 16 },
        Row("CONTAINER_CONCURRENCY", "100000000") { $0.admittedLimit == 1_100_000_000 },
        Row("QUEUE_SERVING_PORT", "8013") { $0.queueListen == ListenAddress(port: 8013) },
        Row("QUEUE_SERVING_PORT", "0") { $0.queueListen.port == 0 },
        Row("QUEUE_SERVING_TLS_PORT", "8113") { $0.tls?.listen == ListenAddress(port: 8113) },
        Row("USER_PORT", "3000") { $0.userPort == 3000 },
        Row("REVISION_TIMEOUT_SECONDS", "0") { $0.timeouts.totalSeconds == 0 },
        Row("REVISION_TIMEOUT_SECONDS", "-5") { $0.timeouts.totalSeconds == 0 },
        Row("REVISION_TIMEOUT_SECONDS", "600") { $0.timeouts.totalSeconds == 600 },
        Row("REVISION_RESPONSE_START_TIMEOUT_SECONDS", "7") { $0.timeouts.responseStartSeconds == 7 },
        Row("REVISION_IDLE_TIMEOUT_SECONDS", "9") { $0.timeouts.idleSeconds == 9 },
        Row("ENABLE_HTTP_FULL_DUPLEX", "T") { $0.isFullDuplex },
        Row("ENABLE_HTTP_FULL_DUPLEX", "False") { !$0.isFullDuplex },
        Row("ENABLE_HTTP2_AUTO_DETECTION", "1") { $0.readiness.detectsHTTP2 },
        Row("SERVING_NAMESPACE", "shop") { $0.revision.namespace == "shop" },
        Row("SERVING_SERVICE", "cart") { $0.revision.service == "cart" && $0.resource.serviceName == "cart" },
        Row("SERVING_CONFIGURATION", "c") { $0.revision.configuration == "c" && $0.resource.serviceName == "c" },
        Row("SERVING_CONFIGURATION", "") { $0.resource.serviceName == "hello-00001" },
        Row("SERVING_REVISION", "cart-00002") { $0.revision.name == "cart-00002" },
        Row("SERVING_POD", "pod-a") { $0.revision.pod == "pod-a" },
        Row("SERVING_POD_IP", "fd00::1") { $0.revision.podIP == "fd00::1" },
        Row("HOSTNAME", "pod-b") { $0.resource.pod == "pod-b" },
        Row("POD_NAME", "pod-c") { $0.resource.pod == "pod-c" },
        Row("OTEL_SERVICE_NAME", "front") { $0.resource.serviceName == "front" },
        Row("SERVING_LOGGING_LEVEL", "DEBUG") { $0.log.level == .debug },
        Row("SERVING_LOGGING_CONFIG", #"{"level":"error","outputPaths":["stdout"]}"#) {
            $0.log == LogSettings(level: .error, usesStandardOutput: true)
        },
        Row("QUEUE_PROXY_TLS_MIN_VERSION", "1.2") { $0.tls?.settings.common.lowestVersion == .tls12 },
        Row("QUEUE_PROXY_TLS_MIN_VERSION", "") { $0.tls?.settings.common.lowestVersion == .tls13 },
        Row("QUEUE_PROXY_TLS_MAX_VERSION", "1.3") { $0.tls?.settings.common.highestVersion == .tls13 },
        Row("QUEUE_PROXY_TLS_CURVE_PREFERENCES", " , ") { $0.tls?.settings.common.groups == TLSSettings().groups },
        Row("MARTLET_QUEUE_LISTEN", "127.0.0.1:0") { $0.queueListen.candidates == [.loopback(port: 0)] },
        Row("MARTLET_QUEUE_LISTEN", "18012") { $0.queueListen.candidates == [.loopback(port: 18_012)] },
        Row("MARTLET_QUEUE_LISTEN", "") { $0.queueListen == ListenAddress(port: 8012) },
        Row("MARTLET_TLS_LISTEN", "[::1]:8443") { $0.tls?.listen.description == "[::1]:8443" },
        Row("MARTLET_ADMIN_LISTEN", "localhost:1") { $0.adminListen.candidates == [.loopback(port: 1)] },
        Row("MARTLET_STAT_LISTEN", ":9999") { $0.statListen == ListenAddress(port: 9999) },
        Row("MARTLET_CERTIFICATE_DIRECTORY", "/certs") { $0.certificateDirectory == "/certs" },
        Row("MARTLET_CERTIFICATE_CHECK_MILLISECONDS", "10") { $0.certificateCheckMilliseconds == 10 },
        Row("MARTLET_DRAIN_QUIET_MILLISECONDS", "0") { $0.drainQuietMilliseconds == 0 },
        Row("MARTLET_METRIC_NAMES", "both") { $0.metricNames == .both },
        Row("SYSTEM_NAMESPACE", "knative-serving") { $0.revision.namespace == "default" },
    ]

    @Test(arguments: rows) func itIsTaken(row: Row) throws {
        let reading = Environments.read([row.name: row.text])
        #expect(reading.problems == [] && reading.warnings == [])
        #expect(row.isRight(try #require(reading.configuration)))
    }

    static let refused: [(String, [String])] = [
        ("CONTAINER_CONCURRENCY", ["many", "1.5", "100000001", " 1", "9223372036854775808"]),
        ("QUEUE_SERVING_PORT", ["http", "65536", "-1", "8012 "]), ("QUEUE_SERVING_TLS_PORT", ["https", "65536"]),
        ("USER_PORT", ["0", "80a", "65536"]), ("REVISION_TIMEOUT_SECONDS", ["5m", "2147483648"]),
        ("REVISION_RESPONSE_START_TIMEOUT_SECONDS", ["x"]), ("REVISION_IDLE_TIMEOUT_SECONDS", ["x"]),
        ("ENABLE_HTTP_FULL_DUPLEX", ["yes", "tRue"]), ("ENABLE_HTTP2_AUTO_DETECTION", ["on"]),
        ("ENABLE_MULTI_CONTAINER_PROBES", ["2"]), ("SERVING_READINESS_PROBE", ["tcp", "[]", "{} {}"]),
        ("OBSERVABILITY_CONFIG", ["none", "[]", "{\"enableRequestLog\":1}"]),
        ("QUEUE_PROXY_TLS_MIN_VERSION", ["1.1", "TLS1.2", "13"]), ("QUEUE_PROXY_TLS_MAX_VERSION", ["1.4", "1.2"]),
        ("QUEUE_PROXY_TLS_CIPHER_SUITES", ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA"]),
        ("QUEUE_PROXY_TLS_CURVE_PREFERENCES", ["P256", "x25519", "X25519MLKEM768"]),
        ("MARTLET_QUEUE_LISTEN", ["here:80", ":", "1.2.3:80", "::1:80"]), ("MARTLET_TLS_LISTEN", ["x"]),
        ("MARTLET_ADMIN_LISTEN", ["x"]), ("MARTLET_STAT_LISTEN", ["x"]),
        ("MARTLET_CERTIFICATE_CHECK_MILLISECONDS", ["9", "1s"]),
        ("MARTLET_DRAIN_QUIET_MILLISECONDS", ["-1", "3600001"]),
        ("MARTLET_METRIC_NAMES", ["old", "Current"]),
    ]

    /// The problem names the variable, the value if it is one word, and what is allowed.
    @Test(arguments: refused) func itIsRefused(name: String, texts: [String]) {
        for text in texts {
            let reading = Environments.read([name: text])
            #expect(reading.configuration == nil, "\(name)=\(text)")
            #expect(reading.problems.count == 1, "\(name)=\(text): \(reading.problems)")
            #expect(reading.problems.allSatisfy { $0.variable.hasPrefix(name) && $0.remedy.hasPrefix("allowed: ") })
        }
    }

    @Test func allIsRefusedAtOnce() {
        var changes: [String: String?] = [:]
        for (name, texts) in Self.refused { changes[name] = texts[0] }
        let found = Environments.read(changes).problems.map(\.variable)
        for name in changes.keys { #expect(found.contains { $0.hasPrefix(name) }, "\(name) is not among \(found)") }
        #expect(found.count == Self.refused.count)
    }

    // MARK: What does not stop it

    @Test(arguments: ["SERVING_LOGGING_CONFIG", "SERVING_LOGGING_LEVEL"]) func logsNeverStopIt(name: String) throws {
        let reading = Environments.read([name: "{loud"])
        #expect(try #require(reading.configuration).log == LogSettings())
        #expect(reading.warnings.map(\.variable) == [name] && reading.problems == [])
    }

    @Test func withoutACertificateTLSDoesNotStopIt() throws {
        let reading = Environments.read(
            ["QUEUE_PROXY_TLS_MIN_VERSION": "0.9", "QUEUE_SERVING_TLS_PORT": ""], isMounted: false)
        #expect(try #require(reading.configuration).tls == nil)
        #expect(
            Set(reading.warnings.map(\.variable)) == ["QUEUE_SERVING_TLS_PORT", "QUEUE_PROXY_TLS_MIN_VERSION"])
    }

    @Test func namesLikeOursAreReported() {
        let reading = Environments.read([
            "MARTLET_QUEUE_LISTENS": ":1", "MARTLET_PORT": "tcp://10.0.0.1:80", "MARTLET_SERVICE_HOST": "10.0.0.1",
            "MARTLET_PORT_80_TCP_ADDR": "10.0.0.1",
        ])
        #expect(reading.warnings.map(\.variable) == ["MARTLET_QUEUE_LISTENS"])
        #expect(reading.configuration != nil)
    }

    @Test func messagesAreOneSafeLine() {
        let reading = Environments.read(["USER_PORT": "\u{1B}[2J\n" + String(repeating: "9", count: 10_000)])
        let text = "\(reading.problems[0])"
        #expect(text.utf8.count < 300 && text.unicodeScalars.allSatisfy { $0.value >= 0x20 } && text.contains("…"))
    }

    @Test func addressesOfEveryListener() {
        #expect(ListenAddress(port: 8012).candidates.map(\.description) == ["[::]:8012", "0.0.0.0:8012"])
        #expect(ListenAddress("0.0.0.0:1")?.candidates.map(\.description) == ["0.0.0.0:1"])
    }
}
