import OTLPWire
import Primitives
import Testing

@testable import Telemetry

@Suite struct OTLPMetricsTests {
    private func labels(
        _ status: UInt16, method: StaticString = "GET", host: StaticString = "hello.example:8080"
    ) -> MetricLabels {
        var labels = MetricLabels()
        labels.method = ByteView(method)
        labels.protocolVersion = ByteView("1.1")
        labels.host = ByteView(host)
        labels.routeTag = ByteView("kn:disabled")
        labels.status = status
        return labels
    }

    private func metrics() -> OTLPMetrics {
        var identity = TelemetryIdentity()
        identity.service = "svc"
        identity.namespace = "ns"
        return OTLPMetrics(identity: identity, startUnixNanoseconds: 1000)
    }

    /// Workers are summed, attributes have their types, and the histogram is cumulative with explicit bounds.
    @Test func histograms() throws {
        let workers = [RequestMetrics(), RequestMetrics()]
        for worker in workers {
            worker.record(
                labels(200), nanoseconds: 5_000_000, upstreamNanoseconds: 4_000_000, requestBytes: 3,
                responseBytes: 700)
        }
        workers[1].record(
            labels(200), nanoseconds: 30_000_000_000, upstreamNanoseconds: nil, requestBytes: 0, responseBytes: 0)
        workers[1].record(
            labels(0, method: "POST"), nanoseconds: 1, upstreamNanoseconds: 1, requestBytes: 0, responseBytes: 0)
        let (bytes, isTruncated) = try #require(
            metrics().message(of: workers, queueDepth: 4, unixNanoseconds: 2000))
        #expect(!isTruncated)
        let message = try ProtobufMessage(bytes)
        let resource = try #require(try message.find(1, 1).first?.message.attributes(1))
        #expect(resource["service.name"] == "svc" && resource["k8s.namespace.name"] == "ns")
        let found = try message.find(1, 2, 2).map { try $0.message }
        #expect(
            found.compactMap { $0[1]?.text } == [
                "http.server.request.duration", "http.server.request.body.size", "http.server.response.body.size",
                "http.client.request.duration", "http.client.request.body.size", "kn.serving.invocation.duration",
                "kn.serving.queue.depth",
            ])
        #expect(found.compactMap { $0[3]?.text } == ["s", "By", "By", "s", "By", "s", "{request}"])
        let histogram = try #require(try found[0][9]?.message)
        #expect(histogram[2]?.bits == 2)
        let points = try histogram.all(1).map { try $0.message }
        #expect(points.count == 2)
        let point = try #require(try points.first { try $0.attributes(9)["http.request.method"] == "GET" })
        #expect(
            try point.attributes(9) == [
                "http.request.method": "GET", "http.response.status_code": "200", "kn.route.tag": "kn:disabled",
                "network.protocol.name": "http", "network.protocol.version": "1.1", "server.address": "hello.example",
                "server.port": "8080", "url.scheme": "http",
            ])
        #expect(point[2]?.bits == 1000 && point[3]?.bits == 2000 && point[4]?.bits == 3)
        #expect(point[5]?.double == 30.01)
        #expect(point[6]?.packed == [2] + Array(repeating: 0, count: 13) + [1])
        let bounds = point[7]?.packed.map { Double(bitPattern: $0) }
        #expect(bounds == [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10])
        let client = try #require(try found[3][9]?.message.all(1)).map { try $0.message.attributes(9) }
        #expect(client.contains { $0["error.type"] == "_OTHER" && $0["http.response.status_code"] == nil })
        #expect(client.allSatisfy { $0["server.address"] == "127.0.0.1" && $0["server.port"] == "8080" })
        #expect(try found[6].find(5, 1, 6).first?.bits == 4)
    }

    /// In a role of many revisions the names are each point's own.
    @Test func manyRevisions() throws {
        let worker = RequestMetrics()
        var labels = labels(200)
        labels.revision = RevisionLabels(number: 7, namespace: "ns", service: "", configuration: "c", name: "r-1")
        worker.record(labels, nanoseconds: 1, upstreamNanoseconds: 1, requestBytes: 0, responseBytes: 0)
        let bytes = try #require(metrics().message(of: [worker], queueDepth: nil, unixNanoseconds: 2000)).bytes
        let found = try ProtobufMessage(bytes).find(1, 2, 2).map { try $0.message }
        #expect(!found.contains { $0[1]?.text == "kn.serving.invocation.duration" } && found.count == 5)
        let points = try found.map { try #require(try $0[9]?.message.all(1).first).message.attributes(9) }
        for (index, point) in points.enumerated() {
            #expect(point["kn.revision.name"] == "r-1" && point["k8s.namespace.name"] == "ns")
            #expect(point["kn.configuration.name"] == "c" && point["kn.service.name"] == "")
            #expect(point["kn.route.tag"] == nil)
            #expect(point["server.address"] == (index < 3 ? "hello.example" : nil))
        }
    }

    @Test func nothingToTell() {
        #expect(metrics().message(of: [RequestMetrics()], queueDepth: nil, unixNanoseconds: 1) == nil)
        #expect(metrics().message(of: [RequestMetrics()], queueDepth: 0, unixNanoseconds: 1) != nil)
    }

    /// As many series as there can be fit, and the message stays one that can be read.
    @Test func manySeries() throws {
        let worker = RequestMetrics()
        for number in 0..<300 {
            let host = Array("host-\(number).\(String(repeating: "x", count: 110))".utf8)
            host.withUnsafeBytes {
                var own = labels(200)
                own.host = ByteView($0)
                worker.record(own, nanoseconds: 1, upstreamNanoseconds: 1, requestBytes: 1, responseBytes: 1)
            }
        }
        let (bytes, isTruncated) = try #require(metrics().message(of: [worker], queueDepth: 1, unixNanoseconds: 1))
        #expect(!isTruncated && bytes.count < OTLPMetrics.messageLimit)
        let points = try ProtobufMessage(bytes).find(1, 2, 2, 9, 1)
        // Series and the one for all beyond, in the server's three families; the container's differ by status alone.
        #expect(points.count == 257 * 3 + 2 * 3, "\(points.count)")
        let overflow = try points.filter { try $0.message.attributes(9)["otel.metric.overflow"] == "1" }
        #expect(overflow.count == 6)
    }
}

@Suite struct SpanLinesTests {
    @Test func lines() throws {
        var batch = SpanBatch()
        let context = TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, flags: 1)
        for kind in [RequestSpan.Kind.client, .server] {
            var span = RequestSpan(kind, context: context)
            span.parentSpanID = 9
            span.startUnixNanoseconds = 10
            span.endUnixNanoseconds = 20
            span.method = ByteView("GET")
            span.host = ByteView("h\"\\\u{1}é:80")
            span.target = ByteView("/x")
            span.status = kind == .client ? 0 : 204
            batch.append(span)
        }
        let taken = batch.take(resource: TraceResource(attributes: [("service.name", "svc")]))
        let (count, rest) = (batch.count, batch.take(resource: TraceResource(attributes: [])))
        let request = try #require(taken)
        #expect(count == 0 && rest == nil)
        let lines = String(decoding: SpanLines.lines(of: request), as: UTF8.self).split(separator: "\n").map(
            String.init)
        #expect(lines.count == 2)
        let line = try #require(lines.last)
        #expect(
            line.hasPrefix(
                #"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"svc"}}]},"#
                    + #""scopeSpans":[{"scope":{"name":"martlet"},"spans":[{"#
                    + #""traceId":"00000000000000010000000000000002","#
                    + #""spanId":"0000000000000003","parentSpanId":"0000000000000009","name":"GET","kind":2,"#
                    + #""startTimeUnixNano":"10","endTimeUnixNano":"20","status":{},"flags":257,"attributes":["#))
        #expect(line.contains(#"{"key":"server.address","value":{"stringValue":"h\"\\\u0001é"}}"#), "\(line)")
        #expect(line.contains(#"{"key":"http.response.status_code","value":{"intValue":"204"}}"#))
        #expect(line.hasSuffix("]}]}]}]}"))
        #expect(lines[0].contains(#""status":{"code":2}"#))
    }

    /// What is no such message gives no line, and no harm.
    @Test func hostileInput() {
        for seed in UInt64(0)..<512 {
            var random = SeededRandom(seed: seed)
            let bytes = (0..<Int.random(in: 0...60, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            _ = SpanLines.lines(of: bytes)
            _ = SpanLines.lines(of: [0x0A, UInt8(bytes.count + 2), 0x12, UInt8(bytes.count)] + bytes)
        }
    }
}
