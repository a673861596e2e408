import Primitives
import Testing

@testable import Telemetry

@Suite struct PrometheusTests {
    private func labels(_ status: UInt16, host: StaticString = "hello.example:8080") -> MetricLabels {
        var labels = MetricLabels()
        labels.method = ByteView("GET")
        labels.protocolVersion = ByteView("1.1")
        labels.host = ByteView(host)
        labels.routeTag = ByteView("kn:disabled")
        labels.status = status
        return labels
    }

    private func identity() -> TelemetryIdentity {
        var identity = TelemetryIdentity()
        identity.namespace = "default"
        identity.service = "hello"
        identity.configuration = "hello"
        identity.revision = "hello-00001"
        identity.pod = "hello-00001-x"
        return identity
    }

    private func page(_ workers: [RequestMetrics], queueDepth: Int? = nil, legacy: Bool = false) -> [String] {
        let exposition = PrometheusExposition(identity: identity(), includesLegacy: legacy)
        let (body, isTruncated) = exposition.page(of: workers, queueDepth: queueDepth)
        #expect(!isTruncated && body.last == ASCII.lf)
        return String(decoding: body, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    @Test func emptyPage() {
        #expect(
            page([RequestMetrics()]) == [
                "# HELP target_info Target metadata", "# TYPE target_info gauge",
                #"target_info{k8s_container_name="queue-proxy",k8s_namespace_name="default","#
                    + #"k8s_pod_name="hello-00001-x",kn_configuration_name="hello",kn_revision_name="hello-00001","#
                    + #"kn_service_name="hello",service_instance_id="hello-00001-x",service_name="hello"} 1"#,
            ])
    }

    @Test func golden() {
        let metrics = RequestMetrics()
        metrics.recordServer(labels(200), nanoseconds: 5_000_000, requestBytes: 0, responseBytes: 12_000)
        metrics.recordServer(labels(200), nanoseconds: 5_000_001, requestBytes: 3, responseBytes: 5)
        metrics.recordUpstream(labels(200), nanoseconds: 4_000_000, requestBytes: 0)
        let lines = page([metrics], queueDepth: 3)
        let scope =
            #"otel_scope_name="go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp","#
            + #"otel_scope_schema_url="",otel_scope_version="0.69.0""#
        let server =
            #"http_request_method="GET",http_response_status_code="200",kn_route_tag="kn:disabled","#
            + #"network_protocol_name="http",network_protocol_version="1.1",\#(scope),"#
            + #"server_address="hello.example",server_port="8080",url_scheme="http""#
        let client = server.replacing("hello.example", with: "127.0.0.1")
        let queue = #"otel_scope_name="knative.dev/serving/pkg/queue",otel_scope_schema_url="",otel_scope_version="""#
        let duration = "http_server_request_duration_seconds"
        let bounds = [
            "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1", "2.5", "5", "7.5", "10",
            "+Inf",
        ]
        var expected = ["# HELP \(duration) Duration of HTTP server requests.", "# TYPE \(duration) histogram"]
        for bound in bounds {
            expected.append("\(duration)_bucket{\(server),le=\"\(bound)\"} \(bound == "0.005" ? 1 : 2)")
        }
        expected += ["\(duration)_sum{\(server)} 0.010000001", "\(duration)_count{\(server)} 2"]
        #expect(lines.filter { $0.contains(duration) } == expected)
        for line in [
            "http_server_response_body_size_bytes_bucket{\(server),le=\"5\"} 1",
            "http_server_response_body_size_bytes_bucket{\(server),le=\"10000\"} 1",
            "http_server_response_body_size_bytes_sum{\(server)} 12005",
            "http_server_request_body_size_bytes_bucket{\(server),le=\"0\"} 1",
            "http_client_request_duration_seconds_count{\(client)} 1",
            "http_client_request_body_size_bytes_sum{\(client)} 0",
            "kn_serving_invocation_duration_seconds_sum{http_response_status_code=\"200\",\(queue)} 0.004",
            "# HELP kn_serving_invocation_duration_seconds The duration of task execution",
            "kn_serving_queue_depth{\(queue)} 3",
        ] { #expect(lines.contains(line), "\(line)") }
        let families = lines.filter { $0.hasPrefix("# TYPE") }
        #expect(families == families.sorted() && families.count == 8)
        #expect(!lines.contains { $0.contains("revision_request") })
    }

    @Test func legacyNames() {
        let metrics = RequestMetrics(includesLegacy: true)
        metrics.recordServer(labels(404), nanoseconds: 5_000_000, requestBytes: 0, responseBytes: 0)
        metrics.recordUpstream(labels(404), nanoseconds: 4_500_000, requestBytes: 0)
        let lines = page([metrics], queueDepth: 1, legacy: true)
        let pod =
            #"configuration_name="hello",container_name="queue-proxy",namespace_name="default","#
            + #"pod_name="hello-00001-x","#
        let all =
            pod + #"response_code="404",response_code_class="4xx",revision_name="hello-00001",route_tag="DISABLED","#
            + #"service_name="hello""#
        for line in [
            "# TYPE revision_request_count counter", "revision_request_count{\(all)} 1",
            "revision_request_latencies_bucket{\(all),le=\"5\"} 1", "revision_request_latencies_sum{\(all)} 5",
            "revision_request_latencies_bucket{\(all),le=\"100000\"} 1", "revision_app_request_count{\(all)} 1",
            "revision_app_request_latencies_sum{\(all)} 4.5",
            #"revision_queue_depth{\#(pod)revision_name="hello-00001",service_name="hello"} 1"#,
        ] { #expect(lines.contains(line), "\(line)") }
        let families = lines.filter { $0.hasPrefix("# TYPE") }
        #expect(families == families.sorted())
    }

    /// However requests are spread over workers, the page is that of one worker with all of them.
    @Test func workersAddUp() {
        for seed in UInt64(0)..<16 {
            var random = SeededRandom(seed: seed)
            let whole = RequestMetrics(), parts = [RequestMetrics(), RequestMetrics(), RequestMetrics()]
            for _ in 0..<200 {
                let labels = labels(
                    UInt16.random(in: 200...204, using: &random), host: Bool.random(using: &random) ? "a" : "b")
                let time = UInt64.random(in: 0...20_000_000_000, using: &random)
                for metrics in [whole, parts[Int.random(in: 0..<3, using: &random)]] {
                    metrics.recordServer(labels, nanoseconds: time, requestBytes: time % 9999, responseBytes: 1)
                    metrics.recordUpstream(labels, nanoseconds: time / 2, requestBytes: 7)
                }
            }
            #expect(page([whole]) == page(parts), "seed \(seed)")
        }
    }

    /// Strangers who make up hosts get one series in all, and the page stays within its limit.
    @Test func seriesAreBounded() {
        let metrics = RequestMetrics()
        for index in 0..<1000 {
            Array("host-\(index)\"\\\n".utf8).withUnsafeBytes { host in
                var labels = labels(200)
                labels.host = ByteView(host)
                metrics.recordServer(labels, nanoseconds: 1, requestBytes: 0, responseBytes: 0)
            }
        }
        var series = 0
        metrics.forEach { _ in series += 1 }
        #expect(series == RequestMetrics.seriesLimit + 1)
        let lines = page([metrics])
        let counts = lines.filter { $0.hasPrefix("http_server_request_duration_seconds_count") }
        #expect(counts.count == series)
        let overflow = counts.filter { $0.contains("otel_metric_overflow=\"true\"") }
        #expect(overflow.count == 1 && overflow[0].hasSuffix(" 744"))
        #expect(counts.contains { $0.contains(#"server_address="host-0\"\\?""#) })
    }

    @Test func odd() {
        let metrics = RequestMetrics()
        let long = [UInt8](repeating: 0xFF, count: 5000)
        long.withUnsafeBytes { bytes in
            var labels = MetricLabels()
            (labels.host, labels.method, labels.routeTag) = (ByteView(bytes), ByteView(bytes), ByteView(bytes))
            (labels.protocolVersion, labels.status) = (ByteView(bytes), .max)
            metrics.recordServer(labels, nanoseconds: .max, requestBytes: .max, responseBytes: .max)
        }
        let lines = page([metrics])
        #expect(lines.contains { $0.contains("http_request_method=\"_OTHER\"") && $0.hasSuffix("le=\"+Inf\"} 1") })
    }

    /// Without an answer there is no status: a server's series goes without, and a client's names the error.
    @Test func noAnswer() {
        let metrics = RequestMetrics()
        metrics.recordUpstream(labels(0), nanoseconds: 1, requestBytes: 0)
        let counts = page([metrics]).filter { $0.hasPrefix("http_client_request_duration_seconds_count") }
        #expect(counts.count == 1 && counts[0].contains("{error_type=\"_OTHER\",http_request_method="))
        #expect(!counts[0].contains("http_response_status_code"))
    }

    /// In a role of many revisions the names are each series' own; what is a sidecar's alone is not there.
    @Test func manyRevisions() {
        let metrics = RequestMetrics(seriesLimit: 3)
        for number in 1...5 as ClosedRange<UInt64> {
            var labels = labels(200)
            labels.revision = RevisionLabels(
                number: number, namespace: "ns", service: "s\"", configuration: "c", name: "r-\(number / 2)")
            metrics.record(labels, nanoseconds: 1, upstreamNanoseconds: 1, requestBytes: 0, responseBytes: 0)
        }
        let lines = page([metrics], legacy: true)
        let names =
            #"k8s_namespace_name="ns",kn_configuration_name="c",kn_revision_name="r-1",kn_service_name="s\"","#
            + #"network_protocol_name="http",network_protocol_version="1.1","#
        let server = lines.filter { $0.hasPrefix("http_server_request_duration_seconds_count{") }
        #expect(server.count == 3 && server.contains { $0.contains(names) && $0.hasSuffix("} 2") }, "\(server)")
        #expect(server.contains { $0.contains("otel_metric_overflow=\"true\"") && $0.hasSuffix("} 2") })
        #expect(server.allSatisfy { !$0.contains("kn_route_tag") })
        let client = lines.filter { $0.hasPrefix("http_client_request_duration_seconds_count{") }
        #expect(client.contains { $0.contains(names) } && client.allSatisfy { !$0.contains("server_") }, "\(client)")
        #expect(!lines.contains { $0.hasPrefix("kn_serving") && !$0.contains("overflow") })
        #expect(!lines.contains { $0.hasPrefix("revision_") && !$0.contains("overflow") })
    }

    @Test func routeTags() {
        let rows: [(StaticString, StaticString, String)] = [
            ("", "", "kn:disabled"), ("", "true", "kn:default"), ("", "x", "kn:default"), ("blue", "", "blue"),
            ("blue", "true", "kn:undefined"), ("blue", "false", "blue"),
        ]
        for (tag, route, expected) in rows {
            #expect(RouteTag.name(tag: ByteView(tag), defaultRoute: ByteView(route)).string == expected)
        }
    }
}
