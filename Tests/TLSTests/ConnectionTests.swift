import Primitives
import Testing

@testable import TLS

/// Handshake, data and closing, over every cut of the bytes.
@Suite struct ConnectionTests {
    static let text = Array("GET / HTTP/1.1\r\nHost: app.default.localhost\r\n\r\n".utf8)

    @Test(arguments: TLSVersion.allCases) func speaksEitherVersion(version: TLSVersion) throws {
        let pair = try Pair(
            Fixture.client {
                $0.lowestVersion = version
                $0.highestVersion = version
            }, Fixture.server())
        #expect(pair.run())
        #expect(pair.client.tls.version == version && pair.server.tls.version == version)
        #expect(pair.server.tls.serverName == "app.default.localhost")
        #expect(pair.client.tls.applicationProtocol == .http2 && pair.server.tls.applicationProtocol == .http2)
        #expect(pair.client.tls.peerNames.contains("*.default.localhost"))
        #expect(!pair.client.tls.cipherSuite.isEmpty && pair.client.tls.cipherSuite == pair.server.tls.cipherSuite)
        #expect(!pair.server.tls.hasPeerCertificate && pair.client.tls.hasPeerCertificate)
        pair.client.send(Self.text)
        pair.server.send(Self.text.reversed())
        pair.run()
        #expect(pair.server.data == Self.text && pair.client.data == Self.text.reversed())
    }

    /// However the bytes are cut, and however little room there is for replies, the same is said and heard.
    @Test(arguments: TLSVersion.allCases) func everyCutOfTheBytes(version: TLSVersion) throws {
        let client = try Fixture.client { $0.highestVersion = version }
        let server = try Fixture.server()
        var random = SeededRandom(seed: 41)
        for chunk in [1, 2, 3, 4, 5, 6, 7, 13, 64, 255, 1000, 16_384] {
            let pair = try Pair(client, server)
            pair.server.replyRoom = 1 + Int(random.next() % 600)
            pair.client.replyRoom = 1 + Int(random.next() % 600)
            pair.server.dataRoom = 1 + Int(random.next() % 600)
            #expect(pair.run(chunk: chunk), "chunk \(chunk): \(pair.client.tls.state) \(pair.server.tls.state)")
            let body = (0..<40_000).map { UInt8(truncatingIfNeeded: $0) }
            pair.client.send(
                body, room: 2000 + Int(random.next() % 30_000), recordLimit: 1 + Int(random.next() % 20_000))
            pair.run(chunk: max(chunk, 7))
            #expect(pair.server.data == body, "chunk \(chunk)")
            pair.client.close()
            pair.server.close()
            pair.run(chunk: chunk)
            #expect(pair.client.tls.state == .closed && pair.server.tls.state == .closed)
        }
    }

    /// The handshake stops at its end, so that the driver can pick a codec before it sees data.
    @Test func opensBeforeData() throws {
        let pair = try Pair(Fixture.client(), Fixture.server())
        pair.client.start()
        pair.server.inbox = pair.client.outbox
        pair.client.outbox = []
        _ = pair.server.step(chunk: 1 << 20)
        pair.client.inbox = pair.server.outbox
        pair.server.outbox = []
        _ = pair.client.step(chunk: 1 << 20)
        pair.client.send(Self.text)
        pair.server.inbox = pair.client.outbox
        _ = pair.server.step(chunk: 1 << 20)
        #expect(pair.server.story == [.bytes, .opened] && pair.server.data.isEmpty && !pair.server.inbox.isEmpty)
        _ = pair.server.step(chunk: 1 << 20)
        #expect(pair.server.data == Self.text && pair.server.inbox.isEmpty)
    }

    @Test func aRoomWithoutSpaceTakesNothing() throws {
        let pair = try Pair(Fixture.client(), Fixture.server())
        #expect(pair.run())
        var taken = -1
        pair.client.withRoom(100) { out in
            Self.text.withUnsafeBytes { taken = pair.client.tls.write(ByteView($0), into: &out) }
        }
        #expect(taken == 0 && pair.client.outbox.isEmpty)
        pair.client.send(Self.text)
        pair.run()
        #expect(pair.server.data == Self.text)
    }

    @Test func recordsKeepTheirLimit() throws {
        let pair = try Pair(Fixture.client(), Fixture.server())
        #expect(pair.run())
        pair.client.send([UInt8](repeating: 7, count: 10_000), recordLimit: RecordSizing.packetBytes)
        var index = 0
        var records = 0
        while index + 5 <= pair.client.outbox.count {
            let length = Int(pair.client.outbox[index + 3]) << 8 | Int(pair.client.outbox[index + 4])
            #expect(5 + length <= RecordSizing.packetBytes + 22)
            index += 5 + length
            records += 1
        }
        #expect(records == 8 && index == pair.client.outbox.count)
    }

    @Test func sizingGrowsAndStartsOver() {
        var sizing = RecordSizing()
        var now = Instant(nanoseconds: 5_000_000_000)
        #expect(sizing.limit(now: now) == RecordSizing.packetBytes)
        #expect(sizing.limit(now: now, bulk: true) == RecordSizing.largestBytes)
        sizing.sent(RecordSizing.smallPhaseBytes, now: now)
        #expect(sizing.limit(now: now) == RecordSizing.largestBytes)
        now = now.adding(milliseconds: RecordSizing.pauseMilliseconds)
        #expect(sizing.limit(now: now) == RecordSizing.packetBytes)
    }

    // MARK: Closing

    @Test(arguments: TLSVersion.allCases) func halfClosedConnectionsStillCarry(version: TLSVersion) throws {
        let pair = try Pair(Fixture.client { $0.highestVersion = version }, Fixture.server())
        #expect(pair.run())
        pair.client.send(Self.text)
        pair.client.close()
        #expect(pair.client.tls.state == .closing)
        pair.run()
        #expect(pair.server.tls.state == .peerClosed && pair.server.data == Self.text)
        #expect(pair.server.story.last == .end)
        pair.server.send(Self.text)
        pair.run()
        #expect(pair.client.data == Self.text)
        pair.server.close()
        pair.run()
        #expect(pair.client.tls.state == .closed && pair.server.tls.state == .closed)
        pair.client.send(Self.text)
        #expect(pair.client.outbox.isEmpty)
    }

    @Test func anEndWithoutCloseNotifyIsTruncation() throws {
        let pair = try Pair(Fixture.client(), Fixture.server())
        #expect(pair.run())
        pair.server.tls.endOfStream()
        #expect(pair.server.failure?.kind == .truncated)
        #expect(pair.server.failure?.description == "closed without close_notify")
        pair.client.close()
        pair.client.tls.endOfStream()
        #expect(pair.client.tls.state == .closed)
        let early = try Endpoint(TLSConnection(accepting: Fixture.server()))
        early.tls.endOfStream()
        #expect(early.failure?.kind == .truncated)
    }

    @Test func closeNotifyWaitsForRoom() throws {
        let pair = try Pair(Fixture.client(), Fixture.server())
        #expect(pair.run())
        pair.client.withRoom(3) { pair.client.tls.closeNotify(into: &$0) }
        pair.client.withRoom { pair.client.tls.transmit(into: &$0) }
        pair.run()
        #expect(pair.server.tls.state == .peerClosed)
    }

    @Test func tellsPlainFromTLS() {
        #expect(FirstBytes(ByteView("")) == .undecided)
        #expect(FirstBytes(ByteView("\u{16}")) == .undecided)
        #expect(FirstBytes(ByteView("\u{16}\u{03}\u{01}")) == .tls)
        #expect(FirstBytes(ByteView("\u{16}\u{02}")) == .plain)
        #expect(FirstBytes(ByteView("G")) == .plain)
        #expect(FirstBytes(ByteView("PRI * HTTP/2.0")) == .plain)
    }
}
