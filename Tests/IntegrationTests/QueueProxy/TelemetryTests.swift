import Foundation
import Testing

/// What the real sidecar tells of its requests: on standard output, and on its page of metrics.
@Suite struct TelemetryTests {
    /// Nothing listens behind it, so every request is a 502 of its own.
    @Test func oneRequestIsToldThreeTimes() throws {
        let settings = #"""
            {"enableRequestLog":true,
             "requestLogTemplate":"line {{.Request.RequestURI}} {{.Response.Code}} {{.TraceID}}",
             "tracing":{"protocol":"stdout"},"requestMetrics":{"protocol":"prometheus"}}
            """#
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        try QueueSidecar.running(["OBSERVABILITY_CONFIG": settings]) { sidecar in
            let fields = ["traceparent: 00-\(trace)-00f067aa0ba902b7-01"]
            #expect(try sidecar.get("/told", fields).status == 502)
            #expect(try sidecar.get("/", QueueSidecar.kubelet).status == 200)
            let page = try sidecar.get("/metrics", at: "metrics")
            #expect(page.text.contains("kn_serving_invocation_duration_seconds_count"))
            #expect(page.text.contains("http_response_status_code=\"502\""))
            sidecar.process.signal(SIGTERM)
            #expect(sidecar.process.waitForEnd() == 0)
            #expect(sidecar.process.waitForLog(of: 1) { $0.contains("resourceSpans") })
            let lines = sidecar.process.out.split(separator: "\n").map(String.init)
            #expect(lines.filter { $0.hasPrefix("line ") } == ["line /told 502 \(trace)"])
            let spans = try lines.filter { $0.hasPrefix("{\"resourceSpans\"") }.map { line in
                try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            }
            #expect(spans.count == 2)
            #expect(lines.filter { $0.contains("\"traceId\":\"\(trace)\"") }.count == 2)
        }
    }

    /// What cannot be done of the settings is said at the start, and what is wrong keeps it from starting.
    @Test func settingsThatCannotBe() throws {
        let grpc = #"{"tracing":{"protocol":"grpc","endpoint":"http://c:4317","samplingRate":1}}"#
        try QueueSidecar.running(["OBSERVABILITY_CONFIG": grpc]) { sidecar in
            _ = try sidecar.port()
            #expect(sidecar.process.log.contains("OBSERVABILITY_CONFIG.tracing.protocol is \\\"grpc\\\"; "))
        }
        let wrong = #"{"enableRequestLog":true,"requestLogTemplate":"{{.Nope}}"}"#
        let sidecar = try QueueSidecar(["OBSERVABILITY_CONFIG": wrong])
        #expect(sidecar.process.waitForEnd() == 1)
        #expect(sidecar.process.log.contains("OBSERVABILITY_CONFIG.requestLogTemplate is wrong at 1:3"))
    }
}
