import DataPlane
import EventLoop
import OTLPWire
import Telemetry
import Testing

@testable import QueueProxy

@Suite struct TelemetryPlanTests {
    private func plan(
        _ json: String, _ changes: [String: String?] = [:], trustFiles: [String] = TrustFiles.usual
    ) throws -> TelemetryPlan {
        let reading = Environments.read(observability: json, changes)
        return try TelemetryPlan(try #require(reading.configuration, "\(reading.problems)"), trustFiles: trustFiles)
    }

    @Test func nothingAsked() throws {
        let plan = try plan("{}")
        #expect(!plan.isNeeded && plan.spans == .off && plan.metrics == .off && plan.prometheus == nil)
        #expect(plan.warnings.isEmpty)
    }

    @Test func everythingAsked() throws {
        let plan = try plan(
            #"""
            {"tracing":{"protocol":"http/protobuf","endpoint":"http://c:4318/v1/traces","samplingRate":0.5},
             "requestMetrics":{"protocol":"http/protobuf","endpoint":"http://d:4318","exportInterval":2000000000},
             "enableRequestLog":true,"requestLogTemplate":"{{.Request.Method}}","enableProbeRequestLog":true}
            """#, ["SERVING_SERVICE": "svc"])
        guard case .collector(let traces) = plan.spans, case .collector(let metrics) = plan.metrics else {
            Issue.record("\(plan.spans) \(plan.metrics)")
            return
        }
        #expect(traces.host == "c" && traces.path == "/v1/traces" && metrics.host == "d")
        #expect(plan.metricsIntervalMilliseconds == 2000 && plan.isNeeded && plan.warnings.isEmpty)
        #expect(plan.requests.sampler == TraceSampler(rate: 0.5) && plan.requests.keepsMetrics)
        #expect(plan.requests.logTemplate != nil && plan.requests.logsProbes && plan.requests.podIP == "10.1.2.3")
        #expect(plan.requests.identity.service == "svc" && plan.requests.identity.version == "0.1.0")
        #expect(plan.requests.identity.revision == "hello-00001")
    }

    /// Samplers of OpenTelemetry's own variable keep their rule about callers.
    @Test func samplers() throws {
        let json = #"{"tracing":{"protocol":"stdout"}}"#
        let rows: [(String, TraceSampler)] = [
            ("always_on", TraceSampler(rate: 1, followsParent: false)),
            ("parentbased_always_on", TraceSampler(rate: 1, followsParent: true)),
            ("parentbased_always_off", TraceSampler(rate: 0, followsParent: true)),
        ]
        for (name, sampler) in rows {
            #expect(try plan(json, ["OTEL_TRACES_SAMPLER": name]).requests.sampler == sampler)
        }
    }

    /// What is not spoken is said, with the variable and what happens instead.
    @Test func notSpoken() throws {
        let current = try plan(
            #"{"tracing":{"protocol":"grpc","endpoint":"http://c:4317","samplingRate":1},"#
                + #""requestMetrics":{"protocol":"grpc","endpoint":"http://c:4317"}}"#)
        #expect(!current.isNeeded && current.spans == .off && current.metrics == .off)
        #expect(
            current.warnings.map(\.variable) == [
                "OBSERVABILITY_CONFIG.requestMetrics.protocol", "OBSERVABILITY_CONFIG.tracing.protocol",
            ])
        let reading = Environments.read([
            "SERVING_REQUEST_METRICS_BACKEND": "opencensus", "METRICS_COLLECTOR_ADDRESS": "c:55678",
            "TRACING_CONFIG_BACKEND": "zipkin", "TRACING_CONFIG_ZIPKIN_ENDPOINT": "http://z:9411/api/v2/spans",
            "TRACING_CONFIG_DEBUG": "true",
        ])
        let previous = try TelemetryPlan(try #require(reading.configuration))
        #expect(!previous.isNeeded)
        #expect(previous.warnings.map(\.variable) == ["SERVING_REQUEST_METRICS_BACKEND", "TRACING_CONFIG_BACKEND"])
    }

    /// All that is wrong is said at once.
    @Test func problems() throws {
        let json = #"""
            {"tracing":{"protocol":"http/protobuf","endpoint":"https://c:4318"},"enableRequestLog":true,
             "requestLogTemplate":"{{.Nope}} {{range .X}}"}
            """#
        let failure = #expect(throws: TelemetryPlan.Failure.self) { try plan(json, trustFiles: ["/nonexistent/ca"]) }
        let problems = failure?.problems ?? []
        #expect(problems.count >= 2 && problems.last?.remedy.contains("/nonexistent/ca") == true, "\(problems)")
        #expect(problems.first?.variable == "OBSERVABILITY_CONFIG.requestLogTemplate")
    }

    /// Spans of workers reach the collector or standard output, metrics are pushed, and the end sends the rest.
    @Test func exports() throws {
        let loop = try Loop()
        let collector = try Collector(loop)
        let plan = try plan(
            #"{"tracing":{"protocol":"stdout"},"requestMetrics":{"protocol":"http/protobuf","#
                + #""endpoint":"http://127.0.0.1:\#(collector.port)","exportInterval":20000000}}"#)
        let telemetry = try RequestTelemetry(plan.requests, workerCount: 1)
        var printed: [UInt8] = []
        let export = try TelemetryExport(plan, telemetry, loop: loop, print: { printed += $0 }, say: { _ in })
        var labels = MetricLabels()
        labels.status = 200
        telemetry.metrics[0].recordServer(labels, nanoseconds: 1, requestBytes: 2, responseBytes: 3)
        #expect(loop.until { collector.requests.count >= 2 })
        let request = try #require(collector.requests.first)
        #expect(request.head.hasPrefix("POST /v1/metrics "))
        let names = try ProtobufMessage(request.body).find(1, 2, 2, 1).map(\.text)
        #expect(names.contains("http.server.request.duration"))
        var isOver = false
        export.finish(withinMilliseconds: 5_000) { isOver = true }
        #expect(loop.until { isOver } && export.counts.lost == 0 && export.counts.delivered >= 3)
        #expect(!export.metricsPage().isEmpty && printed.isEmpty)
    }
}
