import TLS
import Testing

@testable import QueueProxy

/// OBSERVABILITY_CONFIG, OpenTelemetry's variables, and the listener for Prometheus.
@Suite struct ObservabilityTests {
    private func settings(_ json: String, _ changes: [String: String?] = [:]) throws -> ObservabilitySettings {
        let reading = Environments.read(observability: json, changes)
        #expect(reading.problems == [])
        return try #require(reading.configuration).observability
    }

    private func problems(_ json: String, _ changes: [String: String?] = [:]) -> [String] {
        Environments.read(observability: json, changes).problems.map(\.variable)
    }

    @Test(arguments: ["{}", "null", #"{"tracing":null,"requestMetrics":{"protocol":null},"new":[1,{"x":null}]}"#])
    func nothingSaidIsTheDefault(json: String) throws { #expect(try settings(json) == ObservabilitySettings()) }

    /// Go's json: keys of any case, the last of two, objects twice merged, null leaves what is there.
    @Test func keysAsGoReadsThem() throws {
        let json = #"""
            {"ENABLErequestLOG":false,"enableRequestLog":true,"requestLogTemplate":"a","requestLogTemplate":null,
            "tracing":{"protocol":"stdout"},"Tracing":{"samplingRate":0.5}}
            """#
        let settings = try settings(json)
        #expect(settings.requestLog.isEnabled && settings.requestLog.template == "a")
        #expect(settings.tracing == .standardOutput && settings.sampling == .always)
    }

    @Test func everyMismatchIsNamed() {
        let json = #"""
            {"tracing":{"protocol":1,"samplingRate":"0.1"},"metrics":{"endpoint":{}},
            "requestMetrics":{"exportInterval":1.5},
            "runtime":{"exportInterval":"15s","profiling":[]},"enableRequestLog":"true","requestLogTemplate":2,
            "enableProbeRequestLog":0,"EnableVarLogCollection":1,"LoggingURLTemplate":1}
            """#
        let expected = [
            "tracing.protocol", "tracing.samplingRate", "metrics.endpoint", "requestMetrics.exportInterval",
            "runtime.exportInterval", "runtime.profiling", "enableRequestLog", "requestLogTemplate",
            "enableProbeRequestLog", "EnableVarLogCollection", "LoggingURLTemplate",
        ]
        #expect(problems(json) == expected.map { "OBSERVABILITY_CONFIG.\($0)" })
    }

    @Test func unknownProtocols() {
        for name in ["", "zipkin", "GRPC"] {
            #expect(
                problems(#"{"tracing":{"protocol":"\#(name)"},"requestMetrics":{"protocol":"\#(name)"}}"#)
                    == ["OBSERVABILITY_CONFIG.requestMetrics.protocol", "OBSERVABILITY_CONFIG.tracing.protocol"])
        }
    }

    @Test func profilingIsSaidNotToBe() throws {
        let reading = Environments.read(observability: #"{"runtime":{"profiling":"enabled"}}"#)
        #expect(try #require(reading.configuration).observability.isProfilingAsked && reading.warnings.count == 1)
        let odd = Environments.read(observability: #"{"runtime":{"profiling":"on"}}"#)
        #expect(try #require(odd.configuration).observability.isProfilingAsked == false && odd.warnings.count == 1)
    }

    // MARK: OTLP

    static let endpoints: [(String, String)] = [
        ("http://c:4318", "http://c:4318/v1/traces"), ("https://c", "https://c:443/v1/traces"),
        ("http://c/", "http://c:80/"), ("http://c:1/x/y?q#f", "http://c:1/x/y"),
        ("collector.ns:4318", "https://collector.ns:4318/v1/traces"),
        ("HTTP://[fd00::1]:9", "http://[fd00::1]:9/v1/traces"),
    ]

    @Test(arguments: endpoints) func endpointsOfTheConfiguration(text: String, expected: String) throws {
        let settings = try settings(#"{"tracing":{"protocol":"http/protobuf","endpoint":"\#(text)"}}"#)
        guard case .otlp(let endpoint) = settings.tracing else {
            Issue.record("no OTLP: \(settings.tracing)")
            return
        }
        #expect("\(endpoint)" == "http/protobuf \(expected)" && settings.sampling == .never)
    }

    @Test(arguments: [
        "", "collector", "10.0.0.1:4318", "ftp://c", "http://", "http://c:", "http://c:0", "http://c:65536",
        "http://u@c",
        "http://c c", "://c", "http://a:b:1",
    ])
    func noEndpoints(text: String) {
        for (key, name) in [("tracing", "grpc"), ("requestMetrics", "http/protobuf")] {
            #expect(
                problems(#"{"\#(key)":{"protocol":"\#(name)","endpoint":"\#(text)"}}"#)
                    == ["OBSERVABILITY_CONFIG.\(key).endpoint"])
        }
    }

    @Test func openTelemetryVariablesWin() throws {
        let json = #"{"requestMetrics":{"protocol":"grpc","endpoint":"c:1","exportInterval":5000000000}}"#
        let plain = try settings(json)
        let inFile = OTLPEndpoint(transport: .grpc, isTLS: true, host: "c", port: 1, path: "/v1/metrics")
        #expect(plain.requestMetrics == .otlp(inFile, intervalMilliseconds: 5000))
        let all = try settings(
            json, ["OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:2/p/", "OTEL_METRIC_EXPORT_INTERVAL": "250"])
        let forAll = OTLPEndpoint(transport: .grpc, isTLS: false, host: "a", port: 2, path: "/p/v1/metrics")
        #expect(all.requestMetrics == .otlp(forAll, intervalMilliseconds: 250))
        let one = try settings(
            json, ["OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:2", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://b"])
        let forOne = OTLPEndpoint(transport: .grpc, isTLS: true, host: "b", port: 443, path: "/")
        #expect(one.requestMetrics == .otlp(forOne, intervalMilliseconds: 5000))
        #expect(problems(json, ["OTEL_EXPORTER_OTLP_ENDPOINT": "b:1"]) == ["OTEL_EXPORTER_OTLP_ENDPOINT"])
        let odd = Environments.read(observability: json, ["OTEL_METRIC_EXPORT_INTERVAL": "1s"])
        #expect(odd.warnings.map(\.variable) == ["OTEL_METRIC_EXPORT_INTERVAL"] && odd.problems == [])
    }

    @Test func samplers() throws {
        let json = #"{"tracing":{"protocol":"grpc","endpoint":"c:1","samplingRate":0.1}}"#
        let rows: [([String: String], TraceSampling)] = [
            ([:], TraceSampling(ratio: 0.1, followsParent: true)),
            (["OTEL_TRACES_SAMPLER_ARG": "1"], .always), (["OTEL_TRACES_SAMPLER_ARG": "-1"], .never),
            (["OTEL_TRACES_SAMPLER_ARG": "0.5"], TraceSampling(ratio: 0.5, followsParent: true)),
            (["OTEL_TRACES_SAMPLER": "always_on"], .always), (["OTEL_TRACES_SAMPLER": "always_off"], .never),
            (
                ["OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.2"],
                .init(ratio: 0.2, followsParent: false)
            ),
            (
                ["OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.2"],
                .init(ratio: 0.2, followsParent: true)
            ),
            (["OTEL_TRACES_SAMPLER": "parentbased_always_off"], .init(ratio: 0, followsParent: true)),
            (["OTEL_TRACES_SAMPLER": "parentbased_always_on"], .init(ratio: 1, followsParent: true)),
            (["OTEL_TRACES_SAMPLER": "sometimes"], .init(ratio: 1, followsParent: true)),
        ]
        for (changes, expected) in rows { #expect(try settings(json, changes).sampling == expected, "\(changes)") }
        #expect(problems(json, ["OTEL_TRACES_SAMPLER_ARG": "often"]) == ["OTEL_TRACES_SAMPLER_ARG"])
    }

    // MARK: Prometheus

    private func listener(_ endpoint: String, _ changes: [String: String?] = [:]) throws -> PrometheusListener? {
        let json = #"{"requestMetrics":{"protocol":"prometheus","endpoint":"\#(endpoint)"}}"#
        guard case .prometheus(let listener) = try settings(json, changes).requestMetrics else { return nil }
        return listener
    }

    @Test func addressesForPrometheus() throws {
        let rows: [(String, [String: String], String)] = [
            ("", [:], ":9091"), ("", ["METRICS_PROMETHEUS_PORT": "9095"], ":9095"),
            ("127.0.0.1:2000", [:], "127.0.0.1:2000"),
            ("[::1]:2000", [:], "[::1]:2000"), (":2000", ["METRICS_PROMETHEUS_HOST": "::1"], "[::1]:2000"),
            ("", ["METRICS_PROMETHEUS_HOST": "localhost"], "127.0.0.1:9091"),
            ("", ["METRICS_PROMETHEUS_HOST": ""], ":9091"),
            ("", ["METRICS_PROMETHEUS_PORT": "9095", "MARTLET_METRICS_LISTEN": "127.0.0.1:0"], "127.0.0.1:0"),
        ]
        for (endpoint, changes, expected) in rows {
            let found = try #require(try listener(endpoint, changes))
            #expect(found.listen.description == expected && found.security == nil)
        }
    }

    @Test func whatPrometheusRefuses() {
        let json = #"{"requestMetrics":{"protocol":"prometheus"}}"#
        let rows: [([String: String], String)] = [
            (["METRICS_PROMETHEUS_PORT": "80"], "PORT"), (["METRICS_PROMETHEUS_PORT": "x"], "PORT"),
            (["METRICS_PROMETHEUS_HOST": "prom.local"], "HOST"), (["METRICS_PROMETHEUS_TLS_CERT": "/c"], "TLS_KEY"),
            (["METRICS_PROMETHEUS_TLS_KEY": "/k"], "TLS_CERT"),
            (["METRICS_PROMETHEUS_TLS_CLIENT_AUTH": "must"], "TLS_CLIENT_AUTH"),
            (["METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE": "/ca"], "TLS_CLIENT_CA_FILE"),
            (
                ["METRICS_PROMETHEUS_TLS_CLIENT_AUTH": "require", "METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE": "/ca"],
                "TLS_CLIENT_AUTH"
            ),
            (
                [
                    "METRICS_PROMETHEUS_TLS_CERT": "/c", "METRICS_PROMETHEUS_TLS_KEY": "/k",
                    "METRICS_PROMETHEUS_TLS_CLIENT_AUTH": "optional",
                ], "TLS_CLIENT_CA_FILE"
            ),
            (
                [
                    "METRICS_PROMETHEUS_TLS_CERT": "/c", "METRICS_PROMETHEUS_TLS_KEY": "/k",
                    "METRICS_PROMETHEUS_TLS_MIN_VERSION": "1",
                ], "TLS_MIN_VERSION"
            ),
        ]
        for (changes, name) in rows {
            #expect(problems(json, changes) == ["METRICS_PROMETHEUS_\(name)"], "\(changes)")
            #expect(problems("{}", changes) == [], "they do not count without Prometheus")
        }
        #expect(
            problems(#"{"requestMetrics":{"protocol":"prometheus","endpoint":"9091"}}"#)
                == ["OBSERVABILITY_CONFIG.requestMetrics.endpoint"])
    }

    @Test func prometheusOverTLS() throws {
        let changes: [String: String?] = [
            "METRICS_PROMETHEUS_TLS_CERT": "/c", "METRICS_PROMETHEUS_TLS_KEY": "/k",
            "METRICS_PROMETHEUS_TLS_CLIENT_AUTH": " Require ", "METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE": "/ca",
            "METRICS_PROMETHEUS_TLS_MIN_VERSION": "1.2",
        ]
        let security = try #require(try listener("", changes)?.security)
        #expect(security.certificateFile == "/c" && security.keyFile == "/k" && security.clientAuthorityFile == "/ca")
        #expect(security.settings.clientCertificates == .required && security.settings.common.lowestVersion == .tls12)
    }
}
