import CLinux
import Glibc

/// State that outlives a boot: folders that appear whole or not at all, and files that are read only if they are ours.
extension RunDirectory {
    /// A file to be written.
    public struct NewFile: Sendable {
        /// Its name, without a slash.
        public var name: String
        /// What it holds.
        public var bytes: [UInt8]
        /// Whether only this user may read it (mode 0600, else 0644).
        public var isSecret: Bool

        /// A file with its contents.
        public init(_ name: String, _ bytes: [UInt8], isSecret: Bool) {
            self.name = name
            self.bytes = bytes
            self.isSecret = isSecret
        }
    }

    /// Makes the missing folders on the way to `path` (mode 0700), then opens it as `open` does.
    public static func openMakingParents(_ path: String) throws(RunDirectoryFailure) -> RunDirectory {
        var place = ""
        for part in path.split(separator: "/").dropLast() {
            place += "/" + part
            if mkdir(place, 0o700) != 0, clinux_errno() != EEXIST {
                throw RunDirectoryFailure(place, clinux_errno())
            }
        }
        return try open(path)
    }

    /// Opens a folder in it under the same conditions as `open`, making it if there is none.
    public func folder(_ name: String) throws(RunDirectoryFailure) -> RunDirectory {
        if mkdirat(fd, name, 0o700) != 0, clinux_errno() != EEXIST {
            throw RunDirectoryFailure("\(path)/\(name)", clinux_errno())
        }
        guard let opened = try existingFolder(name) else { throw RunDirectoryFailure("\(path)/\(name)", ENOENT) }
        return opened
    }

    /// Opens a folder in it under the same conditions as `open`; nil if there is none.
    public func existingFolder(_ name: String) throws(RunDirectoryFailure) -> RunDirectory? {
        let opened = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard opened >= 0 else {
            if clinux_errno() == ENOENT { return nil }
            throw RunDirectoryFailure("\(path)/\(name)", clinux_errno())
        }
        return try RunDirectory.own("\(path)/\(name)", opened)
    }

    /// Makes a folder with these files, safe on the disk, which appears under its name whole or not at all.
    ///
    /// - Parameter mark: sets apart what several processes, or threads, make at once.
    /// - Returns: false if there is one already, made by whoever was first. Its files are then not touched.
    public func publish(
        folder name: String, _ files: [NewFile], mark: UInt64
    ) throws(RunDirectoryFailure) -> Bool {
        let temporary = ".\(name).\(String(mark, radix: 36))"
        guard mkdirat(fd, temporary, 0o700) == 0 else {
            throw RunDirectoryFailure("\(path)/\(temporary)", clinux_errno())
        }
        var isPublished = false
        defer {
            if !isPublished {
                for file in files { unlinkat(fd, "\(temporary)/\(file.name)", 0) }
                unlinkat(fd, temporary, AT_REMOVEDIR)
            }
        }
        let made = try folder(temporary)
        for file in files { try made.create(file) }
        fsync(made.fd)
        isPublished = renameat(fd, temporary, fd, name) == 0
        guard isPublished else {
            let code = clinux_errno()
            if code == EEXIST || code == ENOTEMPTY { return false }
            throw RunDirectoryFailure("\(path)/\(name)", code)
        }
        fsync(fd)
        return true
    }

    private func create(_ file: NewFile) throws(RunDirectoryFailure) {
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        let new = openat(fd, file.name, flags, file.isSecret ? 0o600 : 0o644)
        guard new >= 0 else { throw RunDirectoryFailure("\(path)/\(file.name)", clinux_errno()) }
        defer { close(new) }
        let isWritten = file.bytes.withUnsafeBytes { WholeBytes.write($0, to: new) } == 0
        guard isWritten, fsync(new) == 0 else { throw RunDirectoryFailure("\(path)/\(file.name)", clinux_errno()) }
    }

    /// A file's contents; it must be a plain file of this user, and a secret one closed to everybody else.
    public func contents(
        of name: String, atMost limit: Int, isSecret: Bool
    ) throws(RunDirectoryFailure) -> [UInt8] {
        let file = "\(path)/\(name)"
        let opened = openat(fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard opened >= 0 else { throw RunDirectoryFailure(file, clinux_errno()) }
        defer { close(opened) }
        var status = stat()
        guard fstat(opened, &status) == 0 else { throw RunDirectoryFailure(file, clinux_errno()) }
        guard status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid() else {
            throw RunDirectoryFailure(reason: "\(file): not a file of this user")
        }
        guard !isSecret || status.st_mode & 0o077 == 0 else {
            throw RunDirectoryFailure(
                reason: "\(file): others can read this secret; make a new one, or close it with chmod 600")
        }
        guard status.st_size <= limit else { throw RunDirectoryFailure(reason: "\(file): over \(limit) bytes") }
        return try SystemFile.bytes(of: opened, named: file, atMost: limit)
    }
}

extension SystemFile {
    /// What an open file holds, at most `limit` bytes of it.
    static func bytes(of fd: Int32, named name: String, atMost limit: Int) throws(RunDirectoryFailure) -> [UInt8] {
        var found: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while found.count < limit {
            let count = Glibc.read(fd, &chunk, min(chunk.count, limit - found.count))
            if count < 0, clinux_errno() == EINTR { continue }
            guard count >= 0 else { throw RunDirectoryFailure(name, clinux_errno()) }
            if count == 0 { break }
            found += chunk[..<count]
        }
        return found
    }
}
