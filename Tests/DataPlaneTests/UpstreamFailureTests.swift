import Admission
import Testing

@testable import DataPlane

/// What the client gets when a pod fails, and what becomes of the pod.
@Suite struct UpstreamFailureTests {
    static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        /// What the pod sends before it breaks off.
        let response: String
        var resets = false
        var status = 502
        var flag = "UC"
        var testDescription: String { name }
    }

    static let beforeTheHead: [Case] = [
        Case(name: "closes without a byte", response: ""),
        Case(name: "resets without a byte", response: "", resets: true),
        Case(name: "closes inside the head", response: "HTTP/1.1 200 OK\r\nConte"),
        Case(name: "garbage", response: "SSH-2.0-OpenSSH_9.2\r\n", flag: "UPE"),
        Case(name: "a bare line feed", response: "HTTP/1.1 200 OK\nContent-Length: 0\n\n", flag: "UPE"),
        Case(
            name: "two lengths", response: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            flag: "UPE"),
        Case(
            name: "length and chunks",
            response: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            flag: "UPE"),
        Case(
            name: "an unrequested 101", response: "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            flag: "UPE"),
        Case(name: "HTTP/2", response: "HTTP/2 200\r\n\r\n", flag: "UPE"),
        Case(
            name: "a head too large",
            response: "HTTP/1.1 200 OK\r\nA: " + String(repeating: "a", count: 70_000) + "\r\n\r\n",
            flag: "UPE"),
        Case(
            name: "too many fields",
            response: "HTTP/1.1 200 OK\r\n" + String(repeating: "A: 1\r\n", count: 101) + "\r\n", flag: "UPE"),
    ]

    @Test(arguments: beforeTheHead) func before(_ example: Case) throws {
        let log = try withProxy { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try? pod.send(example.response)
            if example.resets { pod.reset() } else { pod.endSending() }
            let message = try client.receiveMessage()
            #expect(message.status == example.status && message.values("Connection") != ["close"])
            if !example.resets { try pod.expectClosed() }
            #expect(try proxy.total().pooledUpstreams == 0)
            // The client's connection goes on.
            try client.send(ProxyHarness.get())
            let next = try proxy.accept()
            _ = try next.receiveHead()
            try next.send(Self.ok)
            #expect(try client.receiveMessage().status == 200)
        }
        #expect(log.first?.contains(" \(example.status) \(example.flag) ") == true, "\(log)")
    }

    /// Once the response has begun it can only be cut: by a reset if its length is not said, so that nobody takes it
    /// for whole.
    @Test(arguments: [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "abc"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "9\r\nabc"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabcxx"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n0\r\nTrail"),
    ]) func midBody(head: String, part: String) throws {
        for resets in [false, true] {
            try withProxy { proxy in
                let client = try proxy.client()
                try client.send(ProxyHarness.get())
                let pod = try proxy.accept()
                _ = try pod.receiveHead()
                try pod.send(head)
                #expect(try client.receiveHead().status == 200)
                try pod.send(part)
                if resets {
                    // What came before the reset is passed on first.
                    _ = try proxy.gauges()
                    pod.reset()
                } else {
                    pod.close()
                }
                _ = try client.waitForBreak()
                let rest = String(decoding: client.pending, as: UTF8.self)
                #expect(!rest.hasSuffix("0\r\n\r\n"), "a cut response must not look whole: \(rest)")
                #expect(try proxy.total().pooledUpstreams == 0)
            }
        }
    }

    @Test func untilCloseResetMidBody() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send("GET / HTTP/1.0\r\nHost: hello.example.com\r\n\r\n")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\n\r\nabc")
            _ = try client.receive(through: "abc")
            pod.reset()
            #expect(try client.waitForBreak(), "an end would look like the end of the body")
        }
    }

    // MARK: Connecting

    /// All pods refuse: three tries, then 503 UF; each is suspended and reported.
    @Test func allRefuse() throws {
        let log = try withProxy {
            $0.pods = 4
        } _: { proxy in
            for pod in proxy.pods { pod.stop() }
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let message = try client.receiveMessage()
            #expect(message.status == 503 && message.value("Retry-After") == "1")
            for _ in 0..<3 { _ = try proxy.event { if case .suspect = $0 { true } else { nil } } }
            #expect(proxy.endpoints.count { $0.state == .suspended } == 3)
        }
        #expect(log.first?.contains(" 503 UF") == true, "\(log)")
    }

    /// One of two refuses: the request goes to the other.
    @Test func oneRefuses() throws {
        try withProxy {
            $0.pods = 2
            $0.concurrency = 1  // packs: the first is always tried first
        } _: { proxy in
            proxy.pods[0].stop()
            let client = try proxy.client()
            try client.send(ProxyHarness.post("body"))
            let pod = try proxy.pods[1].accept()
            #expect(try pod.receiveMessage().body == "body")
            try pod.send(Self.ok)
            #expect(try client.receiveMessage().status == 200)
            let id = try proxy.event { if case .suspect(_, let endpoint) = $0 { endpoint.id } else { nil } }
            #expect(id == 0)
        }
    }

    /// The only pod refuses: the request waits until the pod is found well again, keeping its place.
    @Test func waitsForTheOnlyPod() throws {
        try withProxy { proxy in
            proxy.pods[0].stop()
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            _ = try proxy.event { if case .suspect = $0 { true } else { nil } }
            _ = try proxy.event { if case .demand = $0 { true } else { nil } }
            try proxy.until("waiting") { $0.exchanges == 1 && $0.upstreams == 0 }
            #expect(proxy.gate.waiting == 1)
            client.close()
        }
    }

    // MARK: Stale connections

    /// A pooled connection that the pod closes as it is reused: the request is sent once more on a fresh one.
    @Test(arguments: [
        ProxyHarness.get(), ProxyHarness.post("body"), "DELETE / HTTP/1.1\r\nHost: hello.example.com\r\n\r\n",
    ])
    func staleConnection(request: String) throws {
        try withProxy { proxy in
            let client = try proxy.client()
            let old = try warm(proxy, client)
            old.reset()
            try client.send(request)
            let fresh = try proxy.accept()
            _ = try fresh.receiveMessage()
            try fresh.send(Self.ok)
            #expect(try client.receiveMessage().status == 200)
        }
    }

    /// GET may be repeated though the pod has read it; a POST that a pod has taken may not.
    @Test(arguments: [true, false]) func closedAfterReading(isGet: Bool) throws {
        try withProxy { proxy in
            let client = try proxy.client()
            let old = try warm(proxy, client)
            try client.send(isGet ? ProxyHarness.get() : ProxyHarness.post("body"))
            _ = try old.receiveMessage()
            old.close()
            if isGet {
                let fresh = try proxy.accept()
                _ = try fresh.receiveMessage()
                try fresh.send(Self.ok)
            }
            #expect(try client.receiveMessage().status == (isGet ? 200 : 502))
            #expect(!proxy.pods[0].isConnectionWaiting())
        }
    }

    /// Never twice, and never on a fresh connection.
    @Test func retriedOnce() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            let old = try warm(proxy, client)
            try client.send(ProxyHarness.get())
            _ = try old.receiveMessage()
            old.close()
            let second = try proxy.accept()
            _ = try second.receiveMessage()
            second.close()
            #expect(try client.receiveMessage().status == 502)
            #expect(!proxy.pods[0].isConnectionWaiting())
        }
    }

    /// Not once a byte of the answer has come.
    @Test func notRetriedAfterAByte() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            let old = try warm(proxy, client)
            try client.send(ProxyHarness.get())
            _ = try old.receiveMessage()
            try old.send("H")
            old.close()
            #expect(try client.receiveMessage().status == 502)
            #expect(!proxy.pods[0].isConnectionWaiting())
        }
    }

    /// A pod that closes an unused connection: it leaves the pool at once.
    @Test func pooledConnectionCloses() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            let old = try warm(proxy, client)
            old.close()
            try proxy.until("noticed") { $0.pooledUpstreams == 0 }
        }
    }

    /// A pod that speaks unasked on an unused connection is not trusted with another request.
    @Test func pooledConnectionSpeaks() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            let old = try warm(proxy, client)
            try old.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            try proxy.until("noticed") { $0.pooledUpstreams == 0 }
            _ = try old.waitForBreak()
        }
    }

    /// Bytes behind a response that ends exactly where a read of ours ends: they must not answer the next request.
    @Test func bytesBehindAFullRead() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            let head = "HTTP/1.1 200 OK\r\nContent-Length: "
            let length = Worker.readBytes - head.utf8.count - 5 - 4
            let response = "\(head)\(length)\r\n\r\n" + String(repeating: "x", count: length)
            #expect(response.utf8.count == Worker.readBytes)
            try pod.send(response + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            _ = try client.receiveMessage()
            try client.send(ProxyHarness.get())
            let fresh = try proxy.accept()
            _ = try fresh.receiveHead()
            try fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
            #expect(try client.receiveMessage().body == "good")
        }
    }

    /// A pod that speaks, or ends its side, as soon as it accepts.
    @Test func speaksAtOnce() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            for _ in 0..<20 {
                try client.send(ProxyHarness.get())
                let pod = try proxy.accept()
                try? pod.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
                pod.endSending()
                #expect(try client.receiveMessage().body == "hi")
            }
        }
    }

    /// Retired endpoints lose their unused connections and report when they are idle.
    @Test func retiredEndpoint() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            let old = try warm(proxy, client)
            try client.send(ProxyHarness.get())
            _ = try old.receiveMessage()
            #expect(proxy.gate.setEndpoints([]).idle.isEmpty)
            try old.send(Self.ok)
            #expect(try client.receiveMessage().status == 200)
            #expect(try proxy.event { if case .idle(let endpoint) = $0 { endpoint.id } else { nil } } == 0)
            try proxy.until("closed") { $0.pooledUpstreams == 0 }
        }
    }

    @Test func forgottenEndpoint() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            _ = try warm(proxy, client)
            proxy.group.post(.forget(proxy.endpoints[0]))
            #expect(try proxy.total().pooledUpstreams == 0)
        }
    }

    /// Serves one request and leaves the connection in the pool.
    private func warm(_ proxy: ProxyHarness, _ client: Peer) throws -> Peer {
        try client.send(ProxyHarness.get())
        let pod = try proxy.accept()
        _ = try pod.receiveMessage()
        try pod.send(Self.ok)
        _ = try client.receiveMessage()
        try proxy.until("pooled") { $0.pooledUpstreams == 1 }
        return pod
    }
}
