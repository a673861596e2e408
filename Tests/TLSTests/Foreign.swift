import Glibc
import TestProcess

/// A foreign program with its pipes, and a socket on the loopback. Everything has a deadline.
final class Foreign {
    private let child: TestProcess
    private let input: TestPipe
    private let output: TestPipe
    private var text: [UInt8] = []

    /// Starts `openssl` with these arguments; its output and errors come in one stream.
    init?(_ arguments: [String]) {
        guard let input = try? TestPipe(), let output = try? TestPipe(),
            let child = try? TestProcess(
                ["openssl"] + arguments, environment: [:], input: input.readEnd, output: output.writeEnd,
                errors: output.writeEnd)
        else { return nil }
        input.closeReadEnd()
        output.closeWriteEnd()
        (self.child, self.input, self.output) = (child, input, output)
    }

    func type(_ line: String) { input.write(line) }

    /// Everything it has said, read until `word` has come, its end, or the deadline.
    func output(until word: String?, by deadline: Deadline) -> String {
        while true {
            let said = String(decoding: text, as: UTF8.self)
            if let word, said.contains(word) { return said }
            guard deadline.waitReadable(output.readEnd) else { return said }
            let more = output.read()
            guard !more.isEmpty else { return said }
            text += more
        }
    }

    /// Its exit status after its output has ended.
    func exitStatus(by deadline: Deadline) -> Int32? {
        _ = output(until: nil, by: deadline)
        guard !deadline.hasPassed else { return nil }
        let status = child.waitForEnd()
        return status >= 0 ? status : nil
    }
}

/// An end of waiting on the monotonic clock.
struct Deadline {
    private let end: Int

    init(seconds: Int) { end = Self.now() + seconds * 1000 }

    var hasPassed: Bool { Self.now() >= end }

    func waitReadable(_ fd: Int32) -> Bool {
        var entry = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
        return poll(&entry, 1, Int32(max(0, end - Self.now()))) == 1
    }

    private static func now() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }
}

/// A stream socket on the loopback.
final class Loopback {
    let fd: Int32

    private init(_ fd: Int32) { self.fd = fd }

    deinit { close(fd) }

    static func address(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    private static func make() -> Loopback {
        Loopback(socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
    }

    static func listening() -> (socket: Loopback, port: UInt16)? {
        let made = make()
        var address = address(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(made.fd, $0, length) == 0 && listen(made.fd, 8) == 0 && getsockname(made.fd, $0, &length) == 0
            }
        }
        return isBound ? (made, UInt16(bigEndian: address.sin_port)) : nil
    }

    static func connected(to port: UInt16) -> Loopback? {
        let made = make()
        var address = address(port)
        let isConnected = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(made.fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        return isConnected ? made : nil
    }

    func accepted(by deadline: Deadline) -> Loopback? {
        guard deadline.waitReadable(fd) else { return nil }
        let taken = accept(fd, nil, nil)
        guard taken >= 0 else { return nil }
        _ = fcntl(taken, F_SETFD, FD_CLOEXEC)
        return Loopback(taken)
    }

    /// Moves bytes between the socket and `end` until `isDone`, the end of the stream, or the deadline.
    func drive(_ end: Endpoint, by deadline: Deadline, until isDone: (Endpoint) -> Bool) {
        while true {
            while end.step(chunk: 1 << 20) {}
            if !end.outbox.isEmpty {
                guard send(fd, end.outbox, end.outbox.count, Int32(MSG_NOSIGNAL)) == end.outbox.count else { return }
                end.outbox = []
            }
            guard !isDone(end), deadline.waitReadable(fd) else { return }
            var bytes = [UInt8](repeating: 0, count: 16_384)
            let count = recv(fd, &bytes, bytes.count, 0)
            guard count > 0 else { return end.tls.endOfStream() }
            end.inbox += bytes[..<count]
        }
    }
}

/// A directory of files that goes with the test.
final class Folder {
    let path: String

    init?() {
        var template = Array("/tmp/martlet-tls-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { return nil }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for name in names { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    private var names: [String] = []

    /// Writes a file and returns its path.
    func file(_ name: String, _ bytes: [UInt8]) -> String {
        let fd = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        defer { close(fd) }
        _ = write(fd, bytes, bytes.count)
        names.append(name)
        return "\(path)/\(name)"
    }
}
