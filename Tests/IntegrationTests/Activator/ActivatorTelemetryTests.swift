import Foundation
import Testing

/// Request log, metrics and spans of an activator: those of the queue-proxy, with the names of each request's revision
/// (spec/dataplane 2.4, 3.2, 3.4).
@Suite struct ActivatorTelemetryTests {
    private static let template =
        "LINE {{.Revision.Namespace}}/{{.Revision.Name}} {{.Revision.Service}} {{.Revision.Configuration}} "
        + "[{{.Revision.PodName}}] {{.Request.Method}} {{.Request.RequestURI}} {{.Response.Code}} {{.TraceID}}"
    private static let settings = """
        {"enableRequestLog": true, "requestLogTemplate": "\(template)", "requestMetrics": {"protocol": "prometheus"},
         "tracing": {"protocol": "stdout"}}
        """
    private static let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    private static let other = ["Knative-Serving-Namespace: default", "Knative-Serving-Revision: app-00002"]

    private struct Span {
        let name: String, kind: Int, id: String, parent: String, trace: String, attributes: [String: String]
        let begin: UInt64, end: UInt64
    }

    /// The spans among the lines of an output.
    private static func spans(_ out: String) throws -> [Span] {
        var found: [Span] = []
        for line in out.split(separator: "\n") where line.hasPrefix("{") {
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            for resource in object?["resourceSpans"] as? [[String: Any]] ?? [] {
                for scope in resource["scopeSpans"] as? [[String: Any]] ?? [] {
                    for span in scope["spans"] as? [[String: Any]] ?? [] {
                        var attributes: [String: String] = [:]
                        for entry in span["attributes"] as? [[String: Any]] ?? [] {
                            let value = entry["value"] as? [String: Any] ?? [:]
                            attributes[entry["key"] as? String ?? ""] = value.values.first.map { "\($0)" }
                        }
                        found.append(
                            Span(
                                name: span["name"] as? String ?? "", kind: span["kind"] as? Int ?? 0,
                                id: span["spanId"] as? String ?? "", parent: span["parentSpanId"] as? String ?? "",
                                trace: span["traceId"] as? String ?? "", attributes: attributes,
                                begin: UInt64(span["startTimeUnixNano"] as? String ?? "") ?? 0,
                                end: UInt64(span["endTimeUnixNano"] as? String ?? "") ?? 0))
                    }
                }
            }
        }
        return found
    }

    @Test func allOfIt() throws {
        try ActivatorStage.running(["OBSERVABILITY_CONFIG": Self.settings], ends: false) { stage in
            stage.revision("app-00002")
            stage.pods([try stage.pod()])
            stage.pods([try stage.pod()], of: "app-00002")
        } _: { stage throws in
            let seen = try stage.get("/headers", ActivatorStage.names + ["traceparent: \(Self.parent)"])
            #expect(seen.status == 200)
            for _ in 0..<3 { #expect(try stage.get("/status/503", Self.other).status == 503) }
            try checkPage(try stage.get("/metrics", [], at: "metrics").text)
            stage.activator.signal(SIGTERM)
            #expect(stage.activator.waitForEnd() == 0, "\(stage.activator.tail)")
            let lines = stage.activator.out.split(separator: "\n").filter { $0.hasPrefix("LINE ") }
            let trace = Self.parent.split(separator: "-")[1]
            #expect(lines.count == 4 && lines.first == "LINE default/app-00001 app app [] GET /headers 200 \(trace)")
            #expect(lines.dropFirst().allSatisfy { $0 == "LINE default/app-00002 app app [] GET /status/503 503 " })
            try checkSpans(Self.spans(stage.activator.out), received: seen.text)
        }
    }

    private func checkPage(_ page: String) throws {
        let lines = page.split(separator: "\n")
        func value(_ family: String, _ labels: String...) -> Double? {
            let line = lines.first { line in line.hasPrefix(family + "{") && labels.allSatisfy { line.contains($0) } }
            return line.flatMap { Double($0.split(separator: " ").last ?? "") }
        }
        for family in ["http_server_request_duration_seconds_count", "http_client_request_duration_seconds_count"] {
            for (revision, status, count) in [("app-00001", 200, 1.0), ("app-00002", 503, 3.0)] {
                let found = value(
                    family, "kn_revision_name=\"\(revision)\"", "kn_service_name=\"app\"",
                    "kn_configuration_name=\"app\"", "k8s_namespace_name=\"default\"",
                    "http_response_status_code=\"\(status)\"")
                #expect(found == count, "\(family) \(revision)")
            }
        }
        #expect(value("http_server_request_body_size_bytes_count", "app-00001") == 1)
        #expect(value("http_server_response_body_size_bytes_count", "app-00002") == 3)
        #expect(value("kn_revision_request_active", "app-00001") == 0)
        // What is a queue-proxy's alone.
        #expect(!page.contains("kn_serving_invocation") && !page.contains("kn_serving_queue"))
        #expect(!lines.contains { $0.hasPrefix("http_") && $0.contains("kn_route_tag") })
        #expect(value("target_info", "k8s_container_name=\"activator\"", "service_name=\"activator\"") == 1)
        #expect(value("target_info", "kn_revision_name") == nil)
    }

    private func checkSpans(_ spans: [Span], received: String) throws {
        #expect(spans.count == 16, "four of each request")
        let parts = Self.parent.split(separator: "-")
        let ours = spans.filter { $0.trace == parts[1] }
        #expect(ours.count == 4)
        let server = try #require(ours.first { $0.kind == 2 }), client = try #require(ours.first { $0.kind == 3 })
        let wait = try #require(ours.first { $0.name == "throttler_try" })
        let proxy = try #require(ours.first { $0.name == "activator_proxy" })
        #expect(server.name == "GET" && server.parent == parts[2])
        #expect(wait.kind == 1 && wait.parent == server.id && proxy.kind == 1 && proxy.parent == server.id)
        #expect(client.name == "HTTP GET" && client.parent == proxy.id)
        #expect(wait.begin == server.begin && wait.end == proxy.begin && proxy.end == server.end)
        #expect(server.attributes["kn.revision.name"] == "app-00001" && server.attributes["kn.service.name"] == "app")
        #expect(server.attributes["k8s.namespace.name"] == "default" && server.attributes["kn.route.tag"] == nil)
        // The pod's trace goes on from the client's span.
        #expect(received.lowercased().contains("traceparent: 00-\(parts[1])-\(client.id)-01"), "\(received)")
        for server in spans where server.kind == 2 && server.trace != parts[1] {
            #expect(server.parent.isEmpty && server.attributes["http.response.status_code"] == "503")
        }
    }

    /// Nothing is asked for: no lines, no series, and a trace that comes is passed on as it is.
    @Test func off() throws {
        try ActivatorStage.running { stage in
            stage.pods([try stage.pod()])
        } _: { stage throws in
            let seen = try stage.get("/headers", ActivatorStage.names + ["traceparent: \(Self.parent)"])
            #expect(seen.text.contains(Self.parent))
            #expect(try !stage.get("/metrics", [], at: "metrics").text.contains("http_server"))
            #expect(stage.activator.out.isEmpty)
        }
    }

    /// What is wrong keeps it from starting, together with everything else that is.
    @Test func wrongSettings() throws {
        let settings = #"{"enableRequestLog": true, "requestLogTemplate": "{{.Nothing", "tracing": {"protocol": "x"}}"#
        let words = ["OBSERVABILITY_CONFIG=\(settings)", "PROBE_TIMEOUT=soon", Place.martlet, "activator"]
        let process = try Martlet(words, scratch: Scratch(), program: "/usr/bin/env")
        #expect(process.waitForEnd() == 78)
        for wanted in ["requestLogTemplate is wrong at 1:", "tracing.protocol is \"x\"", "PROBE_TIMEOUT is \"soon\""] {
            #expect(process.log.contains(wanted), "\(process.log)")
        }
    }
}
