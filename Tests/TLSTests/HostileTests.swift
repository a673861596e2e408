import COpenSSL
import Primitives
import Testing

@testable import TLS

/// What peers send that no peer should: every case ends in a state, none in a trap.
@Suite struct HostileTests {
    private func hello(_ version: TLSVersion = .tls13) throws -> [UInt8] {
        let client = try Endpoint(
            TLSConnection(connecting: Fixture.client { $0.highestVersion = version }, to: Fixture.local))
        client.start()
        return client.outbox
    }

    private func answer(to bytes: [UInt8], _ context: TLSServerContext, chunk: Int = 1 << 20) throws -> Endpoint {
        let server = try Endpoint(TLSConnection(accepting: context))
        server.inbox = bytes
        var rounds = 0
        while server.step(chunk: chunk), rounds < 200_000 { rounds += 1 }
        return server
    }

    @Test func garbageIsRefused() throws {
        let context = try Fixture.server()
        let rows: [(String, [UInt8], TLSFailure.Kind)] = [
            ("HTTP", Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8), .plainHTTP),
            ("CONNECT", Array("CONNECT a:443 HTTP/1.1\r\n\r\n".utf8), .plainHTTP),
            ("zeros", [UInt8](repeating: 0, count: 100), .malformed),
            ("ones", [UInt8](repeating: 255, count: 100), .malformed),
            ("record of 65535 bytes", [22, 3, 1, 255, 255] + [UInt8](repeating: 1, count: 70_000), .malformed),
            ("alert first", [21, 3, 3, 0, 2, 2, 40], .malformed),
            ("data first", [23, 3, 3, 0, 1, 0], .malformed),
        ]
        for (name, bytes, kind) in rows {
            let server = try answer(to: bytes, context)
            let isAsked = server.failure?.kind == kind || (kind == .malformed && server.failure?.kind == .version)
            #expect(isAsked, "\(name): \(server.tls.state)")
            #expect(server.failure?.description.isEmpty == false)
            #expect(server.inbox.isEmpty, "\(name): a failed connection swallows what comes")
        }
    }

    /// A ClientHello that knows nothing above TLS 1.1 or 1.0.
    @Test func oldVersionsAreRefused() throws {
        let context = try Fixture.server()
        for minor in [UInt8(0), 1, 2] {
            var bytes = try hello(.tls12)
            bytes[10] = minor  // the version wanted, after both headers
            let server = try answer(to: bytes, context)
            #expect(server.failure?.kind == .version, "3.\(minor): \(server.tls.state)")
            #expect(server.outbox.first == 21, "an alert is sent")
        }
    }

    /// A client that offers only suites without forward secrecy, or with CBC.
    @Test func weakSuitesAreRefused() throws {
        let context = try Fixture.server(Fixture.set(Fixture.rsa, Fixture.ecdsa))
        for suite in [
            [0x00, 0x2F], [0xC0, 0x13], [0xC0, 0x09], [0x00, 0x9C], [0x00, 0x0A], [0x00, 0x05], [0x00, 0x02],
        ] {
            let client = try Fixture.client { $0.highestVersion = .tls12 }
            let end = try Endpoint(TLSConnection(connecting: client, to: Fixture.local))
            end.start()
            let bytes = Self.offering([UInt8(suite[0]), UInt8(suite[1])], in: end.outbox)
            let server = try answer(to: bytes, context)
            #expect(server.failure?.kind == .noCommonCipher, "\(suite): \(server.tls.state)")
        }
    }

    /// The same hello with every suite replaced.
    static func offering(_ suite: [UInt8], in hello: [UInt8]) -> [UInt8] {
        var bytes = hello
        let session = 5 + 4 + 2 + 32
        let list = session + 1 + Int(bytes[session])
        let count = Int(bytes[list]) << 8 | Int(bytes[list + 1])
        for index in stride(from: list + 2, to: list + 2 + count, by: 2) {
            bytes[index] = suite[0]
            bytes[index + 1] = suite[1]
        }
        return bytes
    }

    /// A hello of 100 KiB in many records is cut off at the limit, not kept.
    @Test func anOversizedHelloIsCutOff() throws {
        let context = try Fixture.server { $0.common.handshakeBytesLimit = 16_384 }
        var bytes: [UInt8] = []
        for index in 0..<10 {
            let body: [UInt8] =
                index == 0
                ? [1, 1, 0x86, 0xA0, 3, 3] + [UInt8](repeating: 0, count: 9994) : .init(repeating: 0, count: 10_000)
            bytes += [22, 3, 1, UInt8(body.count >> 8), UInt8(body.count & 255)] + body
        }
        let server = try answer(to: bytes, context, chunk: 4096)
        #expect(server.failure?.kind == .handshakeTooLarge, "\(server.tls.state)")
    }

    @Test func aHelloInSingleBytesAndNeverWhole() throws {
        let context = try Fixture.server()
        let bytes = try hello()
        for end in stride(from: 0, to: bytes.count, by: 7) {
            let server = try answer(to: Array(bytes[..<end]), context, chunk: 1)
            #expect(server.tls.state == .handshaking)
            server.tls.endOfStream()
            #expect(server.failure?.kind == .truncated)
        }
    }

    /// Flights with flipped, dropped, doubled and inserted bytes, into both sides, in either version.
    @Test func damagedFlightsNeverTrap() throws {
        let server = try Fixture.server(tickets: TicketKeyRing(now: Instant(nanoseconds: 0)))
        let clients = try TLSVersion.allCases.map { version in try Fixture.client { $0.highestVersion = version } }
        for seed in UInt64(0)..<160 {
            var random = SeededRandom(seed: seed)
            let pair = try Pair(clients[Int(seed % 2)], server)
            pair.client.start()
            var rounds = 0
            while rounds < 12 {
                rounds += 1
                pair.server.inbox += Self.damaged(pair.client.outbox, &random)
                pair.client.outbox = []
                _ = pair.server.step(chunk: 1 + Int(random.next() % 3000))
                pair.client.inbox += Self.damaged(pair.server.outbox, &random)
                pair.server.outbox = []
                _ = pair.client.step(chunk: 1 + Int(random.next() % 3000))
                if pair.client.tls.isEstablished { pair.client.send(ConnectionTests.text) }
            }
            pair.server.tls.endOfStream()
            #expect(pair.server.tls.state != .handshaking, "seed \(seed)")
            let isHonest = pair.server.data.starts(with: ConnectionTests.text) || pair.server.data.isEmpty
            #expect(isHonest, "seed \(seed): data that nobody sent")
        }
    }

    static func damaged(_ bytes: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
        guard !bytes.isEmpty, random.next() % 2 == 0 else { return bytes }
        var bytes = bytes
        let place = Int(random.next() % UInt64(bytes.count))
        switch random.next() % 5 {
        case 0: bytes[place] ^= UInt8(1 << (random.next() % 8))
        case 1: bytes.remove(at: place)
        case 2: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
        case 3: bytes.removeLast(bytes.count - place)
        default: bytes += bytes[place...]
        }
        return bytes
    }

    @Test func randomBytesNeverTrap() throws {
        let context = try Fixture.server()
        for seed in UInt64(0)..<300 {
            var random = SeededRandom(seed: seed)
            var bytes = (0..<Int(random.next() % 600)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            if seed % 2 == 0, bytes.count > 6 { bytes.replaceSubrange(0..<6, with: [22, 3, 1, 0, 200, 1]) }
            let server = try answer(to: bytes, context, chunk: 1 + Int(random.next() % 100))
            #expect(!server.tls.isEstablished && server.data.isEmpty, "seed \(seed)")
        }
    }

    // MARK: After the handshake

    /// TLS 1.2: the client wants to start over. The answer is a warning, and the connection goes on as it was.
    @Test func renegotiationIsRefused() throws {
        let pair = try Pair(Fixture.client { $0.highestVersion = .tls12 }, Fixture.server())
        #expect(pair.run())
        pair.client.allowRenegotiation()
        pair.client.withRoom { _ in _ = SSL_renegotiate(pair.client.tls.ssl) }
        pair.client.withRoom { out in
            var io = copenssl_io(
                input: out.base, input_count: 0, output: out.base, output_room: out.capacity)
            _ = copenssl_handshake(pair.client.tls.ssl, &io)
            _ = out.reserve(out.capacity - io.output_room)
        }
        #expect(!pair.client.outbox.isEmpty, "the client has asked")
        pair.server.inbox = pair.client.outbox
        pair.client.outbox = []
        while pair.server.step(chunk: 1 << 20) {}
        #expect(pair.server.tls.state == .open)
        // One small alert, not a second ServerHello.
        #expect(pair.server.outbox.first == 21 && pair.server.outbox.count < 64)
    }

    /// Key updates without end, or any other talk without data, are ended.
    @Test func controlFloodIsEnded() throws {
        let pair = try Pair(Fixture.client { $0.lowestVersion = .tls13 }, Fixture.server())
        #expect(pair.run())
        var rounds = 0
        while pair.server.tls.state == .open, rounds < 10_000 {
            rounds += 1
            _ = SSL_key_update(pair.client.tls.ssl, SSL_KEY_UPDATE_NOT_REQUESTED)
            pair.client.withRoom { out in
                var io = copenssl_io(
                    input: out.base, input_count: 0, output: out.base, output_room: out.capacity)
                _ = copenssl_handshake(pair.client.tls.ssl, &io)
                _ = out.reserve(out.capacity - io.output_room)
            }
            pair.server.inbox += pair.client.outbox
            pair.client.outbox = []
            _ = pair.server.step(chunk: 1 << 20)
        }
        #expect(pair.server.failure?.kind == .controlFlood, "after \(rounds): \(pair.server.tls.state)")
    }

    /// A key update in good faith is answered and changes nothing.
    @Test func aKeyUpdateIsAnswered() throws {
        let pair = try Pair(Fixture.client { $0.lowestVersion = .tls13 }, Fixture.server())
        #expect(pair.run())
        for _ in 0..<3 {
            _ = SSL_key_update(pair.client.tls.ssl, SSL_KEY_UPDATE_REQUESTED)
            pair.client.send(ConnectionTests.text)
            pair.run()
            pair.server.send(ConnectionTests.text)
            pair.run()
        }
        #expect(pair.server.data.count == 3 * ConnectionTests.text.count)
        #expect(pair.client.data.count == 3 * ConnectionTests.text.count)
    }

    /// A changed byte of a record ends the connection; its data is never handed on.
    @Test func aForgedRecordIsNotData() throws {
        for version in TLSVersion.allCases {
            let pair = try Pair(Fixture.client { $0.highestVersion = version }, Fixture.server())
            #expect(pair.run())
            pair.client.send(ConnectionTests.text)
            pair.client.outbox[20] ^= 1
            pair.run()
            #expect(pair.server.failure?.kind == .malformed && pair.server.data.isEmpty)
            #expect(pair.client.failure?.kind == .peerAlert && pair.client.failure?.detail == 20)
        }
    }

    @Test func everyFailureHasItsWords() {
        var seen: Set<String> = []
        for kind in TLSFailure.Kind.allCases { seen.insert(TLSFailure(kind).description) }
        #expect(seen.count == TLSFailure.Kind.allCases.count && !seen.contains(""))
    }
}

extension Endpoint {
    /// Lifts our own ban, to play a client that has none.
    func allowRenegotiation() { SSL_clear_options(tls.ssl, UInt64(1) << 30) }
}
