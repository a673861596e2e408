import Testing

@testable import DataPlane

/// Connections that switch protocols (101).
@Suite struct TunnelTests {
    static let upgrade = ProxyHarness.get("/chat", "Connection: Upgrade\r\nUpgrade: websocket\r\n")
    static let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

    /// A tunnel between a client and a pod.
    private func tunnel(_ proxy: ProxyHarness, early: String = "", late: String = "") throws -> (Peer, Peer) {
        let client = try proxy.client()
        try client.send(Self.upgrade + early)
        let pod = try proxy.accept()
        _ = try pod.receiveHead()
        try pod.send(Self.switching + late)
        let head = try client.receiveHead()
        #expect(head.status == 101 && head.value("Upgrade") == "websocket" && head.value("Connection") == "Upgrade")
        return (client, pod)
    }

    @Test func echo() throws {
        let log = try withProxy { proxy in
            let (client, pod) = try tunnel(proxy)
            for round in 0..<20 {
                try client.send("ping \(round)")
                try pod.expect("ping \(round)")
                try pod.send("pong \(round)")
                try client.expect("pong \(round)")
            }
            #expect(try proxy.total().exchanges == 1)
            #expect(proxy.gate.inFlight == 1)
            pod.close()
        }
        #expect(log.first?.contains("\"GET /chat HTTP/1.1\" 101") == true, "\(log)")
    }

    /// Bytes that the client sent before it had the answer, and bytes in the pod's packet behind the head.
    @Test func earlyBytes() throws {
        try withProxy { proxy in
            let (client, pod) = try tunnel(proxy, early: "early", late: "hello")
            try pod.expect("early")
            try client.expect("hello")
            try client.send("more")
            try pod.expect("more")
            pod.close()
        }
    }

    /// The head in two packets, so that it is put together in a buffer.
    @Test func splitHead() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(Self.upgrade)
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(String(Self.switching.prefix(20)))
            _ = try proxy.gauges()
            try pod.send(String(Self.switching.dropFirst(20)) + "hello")
            #expect(try client.receiveHead().status == 101)
            try client.expect("hello")
            pod.close()
        }
    }

    /// A client that ends its side and a pod that does not care: the silence is limited.
    @Test(arguments: [true, false]) func oneSideEnds(isClient: Bool) throws {
        try withProxy {
            $0.limits.halfTunnelMilliseconds = 200
        } _: { proxy in
            let (client, pod) = try tunnel(proxy)
            let (ending, silent) = isClient ? (client, pod) : (pod, client)
            ending.endSending()
            try silent.expectClosed()
            try proxy.until("over") { $0.exchanges == 0 }
        }
    }

    @Test func clientEndsFirst() throws {
        try withProxy { proxy in
            let (client, pod) = try tunnel(proxy)
            try client.send("last words")
            client.endSending()
            #expect(try pod.receiveToEnd() == "last words")
            try pod.send("answer")
            try client.expect("answer")
            pod.close()
            try client.expectClosed()
            try proxy.until("over") { $0.exchanges == 0 && $0.downstreams == 0 }
        }
    }

    @Test func podEndsFirst() throws {
        try withProxy { proxy in
            let (client, pod) = try tunnel(proxy)
            try pod.send("last words")
            pod.endSending()
            #expect(try client.receiveToEnd() == "last words")
            try client.send("answer")
            try pod.expect("answer")
            client.close()
            try pod.expectClosed()
            try proxy.until("over") { $0.exchanges == 0 }
        }
    }

    @Test func clientResets() throws {
        try withProxy { proxy in
            let (client, pod) = try tunnel(proxy)
            client.reset()
            try pod.expectClosed()
            try proxy.until("over") { $0.exchanges == 0 }
        }
    }

    /// The pod says its last words and closes for good; the client, still talking, gets them.
    @Test func podClosesWhileTheClientTalks() throws {
        try withProxy { proxy in
            let (client, pod) = try tunnel(proxy)
            try pod.send("bye")
            pod.close()
            try client.expect("bye")
            for _ in 0..<3 {
                try? client.send("are you there?")
                _ = try proxy.gauges()
            }
            try proxy.until("over") { $0.exchanges == 0 && $0.upstreams == 0 }
            #expect(try !client.waitForBreak(), "an end, not a reset")
        }
    }

    /// Neither side reads: little is held, nothing is lost, and each direction flows while the other is stuck.
    @Test func backPressure() throws {
        try withProxy {
            $0.podReceiveBuffer = 16_384
        } _: { proxy in
            let (client, pod) = try tunnel(proxy)
            let toPod = try client.sendUntilBlocked(1, atMost: 64 << 20, silence: 200)
            #expect(toPod < 64 << 20)
            let toClient = try pod.sendUntilBlocked(2, atMost: 64 << 20, silence: 200)
            #expect(toClient < 64 << 20)
            #expect(try proxy.total().lentBytes <= 2 * 65_536 + 8_192)
            try pod.discard(toPod)
            try client.discard(toClient)
            try client.send("still")
            try pod.expect("still")
            try pod.send("here")
            try client.expect("here")
            pod.close()
        }
    }

    /// One direction is stuck; the other goes on.
    @Test func oneDirectionStuck() throws {
        try withProxy { proxy in
            let (client, pod) = try tunnel(proxy)
            let toClient = try pod.sendUntilBlocked(2, atMost: 64 << 20, silence: 200)
            try client.send("over here")
            try pod.expect("over here")
            client.endSending()
            #expect(try pod.receiveToEnd().isEmpty)
            try client.discard(toClient)
            pod.close()
        }
    }

    /// An upgrade the pod declines is an ordinary response.
    @Test func declined() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(Self.upgrade)
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
            #expect(try client.receiveMessage().body == "no")
            try client.send(ProxyHarness.get())
            _ = try pod.receiveHead()
        }
    }

    /// The revision's limit ends a tunnel in order; the pod's head alone does not count as its beginning.
    @Test(arguments: [true, false]) func timeLimit(isTotal: Bool) throws {
        try withProxy {
            if isTotal { $0.timeouts.total = 300_000_000 } else { $0.timeouts.responseStart = 300_000_000 }
        } _: { proxy in
            let (client, pod) = try tunnel(proxy)
            if isTotal {
                try pod.send("x")
                try client.expect("x")
            }
            try client.expectClosed()
            try pod.expectClosed()
        }
    }
}
