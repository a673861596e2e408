import Balancing
import ClusterLink
import DataPlane
import EventLoop
import Glibc
import Knative
import Logging
import Primitives
import Routing
import Telemetry
import Testing

@testable import Ingress

/// A source of objects that the test plays.
final class PlayedSource: ClusterSource {
    private var observer: ((ClusterChange) -> Void)?

    func watch(_ kinds: Set<ObjectKind>, _ observer: @escaping (ClusterChange) -> Void) { self.observer = observer }
    /// What the ingress wrote; nothing but the status of an Ingress.
    private(set) var written: [ClusterIngress] = []

    func apply(_ object: ClusterObject) {
        if case .ingress(let ingress) = object {
            written.append(ingress)
        } else {
            Issue.record("an ingress wrote \(object)")
        }
    }

    func tell(_ changes: [ClusterChange]) { for change in changes { observer?(change) } }
}

/// An HTTP/1.1 server on the test's own loop. It answers every request with its name, a space and the head.
final class PlayedPod {
    let name: String
    let address: EndpointAddress
    /// Requests are kept and answered by `answerAll`.
    var holdsRequests = false
    private(set) var requests = 0
    private let loop: Loop
    private var listener: Int32
    private var watch: Loop.WatchToken?
    private var connections: [Int32: (watch: Loop.WatchToken, bytes: [UInt8])] = [:]
    private var held: [(fd: Int32, head: String)] = []

    init(_ name: String, loop: Loop, port: UInt16 = 0) throws {
        self.name = name
        self.loop = loop
        let opened = try Listener(.loopback(port: port), sharesPort: false)
        address = .loopback(port: opened.address?.port ?? 0)
        listener = opened.release()
        watch = try loop.watch(listener, .readable) { [unowned self] _ in accept() }
    }

    var connectionCount: Int { connections.count }

    private func accept() {
        let fd = Glibc.accept(listener, nil, nil)
        guard fd >= 0, let watch = try? loop.watch(fd, .readable, { [unowned self] _ in read(fd) }) else { return }
        connections[fd] = (watch, [])
    }

    private func read(_ fd: Int32) {
        var chunk = [UInt8](repeating: 0, count: 16_384)
        let count = recv(fd, &chunk, chunk.count, 0)
        guard count > 0 else { return close(fd) }
        connections[fd]?.bytes += chunk[..<count]
        let text = String(decoding: connections[fd]?.bytes ?? [], as: UTF8.self)
        guard text.hasSuffix("\r\n\r\n") else { return }
        connections[fd]?.bytes = []
        requests += 1
        if holdsRequests { held.append((fd, text)) } else { answer(fd, text) }
    }

    private func answer(_ fd: Int32, _ head: String) {
        let body = "\(name) \(head)"
        let answer = Array("HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8)
        _ = send(fd, answer, answer.count, Int32(MSG_NOSIGNAL))
    }

    func answerAll() {
        for (fd, head) in held where connections[fd] != nil { answer(fd, head) }
        held = []
    }

    private func close(_ fd: Int32) {
        if let watch = connections.removeValue(forKey: fd)?.watch { loop.unwatch(watch) }
        Glibc.close(fd)
    }

    /// Takes no more connections and drops those there are, as a pod that ends.
    func stop() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        if listener >= 0 { Glibc.close(listener) }
        listener = -1
        for fd in connections.keys { close(fd) }
    }

    deinit { stop() }
}

/// A client's connection on the test's own loop: one request at a time.
final class PlayedClient {
    private let fd: Int32
    private let loop: Loop
    private var watch: Loop.WatchToken?
    private var bytes: [UInt8] = []
    private(set) var hasEnded = false

    init(port: UInt16, loop: Loop) throws {
        self.loop = loop
        switch Socket.connect(to: .loopback(port: port)) {
        case .pending(let socket): fd = dup(socket.fd)
        case .connected(let socket): fd = dup(socket.fd)
        case .failed(let code): throw Trouble("connect: \(code)")
        }
        watch = try loop.watch(fd, [.readable], { [unowned self] _ in read() })
    }

    private func read() {
        var chunk = [UInt8](repeating: 0, count: 16_384)
        let count = recv(fd, &chunk, chunk.count, 0)
        if count > 0 { return bytes += chunk[..<count] }
        hasEnded = true
        if let watch { loop.unwatch(watch) }
        watch = nil
    }

    func ask(_ host: String, _ path: String = "/", _ fields: String = "") {
        let text = Array("GET \(path) HTTP/1.1\r\nHost: \(host)\r\n\(fields)\r\n".utf8)
        _ = send(fd, text, text.count, Int32(MSG_NOSIGNAL))
    }

    /// The next whole answer; nil if it is not there yet.
    func takeAnswer() -> Answered? {
        let text = String(decoding: bytes, as: UTF8.self)
        guard let end = text.range(of: "\r\n\r\n") else { return nil }
        let lines = text[..<end.lowerBound].split(separator: "\r\n")
        let length = lines.first { $0.lowercased().hasPrefix("content-length:") }
            .flatMap { Int($0.drop { $0 != ":" }.dropFirst().drop { $0 == " " }) }
        let body = text[end.upperBound...]
        guard body.utf8.count >= length ?? 0 else { return nil }
        bytes = []
        let status = Int(lines[0].split(separator: " ")[1]) ?? 0
        return Answered(status: status, body: String(body))
    }

    deinit {
        if let watch { loop.unwatch(watch) }
        close(fd)
    }
}

/// What came back.
struct Answered {
    let status: Int
    let body: String
    /// The pod that answered.
    var pod: String { String(body.prefix { $0 != " " }) }
}

struct Trouble: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

extension String {
    /// Where `other` first stands.
    fileprivate func range(of other: String) -> Range<Index>? { ranges(of: other).first }
}

/// A gateway with real workers, its cluster and its clients, all on the test's loop but the workers.
final class World {
    static let patience: UInt64 = 20_000

    let loop: Loop
    let source = PlayedSource()
    let workers: WorkerGroup
    let control: IngressController
    private let log: LogSink

    init(workerCount: Int = 2, _ options: IngressOptions = IngressOptions(), endpointWait: UInt64 = 1_000) throws {
        loop = try Loop()
        log = try LogSink(descriptor: open("/dev/null", O_WRONLY))
        var settings = WorkerOptions()
        settings.count = workerCount
        settings.forwarding = .gateway
        settings.seed = 3
        settings.limits.endpointWaitMilliseconds = endpointWait
        var inside = ListenerOptions(.loopback(port: 0))
        inside.servesClusterLocal = true
        workers = try WorkerGroup(
            listeners: [ListenerOptions(.loopback(port: 0)), inside], options: settings, log: log)
        var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        logger.logLevel = .critical
        control = try IngressController(loop: loop, workers: workers, source: source, options: options, logger: logger)
        control.start { [workers] in try? workers.start(IngressController.emptySnapshot()) }
    }

    /// Tells changes of one turn, then lets them settle.
    func tell(_ changes: ClusterChange...) {
        source.tell(changes)
        turn()
    }

    func turn() { for _ in 0..<3 { loop.runOnce(atMostMilliseconds: 1) } }

    func client(listener: Int = 0) throws -> PlayedClient {
        try PlayedClient(port: workers.addresses[listener].port, loop: loop)
    }

    func until(_ what: String, _ isDone: () -> Bool) throws {
        let deadline = MonotonicClock.now().adding(milliseconds: Self.patience)
        while !isDone() {
            guard MonotonicClock.now() < deadline else { throw Trouble("not \(what) in time") }
            loop.runOnce(atMostMilliseconds: 5)
        }
    }

    func answer(of client: PlayedClient) throws -> Answered {
        var found: Answered?
        try until("answered") {
            found = client.takeAnswer()
            return found != nil
        }
        return found ?? Answered(status: 0, body: "")
    }

    /// One request on a connection of its own.
    func get(_ host: String, _ path: String = "/", _ fields: String = "", listener: Int = 0) throws -> Answered {
        let client = try client(listener: listener)
        client.ask(host, path, fields)
        return try answer(of: client)
    }

    func end() {
        workers.post(.stop)
        workers.join()
        log.close()
    }
}
