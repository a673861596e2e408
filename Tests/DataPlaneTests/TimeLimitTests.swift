import EventLoop
import Primitives
import Routing
import Testing

@testable import DataPlane

/// Every limit on time, at its beginning, its middle and its end.
@Suite struct TimeLimitTests {
    static let short: UInt64 = 200

    // MARK: The revision's limits

    enum Limit: CaseIterable, Sendable { case total, responseStart, idle }

    private func set(_ limit: Limit, in setup: inout ProxySetup) {
        switch limit {
        case .total: setup.timeouts.total = Self.short * 1_000_000
        case .responseStart: setup.timeouts.responseStart = Self.short * 1_000_000
        case .idle: setup.timeouts.idle = Self.short * 1_000_000
        }
    }

    /// Before the response: 504, the pod's connection is closed, the client's goes on.
    @Test(arguments: Limit.allCases) func beforeTheResponse(limit: Limit) throws {
        let log = try withProxy {
            set(limit, in: &$0)
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            let message = try client.receiveMessage()
            #expect(message.status == 504 && message.body == "request timeout")
            #expect(message.value("Content-Type") == "text/plain; charset=utf-8")
            try pod.expectClosed()
            try client.send(ProxyHarness.get())
            _ = try proxy.accept()
        }
        #expect(log.first?.contains(" 504 UT ") == true, "\(log)")
    }

    /// The limit of a request is counted from its own arrival, whoever had its place in the worker before it.
    @Test func limitsStartWithTheirRequest() throws {
        try withProxy {
            set(.total, in: &$0)
        } _: { proxy in
            let client = try proxy.client()
            let half = MonotonicClock.now().adding(milliseconds: Self.short / 2)
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try proxy.until("half of the limit") { _ in MonotonicClock.now() >= half }
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            _ = try client.receiveMessage()
            let second = MonotonicClock.now()
            try client.send(ProxyHarness.get())
            let message = try client.receiveMessage()
            let elapsed = MonotonicClock.now().milliseconds(since: second)
            #expect(message.status == 504 && elapsed >= Self.short, "\(message.status) after \(elapsed) ms")
        }
    }

    /// A request with a shorter limit than the one before it in its place does not wait for that one's.
    @Test func aShorterLimitComesFirst() throws {
        try withProxy { _ in
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            _ = try client.receiveMessage()
            var timeouts = RevisionTimeouts()
            timeouts.total = Self.short * 1_000_000
            let hasty = RevisionTarget(
                id: 2, name: "hello-00002", namespace: "default", gate: proxy.gate, timeouts: timeouts, workerCount: 1,
                now: MonotonicClock.now())
            let routes = [Route(host: ProxyHarness.host, splits: [Split(target: 0, percent: 100)])]
            let table = try RouteTable(routes: routes)
            proxy.group.post(.publish(RoutingSnapshot(generation: 2, table: table, targets: [hasty])))
            _ = try proxy.gauges()  // the answer comes after the publication
            try client.send(ProxyHarness.get())
            #expect(try client.receiveMessage().status == 504)
        }
    }

    /// After the response began, chunks end cleanly, a length cannot.
    @Test(arguments: [Limit.total, .idle], [true, false]) func midResponse(limit: Limit, isChunked: Bool) throws {
        let log = try withProxy {
            set(limit, in: &$0)
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            if isChunked {
                try pod.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
                let message = try client.receiveMessage()
                #expect(message.status == 200 && message.body == "abc")
                try client.expectClosed()
            } else {
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                _ = try client.waitForBreak()
                #expect(client.pending.count < 300)
            }
            try pod.expectClosed()
        }
        #expect(log.first?.contains(" 200 UT ") == true, "\(log)")
    }

    /// A response that has begun is not under the limit on its start, and each part starts the idle limit over.
    @Test(arguments: [Limit.responseStart, .idle]) func progressCounts(limit: Limit) throws {
        try withProxy {
            set(limit, in: &$0)
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
            _ = try client.receiveHead()
            // Three silences shorter than the idle limit, longer together than either limit.
            for byte in ["a", "b", "c"] {
                try client.expectSilence(milliseconds: Self.short * 2 / 5)
                try pod.send(byte)
                try client.expect(byte)
            }
        }
    }

    // MARK: The client's limits

    @Test func headTimeout() throws {
        let log = try withProxy {
            $0.limits.headTimeoutMilliseconds = Self.short
        } _: { proxy in
            let client = try proxy.client()
            try client.send("GET / HTTP/1.1\r\nHost: hel")
            #expect(try client.receiveMessage().status == 408)
            try client.expectClosed()
        }
        #expect(log.first?.contains(" 408 DPE ") == true, "\(log)")
    }

    /// One byte at a time does not push the limit back.
    @Test func slowHead() throws {
        try withProxy {
            $0.limits.headTimeoutMilliseconds = Self.short
        } _: { proxy in
            let client = try proxy.client()
            try client.send("GET /")
            while client.pending.isEmpty, !client.hasEnded {
                try? client.send("x")
                try client.poll(milliseconds: 20)
            }
            #expect(try client.receiveMessage().status == 408)
        }
    }

    /// A client silent in the middle of its body, whether or not part of it came with the head.
    @Test(arguments: ["", "part"]) func bodyTimeout(part: String) throws {
        try withProxy {
            $0.limits.bodyIdleTimeoutMilliseconds = Self.short
        } _: { proxy in
            let client = try proxy.client()
            try client.send("POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: 10\r\n\r\n" + part)
            let pod = try proxy.accept()
            let message = try client.receiveMessage()
            #expect(message.status == 408 && message.value("Connection") == "close")
            try client.expectClosed()
            _ = try pod.waitForBreak()
        }
    }

    /// A client that does not read its response.
    @Test func stuckClient() throws {
        try withProxy {
            $0.limits.bodyIdleTimeoutMilliseconds = Self.short
        } _: { proxy in
            let client = try proxy.client(receiveBuffer: 16_384)
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            _ = try? pod.sendUntilBlocked(1, atMost: 100_000_000, silence: Int32(Peer.patience))
            try proxy.until("given up") { $0.exchanges == 0 && $0.downstreams == 0 }
        }
    }

    /// A slow pod is not the client's fault.
    @Test func slowPodIsNoBodyTimeout() throws {
        try withProxy {
            $0.limits.bodyIdleTimeoutMilliseconds = Self.short
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.post("body"))
            let pod = try proxy.accept()
            _ = try pod.receiveMessage()
            try client.expectSilence(milliseconds: Self.short * 2)
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            #expect(try client.receiveMessage().status == 200)
        }
    }

    @Test(arguments: [true, false]) func keepAliveIdle(afterARequest: Bool) throws {
        try withProxy {
            $0.limits.keepAliveIdleMilliseconds = Self.short
        } _: { proxy in
            let client = try proxy.client()
            if afterARequest {
                try client.send(ProxyHarness.get())
                let pod = try proxy.accept()
                _ = try pod.receiveHead()
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                _ = try client.receiveMessage()
            }
            try client.expectClosed()
        }
    }

    /// A client that neither reads on nor closes after the last word is let go.
    @Test func lingering() throws {
        try withProxy {
            $0.limits.lingerMilliseconds = Self.short
        } _: { proxy in
            let client = try proxy.client()
            try client.send("garbage\r\n\r\n")
            #expect(try client.receiveMessage().status == 400)
            try proxy.until("let go") { $0.downstreams == 0 }
        }
    }

    // MARK: Waiting

    @Test func queueTimeout() throws {
        let log = try withProxy {
            $0.concurrency = 1
            $0.timeouts.total = Self.short * 1_000_000
        } _: { proxy in
            _ = proxy.gate.setEndpoints([])
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let message = try client.receiveMessage()
            #expect(message.status == 504 && message.body == "activator request timeout")
            try proxy.until("out of the queue") { _ in proxy.gate.waiting == 0 }
        }
        #expect(log.first?.contains(" 504 QT,CS ") == true, "\(log)")
    }

    /// A pod that accepts no connection in time (its backlog is full) counts as one that refuses.
    @Test func connectTimeout() throws {
        try withProxy {
            $0.limits.upstreamConnectMilliseconds = Self.short
            $0.timeouts.total = 5_000_000_000
        } _: { proxy in
            let fillers = try proxy.pods[0].fillBacklog()
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            _ = try proxy.event { if case .suspect = $0 { true } else { nil } }
            #expect(proxy.endpoints[0].state == .suspended)
            for filler in fillers { filler.close() }
            client.close()
        }
    }
}
