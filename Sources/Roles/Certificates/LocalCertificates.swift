import TLS

/// Certificates that the local authority signs for the hosts of a run: one for the machine itself, the default, and one
/// for each namespace. Their keys live in memory only.
///
/// Pure but for the random keys: the hosts and the time (seconds since 1970) are arguments.
struct LocalCertificates {
    /// Most names in one certificate; the wildcard of the namespace covers further hosts. Keeps handshakes small.
    static let namesLimit = 100
    /// How long before its end a certificate is replaced, in seconds: 30 days.
    static let renewSeconds: Int64 = 30 * 86_400

    private struct Issued {
        var names: [String]
        var expiresAt: Int64
        var source: CertificateSource
    }

    private let authority: LocalAuthority
    private let domain: String
    private var issued: [String: Issued] = [:]

    init(_ authority: LocalAuthority, domain: String) {
        self.authority = authority
        self.domain = domain
    }

    /// The certificates for these hosts, by namespace; nil if those there are still serve.
    mutating func update(
        hosts: [String: [String]], now: Int64
    ) throws(LocalAuthority.Failure) -> CertificateSet? {
        var wanted: [String: [String]] = ["": Self.ofTheMachine(domain)]
        for (namespace, hosts) in hosts where !namespace.isEmpty {
            let all = ["*.\(namespace).\(domain)"] + Set(hosts).sorted()
            wanted[namespace] = Array(all.prefix(Self.namesLimit))
        }
        var isChanged = issued.keys.contains { wanted[$0] == nil }
        issued = issued.filter { wanted[$0.key] != nil }
        for (namespace, names) in wanted {
            if let old = issued[namespace], old.names == names, !isDue(old, now: now) { continue }
            issued[namespace] = try issue(names, isDefault: namespace.isEmpty, now: now)
            isChanged = true
        }
        guard isChanged else { return nil }
        let sources = issued.sorted { $0.key < $1.key }.map(\.value.source)
        let loaded = CertificateSet.load(sources, now: now)
        if let problem = loaded.problems.first { throw .stored(problem) }
        return loaded.set
    }

    private static func ofTheMachine(_ domain: String) -> [String] {
        (domain == "localhost" ? ["localhost"] : ["localhost", domain]) + ["127.0.0.1", "::1"]
    }

    /// Near its end, unless the authority's own end is the reason.
    private func isDue(_ old: Issued, now: Int64) -> Bool {
        old.expiresAt - now < Self.renewSeconds && authority.expiresAt - old.expiresAt >= 86_400
    }

    private func issue(_ names: [String], isDefault: Bool, now: Int64) throws(LocalAuthority.Failure) -> Issued {
        let days = max(0, min(LocalAuthority.certificateDays, (authority.expiresAt - now) / 86_400))
        let pair = try authority.issue(names: names, days: days, now: now)
        let label = "the local authority's certificate for \(names[0])"
        let source = CertificateSource(
            certificateFile: label, certificate: pair.certificate, keyFile: label, key: pair.key, isDefault: isDefault)
        return Issued(names: names, expiresAt: now + days * 86_400, source: source)
    }
}
