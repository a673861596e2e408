import Admission
import Balancing
import EventLoop
import HTTP2Wire
import Primitives
import Testing

@testable import DataPlane

/// A worker that stands in for Knative's activator (spec/dataplane 3.2 to 3.4).
@Suite struct ActivatorModeTests {
    /// The names of the harness's revision, as an ingress says them.
    static let names = "Knative-Serving-Revision: hello-00001\r\nKnative-Serving-Namespace: default\r\n"
    static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    private func withActivator(
        _ configure: (inout ProxySetup) -> Void = { _ in },
        _ body: (ProxyHarness, QuestionDesk) throws -> Void
    ) throws -> [String] {
        let desk = QuestionDesk()
        return try withProxy(
            {
                $0.forwarding = .activator
                $0.upstreamProtocol = .asInbound
                $0.questions = desk
                configure(&$0)
            }, { try body($0, desk) })
    }

    // MARK: Questions

    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let fields: [String]
        let health: QuestionDesk.Health
        let status: Int
        let body: String
        var hash: String?

        init(
            _ name: String, _ fields: [String], _ status: Int, _ body: String = "", hash: String? = nil,
            health: QuestionDesk.Health = .good
        ) {
            (testDescription, self.fields, self.health) = (name, fields, health)
            (self.status, self.body, self.hash) = (status, body, hash)
        }
    }

    static let kubelet = "User-Agent: kube-probe/1.31"

    static let questions: [Row] = [
        Row("kubelet", [kubelet], 200),
        Row("kubelet's old field", ["K-Kubelet-Probe: x"], 200),
        Row("kubelet goes before all else", [kubelet, "K-Network-Probe: x"], 200),
        Row("no autoscaler", [kubelet], 500, "connection has not yet been established\n", health: .notConnected),
        Row("SIGTERM", [kubelet], 500, "received SIGTERM from kubelet\n", health: .terminated),
        Row("the ingress's probe", ["K-Network-Probe: probe", "K-Network-Hash: h"], 200, hash: "h"),
        Row(
            "the ingress's probe, from whomever", ["User-Agent: Knative-Activator-Probe", "K-Network-Probe: probe"],
            400, "a probe request must contain a non-empty \"K-Network-Hash\" header\n"),
        Row("the autoscaler's probe", ["K-Network-Probe: activator"], 200, "activator"),
        Row("the same without an autoscaler", ["K-Network-Probe: activator"], 200, "activator", health: .notConnected),
        Row("another probe", ["K-Network-Probe: queue"], 400, "unexpected probe header value: \"queue\"\n"),
        Row(
            "another probe with marks", ["K-Network-Probe: <a&\"b'\\\t>"], 400,
            "unexpected probe header value: \"&lt;a&amp;&#34;b&#39;\\\\\\t&gt;\"\n"),
    ]

    @Test(arguments: questions) func questionsAreAnswered(row: Row) throws {
        _ = try withActivator { proxy, desk in
            desk.health = row.health
            let client = try proxy.client()
            let lines = row.fields.map { $0 + "\r\n" }.joined()
            // Any path, any host, any revision.
            try client.send("GET /any/where?q HTTP/1.1\r\nHost: nowhere\r\n\(lines)\r\n")
            let message = try client.receiveMessage()
            #expect(message.status == row.status && message.body == row.body)
            #expect(message.value("K-Network-Hash") == row.hash)
            #expect(message.value("Content-Type") == (row.body.isEmpty ? nil : "text/plain; charset=utf-8"))
            let other = try proxy.client2()
            let stream = try other.request(
                [(":method", "GET"), (":scheme", "http"), (":authority", "nowhere"), (":path", "/x")]
                    + row.fields.map(Talk.pair))
            let answer = try other.receiveMessage(stream)
            #expect(answer.status == row.status && String(decoding: answer.body, as: UTF8.self) == row.body)
            #expect(answer.value("k-network-hash") == row.hash)
        }
    }

    // MARK: Which revision

    struct Route: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let host: String
        let fields: [String]
        /// Nil: it is found.
        let unknown: String?

        init(_ name: String, host: String, _ fields: [String] = [], unknown: String? = nil) {
            (testDescription, self.host, self.fields, self.unknown) = (name, host, fields, unknown)
        }
    }

    static let revision = "Knative-Serving-Revision: hello-00001"
    static let namespace = "Knative-Serving-Namespace: default"

    static let routes: [Route] = [
        Route("both fields", host: "x", [revision, namespace]),
        Route("fields go before the host", host: "other.default.svc.cluster.local", [revision, namespace]),
        Route("host", host: "hello-00001.default.svc.cluster.local"),
        Route("host with port", host: "hello-00001.default.svc.cluster.local:80"),
        Route(
            "one field alone is none", host: "hello-00001.default.svc.cluster.local",
            ["Knative-Serving-Revision: other"]),
        Route("host of another domain", host: "hello-00001.default.svc.example.com", unknown: ""),
        Route("short host", host: "hello-00001.default.svc", unknown: ""),
        Route("shorter host", host: "hello-00001.default", unknown: ""),
        Route("not svc", host: "hello-00001.default.pod.cluster.local", unknown: ""),
        Route("one field", host: "x", [revision], unknown: "hello-00001"),
        Route("the other field", host: "x", [namespace], unknown: ""),
        Route(
            "an unknown revision", host: "x", ["Knative-Serving-Revision: b\"\\ad", namespace], unknown: "b\\\"\\\\ad"),
        Route("an unknown namespace", host: "x", [revision, "Knative-Serving-Namespace: n"], unknown: "hello-00001"),
        Route("an unknown host", host: "b.default.svc.cluster.local", unknown: "b"),
    ]

    @Test(arguments: routes) func revisions(route: Route) throws {
        _ = try withActivator { proxy, _ in
            let client = try proxy.client()
            let lines = route.fields.map { $0 + "\r\n" }.joined()
            try client.send("GET / HTTP/1.1\r\nHost: \(route.host)\r\n\(lines)\r\n")
            let other = try proxy.client2()
            let head = [(":method", "GET"), (":scheme", "http"), (":authority", route.host), (":path", "/")]
            guard let unknown = route.unknown else {
                let pod = try proxy.accept()
                _ = try pod.receiveHead()
                try pod.send(Self.ok)
                #expect(try client.receiveMessage().status == 200)
                let stream = try other.request(head + route.fields.map(Talk.pair))
                let pod2 = try proxy.accept2()
                try Talk.response().send(pod2, try pod2.nextStream())
                #expect(try other.receiveMessage(stream).status == 200)
                return
            }
            let text = "Error getting active endpoint: revision.serving.knative.dev \"\(unknown)\" not found\n"
            let message = try client.receiveMessage()
            #expect(message.status == 404 && message.body == text)
            #expect(message.value("X-Content-Type-Options") == "nosniff")
            let stream = try other.request(head + route.fields.map(Talk.pair))
            let answer = try other.receiveMessage(stream)
            #expect(answer.status == 404 && String(decoding: answer.body, as: UTF8.self) == text)
        }
    }

    /// Thousands of names, found and not found.
    @Test func index() {
        let budget = WaitBudget()
        func target(_ number: Int) -> RevisionTarget {
            RevisionTarget(
                id: UInt64(number), name: "r-\(number % 50)", namespace: "n-\(number / 50)",
                gate: RevisionGate(concurrency: 0, budget: budget), timeouts: RevisionTimeouts(), workerCount: 1,
                now: Instant(nanoseconds: 0))
        }
        for count in [0, 1, 2, 3, 1_000] {
            let index = RevisionIndex((0..<count).map(target), clusterDomain: "cluster.local")
            for number in 0..<count + 60 {
                let name = Array("r-\(number % 50)".utf8), namespace = Array("n-\(number / 50)".utf8)
                name.withUnsafeBytes { name in
                    namespace.withUnsafeBytes { namespace in
                        let found = index.target(namespace: ByteView(namespace), name: ByteView(name))
                        #expect(found?.id == (number < count ? UInt64(number) : nil))
                        #expect(index.target(namespace: ByteView(name), name: ByteView(namespace)) == nil)
                    }
                }
            }
        }
    }

    // MARK: What the pod receives

    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let fields: [String]
        let forwarded: [String]

        init(_ name: String, _ fields: [String], _ forwarded: [String]) {
            (testDescription, self.fields, self.forwarded) = (name, fields, forwarded)
        }
    }

    static let original = "K-Original-Host: any.where:8"
    static let ours = ["K-Proxy-Request: activator", "X-Forwarded-For: 127.0.0.1"]

    static let cases: [Case] = [
        Case("nothing else is made up", [], [original] + ours),
        Case("fields of the client's pass", ["A: 1", "User-Agent: u"], ["A: 1", "User-Agent: u", original] + ours),
        Case("an original host that is there stays", ["K-Original-Host: a.b"], ["K-Original-Host: a.b"] + ours),
        Case("an empty one does not", ["K-Original-Host:"], [original] + ours),
        Case("who it went through is overwritten", ["K-Proxy-Request: x"], [original] + ours),
        Case(
            "the ingress's hash goes",
            ["K-Network-Hash: h", "K-Network-Probe:"], ["K-Network-Probe:", original] + ours),
        Case(
            "the peer is added", ["X-Forwarded-For: a", "X-Forwarded-For: b", "X-Forwarded-Proto: https"],
            ["X-Forwarded-Proto: https", original, ours[0], "X-Forwarded-For: a, b, 127.0.0.1"]),
        Case(
            "what the route says passes",
            ["Knative-Serving-Tag: t", "Knative-Serving-Default-Route: true", "Forwarded: for=x"],
            ["Knative-Serving-Tag: t", "Knative-Serving-Default-Route: true", "Forwarded: for=x", original] + ours),
    ]

    @Test(arguments: cases) func fields(example: Case) throws {
        _ = try withActivator { proxy, _ in
            let client = try proxy.client()
            let lines = example.fields.map { $0 + "\r\n" }.joined()
            try client.send("GET /p?q HTTP/1.1\r\nHost: any.where:8\r\n\(Self.names)\(lines)\r\n")
            let pod = try proxy.accept()
            let message = try pod.receiveHead()
            #expect(message.startLine == "GET /p?q HTTP/1.1")
            #expect(
                message.fields.map { $0.last == " " ? String($0.dropLast()) : $0 }
                    == ["Host: 127.0.0.1:\(proxy.pods[0].port)"] + example.forwarded)
            try pod.send(Self.ok)
            #expect(try client.receiveMessage().status == 200)
        }
    }

    /// HTTP/2 goes on as HTTP/2.
    @Test(arguments: cases) func fieldsOfStreams(example: Case) throws {
        _ = try withActivator { proxy, _ in
            let client = try proxy.client2()
            let head = [(":method", "GET"), (":scheme", "http"), (":authority", "any.where:8"), (":path", "/p?q")]
            let names = [("knative-serving-revision", "hello-00001"), ("knative-serving-namespace", "default")]
            let stream = try client.request(head + names + example.fields.map(Talk.pair))
            let pod = try proxy.accept2()
            let (number, message) = try pod.nextRequest()
            #expect(message.value(":authority") == "127.0.0.1:\(proxy.pods[0].port)")
            #expect(message.value(":path") == "/p?q")
            let received = message.lines().filter { !$0.hasPrefix(":") }
            #expect(received == example.forwarded.map { Talk.line(Talk.pair($0)) })
            try Talk.response(204).send(pod, number)
            #expect(try client.receiveMessage(stream).status == 204)
        }
    }

    // MARK: Answers of its own

    @Test func queueFull() throws {
        _ = try withActivator {
            $0.concurrency = 1
            $0.queueLimit = 0
        } _: { proxy, _ in
            let first = try proxy.client(), second = try proxy.client2()
            try first.send(ProxyHarness.get("/", Self.names))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            let names = [("knative-serving-revision", "hello-00001"), ("knative-serving-namespace", "default")]
            // gRPC is told HTTP's status too.
            let grpc = try second.request(ProxyHarness.fields() + names + [("content-type", "application/grpc")])
            let message = try second.receiveMessage(grpc)
            #expect(message.status == 503 && message.value("retry-after") == "1")
            #expect(String(decoding: message.body, as: UTF8.self) == "pending request queue full\n")
            try pod.send(Self.ok)
            #expect(try first.receiveMessage().status == 200)
        }
    }

    /// A deleted revision: who waited gets an empty 500.
    @Test func deletedRevision() throws {
        _ = try withActivator { proxy, _ in
            _ = proxy.gate.setEndpoints([])
            let client = try proxy.client(), other = try proxy.client2()
            try client.send(ProxyHarness.get("/", Self.names))
            let names = [("knative-serving-revision", "hello-00001"), ("knative-serving-namespace", "default")]
            let stream = try other.request(ProxyHarness.fields() + names)
            try proxy.until("waiting") { $0.exchanges == 2 }
            for waiter in proxy.gate.close() { proxy.group.post(.refuse(waiter), to: waiter.worker) }
            let message = try client.receiveMessage()
            #expect(message.status == 500 && message.body.isEmpty && message.value("Content-Type") == nil)
            #expect(message.value("Content-Length") == "0")
            let answer = try other.receiveMessage(stream)
            #expect(answer.status == 500 && answer.body.isEmpty && answer.value("content-type") == nil)
        }
    }

    /// All pods refuse: a 502 with a text, after the safe tries.
    @Test func refusedConnections() throws {
        _ = try withActivator {
            $0.pods = 3
            $0.limits.upstreamConnectTries = 3
        } _: { proxy, _ in
            for pod in proxy.pods { pod.stop() }
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/", Self.names))
            let message = try client.receiveMessage()
            #expect(message.status == 502 && message.body == "no pod of the revision accepts connections\n")
            proxy.takeEvents()
        }
    }

    /// One pod refuses, another one serves: the client notices nothing, and the control thread hears of it.
    @Test func anotherPod() throws {
        _ = try withActivator {
            $0.pods = 2
        } _: { proxy, _ in
            proxy.pods[0].stop()
            let client = try proxy.client()
            for _ in 0..<6 {
                try client.send(ProxyHarness.post("hello", Self.names))
                let pod = try proxy.pods[1].connections.first ?? proxy.pods[1].accept()
                #expect(try pod.receiveMessage().body == "hello")
                try pod.send(Self.ok)
                #expect(try client.receiveMessage().status == 200)
            }
            proxy.takeEvents()
            let isTold = proxy.events.contains { if case .suspect = $0 { true } else { false } }
            let suspended = proxy.gate.endpoints.filter { $0.state == .suspended }
            #expect(isTold == !suspended.isEmpty)
        }
    }

    /// Each of the three limits, in the queue and with a pod: the activator's words, without a line end.
    @Test(arguments: [0, 1, 2], [true, false]) func timeouts(limit: Int, isQueued: Bool) throws {
        _ = try withActivator {
            let short: UInt64 = 50_000_000
            if limit == 0 { $0.timeouts.total = short }
            if limit == 1 { $0.timeouts.responseStart = short }
            if limit == 2 { $0.timeouts.idle = short }
        } _: { proxy, _ in
            if isQueued { _ = proxy.gate.setEndpoints([]) }
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/", Self.names))
            let message = try client.receiveMessage()
            #expect(message.status == 504 && message.body == "activator request timeout")
            proxy.takeEvents()
        }
    }

    /// After the response has begun, the text stands behind what came, and the end is clean.
    @Test func lateTimeout() throws {
        _ = try withActivator {
            $0.timeouts.total = 300_000_000
        } _: { proxy, _ in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/", Self.names))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            let message = try client.receiveMessage()
            #expect(message.status == 200 && message.body == "abcactivator request timeout")
        }
    }

    // MARK: Counting

    /// The first request is told at once; later ones are not, until the owner has forgotten the revision.
    @Test func arrivals() throws {
        _ = try withActivator { proxy, _ in
            let client = try proxy.client()
            func round() throws {
                try client.send(ProxyHarness.get("/", Self.names))
                let pod = try proxy.pods[0].connections.first ?? proxy.accept()
                _ = try pod.receiveHead()
                try pod.send(Self.ok)
                #expect(try client.receiveMessage().status == 200)
            }
            func arrivals() -> Int {
                proxy.takeEvents()
                return proxy.events.count { if case .arrived = $0 { true } else { false } }
            }
            try round()
            #expect(arrivals() == 1)
            proxy.target.arrivals.seen()
            try round()
            proxy.group.post(.report)
            try proxy.until("asked") { _ in true }
            try round()
            #expect(arrivals() == 1, "known revisions are not told")
            let old = proxy.target.arrivals.mark
            proxy.group.post(.report)
            try proxy.until("asked") { _ in true }
            try round()
            #expect(!proxy.target.arrivals.forget(since: old), "somebody came since")
            proxy.group.post(.report)
            try proxy.until("asked") { _ in true }
            #expect(proxy.target.arrivals.forget(since: proxy.target.arrivals.mark))
            try round()
            #expect(arrivals() == 2, "a forgotten revision is told anew")
        }
    }
}
