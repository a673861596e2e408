import Foundation
import Testing

/// The user container, played by the test: it listens when the test says so and answers what the test wants, HTTP/1.1.
final class PlayedContainer: @unchecked Sendable {  // what changes is guarded by `condition`
    typealias Serve = @Sendable (Received) throws -> Void

    let port: UInt16
    private let fd: Int32
    private let serve: Serve?
    private let condition = NSCondition()
    private var received: [Received] = []
    private var all: [Received] = []
    private var isOver = false
    private var isListening = false
    private var connections = 0

    /// Takes a port of the kernel's choice, at which nobody can connect before `listen`.
    ///
    /// - Parameter serve: answers a request in the thread of its connection; without it `next` hands requests out.
    init(listens: Bool = true, _ serve: Serve? = nil) throws {
        self.serve = serve
        fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC | O_NONBLOCK, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var count = socklen_t(MemoryLayout<sockaddr_in>.size)
        let socket = fd
        let code = withUnsafeMutablePointer(to: &address) { place in
            place.withMemoryRebound(to: sockaddr.self, capacity: 1) { bare in
                bind(socket, bare, count) == 0 ? getsockname(socket, bare, &count) : -1
            }
        }
        guard fd >= 0, code == 0 else { throw Failure("bind: \(errno)") }
        port = UInt16(bigEndian: address.sin_port)
        if listens { listen() }
    }

    /// From now on it can be reached.
    func listen() {
        Glibc.listen(fd, 1024)
        condition.withLock { isListening = true }
        Thread.detachNewThread { [self] in
            defer { close(fd) }
            while true {
                var wanted = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
                guard poll(&wanted, 1, -1) == 1 || errno == EINTR else { return }
                let accepted = accept(fd, nil, nil)
                if accepted < 0, errno == EINTR || errno == ECONNABORTED || errno == EAGAIN { continue }
                guard accepted >= 0 else { return }
                condition.withLock { connections += 1 }
                Thread.detachNewThread { [self] in converse(Client(accepted: accepted)) }
            }
        }
    }

    /// Nobody can connect any more. To be called at least once.
    func stop() {
        let (left, wasListening, wasOver) = condition.withLock {
            defer { isOver = true }
            return (all, isListening, isOver)
        }
        guard !wasOver else { return }  // the number of the descriptor may be somebody else's by now
        if wasListening { shutdown(fd, Int32(SHUT_RDWR)) } else { close(fd) }
        for one in left { one.release() }
    }

    /// How often somebody connected.
    var accepted: Int { condition.withLock { connections } }

    private func converse(_ peer: Client) {
        while let (line, fields) = try? peer.readLines() {
            let request = Received(line: line, fields: fields, peer: peer)
            if let serve {
                do { try serve(request) } catch { return }
            } else {
                let isLate = condition.withLock {
                    received.append(request)
                    all.append(request)
                    condition.broadcast()
                    return isOver
                }
                guard !isLate else { return }
                request.waitForRelease()
            }
            if request.isLast || condition.withLock({ isOver }) { return }
        }
    }

    /// The oldest request that nobody took yet.
    func next(_ seconds: Double = patience) throws -> Received {
        let deadline = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while received.isEmpty {
            guard condition.wait(until: deadline) else { throw Failure("no request came to the container") }
        }
        return received.removeFirst()
    }

    /// Whether no further request comes for so long.
    func isLeftAlone(_ seconds: Double) -> Bool {
        condition.withLock { received.isEmpty && !condition.wait(until: Date(timeIntervalSinceNow: seconds)) }
    }

    /// Requests that came and were not taken.
    var untaken: Int { condition.withLock { received.count } }

    /// A request, and the connection to answer on.
    final class Received: @unchecked Sendable {  // used by one thread at a time; `semaphore` hands it over
        let line: String
        let fields: [(name: String, value: String)]
        let peer: Client
        fileprivate var isLast = false
        private let semaphore = DispatchSemaphore(value: 0)

        init(line: String, fields: [(name: String, value: String)], peer: Client) {
            self.line = line
            self.fields = fields
            self.peer = peer
        }

        var path: String { line.split(separator: " ").dropFirst().first.map(String.init) ?? "" }

        /// The values of a field, in the order of arrival.
        func values(_ name: String) -> [String] {
            fields.filter { $0.name.lowercased() == name.lowercased() }.map(\.value)
        }

        /// A whole response; then the connection takes the next request, unless it is to be closed.
        func answer(_ status: Int = 200, _ body: String = "", fields: [String] = [], closes: Bool = false) throws {
            let lines = ["HTTP/1.1 \(status) Fine", "Content-Length: \(body.utf8.count)"] + fields
            isLast = closes
            try peer.send((lines + (closes ? ["Connection: close"] : [])).joined(separator: "\r\n") + "\r\n\r\n" + body)
            release()
        }

        /// The response was sent by hand, whole: the connection takes the next request.
        func finish() { release() }

        /// The connection is left, without another byte; it closes when nobody holds the request any more, or is reset
        /// at once.
        func drop(reset: Bool = false) {
            isLast = true
            if reset { peer.abort() }
            release()
        }

        fileprivate func waitForRelease() { semaphore.wait() }
        fileprivate func release() { semaphore.signal() }
    }
}
