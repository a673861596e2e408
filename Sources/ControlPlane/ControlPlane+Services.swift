import DataPlane
import Knative
import Logging
import Primitives
import Routing

/// Applying Services and publishing where their requests go.
extension ControlPlane {
    /// Applies services in order, as `kubectl apply` would; with `removing`, services not among them go.
    ///
    /// - Returns: problems of services that do not fit what is there; these keep their old state.
    public func apply(_ services: [ServiceObject], removing: Bool) -> [Diagnostic] {
        let result = store.apply(services, removing: removing)
        for revision in result.createdRevisions { add(revision) }
        for (service, change) in result.changes where change != .unchanged {
            logger.info("service applied", metadata: ["service": "\(service)", "change": "\(change)"])
        }
        for service in result.removedServices {
            programmedServices.remove(service)
            trafficLog.forget(service)
            logger.info("service removed", metadata: ["service": "\(service)"])
        }
        publish()
        for revision in result.removedRevisions { remove(revision) }
        return result.diagnostics
    }

    private func add(_ object: RevisionObject) {
        let controller = RevisionController(object, plane: self)
        revisions[object.uid] = controller
        controller.tick()
        runClock()
    }

    private func remove(_ object: RevisionObject) {
        guard let controller = revisions[object.uid] else { return }
        controller.retire { [unowned self] in revisions[object.uid] = nil }
    }

    /// The hosts people can use, with their URLs' host part; cluster-local names left out.
    public var publicHosts: [(service: ServiceName, hosts: [HostRoute])] {
        store.services.map { service in
            (service.serviceName, service.hosts(domain: options.domain).filter { !$0.isClusterLocal })
        }
    }

    /// Works out every service's traffic anew and gives the workers a new snapshot.
    public func publish() {
        let (routes, targets) = resolveRoutes()
        do throws(RouteTableFailure) {
            let new = try RouteTable(routes: routes, previous: table)
            table = new
            generation += 1
            workers.post(.publish(RoutingSnapshot(generation: generation, table: new, targets: targets)))
        } catch {
            // Shares come validated from the store; a clash can only be two services with one host.
            logger.error("routes were not published", metadata: ["problem": "\(error)"])
        }
        armRollouts()
    }

    /// A worker uses a snapshot. When all use the newest, rollouts that began with it or before plan their steps.
    func snapshotTaken(by worker: Int, _ taken: Int) {
        takenGenerations[worker] = taken
        guard takenGenerations.allSatisfy({ $0 == generation }) else { return }
        for service in store.services { store.routesAreReady(of: service.serviceName, now: loop.now) }
        armRollouts()
    }

    /// One timer for the next step of all rollouts; none when nothing is to come.
    private func armRollouts() {
        loop.cancel(rolloutTimer)
        rolloutTimer = store.nextRolloutStep.map { due in loop.at(due) { [unowned self] in publish() } } ?? .none
    }

    /// The snapshot workers start with.
    public static func emptySnapshot() throws -> RoutingSnapshot {
        RoutingSnapshot(generation: 0, table: try RouteTable(routes: []), targets: [])
    }

    private func resolveRoutes() -> ([Route], [RevisionTarget]) {
        var routes: [Route] = []
        var targets: [RevisionTarget] = []
        var indices: [UInt64: Int] = [:]
        for service in store.services {
            let resolution = resolveTraffic(of: service)
            for host in store.hosts(of: service.serviceName, domain: options.domain) {
                let shares = host.tag.map { resolution.tags[$0] ?? [] } ?? resolution.main
                let splits = shares.compactMap { share -> Split? in
                    guard let controller = controller(named: share.revision, of: service.serviceName) else {
                        return nil
                    }
                    let index = indices[controller.object.uid] ?? targets.count
                    if index == targets.count {
                        indices[controller.object.uid] = index
                        targets.append(controller.target)
                    }
                    return Split(target: index, percent: share.percent)
                }
                if !splits.isEmpty, splits.count == shares.count {
                    routes.append(Route(host: host.host, splits: splits))
                }
            }
        }
        return (routes, targets)
    }

    /// A service's first revisions are routed at once, and their requests wait for the first pods; later ones get
    /// traffic when they are ready, so that a bad change never takes a good service away.
    private func resolveTraffic(of object: ServiceObject) -> TrafficResolution {
        let service = object.serviceName
        let isFirst = !programmedServices.contains(service)
        let known = store.revisions(of: service).compactMap { revisions[$0.uid] }
        let ready = Set(known.filter { isFirst || $0.isRoutable }.map(\.object.name))
        let failed = Set(known.filter(\.isFailed).map(\.object.name))
        let resolution = store.resolveTraffic(
            of: service, isReady: ready.contains, isFailed: failed.contains, now: loop.now)
        trafficLog.tell(resolution, store.rollout(of: service), of: object)
        if !resolution.main.isEmpty { programmedServices.insert(service) }
        for revision in store.revisions(of: service) {
            revisions[revision.uid]?.setReachable(store.routingState(of: revision) != .reserve)
        }
        return resolution
    }

    private func controller(named name: String, of service: ServiceName) -> RevisionController? {
        store.revision(name, namespace: service.namespace).flatMap { revisions[$0.uid] }
    }
}
