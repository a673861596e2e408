import ClusterLink
import ControlPlane
import EventLoop
import Knative
import Logging
import Primitives
import Scaling

/// The platform of a split run: Services in, objects out, and what roles write carried out. Owned by the control
/// thread.
///
/// It is to the roles what the Kubernetes API with Knative's controllers is in a cluster.
final class SplitPlatform {
    let hub: ClusterHub
    private let context: SplitPodContext
    private let domain: String
    private let scaling: ScalingConfig
    private let log: Logger
    private var store = ServiceStore()
    private var revisions: [ObjectName: SplitRevision] = [:]
    /// Revisions that have been removed and whose pods still drain.
    private var retired: [SplitRevision] = []
    private var activators: [ClusterEndpoints.Address] = []
    /// Services whose traffic has been routed once: from then on a new revision must be ready first.
    private var programmed: Set<ServiceName> = []
    private var trafficLog: TrafficLog
    /// What was published last of each service.
    private var ingresses: [ServiceName: ClusterIngress] = [:]
    private var generationCount = 0
    private var rolloutTimer: TimerHandle = .none
    /// The first activator has come, or the last has gone.
    var onActivators: (Int) -> Void = { _ in }

    init(
        hub: ClusterHub, context: SplitPodContext, domain: String, scaling: ScalingConfig, logger: Logger
    ) {
        self.hub = hub
        self.context = context
        self.domain = domain
        self.scaling = scaling
        log = logger
        trafficLog = TrafficLog(logger: logger)
        hub.onApply = { [unowned self] object, _ in take(object) }
        hub.onRegistration = { [unowned self] endpoints in registered(endpoints) }
        hub.onExplain = { [unowned self] name in Explanation.answer(name, in: self.hub.store) }
    }

    /// The services and the hosts that people use.
    var publicHosts: [(service: ServiceName, hosts: [String])] {
        store.services.map { service in
            (service.serviceName, service.hosts(domain: domain).filter { !$0.isClusterLocal }.map(\.host))
        }
    }

    // MARK: Services

    /// Applies services in order, as `kubectl apply` would; those that are not among them go.
    /// - Returns: problems of services that do not fit what is there; these keep their old state.
    func apply(_ services: [ServiceObject]) -> [Diagnostic] {
        let result = store.apply(services, removing: true)
        for revision in result.createdRevisions { add(revision) }
        for (service, change) in result.changes where change != .unchanged {
            log.info("service applied", metadata: ["service": "\(service)", "change": "\(change)"])
        }
        for service in result.removedServices {
            programmed.remove(service)
            trafficLog.forget(service)
            ingresses[service] = nil
            hub.publish(.removed(.ingress, ObjectName(namespace: service.namespace, name: service.name)))
            log.info("service removed", metadata: ["service": "\(service)"])
        }
        publishRoutes()
        for revision in result.removedRevisions { remove(revision) }
        return result.diagnostics
    }

    private func add(_ object: RevisionObject) {
        let revision = SplitRevision(object, hub: hub, context: context, scaling: scaling)
        revisions[revision.name] = revision
        revision.onRoutable = { [unowned self] in publishRoutes() }
        revision.begin(activators: activators)
    }

    private func remove(_ object: RevisionObject) {
        let name = ObjectName(namespace: object.namespace, name: object.name)
        guard let revision = revisions[name], revision.object.uid == object.uid else { return }
        revisions[name] = nil
        retired.append(revision)
        revision.onRoutable = {}
        revision.onGone = { [unowned self, unowned revision] in retired.removeAll { $0 === revision } }
        revision.retire()
    }

    /// Works out every service's traffic anew: its first revisions are routed at once, later ones when they are ready.
    private func publishRoutes() {
        for service in store.services {
            let name = service.serviceName
            let isFirst = !programmed.contains(name)
            let known = store.revisions(of: name).compactMap { revision(of: $0) }
            let ready = Set(known.filter { isFirst || $0.isRoutable }.map(\.object.name))
            let failed = Set(known.filter(\.isFailed).map(\.object.name))
            let resolution = store.resolveTraffic(
                of: name, isReady: ready.contains, isFailed: failed.contains, now: context.loop.now)
            trafficLog.tell(resolution, store.rollout(of: name), of: service)
            if !resolution.main.isEmpty { programmed.insert(name) }
            for object in store.revisions(of: name) {
                revision(of: object)?.setReachable(store.routingState(of: object) != .reserve)
            }
            let h2c = Set(known.filter { $0.object.template.container.port.isH2C }.map(\.object.name))
            publish(SplitObjects.ingress(service, resolution, domain: domain, isH2C: h2c.contains), of: name)
        }
        armRollouts()
    }

    /// Each change has a generation of its own, unlike any before: a status that comes late is not taken for another's.
    private func publish(_ ingress: ClusterIngress, of service: ServiceName) {
        var ingress = ingress
        ingress.generation = ingresses[service]?.generation ?? 0
        if ingresses[service] != ingress {
            generationCount += 1
            ingress.generation = generationCount
            ingresses[service] = ingress
        }
        hub.publish(.applied(.ingress(ingress)))
    }

    /// One timer for the next step of all rollouts; none when nothing is to come.
    private func armRollouts() {
        context.loop.cancel(rolloutTimer)
        rolloutTimer =
            store.nextRolloutStep.map { due in context.loop.at(due) { [unowned self] in publishRoutes() } } ?? .none
    }

    /// The ingress serves what was published last: a rollout that has just begun plans its steps.
    private func take(_ status: ClusterIngress.Status?, of name: ObjectName) {
        let service = ServiceName(namespace: name.namespace, name: name.name)
        guard let status, status.isReady, status.observedGeneration == ingresses[service]?.generation else { return }
        store.routesAreReady(of: service, now: context.loop.now)
        armRollouts()
    }

    private func revision(of object: RevisionObject) -> SplitRevision? {
        revisions[ObjectName(namespace: object.namespace, name: object.name)]
    }

    // MARK: What roles write

    private func take(_ object: ClusterObject) {
        switch object {
        case .scale(let scale): revisions[scale.name]?.carryOut(scale)
        case .serverlessService(let service): revisions[service.name]?.take(service)
        case .podAutoscaler(let autoscaler): revisions[autoscaler.name]?.take(autoscaler)
        case .ingress(let ingress): take(ingress.status, of: ingress.name)
        case .revision, .endpoints, .service, .pod:
            log.warning("a role wrote what is not its own", metadata: ["kind": "\(object.kind.rawValue)"])
        }
    }

    private func registered(_ endpoints: ClusterEndpoints) {
        guard endpoints.name == SplitObjects.activatorService else { return }
        activators = endpoints.addresses
        for revision in revisions.values { revision.setActivators(activators) }
        onActivators(activators.count)
    }

    // MARK: End

    /// How many pods there are, stopping ones included.
    var podCount: Int { Set(context.owners.values.map(ObjectIdentifier.init)).count }

    /// Stops every pod by `deadline`.
    func end(deadline: Instant) {
        for revision in Array(revisions.values) + retired { revision.end(deadline: deadline) }
    }
}
