import Primitives
import Testing

@testable import TLS

/// What both sides agree on, and what they refuse.
@Suite struct NegotiationTests {
    struct ALPN: Sendable {
        let client: [ApplicationProtocol]
        let server: [ApplicationProtocol]
        let result: ApplicationProtocol?
        var isRefused = false
    }

    static let matrix: [ALPN] = [
        ALPN(client: [.http2, .http1], server: [.http2, .http1], result: .http2),
        ALPN(client: [.http1, .http2], server: [.http2, .http1], result: .http2),
        ALPN(client: [.http1, .http2], server: [.http1, .http2], result: .http1),
        ALPN(client: [.http1], server: [.http2, .http1], result: .http1),
        ALPN(client: [.http2], server: [.http2, .http1], result: .http2),
        ALPN(client: [], server: [.http2, .http1], result: nil),
        ALPN(client: [.http2], server: [], result: nil),
        ALPN(client: [.http2], server: [.http1], result: nil, isRefused: true),
    ]

    @Test(arguments: matrix) func protocols(row: ALPN) throws {
        let pair = try Pair(
            Fixture.client { $0.protocols = row.client }, Fixture.server { $0.common.protocols = row.server })
        #expect(pair.run() == !row.isRefused)
        if row.isRefused {
            #expect(pair.server.failure?.kind == .noCommonProtocol)
            #expect(pair.client.failure?.kind == .peerAlert && pair.client.failure?.detail == 120)
        } else {
            #expect(pair.server.tls.applicationProtocol == row.result)
            #expect(pair.client.tls.applicationProtocol == row.result)
        }
    }

    // MARK: Names

    static let names: [(asked: String?, served: String)] = [
        ("a.example.com", "exact"), ("A.EXAMPLE.COM", "exact"), ("a.example.com.", "exact"),
        ("b.example.com", "wildcard"), ("B.Example.Com.", "wildcard"), ("b.c.example.com", "default"),
        ("example.com", "default"), ("other.org", "default"), (nil, "default"),
    ]

    static func sources(withDefault: Bool) -> [CertificateSource] {
        [
            Fixture.source(Fixture.issued(["*.example.com", "wildcard.test"]), "wildcard"),
            Fixture.source(Fixture.issued(["a.example.com", "exact.test"]), "exact"),
        ] + (withDefault ? [Fixture.source(Fixture.issued(["default.test"]), "default", isDefault: true)] : [])
    }

    @Test func namesPickCertificates() throws {
        let server = try Fixture.server(
            CertificateSet.load(Self.sources(withDefault: true), now: Fixture.now).set)
        let client = try Fixture.client()
        for row in Self.names {
            // The name is checked by what was served, not by the client.
            let pair = try Pair(
                client, server, to: PeerIdentity(serverName: row.asked, verifiedName: "\(row.served).test"))
            #expect(pair.run(), "\(row): \(pair.client.tls.state)")
            #expect(pair.client.tls.peerNames.last == "\(row.served).test")
            #expect(pair.server.tls.serverName == row.asked)
        }
    }

    @Test func unknownNamesAreRefusedWithoutADefault() throws {
        let set = CertificateSet.load(Self.sources(withDefault: false), now: Fixture.now).set
        let server = try Fixture.server(set)
        for name in ["other.org", nil] {
            let pair = try Pair(Fixture.client(), server, to: PeerIdentity(serverName: name))
            #expect(!pair.run())
            #expect(pair.server.failure?.kind == .unknownServerName, "\(pair.server.tls.state)")
            #expect(pair.client.failure?.detail == 112, "unrecognized_name, not \(pair.client.tls.state)")
        }
        #expect(set.covers("A.example.com") && !set.covers("x.y.example.com") && !set.covers(nil))
    }

    // MARK: Kinds of keys

    @Test func aChainForEachKindOfKey() throws {
        let server = try Fixture.server(Fixture.set(Fixture.rsa, Fixture.ecdsa))
        let suites = [
            ("ECDHE-ECDSA-AES128-GCM-SHA256", true), ("ECDHE-RSA-AES128-GCM-SHA256", true),
        ]
        for (suite, isServed) in suites {
            let pair = try Pair(
                Fixture.client {
                    $0.highestVersion = .tls12
                    $0.cipherSuitesTLS12 = suite
                }, server)
            #expect(pair.run() == isServed)
            #expect(pair.client.tls.cipherSuite == suite)
        }
        let single = try Fixture.server(Fixture.set(Fixture.rsa))
        let pair = try Pair(
            Fixture.client {
                $0.highestVersion = .tls12
                $0.cipherSuitesTLS12 = suites[0].0
            }, single)
        #expect(!pair.run())
        #expect(pair.server.failure?.kind == .noCommonCipher)
    }

    @Test func weakSettingsAreReported() {
        for list in ["AES128-SHA", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256", "NULL", "nonsense"] {
            #expect(throws: TLSSetupFailure.self, "\(list)") {
                try Fixture.server { $0.common.cipherSuitesTLS12 = list }
            }
        }
        let bad: [(String, (inout TLSServerSettings) -> Void)] = [
            ("groups", { $0.common.groups = "P-255" }), ("cipherSuitesTLS13", { $0.common.cipherSuitesTLS13 = "x" }),
            (
                "lowestVersion",
                {
                    $0.common.lowestVersion = .tls13
                    $0.common.highestVersion = .tls12
                }
            ),
            ("handshakeBytesLimit", { $0.common.handshakeBytesLimit = 10 }),
            ("controlBytesLimit", { $0.common.controlBytesLimit = 10 }),
            ("ticketLifetimeSeconds", { $0.ticketLifetimeSeconds = 0 }),
            ("ticketsPerHandshake", { $0.ticketsPerHandshake = 9 }),
            ("clientAuthorities", { $0.clientCertificates = .required }),
        ]
        for (setting, change) in bad {
            let failure = #expect(throws: TLSSetupFailure.self, "\(setting)") { try Fixture.server(nil, change) }
            #expect(failure?.setting == setting && failure?.problem.isEmpty == false)
        }
    }

    @Test func versionsApartAreRefused() throws {
        let pair = try Pair(
            Fixture.client { $0.highestVersion = .tls12 }, Fixture.server { $0.common.lowestVersion = .tls13 })
        #expect(!pair.run())
        #expect(pair.server.failure?.kind == .version)
        #expect(pair.client.failure?.kind == .peerAlert && pair.client.failure?.detail == 70)
    }

    // MARK: Rotation of certificates

    @Test func aSwapLeavesLiveConnectionsAlone() throws {
        let server = try Fixture.server(Fixture.set(Fixture.issued(["app.default.localhost", "old.test"])))
        let client = try Fixture.client()
        let old = try Pair(client, server)
        #expect(old.run())
        let halfway = try Pair(client, server)
        halfway.client.start()
        server.certificates = Fixture.set(Fixture.issued(["app.default.localhost", "new.test"]))
        let new = try Pair(client, server)
        #expect(new.run() && halfway.run())
        #expect(old.client.tls.peerNames.last == "old.test")
        #expect(new.client.tls.peerNames.last == "new.test" && halfway.client.tls.peerNames.last == "new.test")
        old.client.send(ConnectionTests.text)
        old.run()
        #expect(old.server.data == ConnectionTests.text)
    }
}
