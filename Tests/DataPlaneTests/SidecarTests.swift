import EventLoop
import HTTP2Wire
import Testing

@testable import DataPlane

/// A worker that stands before one container (spec/dataplane 1.6 to 1.8).
@Suite struct SidecarTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let fields: [String]
        let forwarded: [String]

        init(_ name: String, _ fields: [String], _ forwarded: [String]) {
            (testDescription, self.fields, self.forwarded) = (name, fields, forwarded)
        }
    }

    private func withSidecar(
        _ configure: (inout ProxySetup) -> Void = { _ in }, _ body: (ProxyHarness) throws -> Void
    ) throws -> [String] {
        try withProxy(
            {
                $0.forwarding = .sidecar
                $0.upstreamProtocol = .asInbound
                configure(&$0)
            }, body)
    }

    // MARK: What the container receives

    static let peer = "X-Forwarded-For: 127.0.0.1"

    static let cases: [Case] = [
        Case("nothing is made up", [], [peer]),
        Case("a field of the client's", ["A: 1", "User-Agent: u"], ["A: 1", "User-Agent: u", peer]),
        Case(
            "the peer is added, and Forwarded leaves it out",
            ["X-Forwarded-For: 127.0.0.1, ::1", "X-Forwarded-Proto: p"],
            [
                "X-Forwarded-Proto: p", "X-Forwarded-For: 127.0.0.1, ::1, 127.0.0.1",
                "Forwarded: for=127.0.0.1;proto=p, for=\"[::1]\"",
            ]),
        Case(
            "several lines are joined, the first counts for Forwarded",
            ["X-Forwarded-For: a", "X-Forwarded-For: b"], ["X-Forwarded-For: a, b, 127.0.0.1", "Forwarded: for=a"]),
        Case("commas", ["X-Forwarded-For: ,,,"], ["X-Forwarded-For: ,,,, 127.0.0.1", "Forwarded: for=, for=, for="]),
        Case("host alone", ["X-Forwarded-Host: h"], ["X-Forwarded-Host: h", peer, "Forwarded: host=h"]),
        Case(
            "Forwarded that came stays", ["Forwarded: for=x", "X-Forwarded-For: y"],
            ["Forwarded: for=x", "X-Forwarded-For: y, 127.0.0.1"]),
        Case(
            "fields between Knative's parts go",
            [
                "Knative-Serving-Revision: r", "Knative-Serving-Namespace: n", "K-Proxy-Request: activator",
                "K-Passthrough-Lb: true", "B: 2",
            ], ["B: 2", peer]),
        Case(
            "the route's tag, hashes and ids pass",
            ["Knative-Serving-Tag: t", "Knative-Serving-Default-Route: true", "K-Network-Hash: h", "X-Request-Id: i"],
            [
                "Knative-Serving-Tag: t", "Knative-Serving-Default-Route: true", "K-Network-Hash: h",
                "X-Request-Id: i", peer,
            ]),
        Case("what is no host restores nothing", ["K-Original-Host: a b"], [peer]),
        Case("nor does nothing", ["K-Original-Host:"], [peer]),
    ]

    @Test(arguments: cases) func fields(example: Case) throws {
        _ = try withSidecar { proxy in
            let client = try proxy.client()
            let lines = example.fields.map { $0 + "\r\n" }.joined()
            try client.send("GET /p?q HTTP/1.1\r\nHost: any.where:8\r\n\(lines)\r\n")
            let pod = try proxy.accept()
            let message = try pod.receiveHead()
            #expect(message.startLine == "GET /p?q HTTP/1.1")
            #expect(message.fields == ["Host: any.where:8"] + example.forwarded)
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            #expect(try client.receiveHead().status == 204)
        }
    }

    /// The same over HTTP/2, which goes to the container as it came.
    @Test(arguments: cases) func fieldsOfStreams(example: Case) throws {
        _ = try withSidecar { proxy in
            let client = try proxy.client2()
            let head = [(":method", "GET"), (":scheme", "http"), (":authority", "any.where:8"), (":path", "/p?q")]
            let stream = try client.request(head + example.fields.map(Talk.pair))
            let pod = try proxy.accept2()
            let (number, message) = try pod.nextRequest()
            #expect(message.value(":authority") == "any.where:8" && message.value(":path") == "/p?q")
            let received = message.lines().filter { !$0.hasPrefix(":") }
            #expect(received == example.forwarded.map { Talk.line(Talk.pair($0)) })
            try Talk.response(204).send(pod, number)
            #expect(try client.receiveMessage(stream).status == 204)
        }
    }

    /// The host that an activator replaced by the pod's address.
    @Test func originalHost() throws {
        _ = try withSidecar { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/", "K-Original-Host: asked.example.com:81\r\n"))
            let pod = try proxy.accept()
            let message = try pod.receiveHead()
            #expect(message.fields == ["Host: asked.example.com:81", Self.peer])
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            _ = try client.receiveHead()
            let other = try proxy.client2()
            let stream = try other.request(
                ProxyHarness.fields("GET", "/") + [("k-original-host", "asked.example.com")])
            let pod2 = try proxy.accept2()
            let (number, head) = try pod2.nextRequest()
            #expect(head.value(":authority") == "asked.example.com" && head.values("k-original-host").isEmpty)
            try Talk.response().send(pod2, number)
            _ = try other.receiveMessage(stream)
        }
    }

    /// Requests by way of an activator are counted as such as well, of both versions.
    @Test(arguments: ["activator", "Activator", "x"]) func proxiedRequests(value: String) throws {
        _ = try withSidecar { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/", "K-Proxy-Request: \(value)\r\n"))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            _ = try client.receiveHead()
            let other = try proxy.client2()
            let stream = try other.request(ProxyHarness.fields("GET", "/") + [("k-proxy-request", value)])
            let pod2 = try proxy.accept2()
            try Talk.response().send(pod2, try pod2.nextStream())
            _ = try other.receiveMessage(stream)
            proxy.group.post(.report)
            let sums = try proxy.event { event in
                if case .report(_, let reports) = event { reports.first?.sums } else { nil }
            }
            #expect(sums.requests == 2 && sums.proxiedRequests == (value == "activator" ? 2 : 0))
        }
    }

    // MARK: Answers of its own

    /// A container that refuses connections is a 502, at once, and is tried again for the next request.
    @Test func refusedConnections() throws {
        let log = try withSidecar { proxy in
            proxy.pods[0].stop()
            let client = try proxy.client()
            for _ in 0..<2 {
                try client.send(ProxyHarness.get())
                let message = try client.receiveMessage()
                #expect(message.status == 502 && message.body == "the container accepts no connections\n")
                #expect(message.value("Content-Type") == "text/plain; charset=utf-8")
            }
            let other = try proxy.client2()
            let stream = try other.request(ProxyHarness.fields("GET", "/") + [("content-type", "application/grpc")])
            #expect(try other.receiveMessage(stream).status == 502)
            proxy.takeEvents()
            #expect(proxy.gate.endpoints.allSatisfy { $0.state == .available })
        }
        #expect(log.count == 3 && log.allSatisfy { $0.contains(" 502 UF ") }, "\(log)")
    }

    /// Silence instead of an answer is tried again, and told at the last try.
    @Test func silentBacklog() throws {
        _ = try withSidecar {
            $0.limits.upstreamConnectMilliseconds = 20
            $0.limits.upstreamConnectTries = 3
        } _: { proxy in
            let waiting = try proxy.pods[0].fillBacklog()
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            #expect(try client.receiveMessage().status == 502)
            for peer in waiting { peer.close() }
        }
    }

    /// One too many is refused with Knative's words.
    @Test func fullQueue() throws {
        _ = try withSidecar {
            $0.concurrency = 1
            $0.queueLimit = 1
        } _: { proxy in
            let clients = try (0..<3).map { _ in try proxy.client() }
            try clients[0].send(ProxyHarness.get("/0"))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try clients[1].send(ProxyHarness.get("/1"))
            try proxy.until("waiting") { $0.exchanges == 2 }
            try clients[2].send(ProxyHarness.get("/2"))
            let refused = try clients[2].receiveMessage()
            #expect(refused.status == 503 && refused.body == "pending request queue full\n")
            #expect(refused.value("X-Content-Type-Options") == "nosniff")
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            _ = try clients[0].receiveHead()
            #expect(try pod.receiveHead().startLine == "GET /1 HTTP/1.1")
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            _ = try clients[1].receiveHead()
        }
    }

    /// The revision's limit covers the queue, with the same words.
    @Test func limitInTheQueue() throws {
        _ = try withSidecar {
            $0.concurrency = 1
            $0.timeouts.total = 200_000_000
        } _: { proxy in
            let (first, second) = (try proxy.client(), try proxy.client())
            try first.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try second.send(ProxyHarness.get())
            for client in [first, second] {
                let message = try client.receiveMessage()
                #expect(message.status == 504 && message.body == "request timeout")
            }
        }
    }

    /// After the head the text is added and the body ends; where a length was promised it cannot.
    @Test func limitWithinTheResponse() throws {
        _ = try withSidecar {
            $0.timeouts.idle = 200_000_000
        } _: { proxy in
            let (first, second, third) = (try proxy.client(), try proxy.client(), try proxy.client2())
            try first.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            let message = try first.receiveMessage()
            #expect(message.status == 200 && message.body == "abcrequest timeout")
            try first.expectClosed()
            try second.send(ProxyHarness.get())
            let pod2 = try proxy.accept()
            _ = try pod2.receiveHead()
            try pod2.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            _ = try second.waitForBreak()
            let stream = try third.request(ProxyHarness.fields("GET", "/"))
            let pod3 = try proxy.accept2()
            let number = try pod3.nextStream()
            try pod3.headers(number, [(":status", "200")], end: false)
            try pod3.data(number, Array("abc".utf8), end: false)
            let answer = try third.receiveMessage(stream)
            #expect(answer.text == "abcrequest timeout" && answer.hasEnded && answer.resetCode == nil)
        }
    }

    /// gRPC's streams end with DEADLINE_EXCEEDED.
    @Test func limitWithinGRPC() throws {
        _ = try withSidecar {
            $0.timeouts.total = 300_000_000
        } _: { proxy in
            let client = try proxy.client2()
            let stream = try client.request(ProxyHarness.fields("POST", "/") + [("content-type", "application/grpc")])
            let pod = try proxy.accept2()
            let number = try pod.nextStream()
            try pod.headers(number, [(":status", "200"), ("content-type", "application/grpc")], end: false)
            let answer = try client.receiveMessage(stream)
            #expect(answer.trailers?.contains { $0.0 == "grpc-status" && $0.1 == "4" } == true)
        }
    }
}
