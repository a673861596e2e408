import Foundation
import Testing

/// What the sidecar tells of requests (spec/dataplane 1.11, 2.4, 2.5; e2e TestRequestLogs and TestSystemInternalTLS).
@Suite struct ContractTelemetryTests {
    private static func logging(_ template: String?, probes: Bool = false) -> [String: String] {
        let own = template.map { #""requestLogTemplate":"\#($0)","# } ?? ""
        return ["OBSERVABILITY_CONFIG": #"{"enableRequestLog":true,\#(own)"enableProbeRequestLog":\#(probes)}"#]
    }

    /// Lines of the request log, when there are so many.
    private static func lines(_ pod: ContractPod, _ count: Int) throws -> [String] {
        _ = pod.sidecar.waitForLog(of: 1) { $0.split(separator: "\n").count >= count }
        let lines = pod.sidecar.out.split(separator: "\n").map(String.init)
        guard lines.count == count else { throw Failure("\(lines.count) lines instead of \(count): \(lines)") }
        return lines
    }

    static let rules: [Rule<Void>] = [
        Rule("TestRequestLogs: off unless asked for") { _ in
            for settings in [
                [:], ["OBSERVABILITY_CONFIG": #"{"enableRequestLog":false,"enableProbeRequestLog":true}"#],
            ] {
                try ContractPod.running(settings, ends: false) { pod throws in
                    _ = (try pod.get("/bytes/1"), try pod.probe())
                    pod.sidecar.signal(SIGTERM)
                    try demandEqual(pod.sidecar.waitForEnd(), 0)
                    try demandEqual(pod.sidecar.out, "")
                }
            }
        },
        Rule("TestRequestLogs: the default template is JSON with Knative's keys") { _ in
            try ContractPod.running(logging(nil)) { pod throws in
                let fields = [
                    "User-Agent: test \"agent\"", "Referer: http://r/", "Content-Length: 5",
                    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                ]
                let client = try pod.connect()
                try client.request(ContractPod.host, "/status/418?a=b&c", method: "POST", fields: fields)
                try client.send("hello")
                try demandEqual(try client.readAnswer().status, 418)
                let line = try lines(pod, 1)[0]
                let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] ?? [:]
                let found = object["httpRequest"] as? [String: Any] ?? [:]
                let wanted = [
                    "requestMethod": "POST", "requestUrl": "/status/418?a=b&c", "requestSize": "5", "status": "418",
                    "responseSize": "4", "userAgent": "test \"agent\"", "serverIp": "127.0.0.1", "referer": "http://r/",
                    "protocol": "HTTP/1.1",
                ]
                for (key, value) in wanted { try demandEqual(found[key].map { "\($0)" }, value, "\(key) in \(line)") }
                try demand((found["remoteIp"] as? String ?? "").hasPrefix("127.0.0.1:"), line)
                let latency = found["latency"] as? String ?? ""
                try demand(latency.hasSuffix("s") && Double(latency.dropLast()) ?? -1 > 0, line)
                try demandEqual(object["traceId"] as? String, "4bf92f3577b34da6a3ce929d0e0e4736")
            }
        },
        Rule("TestRequestLogs: probes only if asked for, and never as traffic") { _ in
            for isOn in [false, true] {
                let template = "{{.Request.UserAgent}}|{{.Response.Code}}|{{.Request.RequestURI}}"
                try ContractPod.running(logging(template, probes: isOn)) { pod throws in
                    _ = try pod.probe()
                    _ = try pod.get("/status/404", ["User-Agent: user"])
                    let wanted = (isOn ? ["kube-probe/1.30|200|/"] : []) + ["user|404|/status/404"]
                    try demandEqual(try lines(pod, wanted.count), wanted)
                }
            }
        },
        Rule("TestSystemInternalTLS: the template tells whether TLS was used") { _ in
            let certificates = try ForeignCertificates()
            let settings = logging("TLS: {{.Request.TLS}}")
            try ContractPod.running(settings, .reporter, certificates: certificates) { pod throws in
                let wire = try Wire(pod.scratch)
                for way in [Wire.Way.h1, .tls1, .h2c, .tls2, .bare2] {
                    try demandEqual(try wire.perform(Wire.Request("/status/200"), way, pod).status, 200)
                }
                let found = try lines(pod, 5)
                for (line, isEncrypted) in zip(found, [false, true, false, true, true]) {
                    try demand(isEncrypted ? line.hasPrefix("TLS: {") : line == "TLS: <nil>", "\(found)")
                }
            }
        },
        Rule("every field of the contract") { _ in
            let template =
                #"{{.Request.Method}} {{.Request.URL}} {{.Request.Proto}} {{.Request.Host}} "#
                + #"{{.Request.ContentLength}} {{.Request.Header.Get \"X-One\"}} {{js .Request.Referer}} "#
                + #"{{if .Request.TLS}}s{{else}}p{{end}} "#
                + #"{{.Response.Code}} {{.Response.Size}} {{.Revision.Name}} {{.Revision.Namespace}} "#
                + #"{{.Revision.Service}} {{.Revision.Configuration}} {{.Revision.PodName}} {{.Revision.PodIP}} "#
                + #"{{printf \"%.1f\" .Response.Latency}}"#
            try ContractPod.running(logging(template)) { pod throws in
                let fields = ["X-One: first", "Referer: it's", "K-Original-Host: original.example"]
                try demandEqual(try pod.get("/bytes/7?q", fields).body.count, 7)
                let name = pod.podName
                let line = try lines(pod, 1)[0]
                let wanted = [ContractPod.host, "original.example"].map { host in
                    "GET /bytes/7?q HTTP/1.1 \(host) 0 first it\\'s p 200 7 "
                        + "app-00001 default app app \(name) 127.0.0.1 0.0"
                }
                try demand(wanted.contains(line), line)
            }
        },
        Rule("before 1.19: the variables of that time") { _ in
            let old = [
                "SERVING_ENABLE_REQUEST_LOG": "true", "SERVING_REQUEST_LOG_TEMPLATE": "old {{.Response.Code}}",
                "SERVING_ENABLE_PROBE_REQUEST_LOG": "true", "SERVING_REQUEST_METRICS_BACKEND": "prometheus",
            ]
            try ContractPod.running(old) { pod throws in
                _ = (try pod.get("/status/201"), try pod.probe())
                try demandEqual(try lines(pod, 2), ["old 201", "old 200"])
                let page = try pod.get("/metrics", at: .metrics).text
                for name in [
                    "revision_request_count", "revision_request_latencies_bucket", "revision_app_request_count",
                ] {
                    try demand(page.contains(name), "no \(name) in:\n\(page)")
                }
                try demand(page.contains(#"response_code_class="2xx""#) && !page.contains("kn_serving"), page)
            }
        },
        Rule("metrics: current names, probes not among them, the route's tag; 405 and 404 elsewhere") { _ in
            let settings = [
                "OBSERVABILITY_CONFIG": #"{"requestMetrics":{"protocol":"prometheus"}}"#, "CONTAINER_CONCURRENCY": "2",
            ]
            try ContractPod.running(settings) { pod throws in
                for _ in 0..<3 { _ = try pod.get("/status/404", ["Knative-Serving-Tag: blue"]) }
                for _ in 0..<4 { _ = try pod.probe() }
                let answer = try pod.get("/metrics", at: .metrics)
                try demand(answer["Content-Type"]?.hasPrefix("text/plain") == true, "\(answer.fields)")
                func sum(_ name: String) -> Int {
                    answer.text.split(separator: "\n").filter { $0.hasPrefix(name) }
                        .compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }.reduce(0) { $0 + Int($1) }
                }
                try demandEqual(sum("kn_serving_invocation_duration_seconds_count"), 3, answer.text)
                try demandEqual(sum("http_server_request_duration_seconds_count"), 3, answer.text)
                try demand(answer.text.contains(#"kn_route_tag="blue""#), answer.text)
                try demand(answer.text.contains("kn_serving_queue_depth"), answer.text)
                try demandEqual(try pod.get("/", at: .metrics).status, 404)
                try demandEqual(
                    try pod.get("/metrics", ["Content-Length: 0"], method: "POST", at: .metrics).status, 405)
            }
        },
        Rule("tracing: the container gets the same trace with another parent, the collector gets two spans") { _ in
            let collector = try PlayedContainer()
            defer { collector.stop() }
            let settings = [
                "OBSERVABILITY_CONFIG":
                    #"{"tracing":{"protocol":"http/protobuf","samplingRate":1,"endpoint":"#
                    + #""http://127.0.0.1:\#(collector.port)"}}"#
            ]
            try ContractPod.running(settings, ends: false) { pod throws in
                let trace = "4bf92f3577b34da6a3ce929d0e0e4736", parent = "00f067aa0ba902b7"
                let head = try pod.get("/headers", ["traceparent: 00-\(trace)-\(parent)-01"]).text.lowercased()
                try demand(head.contains("traceparent: 00-\(trace)-") && !head.contains(parent), head)
                pod.sidecar.signal(SIGTERM)  // what is collected is sent before the end
                let export = try collector.next()
                try demandEqual(export.line, "POST /v1/traces HTTP/1.1")
                try demandEqual(export.values("content-type"), ["application/x-protobuf"])
                let count = export.values("content-length").first.flatMap { Int($0) } ?? 0
                let body = try export.peer.take(count)
                let id = stride(from: 0, to: trace.count, by: 2).map { place -> UInt8 in
                    let start = trace.index(trace.startIndex, offsetBy: place)
                    return UInt8(trace[start...].prefix(2), radix: 16) ?? 0
                }
                try demandEqual(body.ranges(of: id).count, 2, "spans")
                try export.answer(200, "")
                try demandEqual(pod.sidecar.waitForEnd(), 0)
            }
        },
    ]

    @Test func everyRule() { show(Self.rules, on: (), atOnce: true) }
}
