import Foundation
import Testing

/// The environment that Knative's controller writes, of both generations (spec/dataplane 1.1), read by the executable.
@Suite struct ContractEnvironmentTests {
    static let required = [
        "CONTAINER_CONCURRENCY", "QUEUE_SERVING_PORT", "QUEUE_SERVING_TLS_PORT", "USER_PORT",
        "REVISION_TIMEOUT_SECONDS", "SERVING_LOGGING_CONFIG", "SERVING_LOGGING_LEVEL", "SERVING_NAMESPACE",
        "SERVING_CONFIGURATION", "SERVING_REVISION", "SERVING_POD", "SERVING_POD_IP",
    ]

    /// Starts it with an environment that must keep it from starting.
    private static func refused(
        _ environment: [String: String], _ location: SourceLocation = #_sourceLocation
    ) throws -> String {
        let process = try ContractPod.start(environment, scratch: Scratch())
        let status = process.waitForEnd(15)
        if status == nil { process.signal(SIGKILL) }
        #expect(status == 1, "ended with \(String(describing: status)):\n\(process.tail)", sourceLocation: location)
        #expect(process.out.isEmpty, "\(process.out)", sourceLocation: location)
        return process.log
    }

    /// All that is missing is named at once, on standard error, and the exit status is 1.
    @Test func everythingMissing() throws {
        let log = try Self.refused([:])
        for name in Self.required { #expect(log.contains(name), "\(name) is not in:\n\(log)") }
    }

    @Test func eachMissing() throws {
        for name in Self.required {
            var environment = ContractPod.environment(userPort: 8080, [:])
            environment[name] = nil
            let log = try Self.refused(environment)
            for other in Self.required {
                #expect(log.contains("\(other) is not set") == (other == name), "\(name), \(other):\n\(log)")
            }
        }
    }

    static let wrong: [(name: String, values: [String])] = [
        ("CONTAINER_CONCURRENCY", ["", "x", "1.5", "99999999999999999999"]),
        ("REVISION_TIMEOUT_SECONDS", ["", "300s"]),
        ("REVISION_RESPONSE_START_TIMEOUT_SECONDS", ["x"]), ("REVISION_IDLE_TIMEOUT_SECONDS", ["0x10 "]),
        ("USER_PORT", ["0", "65536", "http"]), ("QUEUE_SERVING_PORT", ["70000"]),
        ("ENABLE_HTTP_FULL_DUPLEX", ["yes", "on"]), ("ENABLE_HTTP2_AUTO_DETECTION", ["2"]),
        ("ENABLE_MULTI_CONTAINER_PROBES", ["tRUE"]),
        ("SERVING_READINESS_PROBE", ["{", "[]", #"{"tcpSocket":{"port":"x"}}"#]), ("OBSERVABILITY_CONFIG", ["{", "x"]),
    ]

    /// What does not parse is named with its value; several at once.
    @Test func wrongValues() throws {
        for (name, values) in Self.wrong {
            for value in values {
                let changes = [name: value].merging(name == "QUEUE_SERVING_PORT" ? ["MARTLET_QUEUE_LISTEN": ""] : [:]) {
                    $1
                }
                let log = try Self.refused(ContractPod.environment(userPort: 8080, changes).merging(changes) { $1 })
                #expect(log.contains(name), "\(name)=\(value):\n\(log)")
            }
        }
        let all = Dictionary(uniqueKeysWithValues: Self.wrong.map { ($0.name, $0.values[0]) })
        let log = try Self.refused(ContractPod.environment(userPort: 8080, all).merging(all) { $1 })
        for (name, _) in Self.wrong { #expect(log.contains(name), "\(name):\n\(log)") }
    }

    /// 1.1: settings of TLS count if there is a certificate; then a bad one is fatal.
    @Test func wrongEncryption() throws {
        let certificates = try ForeignCertificates()
        let bad = [
            "QUEUE_PROXY_TLS_MIN_VERSION": "1.1", "QUEUE_PROXY_TLS_CIPHER_SUITES": "TLS_NONE",
            "QUEUE_PROXY_TLS_CURVE_PREFERENCES": "P-1",
        ]
        let with = bad.merging(["MARTLET_CERTIFICATE_DIRECTORY": certificates.folder]) { $1 }
        let log = try Self.refused(ContractPod.environment(userPort: 8080, with))
        for name in bad.keys { #expect(log.contains(name), "\(name):\n\(log)") }
        try ContractPod.running(bad) { pod throws in #expect(try pod.get("/bytes/1").status == 200) }
    }

    /// What the controller of each generation writes; empty texts are legal.
    static let generations: [(name: String, variables: [String: String])] = [
        (
            "1.23",
            [
                "SYSTEM_NAMESPACE": "knative-serving", "HOST_IP": "10.0.0.1", "ROOT_CA": "",
                "SERVING_LOGGING_CONFIG": #"{"level":"info","encoding":"json"}"#, "SERVING_LOGGING_LEVEL": "info",
                "SERVING_READINESS_PROBE": "", "ENABLE_HTTP_FULL_DUPLEX": "false",
                "ENABLE_HTTP2_AUTO_DETECTION": "false",
                "ENABLE_MULTI_CONTAINER_PROBES": "false", "QUEUE_PROXY_TLS_MIN_VERSION": "", "ROOT": "",
                "OBSERVABILITY_CONFIG": #"{"tracing":{"protocol":"none"},"metrics":{"protocol":"none"},"#
                    + #""runtime":{"profiling":"disabled","exportInterval":15000000000},"#
                    + #""requestMetrics":{"protocol":"none"},"enableRequestLog":false,"#
                    + #""requestLogTemplate":"","enableProbeRequestLog":false}"#,
            ]
        ),
        (
            "1.18",
            [
                "ENABLE_PROFILING": "false", "SERVING_REQUEST_LOG_TEMPLATE": "", "SERVING_ENABLE_REQUEST_LOG": "false",
                "SERVING_ENABLE_PROBE_REQUEST_LOG": "false", "SERVING_REQUEST_METRICS_BACKEND": "prometheus",
                "SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS": "5", "METRICS_COLLECTOR_ADDRESS": "",
                "TRACING_CONFIG_BACKEND": "none", "TRACING_CONFIG_DEBUG": "false", "TRACING_CONFIG_SAMPLE_RATE": "0.1",
                "TRACING_CONFIG_ZIPKIN_ENDPOINT": "", "METRICS_DOMAIN": "knative.dev/internal/serving",
            ]
        ),
        ("least", ["SERVING_SERVICE": "", "SERVING_CONFIGURATION": "", "SERVING_POD_IP": "", "SERVING_POD": ""]),
        ("truth values", ["ENABLE_HTTP_FULL_DUPLEX": "T", "ENABLE_HTTP2_AUTO_DETECTION": "0"]),
        ("below 1 is no limit", ["CONTAINER_CONCURRENCY": "-1"]),
    ]

    @Test func generationsStart() throws {
        concurrently(Self.generations.indices.map { $0 }, name: { Self.generations[$0].name }) { index in
            try ContractPod.running(Self.generations[index].variables) { pod throws in
                try demandEqual(try pod.get("/bytes/4").body.count, 4)
                try demandEqual(try pod.probe().text, "queue")
            }
        }
    }

    /// 1.3: a listener that cannot be had ends it with 1 and says which.
    @Test func listenersThatFail() throws {
        let taken = try PlayedContainer()
        defer { taken.stop() }
        for listener in ContractPod.Listener.allCases where listener != .tls && listener != .metrics {
            let name = "MARTLET_\(listener.rawValue.uppercased())_LISTEN"
            let log = try Self.refused(
                ContractPod.environment(userPort: 8080, [name: "127.0.0.1:\(taken.port)"]))
            #expect(log.contains("127.0.0.1:\(taken.port)"), "\(log)")
        }
    }
}
