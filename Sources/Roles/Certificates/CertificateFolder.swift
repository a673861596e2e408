import EventLoop
import Glibc
import TLS

/// A folder of certificates: `tls.crt` with `tls.key` is the default, as in a Secret of Kubernetes, and each further
/// `NAME.crt` with `NAME.key` a pair of its own. File names only pair: what a pair serves, its certificate says.
///
/// Hidden files are left out, and a `ca.crt` without a key: Secrets bring the issuer's certificate under that name.
public struct CertificateFolder: Sendable {
    /// Longest file read, in bytes. Default 1 MiB.
    public static let fileLimit = 1 << 20
    /// Most pairs read. Default 1,000.
    public static let pairLimit = 1_000

    /// One look at the folder.
    struct Reading: Sendable {
        /// The pairs in the order of their names, broken ones included; nil if the folder itself cannot be read.
        var sources: [CertificateSource]?
        /// What is wrong with the folder as a whole.
        var problems: [CertificateProblem] = []
    }

    /// A folder that is to be watched, and which one it was: a link to it may lead elsewhere later.
    struct Watched: Hashable, Sendable {
        let path: String
        let device: UInt64
        let inode: UInt64
    }

    /// As given, without the closing slash.
    public let path: String

    /// The folder at `path`.
    public init(_ path: String) {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        self.path = path
    }

    /// Reads every pair anew.
    func read() -> Reading {
        let names: [String]
        do throws(SystemError) { names = try FolderFiles.names(of: path) } catch {
            return Reading(problems: [problem(path, error.code)])
        }
        let certificates = Set(names.compactMap { Self.base($0, ".crt") })
        let keys = Set(names.compactMap { Self.base($0, ".key") })
        var bases = certificates.union(keys).sorted()
        if !keys.contains("ca") { bases.removeAll { $0 == "ca" } }
        guard !bases.isEmpty else {
            let text = "holds no certificate; expected tls.crt with tls.key, or NAME.crt with NAME.key"
            return Reading(sources: [], problems: [CertificateProblem(path, .unreadable(reason: text))])
        }
        var reading = Reading(sources: [])
        if bases.count > Self.pairLimit {
            let text = "holds \(bases.count) pairs; the first \(Self.pairLimit) in order of name are used"
            reading.problems.append(CertificateProblem(path, .unreadable(reason: text)))
        }
        reading.sources = bases.prefix(Self.pairLimit).map { base in
            source(base, hasCertificate: certificates.contains(base), hasKey: keys.contains(base))
        }
        return reading
    }

    private func source(_ base: String, hasCertificate: Bool, hasKey: Bool) -> CertificateSource {
        let certificateFile = "\(path)/\(base).crt"
        let keyFile = "\(path)/\(base).key"
        var problems: [CertificateProblem] = []
        func part(_ file: String, isThere: Bool, partner: String) -> [UInt8] {
            guard isThere else {
                problems.append(CertificateProblem(partner, .missingPartner(file: file)))
                return []
            }
            do throws(CertificateProblem) {
                return try contents(of: file)
            } catch {
                problems.append(error)
                return []
            }
        }
        let certificate = part(certificateFile, isThere: hasCertificate, partner: keyFile)
        let key = part(keyFile, isThere: hasKey, partner: certificateFile)
        var source = CertificateSource(
            certificateFile: certificateFile, certificate: certificate, keyFile: keyFile, key: key,
            isDefault: base == "tls")
        source.problems = problems
        return source
    }

    /// A file's contents. It may be a link; what is no plain file is not waited for.
    private func contents(of file: String) throws(CertificateProblem) -> [UInt8] {
        let found: [UInt8]
        do throws(SystemError) { found = try FolderFiles.contents(of: file, atMost: Self.fileLimit) } catch {
            switch error.code {
            case EISDIR, EINVAL:
                throw CertificateProblem(file, .unreadable(reason: "is not a file; expected PEM text"))
            case EFBIG: throw CertificateProblem(file, .unreadable(reason: "is longer than \(Self.fileLimit) bytes"))
            case _: throw problem(file, error.code)
            }
        }
        guard !found.isEmpty else { throw CertificateProblem(file, .unreadable(reason: "is empty; expected PEM text")) }
        return found
    }

    private func problem(_ file: String, _ code: Int32) -> CertificateProblem {
        let reason = SystemError(call: "open", code: code).reason
        let remedy =
            switch code {
            case ENOENT: "; does a link lead nowhere?"
            case EACCES: "; martlet runs as user \(ProcessTable.ownUser) and must be allowed to read it"
            default: ""
            }
        let isFolder = file == path
        return CertificateProblem(
            file, .unreadable(reason: "cannot be read: \(reason)\(isFolder && code == ENOENT ? "" : remedy)"))
    }

    // MARK: Watching

    /// Most links followed on one way, as in the kernel.
    private static let linkLimit = 40

    /// The folders whose changes concern the certificates: itself, those of every link on the way to it or to one of
    /// its files, and those where the files really are. Those that are not there now are left out.
    func watched() -> Set<Watched> {
        var paths = Self.linkFolders(on: path, seen: []).union([path])
        for name in (try? FolderFiles.names(of: path)) ?? [] where name.hasSuffix(".crt") || name.hasSuffix(".key") {
            // The folder's own links are known; the way of a file begins in it.
            let file = "\(path)/\(name)"
            if Self.target(of: file) != nil { paths = Self.linkFolders(on: file, seen: paths) }
        }
        return Set(
            paths.compactMap { path in
                var status = stat()
                guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
                return Watched(path: path, device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
            })
    }

    /// Adds the folder of each link on the way of `path` to `seen` and, after a link, the folder of what it leads to.
    private static func linkFolders(on path: String, seen: Set<String>) -> Set<String> {
        var folders = seen
        var parts = path.split(separator: "/").map(String.init)[...]
        var place = path.hasPrefix("/") ? "/" : "."
        var links = 0
        while let part = parts.popFirst() {
            let next = place.hasSuffix("/") ? place + part : "\(place)/\(part)"
            guard let target = target(of: next), links < linkLimit else {
                if parts.isEmpty, links > 0 { folders.insert(place) }
                place = next
                continue
            }
            links += 1
            folders.insert(place)
            parts = (target.split(separator: "/").map(String.init) + parts)[...]
            if target.hasPrefix("/") { place = "/" }
        }
        return folders
    }

    /// What the link `path` says; nil if it is none.
    private static func target(of path: String) -> String? {
        var text = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(path, &text, text.count)
        guard count > 0 else { return nil }
        return String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func base(_ name: String, _ ending: String) -> String? {
        name.hasSuffix(ending) ? String(name.dropLast(ending.count)) : nil
    }
}
