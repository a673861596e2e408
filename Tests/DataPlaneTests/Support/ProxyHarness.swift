import Admission
import Balancing
import EventLoop
import Glibc
import Primitives
import Routing
import TLS
import Telemetry
import Testing

@testable import DataPlane

/// What a test wants to be different.
struct ProxySetup {
    var workers = 1
    var pods = 1
    var concurrency = 0
    var queueLimit = RevisionGate.defaultQueueLimit
    var timeouts = RevisionTimeouts()
    var limits = DataPlaneLimits()
    var trustsForwarded = false
    var forwarding = ForwardingMode.ingress
    /// Request log, metrics, spans.
    var telemetry: RequestTelemetry.Settings?
    var accessLog = AccessLogFormat.envoy
    var questions: QuestionDesk?
    /// A small receive buffer makes a pod slow.
    var podReceiveBuffer: Int32?
    /// Where clients connect to.
    var listeners = [ListenerOptions(.loopback(port: 0))]
    /// What TLS listeners serve.
    var certificates: CertificateSet?
    var tickets: TicketKeyRing?
    /// TLS to the pods.
    var upstreamSecurity: UpstreamSecurity?
    var upstreamProtocol = UpstreamProtocol.http1
    /// Of a gateway: its routes, and for each target what is done with its requests. They share the pods.
    var routes = [Route(host: ProxyHarness.host, splits: [Split(target: 0, percent: 100)])]
    var rules: [GatewayRule?] = [nil]
}

/// Real workers on a real port, pods and clients played by the test.
final class ProxyHarness {
    /// The host that has a route.
    static let host = "hello.example.com"

    let group: WorkerGroup
    let gate: RevisionGate
    let target: RevisionTarget
    let pods: [Pod]
    let endpoints: [Endpoint]
    let telemetry: RequestTelemetry?
    private(set) var events: [WorkerEvent] = []
    private var clients: [Peer] = []
    private let asked: Mailbox<WorkerGauges>
    private let log: LogSink
    private let logFile: Int32

    init(_ setup: ProxySetup) throws {
        pods = try (0..<setup.pods).map { _ in try Pod(receiveBuffer: setup.podReceiveBuffer) }
        endpoints = pods.enumerated().map {
            Endpoint(id: $0.offset, address: .loopback(port: $0.element.port), concurrency: setup.concurrency)
        }
        gate = RevisionGate(concurrency: setup.concurrency, queueLimit: setup.queueLimit, budget: WaitBudget())
        let gate = gate
        let targets = setup.rules.map { rule in
            RevisionTarget(
                id: 1, name: "hello-00001", namespace: "default", gate: gate, timeouts: setup.timeouts,
                upstreamProtocol: setup.upstreamProtocol, upstreamSecurity: setup.upstreamSecurity, rule: rule,
                workerCount: setup.workers, now: MonotonicClock.now())
        }
        target = targets[0]
        logFile = Self.temporaryFile()
        log = try LogSink(descriptor: logFile)
        asked = try Mailbox()
        var options = WorkerOptions()
        options.count = setup.workers
        options.limits = setup.limits
        options.trustsForwarded = setup.trustsForwarded
        options.forwarding = setup.forwarding
        options.accessLog = setup.accessLog
        telemetry = try setup.telemetry.map { try RequestTelemetry($0, workerCount: setup.workers) }
        options.telemetry = telemetry
        options.questions = setup.questions
        options.seed = 7
        options.certificates = setup.certificates
        options.tickets = setup.tickets
        group = try WorkerGroup(listeners: setup.listeners, options: options, log: log)
        _ = gate.setEndpoints(endpoints)
        let index = setup.forwarding == .activator ? RevisionIndex([target], clusterDomain: "cluster.local") : nil
        try group.start(
            RoutingSnapshot(
                generation: 1, table: RouteTable(routes: setup.routes), targets: targets, revisions: index))
    }

    /// A new client connection to a listener.
    func client(receiveBuffer: Int32? = nil, listener: Int = 0) throws -> Peer {
        let client = try Peer(port: group.addresses[listener].port, receiveBuffer: receiveBuffer)
        clients.append(client)
        return client
    }

    /// The only pod's next connection.
    func accept() throws -> Peer { try pods[0].accept() }

    /// A new client connection of HTTP/2 by prior knowledge.
    func client2(
        settings: [(UInt16, UInt32)] = [], receiveBuffer: Int32? = nil, listener: Int = 0
    ) throws -> HTTP2Peer {
        try HTTP2Peer(client: client(receiveBuffer: receiveBuffer, listener: listener), settings: settings)
    }

    /// A pod's next connection, which is of HTTP/2.
    func accept2(pod: Int = 0, settings: [(UInt16, UInt32)] = []) throws -> HTTP2Peer {
        try HTTP2Peer(pod: pods[pod].accept(), settings: settings)
    }

    /// The pseudo-fields of a plain request, then `fields`.
    static func fields(
        _ method: String = "GET", _ path: String = "/", _ fields: [(String, String)] = []
    ) -> [(String, String)] {
        [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)] + fields
    }

    /// The request line and Host of a plain request.
    static func get(_ path: String = "/", _ fields: String = "") -> String {
        "GET \(path) HTTP/1.1\r\nHost: \(host)\r\n\(fields)\r\n"
    }

    /// A POST with a length.
    static func post(_ body: String, _ fields: String = "") -> String {
        "POST / HTTP/1.1\r\nHost: \(host)\r\nContent-Length: \(body.utf8.count)\r\n\(fields)\r\n\(body)"
    }

    // MARK: Workers

    /// The figures of every worker, as of now: what was said to a worker before has been heard.
    func gauges() throws -> [WorkerGauges] {
        group.post(.gauges(asked))
        var all: [WorkerGauges] = []
        while all.count < group.count {
            try Self.wait(asked.fd, "gauges")
            all += asked.takeAll()
        }
        return all
    }

    /// The sums over all workers.
    func total() throws -> WorkerGauges {
        try gauges().reduce(into: WorkerGauges()) { sum, gauges in
            sum.downstreams += gauges.downstreams
            sum.upstreams += gauges.upstreams
            sum.pooledUpstreams += gauges.pooledUpstreams
            sum.handshakes += gauges.handshakes
            sum.failedHandshakes += gauges.failedHandshakes
            sum.exchanges += gauges.exchanges
            sum.questions += gauges.questions
            sum.lentBytes += gauges.lentBytes
            sum.timers += gauges.timers
        }
    }

    /// Asks for the figures until they satisfy `condition`; each question is a wake-up of the workers.
    @discardableResult
    func until(_ what: String, _ condition: (WorkerGauges) -> Bool) throws -> WorkerGauges {
        let deadline = MonotonicClock.now().adding(milliseconds: Peer.patience)
        while true {
            let gauges = try total()
            if condition(gauges) { return gauges }
            guard MonotonicClock.now() < deadline else {
                throw PeerFailure(description: "not \(what) in time: \(gauges)")
            }
            sched_yield()
        }
    }

    /// Waits for the first event that satisfies `pick`.
    func event<Found>(_ pick: (WorkerEvent) -> Found?) throws -> Found {
        while true {
            if let found = events.lazy.compactMap(pick).first { return found }
            try Self.wait(group.events.fd, "event")
            events += group.events.takeAll()
        }
    }

    /// Takes in the events that have come.
    func takeEvents() { events += group.events.takeAll() }

    private static func wait(_ fd: Int32, _ what: String) throws {
        var entry = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, Int32(Peer.patience)) > 0 else { throw PeerFailure(description: "no \(what) in time") }
    }

    // MARK: The end

    /// Closes the clients, expects that nothing is left under way, and ends the workers.
    func finish() throws {
        for client in clients { client.close() }
        defer { end() }
        try until("at rest") {
            $0.questions == 0 && $0.downstreams == 0 && $0.upstreams == 0 && $0.exchanges == 0 && $0.lentBytes == 0
                && $0.handshakes == 0
                && group.connectionCount == 0
        }
        // Connections of HTTP/2 that are kept may have timers that will find nothing to do.
        for pod in pods { pod.close() }
        try until("alone") { $0.pooledUpstreams == 0 && $0.timers == 0 }
        #expect(gate.inFlight == 0 && gate.waiting == 0)
        events += group.events.takeAll()
    }

    private func end() {
        group.post(.stop)
        group.join()
        log.close()
    }

    /// A file without a name.
    private static func temporaryFile() -> Int32 {
        var path = Array("/tmp/martlet-access-XXXXXX".utf8CString)
        let file = mkstemp(&path)
        unlink(path)
        return file
    }

    /// The lines of the access log; after `finish`.
    func logLines() -> [String] {
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = pread(logFile, &bytes, bytes.count, 0)
        return String(decoding: bytes[..<max(0, count)], as: UTF8.self).split(separator: "\n").map(String.init)
    }

    deinit { close(logFile) }
}

/// Runs `body` against a proxy, then expects it to be at rest. Returns the access log.
@discardableResult
func withProxy(
    _ configure: (inout ProxySetup) -> Void = { _ in }, _ body: (ProxyHarness) throws -> Void
) throws -> [String] {
    var setup = ProxySetup()
    configure(&setup)
    let proxy = try ProxyHarness(setup)
    do { try body(proxy) } catch {
        _ = try? proxy.finish()
        throw error
    }
    try proxy.finish()
    return proxy.logLines()
}
