import ClusterLink
import EventLoop
import Knative
import Logging
import Primitives
import Scaling
import Simulation
import Telemetry

@testable import Autoscaler

/// A source in memory, and what was written to it.
final class MemorySource: ClusterSource {
    private var observers: [(kinds: Set<ObjectKind>, observer: (ClusterChange) -> Void)] = []
    private(set) var written: [ClusterObject] = []
    var onWrite: (ClusterObject) -> Void = { _ in }

    func watch(_ kinds: Set<ObjectKind>, _ observer: @escaping (ClusterChange) -> Void) {
        observers.append((kinds, observer))
    }

    func apply(_ object: ClusterObject) {
        written.append(object)
        onWrite(object)
    }

    func tell(_ change: ClusterChange) {
        for (kinds, observer) in observers {
            switch change {
            case .applied(let object) where !kinds.contains(object.kind): continue
            case .removed(let kind, _) where !kinds.contains(kind): continue
            default: observer(change)
            }
        }
    }

    func forgetObservers() { observers = [] }

    var scales: [ClusterScale] { written.compactMap { if case .scale(let scale) = $0 { scale } else { nil } } }
    var services: [ServerlessService] {
        written.compactMap { if case .serverlessService(let service) = $0 { service } else { nil } }
    }
    var statuses: [PodAutoscaler.Status] {
        written.compactMap { if case .podAutoscaler(let object) = $0 { object.status } else { nil } }
    }
}

/// One revision in virtual time with everything around the autoscaler: a platform that starts pods, queue-proxies that
/// can be asked, activators that push, and a load.
final class World: PodReader, ActivatorPathProbe {
    static let name = ObjectName(namespace: "default", name: "hello-00001")

    let clock = EventClock()
    let source = MemorySource()
    var options = AutoscalerOptions()
    var engine: AutoscalerEngine?
    var object = PodAutoscaler(name: World.name)

    /// Requests in flight at a second.
    var load: (Double) -> Double = { _ in 0 }
    /// How long a pod takes to be ready, in seconds.
    var startSeconds = 1.0
    /// Whether pods answer the question for statistics.
    var podsAnswer = true
    /// Whether the activator answers the probe when it is in the path.
    var activatorAnswers = true
    /// Activators that share the load.
    var activators = 2
    private(set) var pods: [String: ClusterPod] = [:]
    private(set) var service = ServerlessService(name: World.name)
    private(set) var scale: Int?
    private(set) var probes: [Double] = []
    private(set) var reads = 0
    private(set) var questions: [ScrapeQuestion] = []
    /// Answers questions for statistics in place of the pods.
    var mesh: ((ScrapeQuestion) -> Result<ScrapeAnswer, ScrapeFailure>)?
    /// Every scale written, with its second.
    private(set) var history: [(seconds: Double, replicas: Int, why: String)] = []
    /// Every mode written, with its second.
    private(set) var modes: [(seconds: Double, isProxy: Bool, activators: Int)] = []
    private var podNumber: UInt32 = 0
    private var activatorsHadLoad = false

    init(_ annotations: [String: String] = [:]) {
        for (key, value) in annotations { object.annotations[ScalingAnnotations.keyPrefix + key] = value }
        source.onWrite = { [unowned self] in carryOut($0) }
    }

    var readyPods: [ClusterPod] { pods.values.filter { $0.isReady && !$0.isTerminating } }

    // MARK: The autoscaler's life

    /// Starts an autoscaler on all there is.
    func start(tells: Bool = true) {
        let engine = AutoscalerEngine(
            options: options, source: source, clock: clock, pods: self, activators: self,
            logger: Logger(label: "test") { _ in SilentLog() })
        self.engine = engine
        engine.start()
        guard tells else { return }
        source.tell(.applied(.podAutoscaler(object)))
        tellAll()
        source.tell(.synced)
    }

    func tellAll() {
        source.tell(.applied(.serverlessService(service)))
        if let scale { source.tell(.applied(.scale(ClusterScale(name: World.name, replicas: scale)))) }
        for pod in pods.values { source.tell(.applied(.pod(pod))) }
        publish()
    }

    /// Kills the autoscaler: its windows are lost, objects stay.
    func kill() {
        engine?.stop()
        engine = nil
        activatorsHadLoad = false
        source.forgetObservers()
    }

    /// Lets time pass; each second activators push what they see.
    func run(to end: Double) {
        var second = clock.seconds.rounded(.down) + 1
        while second <= end {
            clock.advance(to: second)
            push()
            second += 1
        }
        clock.advance(to: end)
    }

    // MARK: The platform

    private func carryOut(_ object: ClusterObject) {
        switch object {
        case .scale(let scale):
            history.append((clock.seconds, scale.replicas, scale.explanation))
            self.scale = scale.replicas
            later { [self] in
                source.tell(.applied(.scale(scale)))
                fit()
            }
        case .serverlessService(let written):
            modes.append((clock.seconds, written.isProxy, written.activatorCount))
            service.isProxy = written.isProxy
            service.activatorCount = written.activatorCount
            later { [self] in publish() }
        case .podAutoscaler(let written):
            // The status alone, as the API server does it.
            self.object.status = written.status
            later { [self] in source.tell(.applied(.podAutoscaler(self.object))) }
        default: break
        }
    }

    /// A millisecond later, as through a socket.
    private func later(_ action: @escaping () -> Void) { clock.at(clock.now.adding(milliseconds: 1), action) }

    /// Starts and ends pods so that there are as many as wanted.
    private func fit() {
        let wanted = scale ?? 0
        while pods.count < wanted {
            podNumber += 1
            let name = "hello-00001-\(podNumber)"
            var pod = ClusterPod(
                name: ObjectName(namespace: "default", name: name), revision: World.name.name)
            pod.ip = 0x7F00_0100 + podNumber
            pod.isRunning = true
            pod.startedAt = clock.unixSeconds
            pods[name] = pod
            source.tell(.applied(.pod(pod)))
            clock.at(clock.now.adding(seconds: startSeconds)) { [self] in
                guard pods[name] != nil else { return }
                pods[name]?.isReady = true
                pods[name].map { source.tell(.applied(.pod($0))) }
                publish()
            }
        }
        while pods.count > wanted, let name = pods.keys.max(by: { ($0.count, $0) < ($1.count, $1) }) {
            pods[name] = nil
            source.tell(.removed(.pod, ObjectName(namespace: "default", name: name)))
        }
        publish()
    }

    /// Whether requests go through activators: as asked for, and whenever no pod is ready.
    var isProxied: Bool { service.isProxy || readyPods.isEmpty }

    /// Says where requests go, as the platform does it.
    private func publish() {
        if isProxied { service.proxySince = service.proxySince ?? clock.unixSeconds } else { service.proxySince = nil }
        source.tell(.applied(.serverlessService(service)))
        let ports: [String: UInt16] = ["http": 8012]
        let addresses =
            isProxied
            ? (0..<UInt32(activators)).map {
                ClusterEndpoints.Address(ip: 0x7F00_0A00 + $0, isReady: true, ports: ports)
            }
            : readyPods.map { ClusterEndpoints.Address(ip: $0.ip ?? 0, isReady: true, ports: ports) }
        source.tell(.applied(.endpoints(ClusterEndpoints(name: World.name, addresses: addresses))))
    }

    // MARK: Neighbours

    func read(_ question: ScrapeQuestion, _ report: @escaping (Result<ScrapeAnswer, ScrapeFailure>) -> Void) {
        reads += 1
        questions.append(question)
        if let mesh { return later { report(mesh(question)) } }
        guard case .pod(let ip) = question else { return later { report(.failure(.unreachable("no mesh"))) } }
        let share = load(clock.seconds) / Double(max(1, readyPods.count))
        let proxied = isProxied ? share : 0
        let isThere = podsAnswer && readyPods.contains { $0.ip == ip }
        let stat = RequestStat(
            averageConcurrency: share, averageProxiedConcurrency: proxied, requestCount: share,
            proxiedRequestCount: proxied)
        later { report(isThere ? .success(ScrapeAnswer(stat: stat)) : .failure(.unreachable("nobody is there"))) }
    }

    func ask(_ revision: ObjectName, at addresses: [SocketAddress], _ report: @escaping (Bool) -> Void) {
        probes.append(clock.seconds)
        let isActivator = activatorAnswers && isProxied && !addresses.isEmpty
        later { report(isActivator) }
    }

    /// A second of activators' reports. Like Knative's they tell the first request of a revision at once, leave it out
    /// of the second's report, and say nothing of a revision without requests, after one zero.
    private func push() {
        let load = isProxied ? load(clock.seconds) : 0
        defer { activatorsHadLoad = load > 0 }
        guard load > 0 || activatorsHadLoad else { return }
        var told = 0.0
        if !activatorsHadLoad {
            told = min(1, load / Double(activators))
            push(RequestStat(averageConcurrency: told, requestCount: told))
        }
        for _ in 0..<activators {
            let share = load / Double(activators) - told
            push(RequestStat(averageConcurrency: share, requestCount: share))
            told = 0
        }
    }

    func push(_ stat: RequestStat, revision: ObjectName = World.name, timestamp: Int64 = 0) {
        let bytes = World.message([(revision, stat, timestamp)])
        bytes.withUnsafeBytes { engine?.receive(ByteView($0)) }
    }

    /// A `WireStatMessages`.
    static func message(_ entries: [(ObjectName, RequestStat, Int64)]) -> [UInt8] {
        var memory = [UInt8](repeating: 0, count: entries.count * 700 + 16)
        let count = memory.withUnsafeMutableBytes { place in
            var writer = ByteWriter(place)
            for (name, stat, timestamp) in entries {
                with(name.namespace) { namespace in
                    with(name.name) { name in
                        let report = WindowReport(
                            averageConcurrency: stat.averageConcurrency,
                            averageProxiedConcurrency: stat.averageProxiedConcurrency,
                            requestCount: stat.requestCount, proxiedRequestCount: stat.proxiedRequestCount)
                        let body = StatMessage(podName: ByteView("activator"), report: report, timestamp: timestamp)
                        _ = WireStatMessage(namespace: namespace, name: name, stat: body).write(to: &writer)
                    }
                }
            }
            return writer.count
        }
        return Array(memory[..<count])
    }

    private static func with(_ text: String, _ body: (ByteView) -> Void) {
        var text = text
        text.withUTF8 { body(ByteView(UnsafeRawBufferPointer($0))) }
    }
}

/// Says nothing.
struct SilentLog: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.critical
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(event: LogEvent) {}
}
