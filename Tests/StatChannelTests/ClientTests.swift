import EventLoop
import Foundation
import Primitives
import Testing

@testable import StatChannel

/// The activator's end, with python3-websockets as the autoscaler, with servers that misbehave, and with ours.
@Suite struct ClientTests {
    /// A client that notes what it tells.
    private final class Noted {
        let client: StatChannelClient
        var changes: [(isConnected: Bool, reason: String)] = []

        init(
            _ loop: Loop, _ port: UInt16, host: String = "127.0.0.1",
            _ change: (inout StatChannelLimits) -> Void = { _ in }
        ) {
            var limits = StatChannelLimits()
            change(&limits)
            client = StatChannelClient(
                loop: loop, server: StatServerAddress(host: host, port: port), seed: UInt64(port), limits: limits)
            client.onChange = { [weak self] in self?.changes.append(($0, $1)) }
            client.begin()
        }

        var isConnected: Bool { client.isConnected }
        var reasons: [String] { changes.map(\.reason) }
    }

    private func python(_ loop: Loop) throws -> (Peer, UInt16) {
        let peer = try Peer(python: "server.py", loop: loop)
        let line = try #require(peer.line("listening "), "\(peer.lines)")
        return (peer, try #require(UInt16(line.dropFirst(10))))
    }

    // MARK: Python's server

    /// The handshake as Knative's server expects it; messages; what the server says is borne; the orderly end.
    @Test(arguments: ["127.0.0.1", "localhost"]) func pythonsServer(host: String) throws {
        let loop = try Loop(), (peer, port) = try python(loop)
        let noted = Noted(loop, port, host: host) { $0.pingMilliseconds = 50 }
        #expect(!noted.client.send([1]), "not connected")
        #expect(loop.until { noted.isConnected })
        #expect(noted.reasons == ["connected to 127.0.0.1:\(port)"])
        let open = try #require(peer.line("open "))
        #expect(
            open == "open / \(host):\(port) connection,host,sec-websocket-key,sec-websocket-version,upgrade",
            "no Origin, no extension, no subprotocol")
        #expect(noted.client.send(Array("stats".utf8)))
        #expect(noted.client.send([UInt8](repeating: 7, count: 3 << 20)))
        for command in ["text ignored", "pieces", "ping"] { peer.tell(command) }
        #expect(peer.line("pong") != nil)
        #expect(noted.client.send([]))
        #expect(peer.line("binary 0 da39a3ee") != nil, "\(peer.lines)")
        #expect(peer.lines.contains { $0.hasPrefix("binary 5 ") })
        #expect(peer.lines.contains { $0.hasPrefix("binary 3145728 ") })
        #expect(noted.isConnected && noted.changes.count == 1)
        var isClosed = false
        noted.client.close { isClosed = true }
        #expect(!noted.isConnected && !noted.client.send([1]))
        #expect(loop.until { isClosed })
        #expect(peer.line("closed 1000") != nil && noted.reasons.last == "closed by us")
    }

    /// 1012 and others: connected again after the first pause.
    @Test func restarts() throws {
        let loop = try Loop(), (peer, port) = try python(loop)
        let noted = Noted(loop, port)
        #expect(loop.until { noted.isConnected })
        for (round, code) in [1012, 1000, 1001, 1011].enumerated() {
            let begun = MonotonicClock.now(), mark = peer.lines.count
            peer.tell("close \(code) Restarting")
            #expect(loop.until { !noted.isConnected })
            #expect(noted.reasons.last == "closed by the peer: \(code) Restarting")
            #expect(peer.line("closed \(code)", after: mark) != nil)
            #expect(loop.until { noted.isConnected })
            let pause = MonotonicClock.now().milliseconds(since: begun)
            #expect(pause >= 100 && pause < 2000, "\(pause) ms")
            #expect(noted.changes.count == 3 + 2 * round)
        }
    }

    /// A server that goes and comes again is found again, for ever.
    @Test func comesAndGoes() throws {
        let loop = try Loop(), (peer, port) = try python(loop)
        let noted = Noted(loop, port) { $0.firstPauseMilliseconds = 10 }
        for _ in 0..<3 {
            #expect(loop.until { noted.isConnected })
            let mark = peer.lines.count
            peer.tell("rest")
            #expect(peer.line("resting", after: mark) != nil)
            #expect(loop.until { noted.reasons.last?.contains("connect: Connection refused") == true })
            #expect(!noted.isConnected && !noted.client.send([1]))
            let told = noted.changes.count
            loop.turn(milliseconds: 60)
            #expect(noted.changes.count == told, "the same is told once: \(noted.reasons)")
            peer.tell("listen")
        }
        #expect(loop.until { noted.isConnected })
        #expect(noted.client.send([1, 2, 3]))
        #expect(peer.line("binary 3 ") != nil)
    }

    // MARK: Servers that misbehave

    /// What each misbehaving server does with the handshake, and what the client says of it.
    @Test(arguments: [
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "refused with status 503"),
        ("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "wrong Sec-WebSocket-Accept"),
        ("nonsense\r\n\r\n", "the answer is not valid HTTP: invalid HTTP version"), ("", "no connection within 60 ms"),
    ]) func refusals(answer: String, reason: String) throws {
        let loop = try Loop(), server = try RawServer(loop)
        server.onBytes = { if $0.text.hasSuffix("\r\n\r\n") { $0.send(Array(answer.utf8)) } }
        let noted = Noted(loop, server.port) {
            $0.firstPauseMilliseconds = 5
            $0.handshakeMilliseconds = 60
        }
        #expect(loop.until { server.connections.count == 4 })
        #expect(noted.changes.count == 1 && noted.reasons.first?.hasSuffix(reason) == true, "\(noted.reasons)")
    }

    /// The pauses as they are kept: 100 ms × 1.3ⁿ and up to half more, and some for this machine.
    @Test func pausesGrow() throws {
        let loop = try Loop(), server = try RawServer(loop)
        server.onBytes = { $0.socket.close() }
        let noted = Noted(loop, server.port)
        #expect(loop.until { server.times.count == 7 })
        for step in 0..<6 {
            let pause = server.times[step + 1].seconds(since: server.times[step]) * 1000
            let least = 100 * pow(1.3, Double(step))
            #expect(pause > least - 2 && pause < least * 1.5 + 400, "pause \(step): \(pause) ms, from \(least)")
        }
        #expect(!noted.isConnected)
    }

    /// Only a pong keeps a connection, whatever else the server says; pings are masked and empty.
    @Test func pongs() throws {
        let loop = try Loop(), server = try RawServer(loop)
        var pings = 0, answers = true
        server.onBytes = { connection in
            if connection.agree() { return }
            while connection.received.count >= 6, connection.received[0] == 0x89, connection.received[1] == 0x80 {
                connection.received.removeFirst(6)
                pings += 1
                connection.send(answers ? [0x8A, 0] : [0x82, 1, 0])
            }
        }
        let noted = Noted(loop, server.port) {
            $0.pingMilliseconds = 30
            $0.pongMilliseconds = 200
        }
        #expect(loop.until { pings == 12 })
        #expect(noted.isConnected && noted.changes.count == 1, "longer than the deadline, and alive")
        answers = false
        #expect(loop.until { !noted.isConnected })
        #expect(noted.reasons.last == "no pong within 200 ms" && server.connections.count == 1)
        answers = true
        #expect(loop.until { noted.isConnected })
        #expect(server.connections.count == 2)
    }

    /// Frames right behind the server's head; a masked frame ends the connection with 1002.
    @Test func framesOfServers() throws {
        let loop = try Loop(), server = try RawServer(loop)
        var closes: [[UInt8]] = []
        server.onBytes = { connection in
            if connection.agree() { return connection.send([0x82, 0x01, 9, 0x82, 0x80, 1, 2, 3, 4]) }
            closes.append(connection.received)
        }
        let noted = Noted(loop, server.port) { $0.firstPauseMilliseconds = 10_000 }
        #expect(loop.until { closes.count == 1 })
        let close = closes[0]
        #expect(close[0] == 0x88 && close[6] ^ close[2] == 0x03 && close[7] ^ close[3] == 0xEA)
        #expect(noted.reasons.last == "closed with 1002: frame masked")
    }

    /// A server that does not read: what waits is bounded, then messages are dropped.
    @Test func slowServers() throws {
        let loop = try Loop(), server = try RawServer(loop)
        var isMute = false
        server.onBytes = { connection in
            if !isMute { isMute = connection.agree() }
        }
        let noted = Noted(loop, server.port) { $0.outboundBytes = 1 << 20 }
        #expect(loop.until { noted.isConnected && isMute })
        // Nobody turns the loop meanwhile, so nobody reads.
        let message = [UInt8](repeating: 1, count: 100_000)
        var taken = 0
        while taken < 1000, noted.client.send(message) { taken += 1 }
        #expect(taken > 10 && taken < 1000, "\(taken)")
        #expect(!noted.client.send([UInt8](repeating: 1, count: (4 << 20) + 1)), "longer than a server takes")
        #expect(loop.until { noted.client.send(message) })
        #expect(noted.isConnected)
    }

    @Test func unknownNames() throws {
        let loop = try Loop()
        let noted = Noted(loop, 80, host: "no.such.name.invalid")
        #expect(loop.until { !noted.changes.isEmpty })
        #expect(noted.reasons[0].hasPrefix("cannot look up no.such.name.invalid: "), "\(noted.reasons)")
        let odd = Noted(loop, 80, host: "a b\r\nX: y")
        #expect(loop.until { !odd.changes.isEmpty })
        #expect(!odd.isConnected)
    }

    /// `close` in every state calls back once, and nothing happens afterwards.
    @Test func closingEarly() throws {
        let loop = try Loop(), server = try RawServer(loop)
        for step in 0..<4 {
            let noted = Noted(loop, server.port, host: step == 0 ? "localhost" : "127.0.0.1") {
                $0.firstPauseMilliseconds = 1
            }
            if step >= 2 { #expect(loop.until { server.connections.count >= step }) }
            var count = 0
            noted.client.close { count += 1 }
            #expect(count == 1)
            noted.client.close { count += 1 }
            #expect(count == 2 && noted.changes.isEmpty)
        }
        let connections = server.connections.count
        loop.turn(milliseconds: 50)
        #expect(server.connections.count <= connections + 2, "nobody tries again")
    }

    /// A server that does not answer Close is left after the deadline.
    @Test func closeWithoutAnswer() throws {
        let loop = try Loop(), server = try RawServer(loop)
        server.onBytes = { _ = $0.agree() }
        let noted = Noted(loop, server.port) { $0.closeMilliseconds = 80 }
        #expect(loop.until { noted.isConnected })
        let begun = MonotonicClock.now()
        var isClosed = false
        noted.client.close { isClosed = true }
        #expect(!isClosed && loop.until { isClosed })
        #expect(MonotonicClock.now().milliseconds(since: begun) >= 80)
    }

    // MARK: Ours

    /// A thousand messages of two clients, each in its order.
    @Test func thousandMessages() throws {
        let loop = try Loop()
        let server = try StatChannelServer(loop: loop, address: .loopback(port: 0))
        var messages: [[UInt8]] = []
        server.onMessage = { messages.append(Array(UnsafeBufferPointer(start: $0.base, count: $0.count))) }
        let clients = [Noted(loop, server.address.port), Noted(loop, server.address.port, host: "localhost")]
        #expect(loop.until { clients.allSatisfy(\.isConnected) })
        var random = SeededRandom(seed: 7)
        var expected: [[[UInt8]]] = [[], []]
        for number in 0..<1000 {
            let which = number % 2
            let size = Int(random.next() % (number % 50 == 0 ? 200_000 : 300))
            let message =
                [UInt8(which)] + withUnsafeBytes(of: number) { Array($0) } + [UInt8](repeating: 3, count: size)
            #expect(loop.until { clients[which].client.send(message) })
            expected[which].append(message)
        }
        #expect(loop.until { messages.count == 1000 })
        for which in 0..<2 {
            let own = messages.filter { $0[0] == UInt8(which) }
            let isEqual = own == expected[which]
            #expect(isEqual, "client \(which)")
        }
    }

    /// A server that restarts: its clients are told 1012, and are with its successor at once.
    @Test func restartOfOurs() throws {
        let loop = try Loop()
        var server = try StatChannelServer(loop: loop, address: .loopback(port: 0))
        let address = server.address
        let noted = Noted(loop, address.port)
        for _ in 0..<3 {
            #expect(loop.until { noted.isConnected })
            var isGone = false
            let begun = MonotonicClock.now()
            server.shutDown(deadlineMilliseconds: 5000) { isGone = true }
            #expect(loop.until { isGone })
            #expect(MonotonicClock.now().milliseconds(since: begun) < 1000, "nobody had to be waited for")
            #expect(noted.reasons.last == "closed by the peer: 1012 Restarting")
            server = try StatChannelServer(loop: loop, address: address)
        }
        var received = 0
        server.onMessage = { received += $0.count }
        #expect(loop.until { noted.client.send([1, 2, 3]) })
        #expect(loop.until { received == 3 })
    }

    /// A client that is let go says nothing more, and its connection ends.
    @Test func letGo() throws {
        let loop = try Loop()
        let server = try StatChannelServer(loop: loop, address: .loopback(port: 0))
        var noted: Noted? = Noted(loop, server.address.port)
        #expect(loop.until { noted?.isConnected == true && server.connectionCount == 1 })
        noted = nil
        #expect(loop.until { server.connectionCount == 0 })
        loop.turn(milliseconds: 200)
        #expect(server.connectionCount == 0)
    }
}
