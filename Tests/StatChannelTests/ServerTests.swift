import EventLoop
import Primitives
import Telemetry
import Testing

@testable import StatChannel

/// The autoscaler's end, with foreign clients and raw ones.
@Suite struct ServerTests {
    private static let handshake =
        "GET / HTTP/1.1\r\nHost: as:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

    private func server(
        _ loop: Loop, _ change: (inout StatChannelLimits) -> Void = { _ in }
    ) throws -> StatChannelServer {
        var limits = StatChannelLimits()
        change(&limits)
        return try StatChannelServer(loop: loop, address: .loopback(port: 0), limits: limits)
    }

    /// An open channel of a raw client.
    private func channel(_ loop: Loop, _ server: StatChannelServer) throws -> RawClient {
        let client = try #require(RawClient(server.address, loop: loop))
        client.send(Self.handshake)
        #expect(loop.until { client.text.hasSuffix("\r\n\r\n") })
        #expect(client.text.hasPrefix("HTTP/1.1 101 Switching Protocols\r\n"))
        return client
    }

    private func masked(_ opcode: UInt8, _ payload: [UInt8] = []) -> [UInt8] {
        [0x80 | opcode, 0x80 | UInt8(payload.count), 0, 0, 0, 0] + payload
    }

    private func run(_ name: String, _ loop: Loop, _ server: StatChannelServer) throws {
        let peer = try Peer(python: "client.py", ["\(server.address.port)", name], loop: loop)
        let status = peer.end()
        #expect(status == 0 && peer.lines == ["ok \(name)"], "\(peer.lines)")
    }

    @Test func messagesOfPython() throws {
        let loop = try Loop(), server = try server(loop)
        var messages: [[UInt8]] = []
        server.onMessage = { messages.append(Array(UnsafeBufferPointer(start: $0.base, count: $0.count))) }
        try run("messages", loop, server)
        let long = (0..<256_000).map { UInt8($0 & 255) }
        #expect(messages == [Array("first".utf8), Array("in three pieces".utf8), long, [], Array("last".utf8)])
        #expect(loop.until { server.connectionCount == 0 })
    }

    @Test(arguments: ["extension", "origins", "buckets", "limit"]) func casesOfPython(name: String) throws {
        let loop = try Loop(), server = try server(loop)
        try run(name, loop, server)
        #expect(loop.until { server.connectionCount == 0 } && server.gatheredBytes == 0)
    }

    /// 1012 `Restarting`, then nobody listens.
    @Test func restartOfPython() throws {
        let loop = try Loop(), server = try server(loop)
        var isGone = false
        server.onMessage = { [unowned server] message in
            #expect(message.equals("now"))
            server.shutDown(deadlineMilliseconds: 10_000) { isGone = true }
        }
        try run("restart", loop, server)
        #expect(loop.until { isGone } && server.connectionCount == 0)
    }

    /// A frame may hold the stats of as many revisions as are read of one, with the longest names.
    @Test func limitsFitTheStats() {
        let limits = StatChannelLimits()
        #expect(limits.messageBytes == WireStatReader.bodyLimit)
        // Two names of a DNS label each, a pod's name, two numbers, and what protobuf says about them.
        #expect(WireStatReader.entryLimit * (3 * (63 + 2) + 2 * 9 + 2 + 3) <= limits.messageBytes)
    }

    // MARK: Requests

    private struct Question {
        let text: String
        let status: Int

        init(_ text: String, _ status: Int) { (self.text, self.status) = (text, status) }
    }

    /// Each gets its answer, and an end without a reset.
    @Test func requestsAnswered() throws {
        let loop = try Loop(), server = try server(loop)
        let good = Self.handshake
        let questions = [
            Question("GET / HTTP/1.1\r\nHost: as\r\n\r\n", 426), Question("POST / HTTP/1.1\r\nHost: as\r\n\r\n", 405),
            Question(
                "POST / HTTP/1.1\r\nHost: as\r\nContent-Length: 5000\r\n\r\n" + String(repeating: "x", count: 5000), 405
            ),
            Question(good.replacing("13", with: "12"), 426), Question(good.replacing("ZQ==", with: "ZR=="), 400),
            Question(good.replacing("as:8080", with: "AutoScaler-Bucket-00-of-01.knative-serving:8080"), 421),
            Question(good.replacing("Host: as:8080\r\n", with: ""), 400), Question(good + "x", 400),
            Question(good.replacing("Host", with: "Origin: http://evil\r\nHost"), 403),
            Question("GET / HTTP/1.1\r\nHost: as\r\nA: " + String(repeating: "a", count: 20_000), 431),
            Question("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505), Question("\u{16}\u{3}\u{1}", 400),
            Question("GET / HTTP/1.1\r\nHost: as\r\nUser-Agent: kube-probe/1.30\r\n\r\n", 200),
            Question("GET /healthz HTTP/1.1\r\nHost: as\r\nK-Kubelet-Probe: queue\r\n\r\n", 200),
            Question("GET / HTTP/1.1\r\nHost: as\r\nUser-Agent: my-kube-probe/1\r\n\r\n", 426),
        ]
        for question in questions {
            let client = try #require(RawClient(server.address, loop: loop))
            client.send(question.text)
            #expect(loop.until { client.ended != nil }, "\(question)")
            #expect(client.text.hasPrefix("HTTP/1.1 \(question.status) "), "\(question): \(client.text)")
            #expect(client.endedWell, "\(question): \(client.ended ?? "")")
            client.close()
        }
        #expect(loop.until { server.connectionCount == 0 })
    }

    /// A head that comes byte by byte is a head.
    @Test func slowHead() throws {
        let loop = try Loop(), server = try server(loop)
        let client = try #require(RawClient(server.address, loop: loop))
        for byte in Self.handshake.utf8 {
            client.send([byte])
            loop.runOnce(atMostMilliseconds: 0)
        }
        #expect(loop.until { client.text.hasPrefix("HTTP/1.1 101 ") })
    }

    @Test func probesOfCurl() throws {
        let loop = try Loop(), server = try server(loop)
        for (isHealthy, status) in [(true, "200"), (false, "503")] {
            server.isHealthy = { isHealthy }
            let curl = try Peer(
                "/usr/bin/env",
                [
                    "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}\n", "-A", "kube-probe/1.30", "--max-time",
                    "20",
                    "http://\(server.address)/",
                ], loop: loop)
            let ended = curl.end()
            #expect(ended == 0 && curl.lines == [status], "\(curl.lines)")
        }
    }

    @Test func ownersOfBuckets() throws {
        let loop = try Loop(), server = try server(loop)
        var asked: [String] = []
        server.ownsHost = {
            asked.append($0)
            return $0 == "autoscaler-bucket-01-of-02.ks"
        }
        for (host, status) in [("Autoscaler-Bucket-01-of-02.ks:8080", 101), ("autoscaler-bucket-00-of-02.ks", 421)] {
            let client = try #require(RawClient(server.address, loop: loop))
            client.send(Self.handshake.replacing("as:8080", with: host))
            #expect(loop.until { client.text.hasPrefix("HTTP/1.1 \(status) ") }, "\(client.text)")
        }
        #expect(asked == ["autoscaler-bucket-01-of-02.ks", "autoscaler-bucket-00-of-02.ks"])
    }

    // MARK: Channels

    /// A broken frame gets its Close frame and an end without a reset, though more of the client's bytes come.
    @Test func unmaskedFrames() throws {
        let loop = try Loop(), server = try server(loop)
        let client = try channel(loop, server)
        let mark = client.received.count
        client.send([0x82, 0x01, 7] + [UInt8](repeating: 0x55, count: 100_000))
        #expect(loop.until { client.ended != nil })
        #expect(client.endedWell, "\(client.ended ?? "")")
        #expect(client.received.dropFirst(mark).prefix(4) == [0x88, 18, 0x03, 0xEA])
        client.close()
        #expect(loop.until { server.connectionCount == 0 })
    }

    @Test func silentHeads() throws {
        let loop = try Loop(), server = try server(loop) { $0.headMilliseconds = 50 }
        let silent = try #require(RawClient(server.address, loop: loop))
        let slow = try #require(RawClient(server.address, loop: loop))
        slow.send("GET / HTTP/1.1\r\n")
        #expect(loop.until { silent.ended != nil && slow.ended != nil })
        #expect(server.connectionCount == 0)
    }

    /// A silent client is pinged, and dropped if it stays silent; one that answers is kept.
    @Test func silentClients() throws {
        let loop = try Loop()
        let server = try server(loop) {
            $0.silenceMilliseconds = 60
            $0.deathMilliseconds = 240
        }
        let silent = try channel(loop, server), alive = try channel(loop, server)
        let heads = (silent.received.count, alive.received.count)
        var answered = heads.1
        #expect(
            loop.until {
                if alive.received.count >= answered + 2 {
                    answered += 2
                    alive.send(masked(10))
                }
                return silent.ended != nil
            })
        #expect(silent.received.dropFirst(heads.0).elementsEqual([0x89, 0]), "one ping")
        #expect(alive.ended == nil && server.connectionCount == 1)
        #expect(alive.received.count > heads.1 + 2, "pinged more than once")
    }

    @Test func manyConnections() throws {
        let loop = try Loop(), server = try server(loop) { $0.connections = 3 }
        let kept = try (0..<3).map { _ in try channel(loop, server) }
        let extra = try #require(RawClient(server.address, loop: loop))
        #expect(loop.until { extra.ended != nil })
        #expect(extra.received.isEmpty && server.connectionCount == 3)
        kept[0].close()
        #expect(loop.until { server.connectionCount == 2 })
        _ = try channel(loop, server)
    }

    /// Large messages in the making of many clients: the one that makes them too many goes.
    @Test func gatheredBytes() throws {
        let loop = try Loop(), server = try server(loop) { $0.gatheredBytes = 100_000 }
        let clients = try (0..<3).map { _ in try channel(loop, server) }
        let head: [UInt8] = [0x82, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]
        for client in clients.prefix(2) { client.send(head + [UInt8](repeating: 0, count: 45_000)) }
        #expect(loop.until { server.gatheredBytes == 90_000 })
        let mark = clients[2].received.count
        clients[2].send(head + [UInt8](repeating: 0, count: 45_000))
        #expect(loop.until { clients[2].ended != nil })
        #expect(clients[2].received.dropFirst(mark).prefix(4) == [0x88, 12, 0x03, 0xF5])
        clients[2].close()
        #expect(server.gatheredBytes == 90_000 && clients[0].ended == nil && clients[1].ended == nil)
        clients[0].close()
        #expect(loop.until { server.gatheredBytes == 45_000 })
    }

    /// A client that does not answer 1012 is cut at the deadline; others are waited for.
    @Test func shutDownDeadline() throws {
        let loop = try Loop(), server = try server(loop) { $0.closeMilliseconds = 100_000 }
        let deaf = try channel(loop, server), inHead = try #require(RawClient(server.address, loop: loop))
        inHead.send("GET /")
        #expect(loop.until { server.connectionCount == 2 })
        let mark = deaf.received.count
        var isGone = false
        let begun = MonotonicClock.now()
        server.shutDown(deadlineMilliseconds: 150) { isGone = true }
        server.shutDown(deadlineMilliseconds: 150) { Issue.record("once is enough") }
        #expect(loop.until { isGone })
        #expect(MonotonicClock.now().milliseconds(since: begun) >= 150 && server.connectionCount == 0)
        #expect(loop.until { deaf.ended != nil && inHead.ended != nil })
        #expect(deaf.received.dropFirst(mark).elementsEqual([0x88, 12, 0x03, 0xF4] + Array("Restarting".utf8)))
    }

    /// A server that is let go with clients leaves nothing behind that would be called.
    @Test func letGo() throws {
        let loop = try Loop()
        var server: StatChannelServer? = try server(loop)
        let client = try channel(loop, try #require(server))
        server = nil
        #expect(loop.until { client.ended != nil })
    }
}
