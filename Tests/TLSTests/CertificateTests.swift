import COpenSSL
import Testing

@testable import TLS

/// Every way a pair of files can be wrong has its own words, with the name of the guilty file.
@Suite struct CertificateTests {
    static let good = Fixture.ecdsa
    static let now = Fixture.now

    static func problems(_ source: CertificateSource) -> [String] {
        CertificateSet.load([source], now: now).problems.map(\.description)
    }

    /// The base64 of the first block is cut short: the frame is whole, the content is not.
    static func damaged(_ pem: [UInt8]) -> [UInt8] {
        var lines = String(decoding: pem, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        lines.remove(at: 1)
        return Array(lines.joined(separator: "\n").utf8)
    }

    /// The same key under a password.
    static func encrypted(_ pem: [UInt8]) -> [UInt8] {
        guard let key = try? PEM.privateKey(pem, file: ""), let memory = BIO_new(BIO_s_mem()) else { return [] }
        defer { BIO_free(memory) }
        var password = Array("secret".utf8CString)
        let length = Int32(password.count - 1)
        PEM_write_bio_PKCS8PrivateKey(memory, key.pointer, EVP_aes_128_cbc(), &password, length, nil, nil)
        var start: UnsafePointer<UInt8>?
        let count = copenssl_memory(memory, &start)
        return Array(UnsafeBufferPointer(start: start, count: count))
    }

    @Test func eachProblemIsNamed() {
        let other = Fixture.issued(["other.test"])
        let past = Fixture.issued(["a.test"], at: 1_600_000_000, days: 1)
        let future = Fixture.issued(["a.test"], at: Self.now + 86_400)
        let encrypted = Self.encrypted(Self.good.key)
        func pair(_ certificate: [UInt8], _ key: [UInt8]) -> CertificateSource {
            CertificateSource(certificateFile: "a.crt", certificate: certificate, keyFile: "a.key", key: key)
        }
        let rows: [(CertificateSource, String)] = [
            (pair([], Self.good.key), "a.crt: no certificate found; expected PEM blocks \"BEGIN CERTIFICATE\""),
            (pair(Self.good.key, Self.good.key), "a.crt: no certificate found; expected PEM"),
            (pair(Self.damaged(Self.good.certificate), Self.good.key), "a.crt: certificate 1 cannot be read: "),
            (
                pair(Self.good.certificate + Self.damaged(other.certificate), Self.good.key),
                "a.crt: certificate 2 cannot be read: "
            ),
            (pair(Self.good.certificate, []), "a.key: no private key found; expected a PEM block"),
            (pair(Self.good.certificate, Self.good.certificate), "a.key: no private key found"),
            (pair(Self.good.certificate, Self.damaged(Self.good.key)), "a.key: the private key cannot be read: "),
            (pair(Self.good.certificate, encrypted), "a.key: the private key is encrypted, which is not supported"),
            (
                pair(Self.good.certificate, other.key),
                "a.key: the private key does not belong to the certificate in a.crt"
            ),
            (pair(past.certificate, past.key), "a.crt: the certificate expired at 2020-09-14 12:26:40 UTC; renew it"),
            (pair(future.certificate, future.key), "a.crt: the certificate is not valid before 20"),
        ]
        for (source, text) in rows {
            let found = Self.problems(source)
            #expect(found.count == 1 && found.first?.hasPrefix(text) == true, "\(found), not \(text)")
            #expect(CertificateSet.load([source], now: Self.now).set.isEmpty)
        }
    }

    /// All problems at once; what is broken goes on with what it had, what is good is taken.
    @Test func brokenPairsKeepTheOldOne() {
        let first = CertificateSet.load(
            [Fixture.source(Fixture.issued(["a.test"]), "a"), Fixture.source(Fixture.issued(["b.test"]), "b")],
            now: Self.now)
        #expect(first.problems.isEmpty && first.set.names == ["a.test", "b.test"])
        var broken = Fixture.source(Fixture.issued(["a2.test"]), "a")
        broken.key = Fixture.issued(["x.test"]).key
        let second = CertificateSet.load(
            [
                broken, Fixture.source(Fixture.issued(["b2.test"]), "b"),
                CertificateSource(certificateFile: "c.crt", certificate: [], keyFile: "c.key", key: []),
            ], previous: first.set, now: Self.now)
        #expect(second.problems.map(\.file) == ["a.key", "c.crt"])
        #expect(second.set.names == ["a.test", "b2.test"])
        #expect(second.set.covers("a.test") && second.set.covers("b2.test") && !second.set.covers("b.test"))
    }

    @Test func expiryIsTheEarliest() throws {
        let set = CertificateSet.load(
            [
                Fixture.source(Fixture.issued(["a.test"], days: 20), "a"),
                Fixture.source(Fixture.issued(["b.test"], days: 10), "b"),
            ], now: Self.now
        ).set
        #expect(set.firstExpiry == Self.now + 10 * 86_400)
        #expect(CertificateSet.load([], now: Self.now).set.firstExpiry == nil)
    }

    @Test func theChainIsServed() throws {
        let pair = PEMPair(
            certificate: Self.good.certificate + Fixture.authority.certificate, key: Self.good.key)
        let talk = try Pair(Fixture.client(), Fixture.server(Fixture.set(pair)))
        #expect(talk.run())
    }

    // MARK: The local authority

    @Test func aStoredAuthorityGoesOn() throws {
        let made = try LocalAuthority.create(commonName: "Martlet", onlyBelow: ["localhost"], now: Self.now)
        let stored = made.pem
        let again = try LocalAuthority(stored, certificateFile: "ca.crt", keyFile: "ca.key")
        #expect(again.pem == stored && again.expiresAt == Self.now + LocalAuthority.authorityDays * 86_400)
        let leaf = try again.issue(names: ["*.default.localhost", "localhost", "127.0.0.1", "::1"], now: Self.now)
        let loaded = CertificateSet.load([Fixture.source(leaf, isDefault: true)], now: Self.now)
        #expect(loaded.problems.isEmpty && loaded.set.names == ["*.default.localhost", "localhost"])
        for name in ["localhost", "hello.default.localhost", "127.0.0.1", "::1"] {
            let client = try Fixture.client(trust: try Fixture.trust(stored))
            let talk = try Pair(
                client, Fixture.server(loaded.set), to: PeerIdentity(serverName: nil, verifiedName: name))
            #expect(talk.run(), "\(name): \(talk.client.tls.state)")
        }
    }

    @Test func aConstrainedAuthorityCannotSignForOthers() throws {
        let made = try LocalAuthority.create(commonName: "Martlet", onlyBelow: ["localhost"], now: Self.now)
        let leaf = try made.issue(names: ["bank.example"], now: Self.now)
        let client = try Fixture.client(trust: try Fixture.trust(made.pem))
        let talk = try Pair(client, Fixture.server(Fixture.set(leaf)), to: PeerIdentity(serverName: "bank.example"))
        #expect(!talk.run())
        #expect(talk.client.failure?.description == "certificate refused: permitted subtree violation")
    }

    @Test func serialsDiffer() throws {
        let authority = try LocalAuthority(Fixture.authority, certificateFile: "", keyFile: "")
        let made = try (0..<4).map { _ in try authority.issue(names: ["a.test"], now: Self.now).certificate }
        #expect(Set(made).count == 4)
    }

    @Test func unusableNamesAndAuthoritiesAreRefused() throws {
        let authority = try LocalAuthority(Fixture.authority, certificateFile: "", keyFile: "")
        for name in ["", "a,DNS:b", "a b", "a\n", "a:b", "ü.test", String(repeating: "a", count: 254)] {
            #expect(throws: LocalAuthority.Failure.unusableName(name)) {
                try authority.issue(names: [name], now: Self.now)
            }
        }
        #expect(throws: LocalAuthority.Failure.noNames) { try authority.issue(names: [], now: Self.now) }
        #expect(throws: LocalAuthority.Failure.self) {
            try LocalAuthority(Self.good, certificateFile: "ca.crt", keyFile: "ca.key")
        }
        let long = String(repeating: "a", count: 60) + "." + String(repeating: "b", count: 60) + ".test"
        #expect(throws: Never.self) { try authority.issue(names: [long], now: Self.now) }
    }
}
