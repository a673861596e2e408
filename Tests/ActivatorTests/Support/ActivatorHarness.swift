import Balancing
import ClusterLink
import DataPlane
import EventLoop
import Glibc
import Knative
import Logging
import Primitives
import Synchronization
import Telemetry
import Testing

@testable import Activator

/// Something did not happen.
struct HarnessFailure: Error, CustomStringConvertible {
    let description: String
}

/// A real activator on real ports, on a thread of its own; the test plays the cluster, the autoscaler and the pods.
final class ActivatorHarness: Sendable {
    /// How long one step may take, in milliseconds. Generous: test machines are busy.
    static let patience: UInt64 = 15_000

    fileprivate enum Command: Sendable { case change(ClusterChange), connected(Bool), signal, stop }

    /// What was told to the autoscaler.
    struct Told: Sendable, Equatable {
        let at: Instant
        let name: String
        let average: Double
        let count: Double
        /// Which message it came in.
        let message: Int
    }

    fileprivate struct Box: Sendable {
        var addresses: [SocketAddress] = []
        var told: [Told] = []
        var messages = 0
        var applied: [ClusterObject] = []
        var exitStatus: Int32?
    }

    /// What the activator's thread writes down.
    fileprivate final class Record: Sendable {
        private let box = Mutex(Box())
        private let news: Mailbox<Bool>

        init() throws { news = try Mailbox() }

        var now: Box { box.withLock { $0 } }

        func note(_ change: (inout sending Box) -> Void) {
            box.withLock { change(&$0) }
            news.post(true)
        }

        /// Waits for the next note, at most so many milliseconds.
        func wait(_ milliseconds: UInt64) {
            var entry = pollfd(fd: news.fd, events: Int16(POLLIN), revents: 0)
            if poll(&entry, 1, Int32(milliseconds)) > 0 { _ = news.takeAll() }
        }
    }

    private let record: Record
    private let commands: Mailbox<Command>
    private let thread: WorkerThread

    /// Serves when `.synced` has been told.
    init(isConnected: Bool = true, _ configure: @Sendable (inout ActivatorConfiguration) -> Void = { _ in }) throws {
        var configuration = ActivatorConfiguration()
        configuration.listeners.http = .loopback(port: 0)
        configuration.listeners.http2 = .loopback(port: 0)
        configuration.listeners.metrics = .loopback(port: 0)
        configuration.workers = 2
        configuration.podName = "activator-1"
        configure(&configuration)
        let commands = try Mailbox<Command>()
        self.commands = commands
        let settings = configuration
        let record = try Record()
        self.record = record
        thread = try WorkerThread(name: "activator") {
            ControlThread(settings, record, commands, isConnected: isConnected)?.run()
        }
        try until("listening") { !$0.addresses.isEmpty }
    }

    // MARK: The cluster

    func tell(_ changes: ClusterChange...) { for change in changes { commands.post(.change(change)) } }
    func connect(_ isConnected: Bool) { commands.post(.connected(isConnected)) }
    func signal() { commands.post(.signal) }

    static let revision = ObjectName(namespace: "default", name: "hello-00001")

    /// A revision of that name.
    static func revision(
        _ name: ObjectName = revision, _ change: (inout ClusterRevision) -> Void = { _ in }
    ) -> ClusterChange {
        var revision = ClusterRevision(name: name)
        change(&revision)
        return .applied(.revision(revision))
    }

    /// Its private endpoints.
    static func pods(
        _ ready: [PlayedPod], notReady: [PlayedPod] = [], of name: ObjectName = revision
    ) -> ClusterChange {
        let addresses = ready.map { address($0, isReady: true) } + notReady.map { address($0, isReady: false) }
        return .applied(.endpoints(ClusterEndpoints(name: name.with(suffix: "-private"), addresses: addresses)))
    }

    static func address(_ pod: PlayedPod, isReady: Bool) -> ClusterEndpoints.Address {
        let ip = ActivatorConfiguration.ipv4(pod.address.host) ?? 0
        return ClusterEndpoints.Address(
            ip: ip, isReady: isReady, podName: pod.name, ports: ["http": pod.address.port, "http2": pod.address.port])
    }

    // MARK: What came of it

    var told: [Told] { record.now.told }
    var messages: Int { record.now.messages }
    var applied: [ClusterObject] { record.now.applied }
    var addresses: [SocketAddress] { record.now.addresses }
    var exitStatus: Int32? { record.now.exitStatus }

    /// A client at a listener: 0 HTTP, 1 HTTP/2, 2 metrics.
    func client(_ listener: Int = 0) throws -> Client { try Client(addresses[listener]) }

    @discardableResult
    fileprivate func until(_ what: String, _ condition: (Box) -> Bool) throws -> Box {
        let deadline = MonotonicClock.now().adding(milliseconds: Self.patience)
        while true {
            let found = record.now
            if condition(found) { return found }
            let now = MonotonicClock.now()
            guard now < deadline else { throw HarnessFailure(description: "not \(what) in time: \(found.told)") }
            record.wait(deadline.milliseconds(since: now) + 1)
        }
    }

    /// Waits until `told` satisfies `condition`.
    @discardableResult
    func untilTold(_ what: String, _ condition: ([Told]) -> Bool) throws -> [Told] {
        try until(what) { condition($0.told) }.told
    }

    /// Asks until there is an answer.
    @discardableResult
    static func wait<Found>(_ what: String, _ look: () throws -> Found?) throws -> Found {
        let deadline = MonotonicClock.now().adding(milliseconds: patience)
        while true {
            if let found = try look() { return found }
            guard MonotonicClock.now() < deadline else { throw HarnessFailure(description: "not \(what) in time") }
            sched_yield()
        }
    }

    /// Waits for the end after a signal.
    func waitForEnd() throws -> Int32 {
        _ = try until("ended") { $0.exitStatus != nil }
        return exitStatus ?? -1
    }

    func finish() {
        commands.post(.stop)
        thread.join()
    }
}

/// What belongs to the activator's thread.
private final class ControlThread: StatSink, ClusterSource {
    private let record: ActivatorHarness.Record
    private let commands: Mailbox<ActivatorHarness.Command>
    private let loop: Loop
    private let workers: WorkerGroup
    private var activator: Activator?
    private var observer: ((ClusterChange) -> Void)?
    var isConnected: Bool

    init?(
        _ configuration: ActivatorConfiguration, _ record: ActivatorHarness.Record,
        _ commands: Mailbox<ActivatorHarness.Command>, isConnected: Bool
    ) {
        self.record = record
        self.commands = commands
        self.isConnected = isConnected
        let desk = QuestionDesk()
        let options = Activator.options(for: configuration, desk: desk, files: 4_096)
        guard let loop = try? Loop(),
            let workers = try? WorkerGroup(
                listeners: Activator.listeners(for: configuration), options: options, log: nil)
        else { return nil }
        self.loop = loop
        self.workers = workers
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        activator = try? Activator(
            configuration, loop: loop, workers: workers, desk: desk, sink: self, logger: logger)
        if let certificates = try? ActivatorCertificates(folder: configuration.certificates) {
            activator?.use(certificates)
        }
        record.note { $0.addresses = workers.addresses }
    }

    func run() {
        guard let activator, (try? loop.watch(commands.fd, .readable) { [self] _ in takeCommands() }) != nil else {
            return
        }
        activator.onEnd = { [self] in
            record.note { $0.exitStatus = activator.exitStatus }
            loop.stop()
        }
        activator.begin(self)
        loop.run()
        workers.post(.stop)
        workers.join()
    }

    private func takeCommands() {
        for command in commands.takeAll() {
            switch command {
            case .change(let change): observer?(change)
            case .connected(let isConnected):
                self.isConnected = isConnected
                activator?.connectionChanged(reason: "test")
            case .signal: activator?.signalled(SIGTERM)
            case .stop: loop.stop()
            }
        }
    }

    func send(_ message: [UInt8]) -> Bool {
        let now = MonotonicClock.now()
        record.note { box in
            box.messages += 1
            message.withUnsafeBytes { bytes in
                guard var reader = try? WireStatReader(ByteView(bytes)) else { return }
                while let entry = try? reader.next() {
                    box.told.append(
                        ActivatorHarness.Told(
                            at: now, name: entry.name.string, average: entry.stat.report.averageConcurrency,
                            count: entry.stat.report.requestCount, message: box.messages))
                }
            }
        }
        return true
    }

    func watch(_ kinds: Set<ObjectKind>, _ observer: @escaping (ClusterChange) -> Void) { self.observer = observer }
    func apply(_ object: ClusterObject) { record.note { $0.applied.append(object) } }
}

/// A client of HTTP/1.1, one request after the other.
final class Client {
    let fd: Int32
    private var pending: [UInt8] = []

    init(_ address: SocketAddress) throws {
        fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var native = sockaddr_in()
        native.sin_family = sa_family_t(AF_INET)
        native.sin_port = address.port.bigEndian
        native.sin_addr.s_addr = (ActivatorConfiguration.ipv4(address.host) ?? 0).bigEndian
        let code = withUnsafePointer(to: &native) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(fd, $0, 16) }
        }
        guard code == 0 else { throw HarnessFailure(description: "connect: errno \(errno)") }
        var limit = timeval(tv_sec: Int(ActivatorHarness.patience / 1_000), tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    func send(_ text: String) throws {
        let bytes = Array(text.utf8)
        let count = bytes.withUnsafeBytes { Glibc.send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        guard count == bytes.count else { throw HarnessFailure(description: "send: errno \(errno)") }
    }

    /// Asks for a revision.
    func ask(_ name: ObjectName = ActivatorHarness.revision, path: String = "/", _ fields: String = "") throws {
        let names = "Knative-Serving-Revision: \(name.name)\r\nKnative-Serving-Namespace: \(name.namespace)\r\n"
        try send("GET \(path) HTTP/1.1\r\nHost: hello.example.com\r\n\(names)\(fields)\r\n")
    }

    struct Answer {
        let status: Int
        let head: String
        let body: String
    }

    /// Takes an answer with a length.
    func hear() throws -> Answer {
        let end = try ActivatorHarness.wait("answered") { () -> Int? in
            if let end = Self.headEnd(pending) { return end }
            try more()
            return nil
        }
        let head = String(decoding: pending[..<end], as: UTF8.self)
        pending.removeFirst(end)
        let line = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }
        let length = line.flatMap { Int($0.split(separator: " ").last ?? "") } ?? 0
        while pending.count < length { try more() }
        let body = String(decoding: pending[..<length], as: UTF8.self)
        pending.removeFirst(length)
        return Answer(status: Int(head.split(separator: " ")[1]) ?? 0, head: head, body: body)
    }

    /// Whether the other side has closed, without a word.
    func hearsEnd() throws -> Bool {
        var byte: UInt8 = 0
        return recv(fd, &byte, 1, 0) == 0
    }

    private func more() throws {
        var place = [UInt8](repeating: 0, count: 1 << 16)
        let count = recv(fd, &place, place.count, 0)
        guard count > 0 else { throw HarnessFailure(description: "ended: \(count), errno \(errno)") }
        pending += place[..<count]
    }

    private static func headEnd(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        return (4...bytes.count).first { bytes[$0 - 4..<$0].elementsEqual("\r\n\r\n".utf8) }
    }

    deinit { close(fd) }
}
