import CLinux
import Glibc

/// A listening Unix stream socket: for processes of this user on this machine.
///
/// Its file has mode 0600 from the first moment. It is removed at the end, unless somebody has put another there.
public struct UnixListener: ~Copyable {
    /// Connections the kernel keeps ready for us.
    public static let backlog: Int32 = 128

    /// Longest path, in bytes: that of `sockaddr_un`.
    public static let longestPath = 107

    /// Where it listens.
    public let path: String
    /// The descriptor, for registration with a poller.
    public let fd: Int32
    private let file: UInt64

    /// Binds and listens. A file that nobody listens at, left by a process that was killed, is replaced.
    /// - Throws: `EADDRINUSE` if somebody listens there; `ENAMETOOLONG` above `longestPath`.
    public init(path: String) throws(SystemError) {
        var result = clinux_listen_unix(path, 0o600, Self.backlog)
        if result == -EADDRINUSE, Self.isAbandoned(path), unlink(path) == 0 {
            result = clinux_listen_unix(path, 0o600, Self.backlog)
        }
        guard result >= 0 else { throw SystemError(call: "listen on \(path)", code: -result) }
        fd = result
        self.path = path
        file = Self.inode(path) ?? 0
    }

    /// What accepting came to.
    public enum AcceptResult: ~Copyable {
        /// A connection.
        case connection(Socket)
        /// None now.
        case nobody
        /// This error number, as `EMFILE`.
        case failed(Int32)
    }

    /// Takes the next waiting connection.
    public borrowing func accept() -> AcceptResult {
        while true {
            let result = clinux_accept_unix(fd)
            if result >= 0 { return .connection(Socket(owning: result)) }
            switch -result {
            case EAGAIN: return .nobody
            case EINTR, ECONNABORTED: continue
            default: return .failed(-result)
            }
        }
    }

    private static func isAbandoned(_ path: String) -> Bool {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return false }
        let probe = clinux_connect_unix(path)
        if probe >= 0 { close(probe) }
        return probe == -ECONNREFUSED
    }

    private static func inode(_ path: String) -> UInt64? {
        var status = stat()
        return lstat(path, &status) == 0 ? UInt64(status.st_ino) : nil
    }

    deinit {
        if Self.inode(path) == file { unlink(path) }
        close(fd)
    }
}

extension Socket {
    /// Connects to the Unix socket at `path`: at once or not at all. `EAGAIN` means that its queue is full.
    public static func connect(toUnixPath path: String) -> ConnectResult {
        let fd = clinux_connect_unix(path)
        return fd >= 0 ? .connected(Socket(owning: fd)) : .failed(-fd)
    }
}
