import EventLoop
import Glibc

/// A foreign program (curl, openssl) under a shell, with its output. Everything has a deadline.
final class Program {
    private let child: ChildProcess
    private let output: Int32
    private var text: [UInt8] = []
    private var hasEnded = false

    /// Starts `script`; its output and errors come in one stream.
    init(_ script: String) throws {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw PeerFailure(description: "pipe: errno \(errno)") }
        output = ends[0]
        defer { close(ends[1]) }
        child = try ChildProcess.spawn(
            SpawnRequest(
                path: "/bin/sh", arguments: ["sh", "-c", script], environment: ["PATH=/usr/bin:/bin", "LC_ALL=C"],
                workingDirectory: nil), output: ends[1], error: ends[1])
    }

    deinit {
        if !hasEnded {
            child.signalGroup(SIGKILL)
            _ = try? wait(child.pidfd, "end")
            _ = child.reap()
        }
        close(output)
    }

    /// Everything it says, to its end.
    func finish() throws -> String {
        while true {
            try wait(output, "output")
            var bytes = [UInt8](repeating: 0, count: 65_536)
            let count = read(output, &bytes, bytes.count)
            guard count > 0 else { break }
            text += bytes[..<count]
        }
        try wait(child.pidfd, "end")
        _ = child.reap()
        hasEnded = true
        return String(decoding: text, as: UTF8.self)
    }

    private func wait(_ fd: Int32, _ what: String) throws {
        var entry = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, Int32(Peer.patience)) > 0 else {
            throw PeerFailure(description: "no \(what) in time, only \(String(decoding: text, as: UTF8.self))")
        }
    }
}

/// A directory of files that goes with the test.
final class Folder {
    let path: String
    private var names: [String] = []

    init() throws {
        var template = Array("/tmp/martlet-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw PeerFailure(description: "mkdtemp: errno \(errno)") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for name in names { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    /// Writes a file and returns its path.
    func file(_ name: String, _ bytes: [UInt8]) -> String {
        let fd = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        defer { close(fd) }
        _ = write(fd, bytes, bytes.count)
        names.append(name)
        return "\(path)/\(name)"
    }
}
