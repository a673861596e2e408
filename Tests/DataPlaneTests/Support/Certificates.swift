import Glibc
import TLS

@testable import DataPlane

/// Authorities and certificates that many tests use, made once. Only texts, for tests run side by side.
enum Certificates {
    static let now = Int64(time(nil))
    static let authority = made("Martlet tests")
    static let stranger = made("Stranger")
    /// Good for the host that has a route.
    static let hello = issued([ProxyHarness.host])

    private static func made(_ name: String) -> PEMPair {
        (try? LocalAuthority.create(commonName: name, now: now - 1000 * 86_400).pem)
            ?? PEMPair(certificate: [], key: [])
    }

    /// A pair signed by `authority`; `now` and `days` say when it ends.
    static func issued(
        _ names: [String], key: LocalAuthority.KeyKind = .ecdsa, by authority: PEMPair = authority,
        at time: Int64 = now, days: Int64 = 30
    ) -> PEMPair {
        let signer = try? LocalAuthority(authority, certificateFile: "ca.crt", keyFile: "ca.key")
        return (try? signer?.issue(names: names, key: key, days: days, now: time)) ?? authority
    }

    /// A set of pairs, of which the first serves who asks for nothing known. `time` is when the set is loaded.
    static func set(_ pairs: PEMPair..., at time: Int64 = now) -> CertificateSet {
        let sources = pairs.enumerated().map { index, pair in
            CertificateSource(
                certificateFile: "\(index).crt", certificate: pair.certificate, keyFile: "\(index).key", key: pair.key,
                isDefault: index == 0)
        }
        return CertificateSet.load(sources, now: time).set
    }

    static func trust(_ pair: PEMPair = authority) throws -> TrustBundle {
        try TrustBundle(pem: pair.certificate, file: "ca.crt")
    }

    /// What a listener of the tests is told: HTTP/1.1 only, unless changed.
    static func server(_ change: (inout TLSServerSettings) -> Void = { _ in }) -> TLSServerSettings {
        var settings = TLSServerSettings()
        settings.common.protocols = [.http1]
        change(&settings)
        return settings
    }

    /// A client's side that trusts `authority`.
    static func client(
        identity: CertificateSet? = nil, _ change: (inout TLSSettings) -> Void = { _ in }
    ) throws -> TLSClientContext {
        var settings = TLSSettings()
        settings.protocols = [.http1]
        change(&settings)
        return try TLSClientContext(settings, trust: trust(), identity: identity)
    }
}
