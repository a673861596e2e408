import TLS
import Testing

@testable import QueueProxy

/// Whole environments of both generations.
@Suite struct GenerationTests {
    @Test func knative116() throws {
        let reading = QueueConfiguration.read(Environments.knative116) { _ in false }
        #expect(reading.problems == [] && reading.warnings == [])
        let configuration = try #require(reading.configuration)
        try checkCommon(configuration)
        #expect(configuration.generation == .previous && configuration.metricNames == .previous)
        #expect(configuration.tls == nil)
        #expect(configuration.observability.tracing == .zipkin(url: "http://zipkin:9411/api/v2/spans"))
        #expect(configuration.observability.requestLog.template == "{{.Request.Method}}")
    }

    @Test func knative121() throws {
        let reading = QueueConfiguration.read(Environments.knative121) { $0 == "/var/lib/knative/certs" }
        #expect(reading.problems == [] && reading.warnings == [])
        let configuration = try #require(reading.configuration)
        try checkCommon(configuration)
        #expect(configuration.generation == .current && configuration.metricNames == .current)
        let common = try #require(configuration.tls).settings.common
        #expect(common.lowestVersion == .tls12 && common.highestVersion == .tls13)
        #expect(common.cipherSuitesTLS12 == "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305")
        #expect(common.groups == "X25519:P-256")
        let endpoint = OTLPEndpoint(
            transport: .http, isTLS: false, host: "collector.observability", port: 4318, path: "/v1/traces")
        #expect(configuration.observability.tracing == .otlp(endpoint))
        #expect(configuration.observability.requestLog.template == "{{.Request.Method}} <&")
    }

    private func checkCommon(_ configuration: QueueConfiguration) throws {
        #expect(configuration.concurrency == 10 && configuration.admittedLimit == 110)
        #expect(configuration.queueListen.port == 8013 && configuration.userPort == 8080 && configuration.isFullDuplex)
        #expect(configuration.timeouts == .init(totalSeconds: 300, responseStartSeconds: 30, idleSeconds: 0))
        #expect(configuration.log == LogSettings(level: .info, usesStandardOutput: true))
        let handler = ReadinessProbe.Handler.http(
            target: "/ready?full=1", port: 8080, isTLS: false, headers: [.init(name: "X-Probe", value: "yes")])
        let probe = ReadinessProbe(handler: handler, isAggressive: false, timeoutSeconds: 1, successThreshold: 1)
        #expect(configuration.readiness == ReadinessSettings(probes: [probe], detectsHTTP2: false))
        #expect(configuration.resource == .init(serviceName: "hello", pod: "hello-00001-deployment-6d9"))
        let expected = PrometheusListener(listen: ListenAddress(port: 9091), security: nil)
        #expect(configuration.observability.requestMetrics == .prometheus(expected))
        #expect(configuration.observability.sampling == TraceSampling(ratio: 0.25, followsParent: true))
        #expect(configuration.observability.requestLog.isEnabled)
        #expect(configuration.observability.requestLog.includesProbes)
    }

    /// What Knative 1.19 and later do not know does not count there, right or wrong.
    @Test func theNewOneDecidesAlone() throws {
        let old = ["SERVING_ENABLE_REQUEST_LOG": "perhaps", "SERVING_REQUEST_METRICS_BACKEND": "prometheus"]
        let reading = Environments.read(observability: "{}", old)
        #expect(try #require(reading.configuration).observability == ObservabilitySettings())
        #expect(reading.problems == [])
        let previous = Environments.read(observability: "", old)
        #expect(previous.problems.map(\.variable) == ["SERVING_ENABLE_REQUEST_LOG"])
    }

    @Test func eachOldVariable() throws {
        for (name, bad) in [
            ("ENABLE_PROFILING", "x"), ("SERVING_ENABLE_REQUEST_LOG", ""), ("SERVING_ENABLE_PROBE_REQUEST_LOG", "x"),
            ("SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS", "1.5"), ("TRACING_CONFIG_DEBUG", "x"),
            ("TRACING_CONFIG_SAMPLE_RATE", "often"), ("TRACING_CONFIG_SAMPLE_RATE", "nan"),
        ] {
            #expect(Environments.read([name: bad]).problems.map(\.variable) == [name])
        }
        for name in ["SERVING_REQUEST_METRICS_BACKEND", "TRACING_CONFIG_BACKEND"] {
            let reading = Environments.read([name: "stackdriver"])
            #expect(reading.warnings.map(\.variable) == [name])
            let observability = try #require(reading.configuration).observability
            #expect(observability.requestMetrics == .off && observability.tracing == .off)
        }
        let census = Environments.read([
            "SERVING_REQUEST_METRICS_BACKEND": "OpenCensus", "METRICS_COLLECTOR_ADDRESS": "agent:55678",
            "SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS": "7",
        ])
        #expect(
            try #require(census.configuration).observability.requestMetrics
                == .openCensus(address: "agent:55678", periodSeconds: 7))
        let debug = Environments.read([
            "TRACING_CONFIG_BACKEND": "zipkin", "TRACING_CONFIG_ZIPKIN_ENDPOINT": "http://z/",
            "TRACING_CONFIG_DEBUG": "1",
        ])
        #expect(try #require(debug.configuration).observability.sampling == .always)
    }

    /// Without a template Knative up to 1.18 logs nothing.
    @Test func aLogNeedsATemplate() throws {
        let old = Environments.read(["SERVING_ENABLE_REQUEST_LOG": "true"])
        #expect(try #require(old.configuration).observability.requestLog.isEnabled == false)
        let new = Environments.read(observability: #"{"enableRequestLog":true}"#)
        let log = try #require(new.configuration).observability.requestLog
        #expect(log.isEnabled && log.template == RequestLogSettings.defaultTemplate)
        #expect(
            log.template.hasPrefix(#"{"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js "#))
        #expect(log.template.hasSuffix(#""protocol": "{{.Request.Proto}}"}, "traceId": "{{.TraceID}}"}"#))
        #expect(!log.template.contains("\n") && !log.template.contains("  ") && log.template.utf8.count == 469)
        let empty = Environments.read(observability: #"{"enableRequestLog":true,"requestLogTemplate":""}"#)
        #expect(try #require(empty.configuration).observability.requestLog.isEnabled == false)
    }
}
