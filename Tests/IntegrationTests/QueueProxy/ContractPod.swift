import Foundation
import Synchronization
import Testing

/// A pod as Knative makes it, for one test: the sidecar with the controller's environment, and a container beside it.
final class ContractPod: @unchecked Sendable {  // constants, and processes that lock for themselves
    /// Who plays the user container.
    enum Container {
        /// `martlet-test-server`: HTTP/1.1.
        case server
        /// Clients/pod.py: HTTP/1.1 and h2c; it says what reached it.
        case reporter
        /// Clients/grpc_app.py.
        case grpc
        /// Clients/ws_app.py.
        case webSocket
        /// The test itself.
        case played(PlayedContainer)
        /// Nobody listens at this port.
        case none(UInt16)
    }

    /// Listeners of the sidecar, as its log calls them.
    enum Listener: String, CaseIterable, Sendable {
        case queue, tls, admin, stat, metrics
    }

    let scratch = Scratch()
    let sidecar: Martlet
    let container: Martlet?
    let userPort: UInt16
    let podName: String
    let startedAt = Date()
    private let ports = Mutex<[Listener: UInt16]>([:])

    /// What the controller writes into every pod, and changes.
    static func environment(userPort: UInt16, _ changes: [String: String]) -> [String: String] {
        QueueSidecar.environment(userPort: userPort).merging(changes) { $1 }
    }

    /// Starts the executable with an environment.
    static func start(_ environment: [String: String], scratch: Scratch) throws -> Martlet {
        let variables = environment.map { "\($0)=\($1)" }.sorted()
        return try Martlet(variables + [Place.queue], scratch: scratch, program: "/usr/bin/env")
    }

    private init(_ changes: [String: String], _ kind: Container, certificates: ForeignCertificates?) throws {
        switch kind {
        case .played(let played): (container, userPort) = (nil, played.port)
        case .none(let port): (container, userPort) = (nil, port)
        case .server, .reporter, .grpc, .webSocket: (container, userPort) = try Self.launch(kind, scratch)
        }
        var changes = changes
        if let certificates { changes["MARTLET_CERTIFICATE_DIRECTORY"] = certificates.folder }
        let environment = Self.environment(userPort: userPort, changes)
        podName = environment["SERVING_POD"] ?? ""
        sidecar = try Self.start(environment, scratch: scratch)
    }

    private static func launch(_ kind: Container, _ scratch: Scratch) throws -> (Martlet, UInt16) {
        let words: [String]
        switch kind {
        case .server: words = ["PORT=0", Place.server]
        case .reporter: words = ["PORT=0"] + Foreign.python("pod.py")
        case .grpc: words = ["PORT=\(try freePort())"] + Foreign.python("grpc_app.py")
        case .webSocket: words = ["PORT=\(try freePort())"] + Foreign.python("ws_app.py")
        case .played, .none: throw Failure("no program plays \(kind)")
        }
        let process = try Martlet(words, scratch: scratch, program: "/usr/bin/env")
        return (process, try process.announcedPort())
    }

    /// Outside of the range the kernel chooses from, each once in a run of the tests.
    private static let ports = Mutex<ArraySlice<UInt16>>((18_000..<32_000).shuffled()[...])

    /// A port nobody uses.
    static func freePort() throws -> UInt16 {
        while let port = ports.withLock({ $0.popFirst() }) {
            let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
            defer { close(fd) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let code = withUnsafePointer(to: &address) { place in
                place.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if code == 0 { return port }
        }
        throw Failure("no free port")
    }

    // MARK: What a test does with it

    /// Where a listener is, as the log tells.
    func port(_ listener: Listener = .queue) throws -> UInt16 {
        if let known = ports.withLock({ $0[listener] }) { return known }
        let key = "\"listener\":\"\(listener)\",\"address\":\"127.0.0.1:"
        _ = sidecar.waitForLog { $0.contains(key) }
        guard let place = sidecar.log.firstRange(of: key),
            let port = UInt16(sidecar.log[place.upperBound...].prefix(while: \.isNumber))
        else { throw Failure("no listener \(listener):\n\(sidecar.tail)") }
        ports.withLock { $0[listener] = port }
        return port
    }

    func connect(_ listener: Listener = .queue, seconds: Int = Int(patience)) throws -> Client {
        try Client(port: port(listener), seconds: seconds)
    }

    /// One request on a connection of its own.
    func get(
        _ path: String = "/", _ fields: [String] = [], method: String = "GET", at listener: Listener = .queue
    ) throws -> Answer {
        let client = try connect(listener)
        try client.request(Self.host, path, method: method, fields: fields)
        return try client.readAnswer()
    }

    static let host = "app.default.example.com"

    /// Asks for health as kubelet does.
    func probe(_ fields: [String] = ["K-Network-Probe: queue"], userAgent: String = "kube-probe/1.30") throws -> Answer
    {
        try get("/", ["User-Agent: \(userAgent)"] + fields)
    }

    /// What the container has counted (`server` and `reporter`).
    func counts() throws -> [String: Int] {
        let client = try Client(port: userPort)
        try client.request("container", "/stats")
        let object = try JSONSerialization.jsonObject(with: Data(client.readAnswer().body))
        return (object as? [String: Any] ?? [:]).compactMapValues { $0 as? Int }
    }

    /// The end of what the sidecar said.
    var tail: String { sidecar.tail }

    // MARK: Its life

    /// Runs a pod for `body`, then ends it: SIGTERM, exit status 0, nothing left.
    ///
    /// - Parameter ends: whether the sidecar is still to be ended; false if `body` does that.
    static func running(
        _ changes: [String: String] = [:], _ container: Container = .server, certificates: ForeignCertificates? = nil,
        ends: Bool = true, location: SourceLocation = #_sourceLocation, _ body: (ContractPod) throws -> Void
    ) throws {
        let pod = try ContractPod(changes, container, certificates: certificates)
        defer {
            if case .played(let played) = container { played.stop() }
            for process in pod.scratch.processes { kill(process.pid, SIGKILL) }
        }
        do {
            try body(pod)
        } catch {
            throw Failure("\(error)\n\(pod.tail)")
        }
        if case .played(let played) = container { played.stop() }
        if ends {
            pod.sidecar.signal(SIGTERM)
            let status = pod.sidecar.waitForEnd()
            guard status == 0 else {
                throw Failure("SIGTERM ended it with \(status.map(String.init) ?? "nothing"):\n\(pod.tail)")
            }
        }
    }
}

extension Place {
    static var queue: String { products + "/martlet-queue" }
}

extension Martlet {
    /// The port that a program on the container's side prints.
    func announcedPort() throws -> UInt16 {
        let pattern = /listening(?: on)? (?:127\.0\.0\.1:)?(\d+)\n/
        _ = waitForLog(of: 1) { $0.contains(pattern) }
        guard let match = out.firstMatch(of: pattern), let port = UInt16(match.1) else {
            throw Failure("it does not listen:\n\(tail)")
        }
        return port
    }
}
