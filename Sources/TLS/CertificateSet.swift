import COpenSSL

/// A certificate with its chain and key, as files name them. The caller has read the files.
public struct CertificateSource: Sendable {
    /// File of the certificate, for messages and to find it again when it is loaded anew.
    public var certificateFile: String
    /// The certificate, then its intermediate ones, in PEM.
    public var certificate: [UInt8]
    /// File of the key, for messages.
    public var keyFile: String
    /// The private key in PEM.
    public var key: [UInt8]
    /// Whether it serves clients that name no host, or an unknown one.
    public var isDefault: Bool
    /// What is already known to be wrong. With any the texts are not looked at, and it counts as broken.
    public var problems: [CertificateProblem] = []

    /// A pair of texts and the names of their files.
    public init(
        certificateFile: String, certificate: [UInt8], keyFile: String, key: [UInt8], isDefault: Bool = false
    ) {
        self.certificateFile = certificateFile
        self.certificate = certificate
        self.keyFile = keyFile
        self.key = key
        self.isDefault = isDefault
    }

    /// A pair that could not be read, so that what it served before goes on serving.
    public init(certificateFile: String, keyFile: String, isDefault: Bool, problems: [CertificateProblem]) {
        self.init(
            certificateFile: certificateFile, certificate: [], keyFile: keyFile, key: [], isDefault: isDefault)
        self.problems = problems
    }
}

/// The certificates of a server by name: an immutable snapshot, handed to each worker and swapped between wake-ups.
///
/// A name may have a chain for each kind of key (ECDSA, RSA, Ed25519): OpenSSL picks the one that the client can check.
/// Of two with the same name and kind the earlier one serves.
public final class CertificateSet: Sendable {
    /// What came of loading: the certificates that can be served, and what was wrong with the others.
    public struct Loaded: Sendable {
        /// The new snapshot. It has the good ones, and from the previous snapshot those whose files are now broken.
        public let set: CertificateSet
        /// Everything found wrong, in the order of the sources.
        public let problems: [CertificateProblem]
    }

    let identities: [ServerIdentity]
    private let exact: [String: [Int]]
    private let wildcard: [String: [Int]]
    private let fallback: [Int]

    /// Loads certificates and reports all their problems at once.
    ///
    /// A source that cannot be served is left out; if `previous` has one of the same certificate file, that one goes on
    /// serving. `now` is seconds since 1970.
    public static func load(
        _ sources: [CertificateSource], previous: CertificateSet? = nil, now: Int64
    ) -> Loaded {
        var identities: [ServerIdentity] = [], problems: [CertificateProblem] = []
        for source in sources {
            do throws(CertificateProblem) {
                if let first = source.problems.first { throw first }
                identities.append(try ServerIdentity(source, now: now))
            } catch {
                problems += source.problems.isEmpty ? [error] : source.problems
                if let kept = previous?.identities.first(where: { $0.file == source.certificateFile }) {
                    identities.append(kept)
                }
            }
        }
        return Loaded(set: CertificateSet(identities), problems: problems)
    }

    private init(_ identities: [ServerIdentity]) {
        var exact: [String: [Int]] = [:], wildcard: [String: [Int]] = [:], fallback: [Int] = []
        func add(_ index: Int, to list: inout [Int]) {
            if !list.contains(where: { identities[$0].kind == identities[index].kind }) { list.append(index) }
        }
        for (index, identity) in identities.enumerated() {
            for name in identity.names {
                if name.hasPrefix("*.") {
                    add(index, to: &wildcard[String(name.dropFirst(2)), default: []])
                } else {
                    add(index, to: &exact[name, default: []])
                }
            }
            if identity.isDefault { add(index, to: &fallback) }
        }
        self.identities = identities
        self.exact = exact
        self.wildcard = wildcard
        self.fallback = fallback
    }

    /// Whether there is nothing to serve.
    public var isEmpty: Bool { identities.isEmpty }

    /// All names, in the order of the sources; wildcards begin with "*.".
    public var names: [String] { identities.flatMap(\.names) }

    /// When the first certificate ends, in seconds since 1970; nil if there is none.
    public var firstExpiry: Int64? { identities.map(\.expiresAt).min() }

    /// Whether a client that asks for `name` can be served: exactly, by a wildcard of one label, or by the default.
    public func covers(_ name: String?) -> Bool { !find(name).isEmpty }

    /// Whether a certificate names `host`, exactly or by a wildcard of one label. The default serves others too, but
    /// clients that check the name refuse it.
    public func hasName(for host: String) -> Bool { named(host) != nil }

    /// What serves `name`, at most one of each kind of key.
    func find(_ name: String?) -> [Int] {
        guard let name, !name.isEmpty else { return fallback }
        return named(name) ?? fallback
    }

    private func named(_ name: String) -> [Int]? {
        let wanted = ServerIdentity.normalized(name)
        if let found = exact[wanted] { return found }
        guard let dot = wanted.firstIndex(of: "."), dot != wanted.startIndex else { return nil }
        return wildcard[String(wanted[wanted.index(after: dot)...])]
    }

    /// Gives what serves `name` to one connection. False if there is nothing, or OpenSSL does not take it.
    func install(for name: String?, in ssl: OpaquePointer) -> Bool {
        let found = find(name)
        var isInstalled = !found.isEmpty
        for index in found { isInstalled = identities[index].install(in: ssl) && isInstalled }
        return isInstalled
    }

    /// Gives the first identity to a client's context. False if OpenSSL does not take it.
    func installFirst(in context: OpaquePointer) -> Bool {
        identities.first.map { $0.install(inContext: context) } ?? true
    }
}
