import Admission
import Balancing
import EventLoop
import Primitives
import Testing

@testable import DataPlane

/// Requests that wait for capacity, and what becomes of slots.
@Suite struct WaitingTests {
    static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    /// `containerConcurrency: 1` over two workers: one request at a time, in the order of arrival.
    @Test func firstComeFirstServed() throws {
        try withProxy {
            $0.workers = 2
            $0.concurrency = 1
        } _: { proxy in
            let clients = try (0..<12).map { _ in try proxy.client() }
            for (index, client) in clients.enumerated() {
                try client.send(ProxyHarness.get("/\(index)"))
                // The arrivals must have an order before it can be kept.
                try proxy.until("arrived") { $0.exchanges == index + 1 }
            }
            #expect(proxy.gate.waiting == 11)
            var connections: [Peer] = []
            for index in 0..<12 {
                let (pod, head) = try nextRequest(proxy, &connections)
                #expect(head.startLine == "GET /\(index) HTTP/1.1")
                #expect(proxy.gate.inFlight == 1)
                try pod.send(Self.ok)
                #expect(try clients[index].receiveMessage().status == 200)
            }
        }
    }

    /// The next request on whichever connection it comes, new or known.
    private func nextRequest(_ proxy: ProxyHarness, _ connections: inout [Peer]) throws -> (Peer, Message) {
        for _ in 0..<Int(Peer.patience) {
            if proxy.pods[0].isConnectionWaiting() { connections.append(try proxy.accept()) }
            for pod in connections {
                try pod.poll(milliseconds: 1)
                if !pod.pending.isEmpty { return (pod, try pod.receiveHead()) }
            }
        }
        throw PeerFailure(description: "no request came")
    }

    @Test func queueFull() throws {
        let log = try withProxy {
            $0.concurrency = 1
            $0.queueLimit = 1
        } _: { proxy in
            let clients = try (0..<2).map { _ in try proxy.client() }
            for (index, client) in clients.enumerated() {
                try client.send(ProxyHarness.get())
                try proxy.until("arrived") { $0.exchanges == index + 1 }
            }
            let third = try proxy.client()
            try third.send(ProxyHarness.get())
            let message = try third.receiveMessage()
            #expect(message.status == 503 && message.body == "pending request queue full\n")
            #expect(message.value("Retry-After") == "1" && message.value("Connection") != "close")
            let pod = try proxy.accept()
            for client in clients {
                _ = try pod.receiveHead()
                try pod.send(Self.ok)
                #expect(try client.receiveMessage().status == 200)
            }
        }
        #expect(log.first?.contains(" 503 QF") == true, "\(log)")
    }

    /// From zero: the request asks for a pod once, waits with its body unread, and is served when one comes.
    @Test func coldStart() throws {
        let log = try withProxy { proxy in
            _ = proxy.gate.setEndpoints([])
            let clients = try (0..<3).map { _ in try proxy.client() }
            for (index, client) in clients.enumerated() {
                try client.send(ProxyHarness.post(String(repeating: "x", count: 20_000)))
                try proxy.until("arrived") { $0.exchanges == index + 1 }
            }
            _ = try proxy.event { if case .demand = $0 { true } else { nil } }
            #expect(proxy.events.count { if case .demand = $0 { true } else { false } } == 1)
            let endpoint = Endpoint(id: 7, address: .loopback(port: proxy.pods[0].port), concurrency: 0)
            for grant in proxy.gate.setEndpoints([endpoint]).grants {
                proxy.group.post(.grant(proxy.target, grant), to: grant.waiter.worker)
            }
            for client in clients {
                let pod = try proxy.accept()
                #expect(try pod.receiveMessage().body.utf8.count == 20_000)
                try pod.send(Self.ok)
                _ = client
            }
            for client in clients { #expect(try client.receiveMessage().status == 200) }
            _ = try proxy.event { if case .dispatched = $0 { true } else { nil } }
        }
        #expect(log.allSatisfy { $0.contains(" 200 CS ") }, "\(log)")
    }

    /// A client that goes while it waits leaves the queue; if its slot is on the way, it goes on to the next.
    @Test func clientGoneWhileWaiting() throws {
        try withProxy {
            $0.concurrency = 1
        } _: { proxy in
            let clients = try (0..<3).map { _ in try proxy.client() }
            for (index, client) in clients.enumerated() {
                try client.send(ProxyHarness.get("/\(index)"))
                try proxy.until("arrived") { $0.exchanges == index + 1 }
            }
            clients[1].close()
            try proxy.until("left") { $0.exchanges == 2 }
            #expect(proxy.gate.waiting == 1)
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(Self.ok)
            #expect(try pod.receiveHead().startLine == "GET /2 HTTP/1.1")
            try pod.send(Self.ok)
            #expect(try clients[2].receiveMessage().status == 200)
        }
    }

    /// Half-closing clients that come while nothing is free are seen to have gone.
    @Test(arguments: [
        ProxyHarness.get(), ProxyHarness.post("body"), ProxyHarness.post(String(repeating: "x", count: 90_000)),
    ])
    func clientGoneBeforeItWaits(request: String) throws {
        try withProxy { proxy in
            _ = proxy.gate.setEndpoints([])
            let client = try proxy.client()
            try client.send(request)
            client.endSending()
            _ = try client.waitForBreak()
            try proxy.until("gone") { $0.downstreams == 0 }
            #expect(proxy.gate.waiting == 0)
        }
    }

    @Test func clientGoneWhileConnecting() throws {
        try withProxy { proxy in
            let fillers = try proxy.pods[0].fillBacklog()
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            try proxy.until("connecting") { $0.upstreams == 1 }
            client.reset()
            try proxy.until("given up") { $0.upstreams == 0 && $0.exchanges == 0 }
            #expect(proxy.gate.inFlight == 0)
            for filler in fillers { filler.close() }
        }
    }

    /// A deleted revision: those who wait are refused, so are those who come.
    @Test func revisionGone() throws {
        try withProxy { proxy in
            _ = proxy.gate.setEndpoints([])
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            try proxy.until("waiting") { _ in proxy.gate.waiting == 1 }
            for waiter in proxy.gate.close() { proxy.group.post(.refuse(waiter), to: waiter.worker) }
            #expect(try client.receiveMessage().status == 503)
            try client.send(ProxyHarness.get())
            let message = try client.receiveMessage()
            #expect(message.status == 503 && message.body == "the revision has no pod that can serve\n")
        }
    }

    /// The statistics of a window count every request once, and the window begins with the first of them.
    @Test func report() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.expectSilence(milliseconds: 30)
            let start = MonotonicClock.now()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(Self.ok)
            _ = try client.receiveMessage()
            proxy.group.post(.report)
            let reports = try proxy.event { if case .report(_, let reports) = $0 { reports } else { nil } }
            #expect(reports.map(\.target.name) == ["hello-00001"])
            #expect(reports.first?.sums.requests == 1)
            let elapsed = MonotonicClock.now().nanoseconds(since: start)
            #expect(reports.first.map { $0.sums.windowNanoseconds <= elapsed } == true, "idle time is counted")
        }
    }

    // MARK: Drain

    /// Answers carry `Connection: close`; the last request is waited for; then unused connections are closed.
    @Test func drain() throws {
        try withProxy {
            $0.workers = 2
        } _: { proxy in
            let unused = try proxy.client()
            let busy = try proxy.client()
            try unused.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(Self.ok)
            _ = try unused.receiveMessage()
            try busy.send(ProxyHarness.get())
            try proxy.until("arrived") { $0.exchanges == 1 }
            proxy.group.post(.drain)
            // Still accepting; and what is unused stays, since its client's next request may be on its way.
            let late = try proxy.client()
            try late.send(ProxyHarness.get("/late"))
            try proxy.until("arrived") { $0.exchanges == 2 }
            proxy.group.post(.stopAccepting)
            _ = try proxy.gauges()
            #expect(throws: PeerFailure.self) { _ = try Peer(port: proxy.group.addresses[0].port) }
            var connections = [pod]
            for _ in 0..<2 {
                let drained = proxy.drainedWorkers()
                #expect(drained < 2)
                let (next, _) = try nextRequest(proxy, &connections)
                try next.send(Self.ok)
            }
            for client in [busy, late] {
                #expect(try client.receiveMessage().value("Connection") == "close")
                try client.expectClosed()
            }
            for _ in 0..<2 { try proxy.waitUntilDrained() }
            try unused.expectClosed()
        }
    }

    /// Pipelined requests that have been read are answered before the worker says that it is drained.
    @Test func drainWithPipelinedRequests() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/1") + ProxyHarness.get("/2"))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
            _ = try client.receiveHead()
            // The first response's head is out, without `close`; now the drain comes.
            proxy.group.post(.drain)
            proxy.group.post(.stopAccepting)
            _ = try proxy.gauges()
            try pod.send("x")
            try client.expect("x")
            #expect(try pod.receiveHead().startLine == "GET /2 HTTP/1.1")
            try pod.send(Self.ok)
            let last = try client.receiveMessage()
            #expect(last.status == 200 && last.value("Connection") == "close")
            try client.expectClosed()
            try proxy.waitUntilDrained()
        }
    }
}

extension ProxyHarness {
    func drainedWorkers() -> Int {
        takeEvents()
        return events.count { if case .drained = $0 { true } else { false } }
    }

    func waitUntilDrained() throws {
        try until("drained") { _ in drainedWorkers() == group.count }
    }
}
