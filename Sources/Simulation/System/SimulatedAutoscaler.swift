import Autoscaler
import ClusterLink
import EventLoop
import Knative
import Logging
import Primitives
import Scaling
import Telemetry

/// The real autoscaler, which is told objects late, writes late, and is started anew now and then.
final class SimulatedAutoscaler: PodReader, ActivatorPathProbe {
    /// Which one since the beginning; nil while there is none.
    private(set) var generation: Int?
    private unowned let world: SystemSimulation
    private var engine: AutoscalerEngine?
    private var source: SimulatedSource?
    private var started = 0
    /// Which write of an object came last; an older one that comes after it is passed over.
    private var written: [ObjectNumber: Int] = [:]
    private var writes = 0

    init(_ world: SystemSimulation) { self.world = world }

    /// Whether it decides.
    var isUp: Bool { generation != nil && engine?.isSynced == true }

    func start() {
        started += 1
        generation = started
        let source = SimulatedSource(self, world)
        var options = AutoscalerOptions()
        options.scaling.scaleToZeroGracePeriod = .seconds(world.plan.graceSeconds)
        options.seed = world.random.next()
        let engine = AutoscalerEngine(
            options: options, source: source, clock: world.clock, pods: self, activators: self,
            logger: Logger(label: "simulation") { _ in SwiftLogNoOpLogHandler() })
        (self.engine, self.source) = (engine, source)
        engine.start()
        world.tell("autoscaler \(started) starts")
    }

    func stop() {
        generation = nil
        engine?.stop()
        source?.end()
        (engine, source) = (nil, nil)
    }

    func restart() {
        guard generation != nil else { return }
        world.note(.autoscalerRestarted)
        world.tell("autoscaler \(started) stops")
        stop()
        for activator in world.activators { activator.autoscalerGone() }
        world.clock.after(world.delay(3_000)) { [weak self] in self?.start() }
    }

    func receive(_ message: [UInt8]) { message.withUnsafeBytes { engine?.receive(ByteView($0)) } }

    /// What has been counted is at most what was there to be counted: each request once, wherever it was seen.
    func checkCounts() {
        for revision in world.revisions {
            guard let counted = engine?.counted(revision.name) else { continue }
            let bound = revision.counted.bound(window: revision.plan.windowSeconds, now: world.clock.now)
            world.note(.countChecked)
            world.expect(
                counted.concurrency <= bound.concurrency && counted.requests <= bound.requests,
                "\(revision.name.name): the autoscaler has counted \(counted.concurrency) requests in flight and "
                    + "\(counted.requests) arrivals in its window, where there were \(bound)")
        }
    }

    // MARK: Writes

    func write(_ object: ClusterObject) {
        guard let revision = world.revisions.first(where: { $0.name == object.name }) else {
            return world.expect(false, "the autoscaler writes \(object.name)")
        }
        let number: ObjectNumber
        switch object {
        case .scale(let scale):
            number = revision.number(.scale)
            check(scale.replicas, of: revision)
        case .serverlessService: number = revision.number(.service)
        case .podAutoscaler: number = revision.number(.autoscaler)
        case .revision, .endpoints, .service, .pod, .ingress: return world.expect(false, "the autoscaler writes pods")
        }
        writes += 1
        let write = writes
        world.clock.after(world.delay(world.plan.delays.write)) { [self] in
            guard write > written[number, default: 0] else { return }
            written[number] = write
            arrive(object, as: number, revision)
        }
    }

    private func arrive(_ object: ClusterObject, as number: ObjectNumber, _ revision: SimulatedRevision) {
        switch object {
        case .scale(let scale):
            world.objects.publish(object, as: number)
            revision.scale(to: scale.replicas)
        case .serverlessService(let service): revision.take(service)
        case .podAutoscaler: world.objects.publish(object, as: number)
        case .revision, .endpoints, .service, .pod, .ingress: break
        }
    }

    /// Floors, ceilings, and the way to zero.
    private func check(_ replicas: Int, of revision: SimulatedRevision) {
        let plan = revision.plan
        world.tell("the autoscaler wants \(replicas) of \(revision.name.name)")
        world.expect(
            replicas >= plan.minScale && replicas <= plan.maxScale,
            "\(revision.name.name): \(replicas) is not in \(plan.minScale)...\(plan.maxScale)")
        if replicas < revision.replicas { world.note(.scaledDown) }
        guard replicas == 0, revision.replicas > 0 else { return }
        world.note(.scaledToZero)
        let hasActivator = world.activators.contains(where: \.isListed)
        world.expect(
            revision.isProxied || !hasActivator || !world.plan.faults.isNone,
            "\(revision.name.name) goes to zero, and requests go to pods")
    }

    // MARK: Questions

    func read(_ question: ScrapeQuestion, _ report: @escaping (Result<ScrapeAnswer, ScrapeFailure>) -> Void) {
        guard case .pod(let ip) = question else { return world.expect(false, "\(question), and there is no mesh") }
        if chance(world.faults.lostScrape, &world.random) {
            world.clock.after(3_000_000_000) { report(.failure(.timedOut)) }
            return
        }
        world.clock.after(world.delay(world.plan.delays.scrape)) { [world] in
            guard let pod = world.pod(at: ip), pod.state != .pending, pod.state != .gone else {
                return report(.failure(.unreachable("nobody is there")))
            }
            let (stat, own) = pod.report()
            let counted = RequestStat(
                averageConcurrency: stat.averageConcurrency,
                averageProxiedConcurrency: stat.averageProxiedConcurrency, requestCount: stat.requestCount,
                proxiedRequestCount: stat.proxiedRequestCount)
            pod.revision.counted.scraped(own, now: world.clock.now)
            report(.success(ScrapeAnswer(podName: pod.name.name, stat: counted)))
        }
    }

    func ask(_ revision: ObjectName, at addresses: [SocketAddress], _ report: @escaping (Bool) -> Void) {
        world.networkLater { [world] in
            func isAsked(_ ip: UInt32) -> Bool {
                addresses.contains(SocketAddress(ipv4: ip, port: SystemSimulation.port))
            }
            let hasActivator = world.activators.contains { $0.isAlive && isAsked($0.ip) }
            let hasPod = world.revisions.flatMap(\.pods).contains { $0.accepts && isAsked($0.ip) }
            report(hasActivator && !hasPod)
        }
    }
}

/// Where one life of the autoscaler reads and writes objects.
private final class SimulatedSource: ClusterSource {
    private unowned let autoscaler: SimulatedAutoscaler
    private unowned let world: SystemSimulation
    private var watcher: SystemWatcher?

    init(_ autoscaler: SimulatedAutoscaler, _ world: SystemSimulation) {
        self.autoscaler = autoscaler
        self.world = world
    }

    func watch(_ kinds: Set<ObjectKind>, _ observer: @escaping (ClusterChange) -> Void) {
        let watcher = SystemWatcher([.pods, .path, .service, .scale, .autoscaler, .pod], observer)
        self.watcher = watcher
        world.objects.add(watcher)
    }

    func apply(_ object: ClusterObject) { autoscaler.write(object) }

    func end() { watcher?.isOver = true }
}
