import EventLoop
import Glibc
import Primitives
import Synchronization

/// A queue-proxy in the hands of a test: it answers the activator's probes as it is told, and every request with 200
/// and its name, unless it is told to hold them. On a thread of its own.
final class PlayedPod: Sendable {
    /// How probes are answered.
    enum Probe: Sendable, Equatable {
        /// 200 and `queue`.
        case ready
        /// Not before another way is chosen.
        case held
        /// With this status and body.
        case status(Int, String)
    }

    private enum Command: Sendable { case probe(Probe), answers(Bool), reply(Int, String), stop }

    struct Seen: Sendable {
        /// Heads of requests, and when they were whole.
        var requests: [(head: String, at: Instant)] = []
        var probes: [Instant] = []
        var mostAtOnce = 0
        var heldNow = 0
    }

    let address: SocketAddress
    let name: String
    private let commands: Mailbox<Command>
    private let seen = Mutex(Seen())
    private let listener: Int32
    private let thread = Mutex<WorkerThread?>(nil)

    /// Listens at `ip` (127.0.0.0/8) and `port`; 0 is a free one.
    init(_ name: String, ip: UInt32 = 0x7F00_0001, port: UInt16 = 0, probe: Probe = .ready) throws {
        self.name = name
        commands = try Mailbox()
        let opened = try Listener(SocketAddress(ipv4: ip, port: port), sharesPort: false)
        address = opened.address ?? SocketAddress(ipv4: ip, port: port)
        listener = opened.release()
        let player = try WorkerThread(name: name) { [self] in
            Player(self, probe).run()
        }
        thread.withLock { $0 = player }
    }

    func probe(_ probe: Probe) { commands.post(.probe(probe)) }
    /// Whether requests are answered at once; those that were held are answered then.
    func answers(_ answers: Bool) { commands.post(.answers(answers)) }
    /// Requests get this status from now on, and these field lines, each with its CR LF.
    func reply(_ status: Int, _ fields: String = "") { commands.post(.reply(status, fields)) }
    /// Refuses connections from now on, and has broken those that there were.
    func stop() {
        commands.post(.stop)
        thread.withLock { $0.take() }?.join()
    }

    var requests: [(head: String, at: Instant)] { seen.withLock { $0.requests } }
    var probes: [Instant] { seen.withLock { $0.probes } }
    /// Requests that it has not answered.
    var heldNow: Int { seen.withLock { $0.heldNow } }
    var mostAtOnce: Int { seen.withLock { $0.mostAtOnce } }

    /// What belongs to the pod's thread.
    private final class Player {
        private struct Connection {
            let fd: Int32
            var pending: [UInt8] = []
            var heldProbe = false
            var heldRequests = 0
        }

        let pod: PlayedPod
        var probe: Probe
        var answers = true
        var reply = (status: 200, fields: "")
        private var connections: [Int32: Connection] = [:]
        var isStopped = false

        init(_ pod: PlayedPod, _ probe: Probe) {
            self.pod = pod
            self.probe = probe
        }

        func run() {
            while !isStopped {
                var entries = [pollfd(fd: pod.commands.fd, events: Int16(POLLIN), revents: 0)]
                entries.append(pollfd(fd: pod.listener, events: Int16(POLLIN), revents: 0))
                entries += connections.keys.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
                guard poll(&entries, UInt(entries.count), -1) > 0 else { continue }
                if entries[0].revents != 0 { takeCommands() }
                if isStopped { break }
                if entries[1].revents != 0 {
                    let fd = accept(pod.listener, nil, nil)
                    if fd >= 0 { connections[fd] = Connection(fd: fd) }
                }
                for entry in entries.dropFirst(2) where entry.revents != 0 { read(entry.fd) }
            }
            close(pod.listener)
            for fd in connections.keys { close(fd) }
        }

        private func takeCommands() {
            for command in pod.commands.takeAll() {
                switch command {
                case .probe(let new): probe = new
                case .answers(let new): answers = new
                case .reply(let status, let fields): reply = (status, fields)
                case .stop: isStopped = true
                }
            }
            for fd in connections.keys { goOn(fd) }
        }

        private func read(_ fd: Int32) {
            var place = [UInt8](repeating: 0, count: 1 << 16)
            let count = recv(fd, &place, place.count, 0)
            guard count > 0 else {
                let held = connections.removeValue(forKey: fd)?.heldRequests ?? 0
                pod.seen.withLock { $0.heldNow -= held }
                close(fd)
                return
            }
            connections[fd]?.pending += place[..<count]
            while let end = connections[fd].flatMap({ Self.headEnd($0.pending) }) {
                let head = String(decoding: connections[fd]?.pending[..<end] ?? [], as: UTF8.self)
                connections[fd]?.pending.removeFirst(end)
                take(head, fd)
            }
            goOn(fd)
        }

        private static func headEnd(_ bytes: [UInt8]) -> Int? {
            guard bytes.count >= 4 else { return nil }
            return (4...bytes.count).first { bytes[$0 - 4..<$0].elementsEqual("\r\n\r\n".utf8) }
        }

        private func take(_ head: String, _ fd: Int32) {
            let now = MonotonicClock.now()
            if head.contains("\r\nUser-Agent: Knative-Activator-Probe\r\n") {
                pod.seen.withLock { $0.probes.append(now) }
                connections[fd]?.heldProbe = true
            } else {
                connections[fd]?.heldRequests += 1
                let held = connections.values.reduce(0) { $0 + $1.heldRequests }
                pod.seen.withLock { seen in
                    seen.requests.append((head, now))
                    seen.mostAtOnce = max(seen.mostAtOnce, held)
                    seen.heldNow = held
                }
            }
        }

        private func goOn(_ fd: Int32) {
            if connections[fd]?.heldProbe == true {
                switch probe {
                case .ready: say(fd, 200, "queue")
                case .status(let status, let body): say(fd, status, body)
                case .held: return
                }
                connections[fd]?.heldProbe = false
            }
            while answers, let connection = connections[fd], connection.heldRequests > 0 {
                connections[fd]?.heldRequests -= 1
                pod.seen.withLock { $0.heldNow -= 1 }
                say(fd, reply.status, pod.name, reply.fields)
            }
        }

        private func say(_ fd: Int32, _ status: Int, _ body: String, _ fields: String = "") {
            let text = "HTTP/1.1 \(status) X\r\nContent-Length: \(body.utf8.count)\r\n\(fields)\r\n\(body)"
            _ = Array(text.utf8).withUnsafeBytes { send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        }
    }
}
