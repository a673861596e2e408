import Primitives
import Testing

@testable import TLS

/// Sessions resumed by tickets, over contexts that share a ring.
@Suite struct TicketTests {
    static let start = Instant(nanoseconds: 1_000_000_000)
    static let period: UInt64 = 60_000

    private func session(_ client: TLSClientContext, _ server: TLSServerContext) throws -> TLSSession {
        let pair = try Pair(client, server)
        #expect(pair.run() && !pair.server.tls.isResumed)
        pair.server.send(ConnectionTests.text)
        pair.run()
        let session = pair.client.tls.session()
        return try #require(session)
    }

    private func resumes(_ client: TLSClientContext, _ server: TLSServerContext, _ session: TLSSession) throws -> Bool {
        let pair = try Pair(client, server, resuming: session)
        #expect(pair.run(), "a ticket that is not taken must not end the connection: \(pair.server.tls.state)")
        pair.client.send(ConnectionTests.text)
        pair.run()
        #expect(pair.server.data == ConnectionTests.text)
        #expect(pair.server.tls.isResumed == pair.client.tls.isResumed)
        #expect(pair.server.tls.applicationProtocol == .http2)
        return pair.server.tls.isResumed
    }

    @Test(arguments: TLSVersion.allCases) func resumeOverTwoContextsAndOneRotation(version: TLSVersion) throws {
        let ring = try TicketKeyRing(rotationMilliseconds: Self.period, now: Self.start)
        let first = try Fixture.server(tickets: ring), second = try Fixture.server(tickets: ring)
        let client = try Fixture.client { $0.highestVersion = version }
        let session = try session(client, first)
        #expect(try resumes(client, second, session))
        #expect(try !ring.timeout(now: Self.start.adding(milliseconds: Self.period - 1)))
        #expect(ring.deadline == Self.start.adding(milliseconds: Self.period))
        #expect(try ring.timeout(now: Self.start.adding(milliseconds: Self.period)))
        #expect(try resumes(client, second, session))
        #expect(try ring.timeout(now: Self.start.adding(milliseconds: 2 * Self.period)))
        #expect(try !resumes(client, first, session))
    }

    /// A machine that slept through both periods must not give the old key a third one.
    @Test func aLateRotationForgetsBoth() throws {
        let ring = try TicketKeyRing(rotationMilliseconds: Self.period, now: Self.start)
        let server = try Fixture.server(tickets: ring), client = try Fixture.client()
        let session = try session(client, server)
        #expect(try ring.timeout(now: Self.start.adding(milliseconds: 2 * Self.period)))
        #expect(try !resumes(client, server, session))
    }

    @Test func ringsOfTwoMachinesShareASecret() throws {
        let rings = try (0..<2).map { _ in try TicketKeyRing(now: Self.start) }
        let servers = try rings.map { try Fixture.server(tickets: $0) }
        let client = try Fixture.client()
        let secret = (0..<TicketKeyRing.keyBytes).map { UInt8($0) }
        #expect(try !resumes(client, servers[1], session(client, servers[0])))
        for ring in rings { #expect(ring.install(secret, now: Self.start)) }
        #expect(try resumes(client, servers[1], session(client, servers[0])))
        #expect(!rings[0].install(Array(secret.dropLast()), now: Self.start))
    }

    @Test func withoutARingNothingIsResumed() throws {
        for version in TLSVersion.allCases {
            let client = try Fixture.client { $0.highestVersion = version }
            let pair = try Pair(client, Fixture.server())
            #expect(pair.run())
            let session = pair.client.tls.session()
            #expect(session == nil)
        }
    }

    /// A ticket from a server that lets anybody in must not open one that asks for certificates.
    @Test(arguments: TLSVersion.allCases) func ticketsStayInTheirRealm(version: TLSVersion) throws {
        let ring = try TicketKeyRing(now: Self.start)
        let open = try Fixture.server(tickets: ring)
        let guarded = try Fixture.server(tickets: ring) {
            $0.clientCertificates = .required
            $0.clientAuthorities = try? Fixture.trust()
        }
        let client = try Fixture.client { $0.highestVersion = version }
        let session = try session(client, open)
        let pair = try Pair(client, guarded, resuming: session)
        pair.run()
        #expect(pair.server.failure != nil && !pair.server.tls.isResumed)
    }

    /// The rule was checked in the full handshake; another rule needs another one.
    @Test func anotherRuleIsNotResumed() throws {
        let ring = try TicketKeyRing(now: Self.start)
        let server = try Fixture.server(tickets: ring), client = try Fixture.client()
        let session = try session(client, server)
        let stricter = PeerIdentity(serverName: "app.default.localhost", requiredNames: ["kn-user-a"])
        let pair = try Pair(client, server, to: stricter, resuming: session)
        #expect(!pair.run())
        #expect(pair.client.failure?.kind == .requiredNameMissing)
    }

    @Test func numberOfTickets() throws {
        let ring = try TicketKeyRing(now: Self.start)
        var sizes: [Int] = []
        for count in [0, 1, 2] {
            let pair = try Pair(Fixture.client(), Fixture.server(tickets: ring) { $0.ticketsPerHandshake = count })
            pair.client.start()
            for _ in 0..<2 {
                pair.server.inbox += pair.client.outbox
                pair.client.outbox = []
                _ = pair.server.step(chunk: 1 << 20)
                pair.client.inbox += pair.server.outbox
                sizes.append(pair.server.outbox.count)
                pair.server.outbox = []
                _ = pair.client.step(chunk: 1 << 20)
            }
        }
        #expect(sizes[1] == 0 && sizes[3] > 100 && sizes[5] > sizes[3])
    }
}
