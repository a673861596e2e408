import EventLoop
import Primitives
import Testing

@testable import DataPlane

/// Probes and other requests that are not for the container (spec/dataplane 1.3, 1.5).
@Suite struct QuestionTests {
    /// One row of the contract: what is asked, and the whole answer; nil if it is traffic.
    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let fields: [String]
        let isDraining: Bool
        let status: Int?
        var body = ""
        var hash: String?

        init(
            _ name: String, _ fields: [String], draining: Bool = false, _ status: Int?, _ body: String = "",
            hash: String? = nil
        ) {
            (testDescription, self.fields, isDraining) = (name, fields, draining)
            (self.status, self.body, self.hash) = (status, body, hash)
        }
    }

    static let kubelet = "User-Agent: kube-probe/1.31"
    static let activator = "User-Agent: Knative-Activator-Probe"
    static let autoscaler = "User-Agent: Knative-Autoscaling-Probe"

    static let atOnce: [Row] = [
        Row("kubelet, draining", [kubelet, "K-Network-Probe: queue"], draining: true, 503, "shutting down\n"),
        Row("activator, draining", [activator, "K-Network-Probe: queue"], draining: true, 503, "shutting down\n"),
        Row("kubelet without a probe field", [kubelet], 400, "unexpected probe header value: \n"),
        Row(
            "the autoscaler asks for an activator", [autoscaler, "K-Network-Probe: activator"], 400,
            "unexpected probe header value: activator\n"),
        Row(
            "health goes before the ingress's probe", [activator, "K-Network-Probe: probe", "K-Network-Hash: h"], 400,
            "unexpected probe header value: probe\n"),
        Row(
            "probe, draining", ["K-Network-Probe: probe", "K-Network-Hash: h"], draining: true, 503, "shutting down\n"),
        Row(
            "probe without hash", ["K-Network-Probe: probe"], 400,
            "a probe request must contain a non-empty \"K-Network-Hash\" header\n"),
        Row(
            "probe", ["User-Agent: Knative-Ingress-Probe", "K-Network-Probe: probe", "K-Network-Hash: h1"], 200, "",
            hash: "h1"),
        Row("queue with an ordinary agent", ["User-Agent: curl/8", "K-Network-Probe: queue"], nil),
        Row("an agent that only begins alike", ["User-Agent: kube-probe"], nil),
        Row("kubelet's old field", ["K-Kubelet-Probe: x"], nil),
        Row("traffic while draining", ["User-Agent: curl/8"], draining: true, nil),
    ]

    private func withDesk(
        _ configure: (inout ProxySetup) -> Void = { _ in }, _ body: (ProxyHarness, QuestionDesk) throws -> Void
    ) throws {
        let desk = QuestionDesk()
        _ = try withProxy(
            {
                $0.forwarding = .sidecar
                $0.upstreamProtocol = .asInbound
                $0.questions = desk
                configure(&$0)
            }, { try body($0, desk) })
    }

    /// The next question behind those in `asked`. All events are looked at each time.
    private func question(_ proxy: ProxyHarness, after asked: [Question] = []) throws -> Question {
        try proxy.event { event in
            guard case .question(let question) = event, !asked.contains(question) else { return nil }
            return question
        }
    }

    @Test(arguments: atOnce) func answersAtOnce(row: Row) throws {
        try withDesk { proxy, desk in
            desk.isDraining = row.isDraining
            let client = try proxy.client()
            let lines = row.fields.map { $0 + "\r\n" }.joined()
            try client.send("GET /any?path HTTP/1.1\r\nHost: x\r\n\(lines)\r\n")
            guard let status = row.status else {
                let pod = try proxy.accept()
                _ = try pod.receiveHead()
                #expect(desk.lastRequestAt > Instant(nanoseconds: 0))
                try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
                #expect(try client.receiveHead().status == 204)
                return
            }
            let message = try client.receiveMessage()
            #expect(message.status == status && message.body == row.body)
            #expect(message.value("K-Network-Hash") == row.hash)
            #expect(message.value("Content-Type") == (row.body.isEmpty ? nil : "text/plain; charset=utf-8"))
            #expect(message.value("X-Content-Type-Options") == (row.body.isEmpty ? nil : "nosniff"))
            // The connection goes on, nothing was counted, and a stream is answered alike.
            try client.send("GET / HTTP/1.1\r\nHost: x\r\n\(lines)\r\n")
            #expect(try client.receiveMessage().status == status)
            let other = try proxy.client2()
            let stream = try other.request(ProxyHarness.fields("GET", "/") + row.fields.map(Talk.pair))
            let answer = try other.receiveMessage(stream)
            #expect(answer.status == status && answer.text == row.body)
            #expect(answer.value("k-network-hash") == row.hash)
            #expect(desk.lastRequestAt == Instant(nanoseconds: 0))
            proxy.group.post(.report)
            let requests = try proxy.event { event in
                if case .report(_, let reports) = event { reports.map(\.sums.requests) } else { nil }
            }
            #expect(requests == [0], "a window of its own, without a request")
        }
    }

    /// What needs the container's state is asked, and answered when the answer is there.
    @Test(arguments: [kubelet, activator, autoscaler]) func readinessIsAsked(agent: String) throws {
        try withDesk { proxy, _ in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/", "\(agent)\r\nK-Network-Probe: queue\r\n"))
            let first = try question(proxy)
            #expect(first.subject == .readiness)
            try client.expectSilence(milliseconds: 20)
            proxy.group.answer(first.asker, Answer(status: 200, contentType: .plain, body: Array("queue".utf8)))
            let message = try client.receiveMessage()
            #expect(message.status == 200 && message.body == "queue")
            #expect(message.value("Content-Type") == "text/plain; charset=utf-8")
            let other = try proxy.client2()
            let stream = try other.request(
                ProxyHarness.fields("GET", "/") + [Talk.pair(agent), ("k-network-probe", "queue")])
            let second = try question(proxy, after: [first])
            // An answer counts once.
            proxy.group.answer(first.asker, Answer(status: 200))
            proxy.group.answer(second.asker, Answer(status: 503))
            let answer = try other.receiveMessage(stream)
            #expect(answer.status == 503 && answer.text.isEmpty)
            try client.send(ProxyHarness.get("/", "\(agent)\r\n"))
            #expect(try client.receiveMessage().status == 400)
        }
    }

    /// Whoever leaves is forgotten, and the answer to it is dropped.
    @Test func askersMayLeave() throws {
        try withDesk { proxy, _ in
            let probe = "\(Self.activator)\r\nK-Network-Probe: queue\r\n"
            let (first, second, other) = (try proxy.client(), try proxy.client(), try proxy.client2())
            try first.send(ProxyHarness.get("/", probe))
            try second.send(ProxyHarness.get("/", probe))
            let fields = ProxyHarness.fields("GET", "/") + [Talk.pair(Self.activator), ("k-network-probe", "queue")]
            let reset = try other.request(fields)
            let stays = try other.request(fields)
            var asked: [Question] = []
            for _ in 0..<4 { asked.append(try question(proxy, after: asked)) }
            try proxy.until("asked") { $0.questions == 4 }
            first.close()
            second.endSending()
            try other.reset(reset)
            try proxy.until("one left") { $0.questions == 1 && $0.downstreams == 1 }
            for question in asked { proxy.group.answer(question.asker, Answer(status: 200)) }
            #expect(try other.receiveMessage(stays).status == 200)
        }
    }

    /// At the limits of number and time it is 503.
    @Test func limits() throws {
        try withDesk {
            $0.limits.questions = 1
            $0.limits.questionMilliseconds = 300
        } _: { proxy, _ in
            let probe = "\(Self.activator)\r\nK-Network-Probe: queue\r\n"
            let (first, second, other) = (try proxy.client(), try proxy.client(), try proxy.client2())
            try first.send(ProxyHarness.get("/", probe))
            _ = try question(proxy)
            try second.send(ProxyHarness.get("/", probe))
            #expect(try second.receiveMessage().status == 503)
            let stream = try other.request(
                ProxyHarness.fields("GET", "/") + [Talk.pair(Self.activator), ("k-network-probe", "queue")])
            #expect(try other.receiveMessage(stream).status == 503)
            #expect(try first.receiveMessage().status == 503)
            try first.expectClosed()
        }
    }

    static let purposes: [ListenerPurpose] = [.admin, .stat, .metrics]

    /// Listeners for others than clients know one path each.
    @Test(arguments: purposes) func otherListeners(purpose: ListenerPurpose) throws {
        try withDesk {
            $0.listeners.append(ListenerOptions(.loopback(port: 0), purpose: purpose))
        } _: { proxy, _ in
            let client = try proxy.client(listener: 1)
            for path in ["/", "/metrics/", "/wait-for-drai", purpose == .admin ? "/metrics" : "/wait-for-drain"] {
                try client.send(ProxyHarness.get(path))
                let message = try client.receiveMessage()
                #expect(message.status == 404 && message.body == "404 page not found\n", "\(path)")
            }
            try client.send(ProxyHarness.get(purpose == .admin ? "/wait-for-drain" : "/metrics?x=y"))
            let asked = try question(proxy)
            let body = [UInt8](repeating: 7, count: 20_000)
            switch purpose {
            case .admin: #expect(asked.subject == .drain)
            case .stat: #expect(asked.subject == .stat)
            case .metrics, .traffic: #expect(asked.subject == .metrics)
            }
            proxy.group.answer(asked.asker, Answer(status: 200, contentType: .protobuf, body: body))
            let message = try client.receiveMessage()
            #expect(message.status == 200 && Array(message.body.utf8) == body)
            #expect(message.value("Content-Type") == "application/protobuf")
            try client.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            if purpose == .metrics {
                #expect(try client.receiveMessage().status == 405)
            } else if purpose == .admin {
                #expect(try client.receiveMessage().status == 404)
            } else {
                proxy.group.answer(try question(proxy, after: [asked]).asker, Answer(status: 200))
                #expect(try client.receiveMessage().status == 200)
            }
        }
    }

    /// A long body goes as fast as it is read, in both versions; the connection goes on, and what it held is released.
    @Test func bodiesInPieces() throws {
        try withDesk {
            $0.listeners.append(ListenerOptions(.loopback(port: 0), purpose: .metrics))
        } _: { proxy, _ in
            let body = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) & 0x7F }
            let client = try proxy.client(listener: 1)
            let other = try proxy.client2(listener: 1)
            var asked: [Question] = []
            for _ in 0..<2 {
                try client.send(ProxyHarness.get("/metrics"))
                let first = try question(proxy, after: asked)
                let stream = try other.request(ProxyHarness.fields("GET", "/metrics"))
                let second = try question(proxy, after: asked + [first])
                asked += [first, second]
                for asker in [first.asker, second.asker] {
                    proxy.group.answer(asker, Answer(status: 200, contentType: .prometheus, body: body))
                }
                let message = try client.receiveMessage()
                #expect(message.status == 200 && Array(message.body.utf8) == body)
                let answer = try other.receiveMessage(stream)
                #expect(answer.status == 200 && answer.body == body)
            }
            try proxy.until("answered") { $0.questions == 0 }
        }
    }

    /// Who does not read a long answer is cut off, and only so many are sent at a time.
    @Test func longAnswersHaveLimits() throws {
        try withDesk {
            $0.limits.longAnswers = 1
            $0.limits.longAnswerMilliseconds = 300
            $0.listeners.append(ListenerOptions(.loopback(port: 0), purpose: .metrics))
        } _: { proxy, _ in
            let answer = Answer(status: 200, contentType: .plain, body: [UInt8](repeating: 65, count: 8 << 20))
            let (idle, late) = (try proxy.client(listener: 1), try proxy.client(listener: 1))
            try idle.send(ProxyHarness.get("/metrics"))
            let first = try question(proxy)
            proxy.group.answer(first.asker, answer)
            try late.send(ProxyHarness.get("/metrics"))
            proxy.group.answer(try question(proxy, after: [first]).asker, answer)
            #expect(try late.receiveMessage().status == 503)
            try proxy.until("cut") { $0.questions == 0 && $0.downstreams == 0 }
        }
    }

    /// A body beyond the limit is not sent.
    @Test func longAnswers() {
        let answer = Answer(status: 200, contentType: .plain, body: [UInt8](repeating: 1, count: Answer.bodyLimit + 1))
        #expect(answer == Answer(status: 500))
    }
}
