import EventLoop
import Logging

/// Where objects come from, as the command line names it.
public enum ClusterPlace: Equatable, Sendable {
    /// `unix:PATH`: the socket of `martlet run --split`.
    case socket(String)
    /// `PATH` or `folder:PATH`: a watched folder.
    case folder(String)

    /// Reads `unix:PATH`, `folder:PATH` or `PATH`; nil for an empty path and a socket's path that is too long.
    public init?(_ text: String) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard !path.isEmpty, path.utf8.count <= UnixListener.longestPath else { return nil }
            self = .socket(path)
        } else {
            let path = text.hasPrefix("folder:") ? String(text.dropFirst(7)) : text
            guard !path.isEmpty else { return nil }
            self = .folder(path)
        }
    }

    /// The source there.
    /// - Parameter output: the folder that takes what is written, if objects come from a folder.
    public func source(loop: Loop, log: Logger, output: String? = nil) throws(SystemError) -> any ClusterSource {
        switch self {
        case .socket(let path): return SocketSource(path: path, loop: loop, log: log)
        case .folder(let path): return try FolderSource(path: path, output: output, loop: loop, log: log)
        }
    }
}
