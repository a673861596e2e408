import EventLoop
import Glibc
import OTLPWire
import Telemetry
import Testing

@testable import DataPlane

/// Metrics and spans of workers, for both versions.
@Suite struct RequestTelemetryTests {
    private static let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    private static let trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    private func withSidecar(
        _ settings: RequestTelemetry.Settings, _ configure: (inout ProxySetup) -> Void = { _ in },
        _ body: (ProxyHarness, RequestTelemetry) throws -> Void
    ) throws {
        _ = try withProxy(
            {
                $0.forwarding = .sidecar
                $0.upstreamProtocol = .asInbound
                $0.accessLog = .off
                $0.telemetry = settings
                configure(&$0)
            },
            { proxy in try body(proxy, try #require(proxy.telemetry)) })
    }

    /// One request over HTTP/1.1, and what the container got of it.
    @discardableResult
    private func exchange(_ proxy: ProxyHarness, _ request: String, body: String = "") throws -> Message {
        let client = try proxy.client()
        try client.send(request)
        let pod = try proxy.accept()
        let message = try pod.receiveMessage()
        let status = body.isEmpty ? "204 No Content" : "200 OK\r\nContent-Length: \(body.utf8.count)"
        try pod.send("HTTP/1.1 \(status)\r\nConnection: close\r\n\r\n\(body)")
        _ = try client.receiveMessage()
        return message
    }

    // MARK: Metrics

    private func page(_ telemetry: RequestTelemetry) -> [String] {
        let page = PrometheusExposition(identity: .init(), includesLegacy: true).page(
            of: telemetry.metrics, queueDepth: telemetry.queueDepth)
        return String(decoding: page.body, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// The value of the only sample of that name with all those labels.
    private func sample(_ lines: [String], _ name: String, _ labels: String...) throws -> Double {
        let found = lines.filter { line in line.hasPrefix(name + "{") && labels.allSatisfy(line.contains) }
        try #require(found.count == 1, "\(name) \(labels): \(found)")
        return try #require(Double(found[0].split(separator: " ").last ?? ""))
    }

    @Test func requestsAreMeasured() throws {
        var settings = RequestTelemetry.Settings()
        settings.keepsMetrics = true
        settings.keepsLegacyMetrics = true
        try withSidecar(settings, { $0.concurrency = 10 }) { proxy, telemetry in
            #expect(telemetry.queueDepth == nil)
            for _ in 0..<3 {
                try exchange(proxy, ProxyHarness.post("12345", "Knative-Serving-Tag: blue\r\n"), body: "1234567")
            }
            try exchange(proxy, ProxyHarness.get("/", "Knative-Serving-Default-Route: true\r\n"))
            let client = try proxy.client2()
            let stream = try client.request(ProxyHarness.fields("PATCH", "/"))
            let pod = try proxy.accept2()
            try Talk.response(500, "oops").send(pod, try pod.nextStream())
            _ = try client.receiveMessage(stream)
            try proxy.until("over") { $0.exchanges == 0 }
            let lines = page(telemetry)
            let posts = ["http_request_method=\"POST\"", "kn_route_tag=\"blue\"", "http_response_status_code=\"200\""]
            for name in ["http_server_request_duration_seconds", "http_client_request_duration_seconds"] {
                #expect(try sample(lines, "\(name)_count", posts[0], posts[1], posts[2]) == 3)
            }
            #expect(try sample(lines, "http_server_request_body_size_bytes_sum", posts[0]) == 15)
            #expect(try sample(lines, "http_server_response_body_size_bytes_sum", posts[0]) == 21)
            #expect(try sample(lines, "http_client_request_body_size_bytes_sum", posts[0]) == 15)
            #expect(
                try sample(
                    lines, "http_server_request_duration_seconds_count", "\"GET\"", "kn:default",
                    "server_address=\"hello.example.com\"", "network_protocol_version=\"1.1\"", "\"204\"") == 1)
            #expect(
                try sample(
                    lines, "http_server_request_duration_seconds_count", "\"PATCH\"", "kn:disabled",
                    "network_protocol_version=\"2.0\"", "\"500\"") == 1)
            #expect(try sample(lines, "kn_serving_invocation_duration_seconds_count", "\"200\"") == 3)
            #expect(try sample(lines, "revision_request_count", "response_code=\"500\"") == 1)
            #expect(try sample(lines, "kn_serving_queue_depth") == 1)
        }
    }

    /// A request that never left the queue is no request of the container's; one that waited is, without the wait.
    @Test func theQueueIsNotTheContainer() throws {
        var settings = RequestTelemetry.Settings()
        settings.keepsMetrics = true
        try withSidecar(settings) {
            $0.concurrency = 1
            $0.queueLimit = 1
        } _: { proxy, telemetry in
            let clients = try (0..<3).map { _ in try proxy.client() }
            try clients[0].send(ProxyHarness.get("/0"))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try clients[1].send(ProxyHarness.get("/1"))
            try proxy.until("waiting") { $0.exchanges == 2 }
            try clients[2].send(ProxyHarness.get("/2"))
            #expect(try clients[2].receiveMessage().status == 503)
            for client in clients.prefix(2) {
                try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
                _ = try client.receiveHead()
                if client === clients[0] { _ = try pod.receiveHead() }
            }
            try proxy.until("over") { $0.exchanges == 0 }
            let lines = page(telemetry)
            #expect(try sample(lines, "http_server_request_duration_seconds_count", "\"503\"") == 1)
            #expect(!lines.contains { $0.hasPrefix("http_client_") && $0.contains("\"503\"") })
            #expect(try sample(lines, "http_client_request_duration_seconds_count", "\"204\"") == 2)
            let served = try sample(lines, "http_server_request_duration_seconds_sum", "\"204\"")
            let upstream = try sample(lines, "http_client_request_duration_seconds_sum", "\"204\"")
            // The first of them is the same on both sides; the second waited.
            #expect(served > upstream && upstream > 0)
            #expect(telemetry.queueDepth == 1)
        }
    }

    // MARK: Spans

    private func traced(_ rate: Double, delayMilliseconds: UInt64 = 5) -> RequestTelemetry.Settings {
        var settings = RequestTelemetry.Settings()
        settings.sampler = TraceSampler(rate: rate)
        settings.spanDelayMilliseconds = delayMilliseconds
        settings.identity.service = "svc"
        return settings
    }

    private func spans(_ telemetry: RequestTelemetry, count: Int) throws -> [OTLPSpan] {
        var found: [OTLPSpan] = []
        while found.count < count {
            var ready = pollfd(fd: telemetry.spans.fd, events: Int16(POLLIN), revents: 0)
            guard poll(&ready, 1, Int32(Peer.patience)) > 0 else { throw PeerFailure(description: "no spans") }
            for batch in telemetry.takeSpans() {
                let spans = try OTLPSpan.all(batch.message)
                #expect(spans.count == batch.spanCount)
                let resource = try #require(try ProtobufMessage(batch.message).find(1, 1).first)
                #expect(try resource.message.attributes(1)["service.name"] == "svc")
                found += spans
            }
        }
        return found
    }

    /// The container is told of the client span, whose parent is the server span, whose parent is the caller's.
    @Test(arguments: Speech.allCases) func aRequestInATrace(speech: Speech) throws {
        try withSidecar(traced(1)) { proxy, telemetry in
            let sent: [String: String]
            if speech == .http1 {
                let message = try exchange(
                    proxy,
                    ProxyHarness.get(
                        "/p?q", "traceparent: \(Self.context)\r\ntracestate: a=1\r\nbaggage: k=v\r\nUser-Agent: ua\r\n"
                    ))
                sent = Dictionary(uniqueKeysWithValues: message.fields.map(Talk.pair))
            } else {
                let client = try proxy.client2()
                let stream = try client.request(
                    ProxyHarness.fields("GET", "/p?q") + [
                        ("traceparent", Self.context), ("tracestate", "a=1"), ("baggage", "k=v"), ("user-agent", "ua"),
                    ])
                let pod = try proxy.accept2()
                let (number, message) = try pod.nextRequest()
                sent = Dictionary(uniqueKeysWithValues: message.head)
                try Talk.response(204).send(pod, number)
                _ = try client.receiveMessage(stream)
            }
            let all = try spans(telemetry, count: 2)
            let client = try #require(all.first { $0.kind == 3 }), server = try #require(all.first { $0.kind == 2 })
            #expect(server.traceID == Self.trace && client.traceID == Self.trace)
            #expect(server.parentSpanID == "00f067aa0ba902b7" && client.parentSpanID == server.spanID)
            #expect(sent["traceparent"] == "00-\(Self.trace)-\(client.spanID)-01")
            #expect(sent["tracestate"] == "a=1" && sent["baggage"] == "k=v")
            #expect(server.traceState == "a=1" && client.traceState == "a=1")
            #expect(server.flags == 0x301 && client.flags == 0x101)
            #expect(server.name == "GET" && client.name == "HTTP GET")
            #expect(server.attributes["server.address"] == ProxyHarness.host && server.attributes["url.path"] == "/p")
            #expect(server.attributes["user_agent.original"] == "ua")
            #expect(server.attributes["network.peer.address"] == "127.0.0.1")
            #expect(server.attributes["network.protocol.version"] == (speech == .http1 ? "1.1" : "2.0"))
            #expect(server.attributes["http.response.status_code"] == "204")
            #expect(client.attributes["url.full"] == "http://127.0.0.1:\(proxy.pods[0].port)/p?q")
            #expect(server.start <= client.start && client.end == server.end && server.start < server.end)
        }
    }

    /// Without a context, or with one that is not valid, a trace begins, and the old state goes no further.
    @Test func aTraceBegins() throws {
        try withSidecar(traced(1)) { proxy, telemetry in
            let message = try exchange(
                proxy, ProxyHarness.get("/", "traceparent: \(Self.context)x\r\ntracestate: a=1\r\n"))
            let all = try spans(telemetry, count: 2)
            let server = try #require(all.first { $0.kind == 2 }), client = try #require(all.first { $0.kind == 3 })
            #expect(server.traceID != Self.trace && server.parentSpanID.isEmpty && server.flags == 0x101)
            #expect(message.value("traceparent") == "00-\(server.traceID)-\(client.spanID)-01")
            #expect(message.values("traceparent").count == 1 && message.value("tracestate") == nil)
        }
    }

    @Test(arguments: [
        "b3: \(trace)-00f067aa0ba902b7-1\r\n",
        "X-B3-TraceId: \(trace)\r\nX-B3-SpanId: 00f067aa0ba902b7\r\nX-B3-Sampled: 1\r\n",
    ]) func b3(fields: String) throws {
        try withSidecar(traced(0.5)) { proxy, telemetry in
            let message = try exchange(proxy, ProxyHarness.get("/", fields))
            let all = try spans(telemetry, count: 2)
            #expect(all.allSatisfy { $0.traceID == Self.trace })
            #expect(all.contains { $0.parentSpanID == "00f067aa0ba902b7" })
            let line = try #require(fields.split(separator: "\r\n").first.map(String.init))
            #expect(message.fields.contains(line), "B3 itself is passed on")
        }
    }

    /// What is not sampled is told to the container as such, and nobody else.
    @Test func notSampled() throws {
        try withSidecar(traced(0)) { proxy, telemetry in
            let message = try exchange(proxy, ProxyHarness.get("/", "traceparent: \(Self.context)\r\n"))
            let context = try #require(message.value("traceparent"))
            #expect(context.hasPrefix("00-\(Self.trace)-") && context.hasSuffix("-00"))
            #expect(!context.contains("00f067aa0ba902b7"))
            try proxy.until("over") { $0.exchanges == 0 }
            #expect(telemetry.takeSpans().isEmpty)
        }
    }

    /// Without tracing everything is passed on as it came, with other telemetry on as well.
    @Test func offMeansUnchanged() throws {
        var settings = RequestTelemetry.Settings()
        settings.keepsMetrics = true
        try withSidecar(settings) { proxy, _ in
            let fields = ["traceparent: \(Self.context)", "tracestate: a=1", "b3: 0", "baggage: k=v"]
            let message = try exchange(proxy, ProxyHarness.get("/", fields.map { $0 + "\r\n" }.joined()))
            for field in fields { #expect(message.fields.contains(field)) }
        }
    }

    /// A container that does not answer is an error of its span; what we say for it is the server's status.
    @Test func noAnswer() throws {
        try withSidecar(traced(1)) { proxy, telemetry in
            proxy.pods[0].stop()
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            #expect(try client.receiveMessage().status == 502)
            let all = try spans(telemetry, count: 2)
            let server = try #require(all.first { $0.kind == 2 }), upstream = try #require(all.first { $0.kind == 3 })
            #expect(server.attributes["http.response.status_code"] == "502" && server.status == 2)
            #expect(upstream.attributes["http.response.status_code"] == nil && upstream.status == 2)
            #expect(upstream.attributes["error.type"] == "_OTHER")
        }
    }

    /// Batches go when they are full; while nobody takes them, spans wait with their worker, then are counted.
    @Test func theHandOverIsBounded() throws {
        var shared: RequestTelemetry?
        var told = 0
        let requests = (RequestTelemetry.batchLimit + 2) * SpanBatch.spanLimit / 2
        try withSidecar(traced(1, delayMilliseconds: 600_000)) { proxy, telemetry in
            shared = telemetry
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            for round in 0..<requests {
                _ = try pod.receiveHead()
                try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
                _ = try client.receiveHead()
                if round + 1 < requests { try client.send(ProxyHarness.get()) }
            }
            try proxy.until("over") { $0.exchanges == 0 }
            let batches = telemetry.takeSpans()
            #expect(batches.count == RequestTelemetry.batchLimit)
            told = batches.reduce(0) { $0 + $1.spanCount }
        }
        // The rest came when the worker ended.
        let telemetry = try #require(shared)
        let last = telemetry.takeSpans().reduce(0) { $0 + $1.spanCount }
        #expect(last > 0 && telemetry.droppedSpans > 0)
        #expect(told + last + Int(telemetry.droppedSpans) == 2 * requests)
    }
}
