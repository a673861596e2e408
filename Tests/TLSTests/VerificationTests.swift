import Testing

@testable import TLS

/// Who is believed: upstreams by their certificates, clients by theirs.
@Suite struct VerificationTests {
    struct Case: Sendable {
        let name: String
        let pair: PEMPair
        let peer: PeerIdentity
        let kind: TLSFailure.Kind?
        let text: String
    }

    static let local = Fixture.local
    static let knative = PeerIdentity.knativePod(namespace: "Team-A")
    static let cases: [Case] = [
        Case(name: "good", pair: Fixture.ecdsa, peer: local, kind: nil, text: ""),
        Case(name: "RSA", pair: Fixture.rsa, peer: local, kind: nil, text: ""),
        Case(
            name: "wrong name", pair: Fixture.issued(["other.test"]), peer: local, kind: .certificateRefused,
            text: "certificate refused: hostname mismatch"),
        Case(
            name: "unknown authority", pair: Fixture.issued(["*.default.localhost"], by: Fixture.stranger), peer: local,
            kind: .certificateRefused, text: "certificate refused: unable to get local issuer certificate"),
        Case(
            name: "address", pair: Fixture.ecdsa, peer: PeerIdentity(serverName: nil, verifiedName: "127.0.0.1"),
            kind: nil, text: ""),
        Case(
            name: "wrong address", pair: Fixture.ecdsa, peer: PeerIdentity(serverName: nil, verifiedName: "127.0.0.2"),
            kind: .certificateRefused, text: "certificate refused: IP address mismatch"),
        Case(
            name: "pod", pair: Fixture.issued(["kn-user-team-a", "data-plane.knative.dev"]), peer: knative, kind: nil,
            text: ""),
        Case(
            name: "pod of another namespace", pair: Fixture.issued(["kn-user-team-b", "data-plane.knative.dev"]),
            peer: knative, kind: .requiredNameMissing,
            text: "certificate refused: it has none of the required names"),
        Case(
            name: "pod without the legacy name", pair: Fixture.issued(["kn-user-team-a"]), peer: knative,
            kind: .certificateRefused, text: "certificate refused: hostname mismatch"),
        Case(
            name: "a wildcard is no required name", pair: Fixture.issued(["*", "data-plane.knative.dev"]),
            peer: knative, kind: .requiredNameMissing,
            text: "certificate refused: it has none of the required names"),
        Case(
            name: "ingress to activator", pair: Fixture.issued(["kn-routing", "data-plane.knative.dev"]),
            peer: .knativeRoute(namespace: "a"), kind: nil, text: ""),
        Case(
            name: "ingress to pod", pair: Fixture.issued(["kn-user-a", "data-plane.knative.dev"]),
            peer: .knativeRoute(namespace: "a"), kind: nil, text: ""),
    ]

    @Test func upstreams() throws {
        let client = try Fixture.client { $0.lowestVersion = .tls13 }
        for item in Self.cases {
            let pair = try Pair(client, Fixture.server(Fixture.set(item.pair)), to: item.peer)
            #expect(pair.run() == (item.kind == nil), "\(item.name): \(pair.client.tls.state)")
            #expect(pair.client.failure?.kind == item.kind, "\(item.name)")
            #expect(pair.client.failure?.description ?? "" == item.text, "\(item.name)")
            #expect(item.kind == nil || pair.server.failure?.kind == .peerAlert, "\(item.name): the server is told")
        }
    }

    /// A certificate can end while it is served; the loader alone does not protect a client.
    @Test func expiredUpstream() throws {
        let past = Fixture.now - 100 * 86_400
        let pair = Fixture.issued(["app.default.localhost"], at: past, days: 10)
        let loaded = CertificateSet.load([Fixture.source(pair, isDefault: true)], now: past)
        #expect(loaded.problems.isEmpty)
        let talk = try Pair(Fixture.client(), Fixture.server(loaded.set))
        #expect(!talk.run())
        #expect(talk.client.failure?.description == "certificate refused: certificate has expired")
        #expect(talk.server.failure?.description.contains("alert") == true)
    }

    @Test func trustOfTheFirstBlockOnly() throws {
        let both = Fixture.stranger.certificate + Fixture.authority.certificate
        let all = try TrustBundle(pem: both, file: "ca.crt"),
            first = try TrustBundle(pem: both, file: "ca.crt", extent: .first)
        #expect(all.count == 2 && first.count == 1 && first.adding(all).count == 3)
        #expect(try Pair(Fixture.client(trust: all), Fixture.server()).run())
        #expect(try !Pair(Fixture.client(trust: first), Fixture.server()).run())
        #expect(try Pair(Fixture.client(trust: first.adding(all)), Fixture.server()).run())
        #expect(throws: CertificateProblem.self) { try TrustBundle(pem: Array("nothing".utf8), file: "ca.crt") }
    }

    @Test func withoutTrustAnythingGoes() throws {
        let context = try TLSClientContext(TLSSettings(), trust: nil)
        let pair = try Pair(context, Fixture.server(Fixture.set(Fixture.issued(["x.test"], by: Fixture.stranger))))
        #expect(pair.run())
    }

    // MARK: Clients

    enum Shown: CaseIterable { case nothing, good, unknown }

    @Test(arguments: TLSVersion.allCases) func clientCertificates(version: TLSVersion) throws {
        for mode in ClientCertificates.allCases {
            let server = try Fixture.server {
                $0.clientCertificates = mode
                $0.clientAuthorities = try? Fixture.trust()
            }
            for shown in Shown.allCases {
                let identity: CertificateSet? =
                    switch shown {
                    case .nothing: nil
                    case .good: Fixture.set(Fixture.issued(["client.test"]))
                    case .unknown: Fixture.set(Fixture.issued(["client.test"], by: Fixture.stranger))
                    }
                let pair = try Pair(Fixture.client(identity: identity) { $0.highestVersion = version }, server)
                pair.run()
                let expected = Self.expected(mode, shown)
                #expect(pair.server.failure?.kind == expected, "\(mode) \(shown): \(pair.server.tls.state)")
                #expect(pair.server.tls.isEstablished == (expected == nil))
                if expected == nil {
                    let isSeen = mode != .off && shown == .good
                    #expect(pair.server.tls.peerNames == (isSeen ? ["client.test"] : []))
                } else {
                    #expect(pair.client.failure?.kind == .peerAlert, "\(mode) \(shown)")
                }
            }
        }
    }

    static func expected(_ mode: ClientCertificates, _ shown: Shown) -> TLSFailure.Kind? {
        switch (mode, shown) {
        case (.off, _), (_, .good), (.optional, .nothing): nil
        case (.required, .nothing): .certificateMissing
        case (.optional, .unknown), (.required, .unknown): .certificateRefused
        }
    }
}
