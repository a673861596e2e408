import Balancing
import ClusterLink
import DataPlane
import EventLoop
import Knative
import Logging
import Primitives
import Routing
import TLS

/// Knative's activator: holds requests of revisions without capacity, tells the autoscaler of them, finds the pods that
/// answer and spreads the requests over them.
///
/// Lives on the control thread. Objects come in by `observe`, requests by the workers; stats go out by the sink.
/// Source: spec/dataplane 3.
public final class Activator {
    /// The service whose endpoints activators are (spec/dataplane 3.1).
    public static let serviceName = "activator-service"
    /// What is behind a revision's name in that of its private service and endpoints.
    static let privateSuffix = "-private"
    /// The kinds of objects it reads.
    public static let kinds: Set<ObjectKind> = [.revision, .endpoints, .service]

    let context: ThrottlerContext
    let configuration: ActivatorConfiguration
    let loop: Loop
    let workers: WorkerGroup
    let desk: QuestionDesk
    let logger: Logger
    var throttlers: [ObjectName: RevisionThrottler] = [:]
    var throttlersByNumber: [UInt64: RevisionThrottler] = [:]
    let sink: any StatSink
    var stats: ActivatorStats
    var ending = ActivatorEnding()
    /// What `run` is to return.
    public internal(set) var exitStatus: Int32 = 0
    /// Whether revisions have names for the telemetry of requests. Default no. Set before `begin`.
    public var labelsRevisions: Bool {
        get { context.labelsRevisions }
        set { context.labelsRevisions = newValue }
    }
    /// The metrics of requests, which follow ours on the page. Default none.
    public var requestMetrics: () -> [UInt8] = { [] }
    /// Called when everything has ended.
    public var onEnd: () -> Void = {}
    private var endpoints: [ObjectName: ClusterEndpoints] = [:]
    private var services: [ObjectName: ClusterService] = [:]
    private var isSynced = false
    private var isPublishing = false
    private var generation = 0
    private weak var source: (any ClusterSource)?

    /// An activator on workers that `options(for:)` and `listeners(for:)` were used for; they have not been started.
    public init(
        _ configuration: ActivatorConfiguration, loop: Loop, workers: WorkerGroup, desk: QuestionDesk,
        sink: any StatSink, logger: Logger
    ) throws(SystemError) {
        self.configuration = configuration
        self.loop = loop
        self.workers = workers
        self.desk = desk
        self.logger = logger
        self.sink = sink
        context = ThrottlerContext(loop: loop, workers: workers, configuration: configuration, logger: logger)
        stats = ActivatorStats(podName: configuration.podName, workers: workers.count)
        desk.health = sink.isConnected ? .good : .notConnected
        _ = try loop.watch(workers.events.fd, .readable) { [unowned self] _ in takeEvents() }
    }

    // MARK: Set-up

    /// The listeners of a configuration: HTTP, HTTP/2, metrics, in this order.
    public static func listeners(for configuration: ActivatorConfiguration) -> [ListenerOptions] {
        [
            ListenerOptions(configuration.listeners.http), ListenerOptions(configuration.listeners.http2),
            ListenerOptions(configuration.listeners.metrics, purpose: .metrics),
        ]
    }

    /// The workers of a configuration. `files` is how many descriptors the process may have.
    public static func options(
        for configuration: ActivatorConfiguration, desk: QuestionDesk, files: Int
    ) -> WorkerOptions {
        var options = WorkerOptions()
        options.count = configuration.workers
        options.forwarding = .activator
        options.questions = desk
        // A connection needs two descriptors, its own and its pod's; a twentieth is kept in reserve.
        options.limits.connections = min(options.limits.connections, max(16, files * 19 / 20 / 2))
        // Clients are gateways: many connections of one address, for as long as they like.
        options.limits.connectionsPerAddress = options.limits.connections
        options.limits.keepAliveIdleMilliseconds = 3_600_000
        options.limits.upstreamIdleConnections = max(1, configuration.idleConnectionsPerPod / configuration.workers)
        options.limits.requestsPerConnection = .max
        options.limits.gatewayFailures = configuration.doubtFailures
        return options
    }

    /// Begins to read objects. The workers start when all that is there has been told.
    public func begin(_ source: any ClusterSource) {
        self.source = source
        source.watch(Self.kinds) { [weak self] change in self?.observe(change) }
    }

    // MARK: Objects

    /// Takes a change of the cluster.
    public func observe(_ change: ClusterChange) {
        switch change {
        case .applied(.revision(let revision)): apply(revision)
        case .applied(.endpoints(let object)): apply(object)
        case .applied(.service(let object)):
            services[object.name] = object
            listPods(ofPrivate: object.name)
        case .removed(.revision, let name): remove(name)
        case .removed(.endpoints, let name):
            endpoints[name] = nil
            listPods(ofPrivate: name)
        case .removed(.service, let name):
            services[name] = nil
            listPods(ofPrivate: name)
        case .synced: synced()
        case .applied, .removed: break
        }
    }

    private func apply(_ revision: ClusterRevision) {
        if let known = throttlers[revision.name] {
            guard known.revision.servesOtherwise(than: revision) else { return }
            remove(revision.name)
        }
        let throttler = RevisionThrottler(revision, context)
        throttlers[revision.name] = throttler
        throttlersByNumber[throttler.target.id] = throttler
        publishLater()
        if let activators = endpoints[revision.name] { setActivators(activators) }
        listPods(ofPrivate: revision.name.with(suffix: Self.privateSuffix))
    }

    private func remove(_ name: ObjectName) {
        guard let throttler = throttlers.removeValue(forKey: name) else { return }
        throttlersByNumber[throttler.target.id] = nil
        stats.book.remove(throttler.target.id)
        throttler.close()
        publishLater()
    }

    private func apply(_ object: ClusterEndpoints) {
        endpoints[object.name] = object
        listPods(ofPrivate: object.name)
        setActivators(object)
    }

    private func setActivators(_ object: ClusterEndpoints) {
        guard let throttler = throttlers[object.name] else { return }
        let port = throttler.revision.containerProtocol == .h2c ? "http2" : "http"
        let addresses = object.addresses.filter { $0.isReady && $0.ports[port] != nil }.map(\.ip)
        throttler.setActivators(addresses, own: configuration.podIP)
    }

    /// Tells the revision whose private endpoints or service `name` is, if it is one.
    private func listPods(ofPrivate name: ObjectName) {
        guard name.name.hasSuffix(Self.privateSuffix) else { return }
        let revision = ObjectName(
            namespace: name.namespace, name: String(name.name.dropLast(Self.privateSuffix.count)))
        throttlers[revision]?.list(endpoints[name], service: services[name])
    }

    private func synced() {
        guard !isSynced else { return }
        isSynced = true
        register(isReady: true)
        do {
            generation += 1
            try workers.start(snapshot())
            logger.info("serving", metadata: ["revisions": "\(throttlers.count)", "workers": "\(workers.count)"])
        } catch {
            logger.critical("cannot start", metadata: ["error": "\(error)"])
            end(1)
        }
    }

    /// Tells the cluster that this activator is there.
    func register(isReady: Bool) {
        let ports = ["http": workers.addresses[0].port, "http2": workers.addresses[1].port]
        let own = ClusterEndpoints.Address(
            ip: configuration.podIP, isReady: isReady, podName: configuration.podName, ports: ports)
        let name = ObjectName(namespace: configuration.systemNamespace, name: Self.serviceName)
        source?.apply(.endpoints(ClusterEndpoints(name: name, addresses: [own])))
    }

    // MARK: Snapshots

    /// Once for all changes that come together.
    func publishLater() {
        guard isSynced, !isPublishing else { return }
        isPublishing = true
        loop.at(loop.now) { [unowned self] in
            isPublishing = false
            generation += 1
            workers.post(.publish(snapshot()))
        }
    }

    private func snapshot() -> RoutingSnapshot {
        let targets = throttlers.values.map(\.target)
        // An activator does not look at hosts: the table is empty, which no table can fail to be.
        guard let table = try? RouteTable(routes: []) else { preconditionFailure("an empty table is one") }
        return RoutingSnapshot(
            generation: generation, table: table, targets: targets,
            revisions: RevisionIndex(targets, clusterDomain: configuration.clusterDomain))
    }

    // MARK: Workers

    private func takeEvents() {
        for event in workers.events.takeAll() {
            switch event {
            case .arrived(let target): arrived(target)
            case .report(let worker, let reports): take(reports, of: worker)
            case .suspect(let target, let endpoint):
                logger.info(
                    "pod refuses connections",
                    metadata: ["revision": "\(target.namespace)/\(target.name)", "pod": "\(endpoint.address)"])
                throttlersByNumber[target.id]?.suspected(endpoint)
            case .doubt(let target, let endpoint, let reason): doubt(endpoint, of: target, reason)
            case .idle(let endpoint): context.owners[ObjectIdentifier(endpoint)]?.becameIdle(endpoint)
            case .question(let question): answer(question)
            case .demand(let target): target.demandSeen()
            case .dispatched(_, let arrived, let granted, let sent):
                stats.noteWait(
                    nanoseconds: granted.nanoseconds(since: arrived), toSend: sent.nanoseconds(since: granted))
            case .published: break
            case .drained: workerDrained()
            case .failed(let worker, let error):
                logger.critical("worker failed to start", metadata: ["worker": "\(worker)", "error": "\(error)"])
                end(1)
            case .descriptorsExhausted:
                logger.warning("descriptors have run out; accepting pauses until some are free")
            }
        }
    }

    private func doubt(_ endpoint: Endpoint, of target: RevisionTarget, _ reason: DoubtReason) {
        switch reason {
        case .draining: context.counts.marked += 1
        case .failures: context.counts.failed += 1
        }
        throttlersByNumber[target.id]?.doubted(endpoint)
    }

    private func answer(_ question: Question) {
        let answer: Answer =
            question.subject == .metrics
            ? Answer(status: 200, contentType: .prometheus, body: metricsPage()) : Answer(status: 404)
        workers.answer(question.asker, answer)
    }
}

extension ClusterRevision {
    /// Whether `other` is another revision, or one whose requests are served otherwise. Revisions of a cluster do not
    /// change; files may.
    fileprivate func servesOtherwise(than other: ClusterRevision) -> Bool {
        var same = other
        (same.annotations, same.service, same.configuration) = (annotations, service, configuration)
        return same != self
    }
}
