import EventLoop
import TLS
import Testing

@testable import DataPlane

/// Clients that end TLS connections, in every phase and every way.
@Suite struct SecureEndTests {
    /// How a client ends.
    enum End: CaseIterable, Sendable {
        /// close_notify alone: the transport stays.
        case notify
        /// close_notify, then the transport's end.
        case notifyAndEnd
        /// The transport's end alone: truncation.
        case truncated
        case reset
    }

    private func end(_ client: SecurePeer, _ way: End) throws {
        switch way {
        case .notify: try client.closeNotify()
        case .notifyAndEnd:
            try client.closeNotify()
            client.peer.endSending()
        case .truncated: client.peer.endSending()
        case .reset: client.peer.reset()
        }
    }

    @Test(arguments: End.allCases) func idle(way: End) throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try proxy.until("open") { $0.handshakes == 0 && $0.downstreams == 1 }
            try end(client, way)
            try proxy.until("closed") { $0.downstreams == 0 }
            if way == .notify || way == .notifyAndEnd { #expect(try client.receiveToEnd().isEmpty) }
        }
    }

    @Test(arguments: End.allCases) func inHead(way: End) throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send("GET / HTTP/1.1\r\nHos")
            try proxy.until("open") { $0.handshakes == 0 && $0.downstreams == 1 }
            try end(client, way)
            try proxy.until("closed") { $0.downstreams == 0 }
        }
    }

    /// The slot is given back, whether the request waits, is served, or is answered in part.
    @Test(arguments: End.allCases) func inExchange(way: End) throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            #expect(proxy.gate.inFlight == 1)
            try end(client, way)
            try proxy.until("closed") { $0.downstreams == 0 && $0.exchanges == 0 }
            #expect(proxy.gate.inFlight == 0)
            _ = try pod.waitForBreak()
        }
    }

    @Test(arguments: End.allCases) func inResponse(way: End) throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            #expect(try client.receiveHead().status == 200)
            try end(client, way)
            try proxy.until("closed") { $0.downstreams == 0 && $0.exchanges == 0 }
            #expect(proxy.gate.inFlight == 0)
        }
    }

    @Test(arguments: End.allCases) func inRequestBody(way: End) throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send("POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: 10\r\n\r\nhello")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.expect("hello")
            try end(client, way)
            try proxy.until("closed") { $0.downstreams == 0 && $0.exchanges == 0 }
            _ = try pod.waitForBreak()
        }
    }

    @Test(arguments: End.allCases) func inTunnel(way: End) throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send(TunnelTests.upgrade)
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(TunnelTests.switching)
            #expect(try client.receiveHead().status == 101)
            try end(client, way)
            _ = try pod.waitForBreak()
            pod.close()
            try proxy.until("closed") { $0.exchanges == 0 }
        }
    }

    /// A client that leaves while its request waits for a pod leaves no place in the queue and no slot.
    @Test(arguments: End.allCases) func whileWaiting(way: End) throws {
        try withSecureProxy {
            $0.concurrency = 1
        } _: { proxy in
            let first = try proxy.secureClient().handshake()
            try first.send(ProxyHarness.get("/first"))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            let waiting = try proxy.secureClient().handshake()
            try waiting.send(ProxyHarness.get("/waiting"))
            try proxy.until("waiting") { $0.exchanges == 2 }
            #expect(proxy.gate.waiting == 1)
            try end(waiting, way)
            try proxy.until("gone") { $0.exchanges == 1 && $0.downstreams == 1 }
            #expect(proxy.gate.waiting == 0 && proxy.gate.inFlight == 1)
            try pod.send(SecureRequestTests.ok)
            #expect(try first.receiveMessage().status == 200)
            try proxy.until("over") { $0.exchanges == 0 }
            #expect(proxy.gate.inFlight == 0)
        }
    }

    /// A client that asks for its next request early has not gone; its request is answered in turn.
    @Test func pipelinedWhileWaiting() throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send(ProxyHarness.get("/1"))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try client.send(ProxyHarness.get("/2"))
            try client.closeNotify()
            client.peer.endSending()
            _ = try proxy.gauges()
            try pod.send(SecureRequestTests.ok)
            #expect(try client.receiveMessage().body == "hello")
            #expect(try pod.receiveHead().startLine == "GET /2 HTTP/1.1")
            try pod.send(SecureRequestTests.ok)
        }
    }

    /// Every listener serves, and every one stops accepting.
    @Test func listeners() throws {
        try withSecureProxy {
            $0.listeners.append(ListenerOptions(.loopback(port: 0)))
            $0.listeners.append(ListenerOptions(.loopback(port: 0), redirectPort: 1))
        } _: { proxy in
            let secure = try proxy.secureClient().handshake()
            let plain = try proxy.client(listener: 1)
            let redirected = try proxy.client(listener: 2)
            for client in [plain, redirected] { try client.send(ProxyHarness.get()) }
            #expect(try redirected.receiveMessage().status == 301)
            let pod = try proxy.accept()
            #expect(try pod.receiveHead().value("X-Forwarded-Proto") == "http")
            try pod.send(SecureRequestTests.ok)
            #expect(try plain.receiveMessage().status == 200)
            try secure.send(ProxyHarness.get())
            #expect(try pod.receiveHead().value("X-Forwarded-Proto") == "https")
            try pod.send(SecureRequestTests.ok)
            #expect(try secure.receiveMessage().status == 200)
            proxy.group.post(.stopAccepting)
            for client in [plain, redirected] { #expect(try client.receiveToEnd().isEmpty) }
            #expect(try secure.receiveToEnd().isEmpty)
            _ = try proxy.event { if case .drained = $0 { true } else { nil } }
            for listener in 0..<3 { #expect(throws: PeerFailure.self) { try proxy.client(listener: listener) } }
        }
    }

    /// Draining: busy connections and unused ones end with close_notify.
    @Test func drain() throws {
        try withSecureProxy { proxy in
            let unused = try proxy.secureClient().handshake()
            let busy = try proxy.secureClient().handshake()
            try busy.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            proxy.group.post(.drain)
            proxy.group.post(.stopAccepting)
            try pod.send(SecureRequestTests.ok)
            let answer = try busy.receiveMessage()
            #expect(answer.value("Connection") == "close")
            #expect(try busy.receiveToEnd().isEmpty)
            #expect(try unused.receiveToEnd().isEmpty)
            _ = try proxy.event { if case .drained = $0 { true } else { nil } }
        }
    }
}
