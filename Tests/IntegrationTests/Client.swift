import Foundation

/// One answer.
struct Answer: Sendable {
    var status: Int
    var fields: [(name: String, value: String)]
    var body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }
    subscript(name: String) -> String? { fields.first { $0.name.lowercased() == name.lowercased() }?.value }
}

/// A blocking HTTP/1.1 connection to martlet; every read has a time limit.
final class Client {
    private let fd: Int32
    private var pending: [UInt8] = []

    init(port: UInt16, seconds: Int = Int(patience)) throws {
        fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        guard fd >= 0 else { throw Failure("socket: \(errno)") }
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let code = withUnsafePointer(to: &address) { place in
            place.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        // `deinit` closes it then too.
        guard code == 0 else { throw Failure("connect: refused") }
    }

    /// The other side: a connection that a test accepted.
    init(accepted fd: Int32, seconds: Int = Int(patience)) {
        self.fd = fd
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(fd) }

    /// Ends the connection with RST.
    func abort() {
        var lingering = linger(l_onoff: 1, l_linger: 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &lingering, socklen_t(MemoryLayout<linger>.size))
        shutdown(fd, Int32(SHUT_RD))
        connectToNothing()
    }

    /// Dissolves the connection (`connect` to AF_UNSPEC), so that the peer hears at once though `fd` stays ours.
    private func connectToNothing() {
        var nothing = sockaddr()
        nothing.sa_family = sa_family_t(AF_UNSPEC)
        _ = connect(fd, &nothing, socklen_t(MemoryLayout<sockaddr>.size))
    }

    /// Whether nothing comes for so long: neither bytes nor the end.
    func isSilent(milliseconds: Int32) -> Bool {
        var wanted = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
        return pending.isEmpty && poll(&wanted, 1, milliseconds) == 0
    }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { Glibc.send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw Failure("send: \(String(cString: strerror(errno)))") }
            sent += count
        }
    }

    /// No more will be sent.
    func finishSending() { shutdown(fd, Int32(SHUT_WR)) }

    /// Sends a request without a body.
    func request(_ host: String, _ path: String = "/", method: String = "GET", fields: [String] = []) throws {
        let lines = ["\(method) \(path) HTTP/1.1", "Host: \(host)"] + fields
        try send(lines.joined(separator: "\r\n") + "\r\n\r\n")
    }

    /// The next bytes, at least one; empty at the end of the stream.
    func receive() throws -> [UInt8] {
        if !pending.isEmpty {
            defer { pending = [] }
            return pending
        }
        var chunk = [UInt8](repeating: 0, count: 65_536)
        let count = recv(fd, &chunk, chunk.count, 0)
        guard count >= 0 else { throw Failure("receive: \(String(cString: strerror(errno)))") }
        return Array(chunk[..<count])
    }

    private func more() throws {
        let old = pending
        pending = []
        let new = try receive()
        guard !new.isEmpty else { throw Failure("the connection ended after \(old.count) bytes of an answer") }
        pending = old + new
    }

    /// The next head: status and fields.
    func readHead() throws -> Answer {
        let (line, fields) = try readLines()
        let words = line.split(separator: " ")
        guard words.count >= 2, let status = Int(words[1]) else { throw Failure("not a status line: \(line)") }
        return Answer(status: status, fields: fields, body: [])
    }

    /// The next head of either kind: its first line and its fields.
    func readLines() throws -> (line: String, fields: [(name: String, value: String)]) {
        while pending.firstRange(of: Array("\r\n\r\n".utf8)) == nil { try more() }
        let end = pending.firstRange(of: Array("\r\n\r\n".utf8)).map(\.upperBound) ?? 0
        let lines = String(decoding: pending[..<end], as: UTF8.self).components(separatedBy: "\r\n")
        pending.removeFirst(end)
        let fields = lines.dropFirst().filter { !$0.isEmpty }.map { line in
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts.count > 1 ? parts[1].trimmingCharacters(in: .whitespaces) : "")
        }
        return (lines[0], fields)
    }

    /// The next whole answer, interim ones passed over.
    func readAnswer(toHead: Bool = false) throws -> Answer {
        var answer = try readHead()
        while answer.status / 100 == 1, answer.status != 101 { answer = try readHead() }
        if toHead || answer.status == 204 || answer.status == 304 || answer.status == 101 { return answer }
        if answer["Transfer-Encoding"]?.lowercased() == "chunked" {
            while let chunk = try readChunk() { answer.body += chunk }
        } else if let length = answer["Content-Length"].flatMap(Int.init) {
            answer.body = try take(length)
        } else {
            while true {
                let bytes = try receive()
                if bytes.isEmpty { break }
                answer.body += bytes
            }
        }
        return answer
    }

    func take(_ count: Int) throws -> [UInt8] {
        while pending.count < count { try more() }
        defer { pending.removeFirst(count) }
        return Array(pending[..<count])
    }

    private func readLine() throws -> String {
        while pending.firstIndex(of: 10) == nil { try more() }
        let end = pending.firstIndex(of: 10) ?? 0
        defer { pending.removeFirst(end + 1) }
        return String(decoding: pending[..<end], as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// The next chunk; nil at the last one, whose trailers are passed over.
    func readChunk() throws -> [UInt8]? {
        let line = try readLine()
        guard let count = Int(line, radix: 16) else { throw Failure("not a chunk size: \(line)") }
        if count == 0 {
            while try !readLine().isEmpty {}
            return nil
        }
        defer { pending.removeFirst(2) }
        let chunk = try take(count)
        while pending.count < 2 { try more() }
        return chunk
    }
}

extension Martlet {
    /// One request on a connection of its own.
    func get(_ host: String, _ path: String = "/", method: String = "GET", fields: [String] = []) throws -> Answer {
        let client = try Client(port: port())
        try client.request(host, path, method: method, fields: fields + ["Connection: close"])
        return try client.readAnswer(toHead: method == "HEAD")
    }

    func connect(seconds: Int = Int(patience)) throws -> Client { try Client(port: port(), seconds: seconds) }
}

/// Results of many requests.
struct Tally: Sendable {
    /// Answers by status.
    var statuses: [Int: Int] = [:]
    /// Answers by text of the body, status 200 only.
    var texts: [String: Int] = [:]
    /// Connections that failed, in words.
    var failures: [String] = []
    /// Answers by what a chosen field says.
    var marks: [String: Int] = [:]

    var count: Int { statuses.values.reduce(0, +) }
    /// Whether every request was answered with 200.
    var isPerfect: Bool { failures.isEmpty && Set(statuses.keys).isSubset(of: [200]) && count > 0 }
    var summary: String { "\(statuses) failures: \(failures.prefix(5)) (\(failures.count))" }
}

/// Clients that send requests, one after the other each, in threads of their own.
final class Load: @unchecked Sendable {  // all that changes is guarded by `condition`
    private let condition = NSCondition()
    private var tally = Tally()
    private var running = 0
    private var isStopping = false

    /// - Parameters:
    ///   - requests: how many each client sends; nil for as many as it can until `stop`.
    ///   - keepsAlive: whether a client keeps its connection.
    init(
        _ martlet: Martlet, _ host: String, _ path: String = "/", clients: Int, requests: Int? = nil,
        keepsAlive: Bool = true, mark: String? = nil
    ) throws {
        let port = try martlet.port()
        running = clients
        for _ in 0..<clients {
            Thread.detachNewThread { [self] in
                var client: Client?
                var left = requests ?? .max
                while left > 0, !condition.withLock({ isStopping }) {
                    left -= 1
                    do {
                        let connection = try client ?? Client(port: port)
                        client = connection
                        try connection.request(host, path, fields: keepsAlive ? [] : ["Connection: close"])
                        let answer = try connection.readAnswer()
                        condition.withLock { count(answer, mark) }
                        if !keepsAlive || answer["Connection"]?.lowercased() == "close" { client = nil }
                    } catch {
                        client = nil
                        condition.withLock { tally.failures.append("\(error)") }
                    }
                }
                condition.withLock {
                    running -= 1
                    condition.broadcast()
                }
            }
        }
    }

    private func count(_ answer: Answer, _ mark: String?) {
        tally.statuses[answer.status, default: 0] += 1
        if answer.status == 200, answer.body.count < 200 { tally.texts[answer.text, default: 0] += 1 }
        if let mark { tally.marks[answer[mark] ?? "-", default: 0] += 1 }
        condition.broadcast()
    }

    /// What there is so far.
    var soFar: Tally { condition.withLock { tally } }

    /// Waits until `isEnough` holds.
    func waitFor(_ seconds: Double = patience, _ isEnough: (Tally) -> Bool) -> Bool {
        let deadline = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while !isEnough(tally) { guard condition.wait(until: deadline) else { return isEnough(tally) } }
        return true
    }

    /// Lets every client finish its request, and returns all results.
    @discardableResult
    func stop() -> Tally {
        condition.withLock { isStopping = true }
        return finish()
    }

    /// Waits until every client has sent all its requests.
    func finish() -> Tally {
        condition.lock()
        defer { condition.unlock() }
        let deadline = Date(timeIntervalSinceNow: 2 * patience)
        while running > 0 {
            guard condition.wait(until: deadline) else {
                tally.failures.append("\(running) clients did not finish")
                break
            }
        }
        return tally
    }
}
