import EventLoop
import Glibc
import TLS

/// Why there is no local authority, in a sentence for the user.
public struct LocalAuthorityFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong and what to do.
    public let description: String
}

/// Where the local authorities of a user are kept: one for each domain, good for that domain, `localhost` and loopback
/// addresses only, made once and used again.
///
/// Below the folder of state: `ca/DOMAIN/ca.crt` and `ca/DOMAIN/ca.key`. Folders have mode 0700 and the key 0600; what
/// belongs to somebody else, is open to others or is a symbolic link is refused. Several martlets may start at once:
/// an authority appears whole or not at all, and all use the first.
public struct LocalAuthorityStore: Sendable {
    /// An authority as clients see it.
    public struct Description: Sendable {
        /// Its certificate's file.
        public let certificateFile: String
        /// Its certificate.
        public let pem: [UInt8]
        /// SHA-256 of it, in hexadecimal pairs between colons.
        public let fingerprint: String
        /// When it ends: "2036-01-31 23:59:59 UTC".
        public let expires: String
        /// Whether this call has made it.
        public let isNew: Bool
    }

    private static let fileLimit = 64 << 10
    private static let certificateName = "ca.crt"
    private static let keyName = "ca.key"

    /// The folder of state.
    public let directory: String
    /// The domain.
    public let domain: String

    /// The authority for `domain` of this user: in `$XDG_STATE_HOME/martlet`, or `~/.local/state/martlet`.
    ///
    /// - Throws: that the domain cannot stand in a certificate, or that there is no home.
    public init(domain: String) throws(LocalAuthorityFailure) {
        func variable(_ name: String) -> String? {
            // Relative paths are to be ignored (XDG Base Directory Specification).
            getenv(name).map { String(cString: $0) }.flatMap { $0.hasPrefix("/") ? $0 : nil }
        }
        guard let state = variable("XDG_STATE_HOME") ?? variable("HOME").map({ $0 + "/.local/state" }) else {
            throw LocalAuthorityFailure(
                description: "no place for the local authority: neither XDG_STATE_HOME nor HOME is an absolute path; "
                    + "set one, or give certificates with --certs")
        }
        try self.init(domain: domain, directory: state + "/martlet")
    }

    /// The authority for `domain` below `directory`, an absolute path.
    init(domain: String, directory: String) throws(LocalAuthorityFailure) {
        self.domain = domain.isEmpty ? "localhost" : domain.lowercased()
        self.directory = directory
        guard Self.isDomain(self.domain) else {
            throw LocalAuthorityFailure(
                description: "\"\(domain)\" cannot stand in a certificate; expected a domain such as localhost or "
                    + "example.test")
        }
    }

    /// What is stored, made now if there is nothing yet. `now` is seconds since 1970.
    public func describe(now: Int64) throws(LocalAuthorityFailure) -> Description {
        let (authority, isNew) = try open(now: now)
        return Description(
            certificateFile: "\(folder)/\(Self.certificateName)", pem: authority.pem.certificate,
            fingerprint: authority.fingerprint, expires: utcText(authority.expiresAt), isNew: isNew)
    }

    /// The folder of the authority's two files.
    public var folder: String { "\(directory)/ca/\(domain)" }

    /// The stored authority, made now if there is none yet, and whether it was.
    func open(now: Int64) throws(LocalAuthorityFailure) -> (authority: LocalAuthority, isNew: Bool) {
        if let stored = try stored() { return (try authority(of: stored, now: now), false) }
        let made = try create(now)
        if try publish(made.pem) { return (made, true) }
        // Another martlet was first.
        guard let stored = try stored() else { throw Self.failure("\(folder): vanished while it was read") }
        return (try authority(of: stored, now: now), false)
    }

    private func stored() throws(LocalAuthorityFailure) -> PEMPair? {
        do throws(RunDirectoryFailure) {
            let all = try RunDirectory.openMakingParents(directory).folder("ca")
            guard let own = try all.existingFolder(domain) else { return nil }
            return PEMPair(
                certificate: try own.contents(of: Self.certificateName, atMost: Self.fileLimit, isSecret: false),
                key: try own.contents(of: Self.keyName, atMost: Self.fileLimit, isSecret: true))
        } catch {
            throw Self.failure("\(error)")
        }
    }

    private func publish(_ pem: PEMPair) throws(LocalAuthorityFailure) -> Bool {
        let files = [
            RunDirectory.NewFile(Self.certificateName, pem.certificate, isSecret: false),
            RunDirectory.NewFile(Self.keyName, pem.key, isSecret: true),
        ]
        do throws(RunDirectoryFailure) {
            let all = try RunDirectory.openMakingParents(directory).folder("ca")
            return try all.publish(folder: domain, files, mark: UInt64.random(in: 0 ... .max))
        } catch {
            throw Self.failure("\(error)")
        }
    }

    private static func failure(_ reason: String) -> LocalAuthorityFailure {
        LocalAuthorityFailure(
            description:
                "the local authority cannot be kept: \(reason); set XDG_STATE_HOME to a folder of your own, or "
                + "give certificates with --certs")
    }

    private func authority(of stored: PEMPair, now: Int64) throws(LocalAuthorityFailure) -> LocalAuthority {
        let remedy = "remove \(folder) to have a new one made; clients must then be told to trust that"
        let authority: LocalAuthority
        do throws(LocalAuthority.Failure) {
            authority = try LocalAuthority(
                stored, certificateFile: "\(folder)/\(Self.certificateName)", keyFile: "\(folder)/\(Self.keyName)")
        } catch {
            throw LocalAuthorityFailure(description: "the local authority cannot be used: \(error); \(remedy)")
        }
        guard authority.expiresAt - now > 86_400 else {
            let end = utcText(authority.expiresAt)
            throw LocalAuthorityFailure(description: "the local authority in \(folder) ends at \(end); \(remedy)")
        }
        return authority
    }

    private func create(_ now: Int64) throws(LocalAuthorityFailure) -> LocalAuthority {
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        let machine = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let domains = domain == "localhost" ? [domain] : [domain, "localhost"]
        do throws(LocalAuthority.Failure) {
            return try LocalAuthority.create(
                commonName: "martlet CA for \(domain) on \(machine)", onlyBelow: domains, now: now)
        } catch {
            throw LocalAuthorityFailure(description: "the local authority cannot be made: \(error)")
        }
    }

    /// Labels of letters, digits and hyphens (RFC 1123 §2.1): also safe as the name of a folder.
    private static func isDomain(_ text: String) -> Bool {
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        return text.utf8.count <= 200
            && labels.allSatisfy { label in
                (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
                    && label.utf8.allSatisfy { byte in
                        byte == UInt8(ascii: "-") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                            || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                    }
            }
    }
}
