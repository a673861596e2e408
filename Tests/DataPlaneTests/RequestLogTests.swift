import EventLoop
import TLS
import Telemetry
import Testing

@testable import DataPlane

/// The request log of workers: what stands in a line, for both versions, at every kind of end.
@Suite struct RequestLogTests {
    static let template = """
        {{.Request.Method}} {{.Request.RequestURI}} {{.Request.Proto}} {{.Request.Host}} {{.Request.ContentLength}} \
        {{.Response.Code}} {{.Response.Size}} [{{.Request.Header.Get "X-One"}}] \
        {{.Request.Header.Values "x-two"}} [{{.Request.Header.Get "Host"}}] {{.Request.UserAgent}} \
        {{.Revision.Name}}/{{.Revision.Namespace}}/{{.Revision.Service}}/{{.Revision.Configuration}} \
        {{.Revision.PodName}} {{.Revision.PodIP}} {{.TraceID}} {{.Request.TLS}}
        """

    static func settings(_ template: String = template) throws -> RequestTelemetry.Settings {
        var settings = RequestTelemetry.Settings()
        settings.logTemplate = try GoTemplate(template)
        settings.identity.revision = "rev"
        settings.identity.namespace = "ns"
        settings.identity.service = "svc"
        settings.identity.configuration = "conf"
        settings.identity.pod = "pod-1"
        settings.podIP = "10.0.0.9"
        return settings
    }

    /// The lines that a sidecar wrote.
    private func lines(
        _ settings: RequestTelemetry.Settings, _ configure: (inout ProxySetup) throws -> Void = { _ in },
        _ body: (ProxyHarness) throws -> Void
    ) throws -> [String] {
        var setup = ProxySetup()
        setup.forwarding = .sidecar
        setup.upstreamProtocol = .asInbound
        setup.accessLog = .off
        setup.telemetry = settings
        try configure(&setup)
        return try withProxy({ $0 = setup }, body)
    }

    private static let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    private static let tail =
        "agent/1 rev/ns/svc/conf pod-1 10.0.0.9 4bf92f3577b34da6a3ce929d0e0e4736 <nil>"

    /// The head is gone when the line is written: the body took its place, and other requests came.
    @Test func everyField() throws {
        let body = String(repeating: "b", count: 300_000)
        let found = try lines(Self.settings()) { proxy in
            let client = try proxy.client()
            try client.send(
                "POST /a%20b?c=\"d HTTP/1.1\r\nHost: any.where:8\r\nUser-Agent: agent/1\r\nX-One: first\r\nX-Two: p\r\n"
                    + "traceparent: \(Self.context)\r\nx-one: second\r\nX-TWO: q\r\nContent-Length: \(body.utf8.count)"
                    + "\r\n\r\n")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            let other = try proxy.client()
            try other.send(ProxyHarness.get("/other"))
            let pod2 = try proxy.accept()
            _ = try pod2.receiveHead()
            try client.sendInPieces(body, of: 50_000)
            try pod.discard(body.utf8.count)
            try pod.send("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello")
            #expect(try client.receiveMessage().body == "hello")
            try pod2.send("HTTP/1.1 204 No Content\r\n\r\n")
            #expect(try other.receiveHead().status == 204)
        }
        #expect(
            found == [
                "POST /a%20b?c=\"d HTTP/1.1 any.where:8 300000 201 5 [first] [p q] [] \(Self.tail)",
                "GET /other HTTP/1.1 hello.example.com 0 204 0 [] [] []  rev/ns/svc/conf pod-1 10.0.0.9  <nil>",
            ])
    }

    @Test func streams() throws {
        let found = try lines(Self.settings()) { proxy in
            let client = try proxy.client2()
            let stream = try client.request(
                [
                    (":method", "POST"), (":scheme", "http"), (":authority", "any.where"), (":path", "/s?t"),
                    ("user-agent", "agent/1"), ("x-one", "first"), ("x-two", "p"), ("traceparent", Self.context),
                ], end: false)
            let pod = try proxy.accept2()
            let number = try pod.nextStream()
            try client.body(stream, Array("body".utf8), end: true)
            try pod.receiveBody(number, count: 4)
            try Talk.response(200, "hello").send(pod, number)
            #expect(try client.receiveMessage(stream).text == "hello")
        }
        #expect(found == ["POST /s?t HTTP/2.0 any.where -1 200 5 [first] [p] [] \(Self.tail)"])
    }

    @Test func secureConnections() throws {
        let template = "{{.Request.TLS}} {{.Request.TLS.ServerName}} {{.Request.TLS.Version}}"
        let found = try lines(Self.settings(template)) {
            $0.listeners = [ListenerOptions(.loopback(port: 0), tls: Certificates.server())]
            $0.certificates = Certificates.set(Certificates.hello)
        } _: { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            #expect(try client.receiveHead().status == 204)
        }
        let line = try #require(found.first)
        #expect(line.hasPrefix("{772 true false 4865 ") && line.hasSuffix(" hello.example.com 772"), "\(line)")
    }

    /// What we answer ourselves, what nobody takes any more, and what is cut off late.
    @Test func endsWithoutAnAnswer() throws {
        let found = try lines(Self.settings("{{.Request.RequestURI}} {{.Response.Code}} {{.Response.Size}}")) {
            $0.concurrency = 1
            $0.queueLimit = 1
            $0.timeouts.idle = 300_000_000
        } _: { proxy in
            let clients = try (0..<3).map { _ in try proxy.client() }
            try clients[0].send(ProxyHarness.get("/cut"))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try clients[1].send(ProxyHarness.get("/gone"))
            try proxy.until("waiting") { $0.exchanges == 2 }
            try clients[2].send(ProxyHarness.get("/full"))
            #expect(try clients[2].receiveMessage().status == 503)
            clients[1].close()
            try proxy.until("one left") { $0.exchanges == 1 }
            try pod.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            #expect(try clients[0].receiveMessage().body == "abcrequest timeout")
        }
        #expect(found == ["/full 503 27", "/gone 200 0", "/cut 200 18"])
    }

    /// A template that cannot be executed for a request gives Knative's line.
    @Test func failedExecution() throws {
        let found = try lines(Self.settings("{{index (.Request.Header.Values \"X\") 3}}")) { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/why"))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            _ = try client.receiveHead()
        }
        let line = try #require(found.first)
        #expect(line.hasPrefix("Invalid request log template: method: GET, response code: 204, latency: "), "\(line)")
        #expect(line.hasSuffix(", url: /why"))
    }

    /// Probes that are passed on have lines only if they are wanted.
    @Test(arguments: [false, true]) func probes(includesProbes: Bool) throws {
        var settings = try Self.settings("{{.Request.RequestURI}}")
        settings.logsProbes = includesProbes
        settings.keepsMetrics = true
        settings.sampler = TraceSampler(rate: 1)
        let found = try lines(settings) { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/probe", "K-Network-Probe: queue\r\n"))
            let pod = try proxy.accept()
            #expect(try pod.receiveHead().value("traceparent") == nil)
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            _ = try client.receiveHead()
            #expect(proxy.telemetry?.metrics.count == 1)
            let page = PrometheusExposition(identity: .init()).page(
                of: proxy.telemetry?.metrics ?? [], queueDepth: nil)
            #expect(!String(decoding: page.body, as: UTF8.self).contains("_bucket"))
        }
        #expect(found == (includesProbes ? ["/probe"] : []))
    }

    /// Probes that are answered here have lines too, at once and when the answer comes; of both versions.
    @Test(arguments: [false, true]) func answeredProbes(includesProbes: Bool) throws {
        var settings = try Self.settings(
            "{{.Request.RequestURI}} {{.Request.Proto}} {{.Response.Code}} {{.Response.Size}} {{.Request.UserAgent}}")
        settings.logsProbes = includesProbes
        let found = try lines(settings) {
            $0.questions = QuestionDesk()
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/hash", "K-Network-Probe: probe\r\nK-Network-Hash: h\r\n"))
            #expect(try client.receiveMessage().status == 200)
            try client.send(ProxyHarness.get("/bad", "User-Agent: kube-probe/1\r\n"))
            #expect(try client.receiveMessage().status == 400)
            try client.send(ProxyHarness.get("/ready", "User-Agent: kube-probe/1\r\nK-Network-Probe: queue\r\n"))
            let question = try proxy.event { if case .question(let question) = $0 { question } else { nil } }
            proxy.group.answer(question.asker, Answer(status: 200, contentType: .plain, body: Array("queue".utf8)))
            #expect(try client.receiveMessage().body == "queue")
            let other = try proxy.client2()
            let stream = try other.request(
                ProxyHarness.fields("GET", "/h2") + [("user-agent", "Knative-Activator-Probe")])
            #expect(try other.receiveMessage(stream).status == 400)
        }
        #expect(
            found
                == (includesProbes
                    ? [
                        "/hash HTTP/1.1 200 0 ", "/bad HTTP/1.1 400 32 kube-probe/1",
                        "/ready HTTP/1.1 200 5 kube-probe/1",
                        "/h2 HTTP/2.0 400 32 Knative-Activator-Probe",
                    ] : []))
    }

    /// Long fields are cut off at the limit of a note, and lines that do not fit together go one by one.
    @Test func longFields() throws {
        let long = String(repeating: "x", count: 20_000)
        let template = "{{.Request.RequestURI}} {{.Request.Header.Get \"A\"}}-{{.Request.Header.Get \"B\"}}"
        let found = try lines(Self.settings(template)) { proxy in
            let client = try proxy.client()
            let request = ProxyHarness.get("/0", "A: \(long)\r\nB: \(long)\r\n")
            try client.send(request)
            let pod = try proxy.accept()
            for round in 0..<8 {
                _ = try pod.receiveHead()
                try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
                _ = try client.receiveHead()
                if round < 7 { try client.send(request) }
            }
        }
        #expect(found.count == 8)
        for line in found { #expect(line.hasPrefix("/0 \(long)-xxx") && line.utf8.count < 33_000) }
    }
}
