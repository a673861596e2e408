import CLinux
import Glibc

/// Small files of the system, read whole.
public enum SystemFile {
    /// The beginning of a file as text, invalid UTF-8 repaired; nil if it cannot be opened.
    public static func read(_ path: String, atMost limit: Int) -> String? {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return nil }
        defer { close(fd) }
        return text(of: fd, atMost: limit)
    }

    static func text(of fd: Int32, atMost limit: Int) -> String {
        String(unsafeUninitializedCapacity: limit) { memory in
            var count = 0
            while count < limit {
                let got = Glibc.read(fd, memory.baseAddress.map { $0 + count }, limit - count)
                if got <= 0 { break }
                count += got
            }
            return count
        }
    }
}

/// What the kernel says about processes (proc(5)).
public enum ProcessTable {
    /// This process's id.
    public static var ownPID: Int32 { getpid() }

    /// The effective user's id.
    public static var ownUser: UInt32 { geteuid() }

    /// When a process started, in clock ticks since boot; nil if there is none. With the id it names one process for
    /// ever.
    public static func startTime(of pid: Int32) -> UInt64? { status(of: pid)?.startTime }

    /// Group and start time of a process; nil if there is none.
    public static func status(of pid: Int32) -> (group: Int32, startTime: UInt64)? {
        guard pid > 0, let line = SystemFile.read("/proc/\(pid)/stat", atMost: 1024) else { return nil }
        // The second field is the command's name in brackets and may itself hold brackets and spaces.
        guard let bracket = line.utf8.lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = line[line.utf8.index(after: bracket)...].split(separator: " ")
        // Counted from field 3, the state: 5 is the group, 22 the start time.
        guard fields.count > 19, let group = Int32(fields[2]), let startTime = UInt64(fields[19]) else { return nil }
        return (group, startTime)
    }

    /// The environment a process was started with, as `NAME=value`; empty if it may not be read.
    public static func environment(of pid: Int32) -> [String] {
        guard let text = SystemFile.read("/proc/\(pid)/environ", atMost: 256 * 1024) else { return [] }
        return text.split(separator: "\0").map { String($0) }
    }

    /// Every process id there is now.
    public static func all() -> [Int32] {
        guard let directory = opendir("/proc") else { return [] }
        defer { closedir(directory) }
        return names(in: directory).compactMap { Int32($0) }
    }

    /// Names the world process ids and start times are valid in: this boot and this PID namespace.
    public static func world() -> String {
        let boot = SystemFile.read("/proc/sys/kernel/random/boot_id", atMost: 64) ?? "unknown"
        var status = stat()
        let namespace = stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0
        return "\(boot.filter { !$0.isNewline }):\(namespace)"
    }

    static func names(in directory: OpaquePointer) -> [String] {
        var found: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
                tuple.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            found.append(name)
        }
        return found
    }
}

/// A directory that only this user can enter.
public struct RunDirectory: ~Copyable {
    /// Where it is.
    public let path: String
    let fd: Int32

    /// Opens a directory of mode 0700 owned by this user, making it if there is none.
    ///
    /// Symbolic links are not followed and a directory of somebody else, or open to others, is refused: in /tmp it
    /// could be a trap.
    /// - Throws: a text that says what is wrong with the directory.
    public static func open(_ path: String) throws(RunDirectoryFailure) -> RunDirectory {
        if mkdir(path, 0o700) != 0, clinux_errno() != EEXIST { throw RunDirectoryFailure(path, clinux_errno()) }
        let fd = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard fd >= 0 else { throw RunDirectoryFailure(path, clinux_errno()) }
        return try own(path, fd)
    }

    /// Takes over `fd`, a directory, if it is this user's alone.
    static func own(_ path: String, _ fd: Int32) throws(RunDirectoryFailure) -> RunDirectory {
        var status = stat()
        guard fstat(fd, &status) == 0, status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
            close(fd)
            throw RunDirectoryFailure(reason: "\(path): not a directory of mode 0700 owned by this user")
        }
        return RunDirectory(path: path, fd: fd)
    }

    private init(path: String, fd: Int32) {
        self.path = path
        self.fd = fd
    }

    /// The names of its files.
    public func names() -> [String] {
        let copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard copy >= 0, let directory = fdopendir(copy) else { return [] }
        defer { closedir(directory) }
        return ProcessTable.names(in: directory).filter { $0 != "." && $0 != ".." }
    }

    /// A file's text; nil if it cannot be read.
    public func read(_ name: String, atMost limit: Int) -> String? {
        let file = openat(fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        return SystemFile.text(of: file, atMost: limit)
    }

    /// Writes a file anew; whoever reads sees the old text or the new one. False if it could not be written.
    public func replace(_ name: String, with text: String) -> Bool {
        let temporary = "\(name).new"
        let flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC
        let file = openat(fd, temporary, flags, 0o600)
        guard file >= 0 else { return false }
        let isWritten = Array(text.utf8).withUnsafeBytes { WholeBytes.write($0, to: file) } == 0
        close(file)
        return isWritten && renameat(fd, temporary, fd, name) == 0
    }

    /// Removes a file if it is there.
    public func remove(_ name: String) { _ = unlinkat(fd, name, 0) }

    deinit { close(fd) }
}

/// Why a run directory cannot be used.
public struct RunDirectoryFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong, with the path.
    public let description: String

    init(_ path: String, _ code: Int32) { description = "\(path): \(ChildProcess.text(of: code))" }
    init(reason: String) { description = reason }
}
