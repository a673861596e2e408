import ClusterLink
import Knative
import Primitives

/// Clients, and the ingress that sends their requests the way that the public endpoints say, as it knows them.
final class SimulatedIngress {
    /// How many addresses a request is sent to before it fails, while connections are refused.
    private static let hopLimit = 5

    private unowned let world: SystemSimulation
    private var paths: [ObjectName: [UInt32]] = [:]
    private var watcher: SystemWatcher?

    init(_ world: SystemSimulation) { self.world = world }

    func start() {
        let watcher = SystemWatcher([.path]) { [weak self] change in
            guard case .applied(.endpoints(let path)) = change else { return }
            self?.paths[path.name] = path.addresses.map(\.ip)
        }
        self.watcher = watcher
        world.objects.add(watcher)
    }

    // MARK: Clients

    func openTraffic() { for revision in world.revisions { beginPhase(revision) } }

    private func beginPhase(_ revision: SimulatedRevision) {
        let seconds = Double.random(in: 1...8, using: &world.random)
        let ends = world.clock.now.adding(seconds: seconds)
        guard world.clock.seconds + 1 < Double(world.plan.trafficSeconds) else { return }
        switch pick(SystemPlan.Traffic.allCases, &world.random) {
        case .quiet: break
        case .trickle: arrive(at: revision, every: 0.3...2.5, until: ends)
        case .steady: arrive(at: revision, every: 0.02...0.3, until: ends)
        case .burst:
            let count = Int.random(in: 2...pick([6, 30], &world.random), using: &world.random)
            for _ in 0..<count { world.clock.after(world.delay(20)) { [weak self] in self?.arrive(at: revision) } }
        }
        world.clock.at(ends) { [weak self] in self?.beginPhase(revision) }
    }

    private func arrive(at revision: SimulatedRevision, every: ClosedRange<Double>, until end: Instant) {
        guard world.clock.now < end else { return }
        arrive(at: revision)
        let pause = Double.random(in: every, using: &world.random)
        world.clock.at(world.clock.now.adding(seconds: pause)) { [weak self] in
            self?.arrive(at: revision, every: every, until: end)
        }
    }

    private func arrive(at revision: SimulatedRevision) {
        guard let id = makeRequest(of: revision) else { return }
        forward(id, avoiding: nil)
    }

    /// A request that is at an activator this very moment.
    func crowd(_ activator: SimulatedActivator, _ revision: SimulatedRevision) {
        guard activator.acceptsRequests, let id = makeRequest(of: revision) else { return }
        world.note(.crowded)
        world.requests[id].activator = activator
        activator.receive(id)
    }

    /// A client's request, with its patience; nil if there have been enough.
    private func makeRequest(of revision: SimulatedRevision) -> Int? {
        guard world.requests.count < SystemSimulation.requestLimit,
            world.clock.seconds < Double(world.plan.trafficSeconds)
        else { return nil }
        let id = world.requests.count
        let patience = UInt64.random(in: world.plan.patienceMilliseconds, using: &world.random)
        let service = UInt64.random(in: revision.plan.serviceMilliseconds, using: &world.random) * 1_000_000
        let deadline = world.clock.now.adding(milliseconds: patience)
        world.requests.append(
            SystemSimulation.Request(revision: revision.number, service: service, deadline: deadline))
        world.tell("request \(id) of \(revision.name.name)")
        world.clock.at(deadline) { [world] in world.giveUp(id, .timedOut) }
        if chance(world.plan.cancelChance, &world.random) {
            let time = UInt64.random(in: 0...patience / 4, using: &world.random)
            world.clock.after(time * 1_000_000) { [world] in world.giveUp(id, .cancelled) }
        }
        return id
    }

    // MARK: Hops

    private func forward(_ id: Int, avoiding avoided: UInt32?) {
        guard world.requests[id].outcome == nil else { return }
        world.requests[id].hops += 1
        let known = paths[world.revisions[world.requests[id].revision].name] ?? []
        let others = known.filter { $0 != avoided }
        guard world.requests[id].hops <= Self.hopLimit,
            let ip = (others.isEmpty ? known : others).randomElement(using: &world.random)
        else { return world.end(id, .failed) }
        world.networkLater { [self] in
            guard world.requests[id].outcome == nil else { return }
            if !reach(id, at: ip) { world.networkLater { [self] in forward(id, avoiding: ip) } }
        }
    }

    /// A request comes to whoever has this address. False if nobody takes it.
    private func reach(_ id: Int, at ip: UInt32) -> Bool {
        if let activator = world.activators.first(where: { $0.ip == ip }) {
            guard activator.acceptsRequests else { return false }
            world.requests[id].activator = activator
            activator.receive(id)
            return true
        }
        // A queue-proxy answers for its own revision alone, whoever had its address before.
        guard let pod = world.pod(at: ip), pod.accepts, pod.revision.number == world.requests[id].revision else {
            return false
        }
        world.note(.direct)
        world.requests[id].place = .direct
        world.requests[id].pod = pod
        pod.receive(id, proxied: false)
        return true
    }
}

extension SystemSimulation {
    /// A pod has answered, refused or died: whoever sent the request hears of it.
    func podReplied(_ id: Int, _ outcome: SystemOutcome) {
        switch requests[id].place {
        case .sent(let endpoint):
            requests[id].activator?.throttlers[requests[id].revision].answered(id, endpoint)
            end(id, outcome)
        case .direct: end(id, outcome)
        case .ended: return
        case .travelling, .waiting, .granted: expect(false, "request \(id) is answered before it was sent")
        }
    }

    /// A client has gone, or its time is over.
    func giveUp(_ id: Int, _ outcome: SystemOutcome) {
        guard requests[id].outcome == nil else { return }
        requests[id].activator?.throttlers[requests[id].revision].giveUp(id)
        leavePod(id)
        end(id, outcome)
    }

    /// The client goes within a moment.
    func giveUpSoon(_ id: Int) { clock.after(delay(plan.delays.mail)) { [self] in giveUp(id, .cancelled) } }

    func activatorDied(with id: Int) {
        leavePod(id)
        end(id, .cut)
    }

    private func leavePod(_ id: Int) {
        guard let pod = requests[id].pod else { return }
        networkLater { pod.abandon(id) }
    }
}
