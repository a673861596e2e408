import EventLoop
import TLS

/// Where the certificates of a run come from.
public enum CertificateOrigin: Equatable, Sendable {
    /// A folder of pairs, watched for changes: `--certs DIR`.
    case folder(String)
    /// The local authority, made if there is none.
    case localAuthority
}

/// Why a run cannot serve HTTPS: everything that is wrong, at once.
public struct CertificateFailure: Error, Equatable, Sendable {
    /// Each a line for the user: "file: error: problem; remedy".
    public let problems: [String]
}

/// The certificates of a run, read and checked once, before anything starts.
public struct OpenedCertificates {
    enum Kind {
        case folder(CertificateFolder, CertificateRefresh)
        case authority(LocalAuthorityStore, LocalCertificates, isNew: Bool)
    }

    let kind: Kind
    /// What is served first.
    let set: CertificateSet

    /// Reads the pairs of the folder, or opens the local authority for `domain`.
    ///
    /// Stricter than a reload: nothing has been served yet, so a single broken pair is a refusal, as with nginx.
    public init(_ origin: CertificateOrigin, domain: String) throws(CertificateFailure) {
        let now = MonotonicClock.wallSeconds()
        switch origin {
        case .folder(let path): self = try Self.reading(CertificateFolder(path), now: now)
        case .localAuthority:
            do throws(LocalAuthorityFailure) {
                self = try Self.signing(try LocalAuthorityStore(domain: domain), now: now)
            } catch {
                throw CertificateFailure(problems: ["error: \(error)"])
            }
        }
    }

    private init(kind: Kind, set: CertificateSet) {
        self.kind = kind
        self.set = set
    }

    static func reading(_ folder: CertificateFolder, now: Int64) throws(CertificateFailure) -> OpenedCertificates {
        let reading = folder.read()
        let sources = reading.sources ?? []
        let loaded = CertificateSet.load(sources, now: now)
        let problems = reading.problems + loaded.problems
        guard problems.isEmpty else {
            throw CertificateFailure(problems: problems.map { "\($0.file): error: \($0.text)" })
        }
        return OpenedCertificates(
            kind: .folder(folder, CertificateRefresh(loaded.set, sources: sources)), set: loaded.set)
    }

    static func signing(
        _ store: LocalAuthorityStore, now: Int64
    ) throws(LocalAuthorityFailure) -> OpenedCertificates {
        let (authority, isNew) = try store.open(now: now)
        var certificates = LocalCertificates(authority, domain: store.domain)
        do throws(LocalAuthority.Failure) {
            guard let set = try certificates.update(hosts: [:], now: now) else {
                throw LocalAuthority.Failure.noNames
            }
            return OpenedCertificates(kind: .authority(store, certificates, isNew: isNew), set: set)
        } catch {
            throw LocalAuthorityFailure(description: "the local authority cannot be used: \(error)")
        }
    }
}
