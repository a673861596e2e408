import COpenSSL
import Glibc
import Primitives
import Testing

@testable import TLS

/// Memory and time, measured. The bounds are loose: they catch a lost buffer, not a slow machine.
@Suite(.serialized) struct CostTests {
    private func heapBytes() -> Int { copenssl_heap_bytes() }

    /// A connection that has served a request and waits for the next one.
    @Test(arguments: TLSVersion.allCases) func bytesOfAnIdleConnection(version: TLSVersion) throws {
        let ring = try TicketKeyRing(now: Instant(nanoseconds: 0))
        let server = try Fixture.server(tickets: ring)
        let client = try Fixture.client { $0.highestVersion = version }
        // Other tests use the heap meanwhile, so the least of several measures counts.
        let bytes = try (0..<4).map { _ in try closingGivesBack(100, client, server) }.min() ?? 0
        report("idle server \(version): \(bytes) bytes a connection")
        #expect(bytes < 24_000, "an idle connection holds a buffer")
    }

    /// Bytes for each of `count` served connections that their closing gives back.
    private func closingGivesBack(_ count: Int, _ client: TLSClientContext, _ server: TLSServerContext) throws -> Int {
        var kept: [Endpoint] = []
        for _ in 0..<count {
            let pair = try Pair(client, server)
            #expect(pair.run())
            pair.client.send(ConnectionTests.text)
            pair.run()
            pair.server.send([UInt8](repeating: 1, count: 20_000))
            pair.run()
            #expect(pair.server.data == ConnectionTests.text && pair.client.data.count == 20_000)
            pair.server.inbox = []
            pair.server.outbox = []
            pair.server.data = []
            kept.append(pair.server)
        }
        let full = heapBytes()
        kept = []
        return (full - heapBytes()) / count
    }

    @Test func costOfHandshakes() throws {
        let ring = try TicketKeyRing(now: Instant(nanoseconds: 0))
        for (name, pair) in [("P-256", Fixture.ecdsa), ("RSA-2048", Fixture.rsa)] {
            let server = try Fixture.server(Fixture.set(pair), tickets: ring)
            for version in TLSVersion.allCases {
                let client = try Fixture.client { $0.highestVersion = version }
                var session: TLSSession?
                var full = Stopwatch(), resumed = Stopwatch()
                for round in 0..<20 {
                    let talk = try Pair(client, server, resuming: round % 2 == 1 ? session : nil)
                    let steps = Self.serverSteps(talk)
                    #expect(talk.server.tls.isResumed == (round % 2 == 1))
                    if round % 2 == 1 { resumed.add(steps) } else { full.add(steps) }
                    talk.server.send([1])
                    talk.run()
                    session = talk.client.tls.session()
                }
                report("server \(name) \(version): full \(full), resumed \(resumed)")
            }
        }
    }

    /// Nanoseconds the server spent in a handshake.
    private static func serverSteps(_ pair: Pair) -> UInt64 {
        pair.client.start()
        var spent: UInt64 = 0
        for _ in 0..<4 {
            pair.server.inbox += pair.client.outbox
            pair.client.outbox = []
            let start = processorTime()
            _ = pair.server.step(chunk: 1 << 20)
            spent += processorTime() - start
            pair.client.inbox += pair.server.outbox
            pair.server.outbox = []
            _ = pair.client.step(chunk: 1 << 20)
        }
        return spent
    }

    @Test func costOfContexts() throws {
        _ = try Fixture.server()
        let before = heapBytes()
        let kept = try (0..<10).map { _ in try Fixture.server() }
        report("context: \((heapBytes() - before) / kept.count) bytes")
        #expect(heapBytes() - before < 10 * 400_000)
    }

    @Test func costOfBulk() throws {
        let pair = try Pair(Fixture.client(), Fixture.server())
        #expect(pair.run())
        let body = [UInt8](repeating: 65, count: 16_384)
        var sending: UInt64 = 0
        var reading: UInt64 = 0
        for _ in 0..<64 {
            var start = processorTime()
            pair.server.send(body)
            sending += processorTime() - start
            pair.client.inbox = pair.server.outbox
            pair.server.outbox = []
            pair.client.dataRoom = 32_768
            start = processorTime()
            while pair.client.step(chunk: 1 << 20) {}
            reading += processorTime() - start
        }
        #expect(pair.client.data.count == 64 * 16_384)
        report("16 KiB record: write \(sending / 64_000) µs, read \(reading / 64_000) µs")
    }

    struct Stopwatch: CustomStringConvertible {
        var samples: [UInt64] = []
        mutating func add(_ value: UInt64) { samples.append(value) }
        var description: String { samples.isEmpty ? "-" : "\(samples.sorted()[samples.count / 2] / 1000) µs" }
    }
}

/// Processor time of this thread, in nanoseconds.
func processorTime() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// A line of the test's output.
func report(_ line: String) {
    var text = "TLS cost: \(line)\n"
    text.withUTF8 { _ = write(1, $0.baseAddress, $0.count) }
}
