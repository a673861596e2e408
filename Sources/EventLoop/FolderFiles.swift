import CLinux
import Glibc

/// A folder's plain files, for those that read or write many small ones.
public enum FolderFiles {
    /// The names in it, in order; without those that begin with a dot.
    public static func names(of folder: String) throws(SystemError) -> [String] {
        guard let directory = opendir(folder) else { throw SystemError(call: "open \(folder)", code: clinux_errno()) }
        defer { closedir(directory) }
        return ProcessTable.names(in: directory).filter { !$0.hasPrefix(".") }.sorted()
    }

    /// A file's contents; links are followed.
    /// - Throws: `EFBIG` above `limit` bytes, `EISDIR` and the like for what is no plain file.
    public static func contents(of path: String, atMost limit: Int) throws(SystemError) -> [UInt8] {
        let fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard fd >= 0 else { throw SystemError(call: "open \(path)", code: clinux_errno()) }
        defer { close(fd) }
        var status = stat()
        guard fstat(fd, &status) == 0 else { throw SystemError(call: "stat \(path)", code: clinux_errno()) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw SystemError(call: "read \(path)", code: status.st_mode & S_IFMT == S_IFDIR ? EISDIR : EINVAL)
        }
        return try contents(of: fd, named: path, atMost: limit)
    }

    /// What comes from a descriptor until its end, which is waited for; `name` stands in errors.
    /// - Throws: `EFBIG` above `limit` bytes.
    public static func contents(
        of fd: Int32, named name: String, atMost limit: Int
    ) throws(SystemError) -> [UInt8] {
        var found: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(fd, &chunk, chunk.count)
            if count < 0, clinux_errno() == EINTR { continue }
            guard count >= 0 else { throw SystemError(call: "read \(name)", code: clinux_errno()) }
            if count == 0 { return found }
            found += chunk[..<count]
            guard found.count <= limit else { throw SystemError(call: "read \(name)", code: EFBIG) }
        }
    }

    /// Makes the folder at `path`, which others may read, unless there is one.
    public static func make(_ path: String) throws(SystemError) {
        guard mkdir(path, 0o755) != 0 else { return }
        let code = clinux_errno()
        guard code == EEXIST else { throw SystemError(call: "mkdir \(path)", code: code) }
        _ = try names(of: path)
    }

    /// Writes a file anew (mode 0644 less the umask); whoever reads sees the old contents or the new ones.
    public static func replace(_ path: String, with bytes: [UInt8]) throws(SystemError) {
        let temporary = path + ".new"
        let fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o644)
        guard fd >= 0 else { throw SystemError(call: "create \(temporary)", code: clinux_errno()) }
        var code: Int32 = bytes.withUnsafeBytes { WholeBytes.write($0, to: fd) }
        close(fd)
        if code == 0, rename(temporary, path) != 0 { code = clinux_errno() }
        guard code == 0 else { throw SystemError(call: "write \(path)", code: code) }
    }
}
