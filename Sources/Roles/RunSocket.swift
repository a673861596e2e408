import EventLoop
import Glibc
import LocalPlatform

/// Where the sockets of runs are: `hub-PID.sock` in `$XDG_RUNTIME_DIR/martlet`, or in `/tmp/martlet-UID`, which only
/// this user can enter.
public enum RunSocket {
    private static let prefix = "hub-"
    private static let suffix = ".sock"

    /// The directory of runs.
    public static var directory: String? { LocalPlatformOptions().runDirectory }

    /// The socket of this process, in a directory that is made if there is none.
    static func own() throws(RunDirectoryFailure) -> String {
        let path = try RunDirectory.open(directory ?? "/tmp/martlet-\(ProcessTable.ownUser)").path
        sweep(path)
        return "\(path)/\(prefix)\(ProcessTable.ownPID)\(suffix)"
    }

    /// Removes what killed runs left.
    private static func sweep(_ folder: String) {
        for socket in sockets(in: folder) where !isLiving(socket) { unlink(socket) }
    }

    /// The sockets of living runs in a directory.
    public static func living(in folder: String) -> [String] { sockets(in: folder).filter(isLiving) }

    private static func sockets(in folder: String) -> [String] {
        let names = (try? FolderFiles.names(of: folder)) ?? []
        return names.filter { $0.hasPrefix(prefix) && $0.hasSuffix(suffix) }.map { "\(folder)/\($0)" }
    }

    private static func isLiving(_ socket: String) -> Bool {
        let name = socket.split(separator: "/").last.map(String.init) ?? ""
        let pid = Int32(name.dropFirst(prefix.count).dropLast(suffix.count))
        return pid.map { kill($0, 0) == 0 || errno == EPERM } ?? false
    }

    /// The file that runs now.
    static var executable: String { ManifestFiles.absolute("/proc/self/exe") }
}
