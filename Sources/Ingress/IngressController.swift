import Admission
import Balancing
import ClusterLink
import DataPlane
import EventLoop
import Knative
import Logging
import Primitives
import Routing

/// Turns Ingress and Endpoints objects into snapshots and endpoints of workers that forward as gateways.
///
/// Lives on the control thread. Data flows one way: objects in; snapshots, endpoints and slots out. All changes of one
/// turn of the loop make one snapshot. What leaves, leaves last: an endpoint or service that vanishes goes only when
/// every worker has taken the routes of the same turn, so no request is sent after it.
public final class IngressController {
    let loop: Loop
    let workers: WorkerGroup
    let options: IngressOptions
    let logger: Logger
    private let source: any ClusterSource
    private let recheck: EndpointRecheck
    let budget: WaitBudget

    // What the source has told.
    private var ingresses: [ObjectName: Known] = [:]
    private var arrivals = 0
    var endpoints: [ObjectName: ClusterEndpoints] = [:]
    private var isSynced = false
    private var whenSynced: (() -> Void)?

    // What follows from it.
    private var plan: IngressPlan
    private var planIsNew = false
    var backends: [ServiceKey: Backend] = [:]
    /// Where requests still are, by the endpoint that serves them.
    var finishing: [ObjectIdentifier: Backend] = [:]
    var numbers = EndpointNumbers()
    private var book = TargetBook()
    private var table: RouteTable?
    private(set) var generation = 0
    private var nextTarget: UInt64 = 1
    private let placeholder: RevisionTarget
    private var told: Set<IngressPlan.Problem> = []

    // What is to be done.
    private var settlesLater = false
    private var routesAreDirty = false
    private var dirtyServices: Set<ObjectName> = []
    private var rounds: WorkerRounds
    private var statuses: IngressStatuses
    private var onDrained: (() -> Void)?
    private var drainedWorkers = 0

    /// An Ingress and when it came, for those without a time of creation.
    private struct Known {
        var ingress: ClusterIngress
        let arrival: Int
    }

    /// A controller that has not asked `source` for anything yet. `workers` must have been made with the forwarding
    /// mode `gateway`.
    public init(
        loop: Loop, workers: WorkerGroup, source: any ClusterSource, options: IngressOptions, logger: Logger
    ) throws(SystemError) {
        self.loop = loop
        self.workers = workers
        self.source = source
        self.options = options
        self.logger = logger
        plan = IngressPlan([], options)
        recheck = EndpointRecheck(loop: loop, limits: options.limits)
        budget = WaitBudget(limit: options.limits.queueLimitOverall)
        rounds = WorkerRounds(workers: workers.count)
        statuses = IngressStatuses(workers: workers.count)
        let nowhere = RevisionGate(concurrency: 0, queueLimit: 0, budget: budget)
        _ = nowhere.close()
        placeholder = RevisionTarget(
            id: 0, name: "", namespace: "", gate: nowhere, timeouts: Self.noTimeouts, workerCount: workers.count,
            now: loop.now)
        _ = try loop.watch(workers.events.fd, .readable) { [unowned self] _ in takeWorkerEvents() }
    }

    /// Begins to follow the source. `whenSynced` is called once, when all that is there at the beginning has been told
    /// and published.
    public func start(whenSynced: @escaping () -> Void) {
        self.whenSynced = whenSynced
        source.watch([.ingress, .endpoints]) { [weak self] change in self?.take(change) }
    }

    /// The snapshot workers start with.
    public static func emptySnapshot() throws -> RoutingSnapshot {
        RoutingSnapshot(generation: 0, table: try RouteTable(routes: []), targets: [])
    }

    /// Hosts that are served to everybody, by the namespace of their Ingress.
    public var publicHosts: [String: [String]] {
        var hosts: [String: [String]] = [:]
        for host in plan.hosts where !host.isClusterLocal { hosts[host.owner.namespace, default: []].append(host.name) }
        return hosts
    }

    /// Called after every publication. For who keeps certificates.
    public var onPublished: (() -> Void)?

    // MARK: Objects

    private func take(_ change: ClusterChange) {
        switch change {
        case .applied(.ingress(var ingress)):
            // What an ingress has written itself is no news.
            ingress.status = nil
            let old = ingresses[ingress.name]
            guard old?.ingress != ingress else { return }
            arrivals += 1
            ingresses[ingress.name] = Known(ingress: ingress, arrival: old?.arrival ?? arrivals)
            routesAreDirty = true
        case .applied(.endpoints(let new)):
            guard endpoints[new.name] != new else { return }
            endpoints[new.name] = new
            dirtyServices.insert(new.name)
        case .removed(.ingress, let name):
            guard ingresses.removeValue(forKey: name) != nil else { return }
            statuses.forget(name)
            routesAreDirty = true
        case .removed(.endpoints, let name):
            guard endpoints.removeValue(forKey: name) != nil else { return }
            dirtyServices.insert(name)
        case .synced: isSynced = true
        case .applied, .removed: return
        }
        settleLater()
    }

    private func settleLater() {
        guard isSynced, !settlesLater else { return }
        settlesLater = true
        loop.at(loop.now) { [weak self] in self?.settle() }
    }

    /// Carries out what has come since the last time.
    private func settle() {
        settlesLater = false
        let changed = dirtyServices
        dirtyServices = []
        if routesAreDirty || generation == 0 {
            routesAreDirty = false
            makePlan()
        }
        let leaving = updateBackends(changed)
        if leaving.mustPublish || planIsNew || generation == 0 { publish() }
        // First everybody gets the routes, then what they do not use any more goes.
        if leaving.isEmpty { return tellSynced() }
        workers.post(.report)
        rounds.begin { [weak self] in self?.release(leaving) }
        tellSynced()
    }

    private func tellSynced() {
        whenSynced?()
        whenSynced = nil
    }

    // MARK: Routes

    private func makePlan() {
        let sorted = ingresses.values.sorted { left, right in
            let (first, second) = (left.ingress.createdAt ?? .max, right.ingress.createdAt ?? .max)
            return first == second ? left.arrival < right.arrival : first < second
        }
        plan = IngressPlan(sorted.map(\.ingress), options)
        planIsNew = true
        tell(plan.problems)
    }

    private func tell(_ problems: [IngressPlan.Problem]) {
        let news = problems.filter { !told.contains($0) }
        told = Set(problems)
        for problem in news.prefix(options.limits.problemsTold) {
            logger.warning(
                "part of an Ingress is not served",
                metadata: ["ingress": "\(problem.ingress)", "problem": "\(problem.text)"])
        }
        if news.count > options.limits.problemsTold {
            logger.warning(
                "more parts of Ingresses are not served",
                metadata: ["count": "\(news.count - options.limits.problemsTold)"])
        }
    }

    /// The services that the plan leads to.
    var wantedServices: Set<ServiceKey> {
        var wanted: Set<ServiceKey> = []
        for host in plan.hosts {
            for path in host.paths { for split in path.splits { wanted.insert(split.service) } }
        }
        return wanted
    }

    private func publish() {
        planIsNew = false
        var routes: [Route] = []
        for host in plan.hosts { routes.append(Route(host: host.name, paths: host.paths.map(route))) }
        let targets = book.settle(placeholder: placeholder)
        guard let new = makeTable(&routes) else { return }
        table = new
        generation += 1
        workers.post(.publish(RoutingSnapshot(generation: generation, table: new, targets: targets)))
        if options.writesStatus {
            for known in ingresses.values { statuses.published(known.ingress, in: generation) }
        }
        logger.info(
            "routes published",
            metadata: [
                "generation": "\(generation)", "hosts": "\(routes.count)", "ingresses": "\(ingresses.count)",
                "services": "\(backends.count)",
            ])
        onPublished?()
    }

    /// The table of `routes`, without those that cannot be in one.
    private func makeTable(_ routes: inout [Route]) -> RouteTable? {
        do throws(RouteTableFailure) {
            return try RouteTable(routes: routes, previous: table)
        } catch {
            for issue in error.issues.prefix(options.limits.problemsTold) {
                logger.warning(
                    "host is not served",
                    metadata: ["host": "\(routes[issue.route].host)", "problem": "\(issue.problem)"])
            }
            let bad = Set(error.issues.map(\.route))
            routes = routes.enumerated().filter { !bad.contains($0.offset) }.map(\.element)
            return try? RouteTable(routes: routes, previous: table)
        }
    }

    private func route(_ path: IngressPlan.Path) -> RoutePath {
        let conditions = path.headers.sorted { $0.key < $1.key }.map { FieldCondition(name: $0.key, value: $0.value) }
        return RoutePath(prefix: path.prefix, conditions: conditions, splits: path.splits.compactMap(split))
    }

    private func split(_ split: IngressPlan.Split) -> Routing.Split? {
        guard let backend = backends[split.service] else { return nil }
        let place = book.place(of: split.rule, backend) {
            nextTarget += 1
            return RevisionTarget(
                id: nextTarget, name: split.service.name.name, namespace: split.service.name.namespace,
                gate: backend.gate, timeouts: Self.noTimeouts, upstreamProtocol: backend.upstreamProtocol,
                rule: split.rule, workerCount: workers.count, now: loop.now)
        }
        return Routing.Split(target: place, percent: split.percent)
    }

    /// A gateway adds no time limit of its own (spec/dataplane 5.1).
    static var noTimeouts: RevisionTimeouts {
        var timeouts = RevisionTimeouts()
        timeouts.total = 0
        return timeouts
    }

    // MARK: Workers

    private func takeWorkerEvents() {
        for event in workers.events.takeAll() {
            switch event {
            case .suspect(let target, let endpoint): suspected(endpoint, target)
            case .idle(let endpoint): becameIdle(endpoint)
            case .report(let worker, _): for action in rounds.takeAnswer(of: worker) { action() }
            case .published(let worker, let generation):
                for status in statuses.taken(by: worker, generation) { source.apply(.ingress(status)) }
            case .question(let question): workers.answer(question.asker, Answer(status: 404))
            case .drained:
                drainedWorkers += 1
                if drainedWorkers == workers.count { onDrained?() }
            case .failed(let worker, let error):
                logger.critical("worker failed to start", metadata: ["worker": "\(worker)", "error": "\(error)"])
            case .descriptorsExhausted:
                logger.warning("descriptors have run out; accepting pauses until some are free")
            // Nobody here starts pods.
            case .demand, .dispatched, .arrived, .doubt: break
            }
        }
    }

    private func suspected(_ endpoint: Endpoint, _ target: RevisionTarget) {
        logger.debug(
            "endpoint refuses connections",
            metadata: ["service": "\(target.namespace)/\(target.name)", "endpoint": "\(endpoint.address)"])
        recheck.begin(endpoint) { [unowned self] in
            for grant in target.gate.resume(endpoint) { deliver(grant, of: target) }
        }
    }

    /// Sends a slot to the worker whose request got it.
    func deliver(_ grant: Grant, of target: RevisionTarget) {
        workers.post(.grant(target, grant), to: grant.waiter.worker)
    }

    // MARK: Ending

    /// Stops taking requests and calls `done` when the last one is answered.
    public func drain(graceMilliseconds: UInt64, done: @escaping () -> Void) {
        onDrained = done
        workers.post(.drain)
        loop.after(milliseconds: graceMilliseconds) { [unowned self] in workers.post(.stopAccepting) }
    }
}
