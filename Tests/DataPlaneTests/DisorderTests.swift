import Balancing
import Primitives
import Testing

@testable import DataPlane

/// Clients and pods that do anything at any time: whatever happens, no limit is passed and nothing is left over.
@Suite struct DisorderTests {
    static let requests = [
        ProxyHarness.get(), ProxyHarness.post("hello"), ProxyHarness.get() + ProxyHarness.get("/second"),
        "POST / HTTP/1.1\r\nHost: hello.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
            + "5\r\nhello\r\n0\r\nT: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: 200000\r\n\r\n"
            + String(repeating: "x", count: 200_000),
        ProxyHarness.get("/", "Connection: Upgrade\r\nUpgrade: x\r\n") + "early",
        "GET / HTTP/1.0\r\nHost: hello.example.com\r\n\r\n", "GET / HTTP/1.1\r\nHost: other\r\n\r\n",
        "nonsense\r\n\r\n",
    ]
    static let responses = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: 1\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + String(repeating: "y", count: 300_000),
        "HTTP/1.1 200 OK\r\n\r\nuntil the end", "nonsense\r\n\r\n",
    ]
    static let concurrency = 2

    @Test func anythingGoes() throws {
        for seed in 1...8 as ClosedRange<UInt64> {
            do {
                try withProxy {
                    $0.workers = 2
                    $0.pods = 2
                    $0.concurrency = Self.concurrency
                    $0.queueLimit = 5
                    // What nobody ends (a pod that does not read, half a tunnel) ends by its limit.
                    $0.timeouts.total = 400_000_000
                    $0.limits.bodyIdleTimeoutMilliseconds = 300
                    $0.limits.readsPerWakeup = seed.isMultiple(of: 2) ? 1 : 16
                    $0.limits.upstreamIdleConnections = 1
                } _: { proxy in
                    var disorder = Disorder(proxy: proxy, random: SeededRandom(seed: seed))
                    for _ in 0..<400 { try disorder.step() }
                }
            } catch {
                Issue.record("seed \(seed): \(error)")
            }
        }
    }

    struct Disorder {
        let proxy: ProxyHarness
        var random: SeededRandom
        var clients: [Peer] = []
        var connections: [Peer] = []

        /// One act of somebody. That the other side has gone meanwhile is part of the game.
        mutating func step() throws {
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<3: if clients.count < 20 { clients.append(try proxy.client()) }
            case 3..<8:
                if let client = clients.randomElement(using: &random) {
                    say(Self.pick(DisorderTests.requests, &random), client)
                }
            case 8..<10:
                for pod in proxy.pods where pod.isConnectionWaiting() { connections.append(try pod.accept()) }
            case 10..<15:
                if let pod = connections.randomElement(using: &random) {
                    say(Self.pick(DisorderTests.responses, &random), pod)
                }
            case 15, 16:
                for peer in clients + connections { try? peer.poll(milliseconds: 0) }
            case 17: leave(\.clients)
            case 18: leave(\.connections)
            default:
                let listed = Bool.random(using: &random) ? proxy.endpoints : Array(proxy.endpoints.prefix(1))
                for grant in proxy.gate.setEndpoints(listed).grants {
                    proxy.group.post(.grant(proxy.target, grant), to: grant.waiter.worker)
                }
            }
            for endpoint in proxy.endpoints { #expect(endpoint.inFlight <= DisorderTests.concurrency) }
        }

        private static func pick(_ texts: [String], _ random: inout SeededRandom) -> [UInt8] {
            Array((texts.randomElement(using: &random) ?? "").utf8)
        }

        /// Says all of it, or only a part; in one go.
        private mutating func say(_ bytes: [UInt8], _ peer: Peer) {
            let count = Bool.random(using: &random) ? bytes.count : Int.random(in: 0...bytes.count, using: &random)
            peer.sendWhatFits(Array(bytes[..<count]))
        }

        private mutating func leave(_ peers: WritableKeyPath<Self, [Peer]>) {
            guard let index = self[keyPath: peers].indices.randomElement(using: &random) else { return }
            let peer = self[keyPath: peers].remove(at: index)
            switch Int.random(in: 0..<3, using: &random) {
            case 0: peer.reset()
            case 1: peer.close()
            default: peer.endSending()
            }
        }
    }
}
