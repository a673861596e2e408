import Activator
import Admission
import Balancing
import Knative
import Primitives

/// One revision at one activator: the real gate, finder and slice, put together as in `RevisionThrottler`, and the
/// shadow that says what they may do.
final class SimulatedThrottler {
    /// How often a request whose pod refused the connection is sent anew.
    private static let attemptLimit = 3

    let revision: SimulatedRevision
    let gate: RevisionGate
    var counts: ArrivalCounts
    /// What really came, for comparison.
    var load = TrueLoad()
    private(set) var shadow: GateShadow
    private unowned let activator: SimulatedActivator
    private unowned let world: SystemSimulation
    private var view = EndpointView()
    /// Between the steps of a release: its slot is free, and the oldest waiter will get it.
    private var isReleasing = false
    private var finder: PodFinder
    private var slice = PodSlice.whole
    private var endpoints: [EndpointAddress: Endpoint] = [:]
    /// The pods that were listed last.
    private var listed: Set<EndpointAddress> = []
    private var timer = TimerHandle.none
    private var suspendedSince: [Int: Instant] = [:]

    init(_ revision: SimulatedRevision, of activator: SimulatedActivator) {
        self.revision = revision
        self.activator = activator
        world = activator.world
        let limit = revision.plan.concurrency
        gate = RevisionGate(concurrency: limit, queueLimit: world.plan.queueLimit, budget: activator.budget)
        shadow = GateShadow(concurrency: limit, queueLimit: world.plan.queueLimit)
        var settings = PodFinder.Settings()
        settings.allowsEarlyPods = revision.plan.allowsEarlyPods
        finder = PodFinder(settings)
        counts = ArrivalCounts(now: world.clock.now)
    }

    private var label: String { "activator \(activator.number), \(revision.name.name)" }

    // MARK: Requests

    func receive(_ id: Int) {
        let isNews = counts.arrive(now: world.clock.now)
        if isNews { activator.mail { [self] in activator.arrived(self) } }
        let waiter = Waiter(worker: activator.number, token: UInt64(id))
        let outcome = gate.admit(waiter, view: &view, random: world.random.next())
        world.tell("\(label): request \(id): \(outcome)")
        let waiting = activator.throttlers.reduce(0) { $0 + $1.shadow.queue.count }
        let refusal = shadow.refusal(waitingOverall: waiting, budget: activator.budget.limit)
        switch outcome {
        case .admitted(let endpoint):
            world.expect(shadow.queue.isEmpty, "\(label): request \(id) overtook \(shadow.queue)")
            world.expect(shadow.mayPick(endpoint.id), "\(label): request \(id): wrong endpoint \(endpoint.address)")
            take(endpoint)
            send(id, to: endpoint)
        case .queued(let ticket):
            let isBehind = isReleasing && !shadow.queue.isEmpty
            world.expect(isBehind || shadow.firstWithRoom == nil, "\(label): request \(id) waits beside a free slot")
            world.expect(refusal == nil, "\(label): request \(id) waits past a limit")
            shadow.queue.append(UInt64(id))
            world.requests[id].place = .waiting(ticket)
            world.requests[id].waitsSince = world.clock.now
            world.note(.waited)
            if isNews { expectWake(for: id) }
        case .refused(let reason):
            world.expect(refusal == reason, "\(label): request \(id) is refused: \(reason)")
            activator.leave(id)
            world.end(id, .refused)
        }
    }

    /// A slot is this request's: the shadow's side of it.
    private func take(_ endpoint: Endpoint) {
        world.expect(
            listed.contains(endpoint.address), "\(label): \(endpoint.address) is used, which is not listed any more")
        world.expect(shadow.slots[endpoint.id]?.endpoint === endpoint, "\(label): a strange object")
        shadow.slots[endpoint.id]?.count += 1
        let count = shadow.slots[endpoint.id]?.count ?? 0
        world.expect(
            shadow.concurrency == 0 || count <= shadow.concurrency, "\(label): \(count) at \(endpoint.address)")
    }

    private func send(_ id: Int, to endpoint: Endpoint) {
        world.requests[id].place = .sent(endpoint)
        world.networkLater { [self] in
            guard activator.isAlive, case .sent(let place) = world.requests[id].place, place === endpoint else {
                return
            }
            if let pod = world.pod(at: endpoint.address.ipv4), pod.accepts {
                world.requests[id].pod = pod
                return pod.receive(id, proxied: true)
            }
            world.networkLater { [self] in
                guard activator.isAlive, case .sent(let place) = world.requests[id].place, place === endpoint else {
                    return
                }
                connectionRefused(id, endpoint)
            }
        }
    }

    /// Nothing was sent: the endpoint is suspended and asked, and the request tries again with the same age.
    private func connectionRefused(_ id: Int, _ endpoint: Endpoint) {
        let isListed = shadow.order.contains(endpoint.id) && shadow.slots[endpoint.id]?.state == .available
        let isFirst = gate.suspend(endpoint)
        world.expect(isFirst == isListed, "\(label): suspending \(endpoint.address): \(isFirst)")
        world.note(.connectionRefused)
        world.tell("\(label): \(endpoint.address) refuses request \(id)")
        if isFirst {
            shadow.slots[endpoint.id]?.state = .suspended
            suspendedSince[endpoint.id] = world.clock.now
            activator.mail { [self] in perform(finder.suspect(endpoint.address, now: world.clock.now)) }
        }
        release(endpoint)
        world.requests[id].attempts += 1
        guard world.requests[id].attempts < Self.attemptLimit else {
            activator.leave(id)
            return world.end(id, .failed)
        }
        let waiter = Waiter(worker: activator.number, token: UInt64(id))
        switch gate.readmit(waiter, view: &view, random: world.random.next(), avoiding: endpoint) {
        case .admitted(let other):
            world.expect(shadow.hasRoom(other.id), "\(label): request \(id): \(other.address) has no room")
            take(other)
            send(id, to: other)
        case .queued(let ticket):
            world.expect(shadow.firstWithRoom == nil, "\(label): request \(id) waits again beside a free slot")
            shadow.queue.insert(UInt64(id), at: 0)
            world.requests[id].place = .waiting(ticket)
            world.requests[id].waitsSince = world.clock.now
        case .refused(let reason): world.expect(false, "\(label): request \(id) is refused again: \(reason)")
        }
    }

    /// An answer came, or the connection broke: the slot is free.
    func answered(_ id: Int, _ endpoint: Endpoint) {
        activator.leave(id)
        release(endpoint)
    }

    /// The client has gone or has waited long enough.
    func giveUp(_ id: Int) {
        switch world.requests[id].place {
        case .waiting(let ticket):
            let place = shadow.queue.firstIndex(of: UInt64(id))
            let isGone = gate.abandon(ticket)
            world.expect(isGone && place != nil, "\(label): request \(id) is not in the queue: \(isGone)")
            if let place { shadow.queue.remove(at: place) }
        case .granted(let ticket):
            world.expect(!gate.abandon(ticket), "\(label): request \(id) was granted and still waits")
        case .sent(let endpoint): release(endpoint)
        case .travelling, .direct, .ended: return
        }
        activator.leave(id)
    }

    private func release(_ endpoint: Endpoint) {
        guard let slot = shadow.slots[endpoint.id] else { return world.expect(false, "\(label): a strange release") }
        let drains = slot.isDraining && slot.count == 1
        let outcome = releaseInSteps(endpoint)
        let next = shadow.hasRoom(endpoint.id) ? shadow.queue.first : nil
        switch outcome {
        case .done:
            world.expect(next == nil, "\(label): request \(next ?? 0) was not woken")
            world.expect(!drains, "\(label): \(endpoint.address) drained unreported")
        case .granted(let grant):
            world.expect(grant.endpoint === endpoint, "\(label): another endpoint was granted")
            deliver([grant])
        case .drained:
            world.expect(drains, "\(label): \(endpoint.address) is not drained")
            shadow.slots[endpoint.id]?.isDraining = false
            activator.mail { [self] in becameIdle(endpoint) }
        }
        let count = shadow.slots[endpoint.id]?.count ?? 0
        world.expect(endpoint.inFlight == count, "\(label): \(endpoint.inFlight) slots for \(count) requests")
        check()
    }

    /// A release; now and then requests come at other workers between its steps.
    private func releaseInSteps(_ endpoint: Endpoint) -> ReleaseOutcome {
        let isCrowded = chance(world.plan.crowding, &world.random)
        var holdsSlot = true
        func free() {
            if holdsSlot { shadow.slots[endpoint.id]?.count -= 1 }
            holdsSlot = false
        }
        func cross(_ cut: RevisionGate.Cut) {
            if cut == .slotFreed { free() }
            guard isCrowded else { return }
            isReleasing = cut == .slotFreed
            world.ingress.crowd(activator, revision)
        }
        let outcome = gate.release(endpoint, at: cross)
        isReleasing = false
        free()
        return outcome
    }

    private func deliver(_ grants: [Grant]) {
        for grant in grants {
            let token = grant.waiter.token, id = Int(token)
            world.expect(shadow.queue.first == token, "\(label): \(token) is served before \(shadow.queue)")
            world.expect(shadow.hasRoom(grant.endpoint.id), "\(label): \(grant.endpoint.address) has no room")
            shadow.queue.removeAll { $0 == token }
            take(grant.endpoint)
            world.note(.granted)
            if case .waiting(let ticket) = world.requests[id].place { world.requests[id].place = .granted(ticket) }
            // The worst moment to go is now: the slot is reserved and nobody has told the worker.
            if chance(world.plan.cancelChance, &world.random) { world.giveUpSoon(id) }
            activator.mail { [self] in
                guard case .granted = world.requests[id].place else {
                    world.note(.grantForNobody)
                    return release(grant.endpoint)
                }
                send(id, to: grant.endpoint)
            }
        }
    }

    // MARK: Pods

    func list(_ pods: ClusterEndpoints) {
        let addresses = pods.addresses.map { pod in
            (address: EndpointAddress(ipv4: pod.ip, port: SystemSimulation.port), isReady: pod.isReady)
        }
        listed = Set(addresses.map(\.address))
        world.tell("\(label): listed are \(addresses.map { "\($0.address)" })")
        perform(finder.list(addresses, cluster: nil, now: world.clock.now))
        let strange = shadow.order.compactMap { shadow.slots[$0]?.endpoint.address }.filter { !listed.contains($0) }
        world.expect(strange.isEmpty, "\(label): the gate keeps \(strange), which are not listed any more")
    }

    func setActivators(_ path: ClusterEndpoints) {
        guard let new = PodSlice(of: activator.ip, among: path.addresses.map(\.ip)), new != slice else { return }
        slice = new
        world.note(.sliced)
        apply(finder.backends)
    }

    private func perform(_ actions: [PodFinder.Action]) {
        for action in actions {
            switch action {
            case .ask(let question): ask(question)
            case .cancel: break  // its outcome is passed over
            case .update(let backends): apply(backends)
            case .resume(let address):
                guard let endpoint = endpoints[address] else { continue }
                let isSuspended =
                    shadow.order.contains(endpoint.id) && shadow.slots[endpoint.id]?.state == .suspended
                if isSuspended { shadow.slots[endpoint.id]?.state = .available }
                suspendedSince[endpoint.id] = nil
                world.note(.resumed)
                deliver(gate.resume(endpoint))
            case .suspend, .trust: world.expect(false, "\(label): nobody has a doubt")
            }
        }
        check()
        world.clock.cancel(timer)
        guard finder.deadline != .distantFuture else { return }
        timer = world.clock.at(finder.deadline) { [weak self] in
            guard let self, activator.isAlive else { return }
            perform(finder.timeout(now: world.clock.now))
        }
    }

    private func ask(_ question: PodFinder.Question) {
        world.networkLater { [self] in
            let report: (Bool) -> Void = { [self] isReady in
                world.networkLater { [self] in
                    guard activator.isAlive else { return }
                    perform(finder.probed(question, isReady ? .ready : .unreachable, now: world.clock.now))
                }
            }
            guard let pod = world.pod(at: question.address.ipv4) else { return report(false) }
            pod.ask(report)
        }
    }

    private func apply(_ backends: RevisionBackends) {
        guard case .pods(let pods) = backends else { return world.expect(false, "\(label): a cluster address") }
        let limit = revision.plan.concurrency
        let own = limit == 0 ? pods : slice.part(of: pods)
        let wanted = own.map(endpoint)
        var ids: [Int] = []
        for endpoint in wanted where !ids.contains(endpoint.id) { ids.append(endpoint.id) }
        let objects = Dictionary(wanted.map { ($0.id, $0) }) { first, _ in first }
        let expected = shadow.list(ids, objects: objects)
        let change = gate.setEndpoints(wanted)
        world.tell("\(label): uses \(wanted.map { "\($0.address)" }), \(change.grants.count) grants")
        world.expect(Set(change.idle.map(\.id)) == expected.idle, "\(label): idle are \(change.idle.map(\.address))")
        world.expect(change.grants.allSatisfy { expected.added.contains($0.endpoint.id) }, "\(label): a strange grant")
        for id in expected.added { suspendedSince[id] = nil }
        deliver(change.grants)
        for endpoint in change.idle { becameIdle(endpoint) }
    }

    private func endpoint(at address: EndpointAddress) -> Endpoint {
        if let known = endpoints[address] { return known }
        let made = Endpoint(id: world.nextEndpointNumber(), address: address, concurrency: revision.plan.concurrency)
        endpoints[address] = made
        return made
    }

    private func becameIdle(_ endpoint: Endpoint) {
        guard endpoint.state == .retired, endpoint.inFlight == 0 else { return }
        if endpoints[endpoint.address] === endpoint { endpoints[endpoint.address] = nil }
        shadow.slots[endpoint.id] = nil
    }

    // MARK: Checks

    /// What must be true after every event.
    func check() {
        world.expect(gate.waiting == shadow.queue.count, "\(label): \(gate.waiting) wait, not \(shadow.queue.count)")
        world.expect(shadow.leavesNobodyBesideRoom, "\(label): \(shadow.queue) wait beside a free slot")
        // The metric rps does not see requests that only wait: as in Knative, such a revision may go to zero.
        guard let oldest = shadow.queue.first, revision.replicas == 0, !revision.plan.countsRate else { return }
        let since = max(world.requests[Int(oldest)].waitsSince, world.disturbedAt)
        let waited = world.clock.now.seconds(since: since)
        world.expect(
            waited <= world.wakeSeconds + 3.3,
            "\(label): request \(oldest) has waited at zero for \(waited) s and no pod was asked for")
    }

    /// A request waits whose revision the autoscaler has not heard of for a while: it is announced at once, and unless
    /// that is lost, a pod is on its way soon.
    private func expectWake(for id: Int) {
        guard activator.isHeard else { return }
        let came = world.clock.now
        world.clock.at(came.adding(seconds: world.wakeSeconds)) { [weak self] in
            guard let self, activator.isAlive, shadow.queue.contains(UInt64(id)), world.disturbedAt < came else {
                return
            }
            world.note(.wakeChecked)
            world.expect(revision.replicas > 0, "\(label): request \(id) waits at zero, and no pod is asked for")
        }
    }

    /// Whether requests may go to the pod at `ip`.
    func uses(_ ip: UInt32) -> Bool { shadow.order.contains { shadow.slots[$0]?.endpoint.address.ipv4 == ip } }

    /// Who waits while a pod has been there for long must know it; what must be true now and then.
    func checkKnowledge() {
        for (id, slot) in shadow.slots {
            let (inFlight, state) = (slot.endpoint.inFlight, slot.endpoint.state)
            world.expect(
                inFlight == slot.count && state == slot.state,
                "\(label): endpoint \(id): \(inFlight) \(state), not \(slot.count) \(slot.state)")
        }
        guard !shadow.queue.isEmpty, case .pods(let used) = finder.backends else { return }
        let now = world.clock.now
        for pod in revision.pods where pod.state == .ready {
            let address = EndpointAddress(ipv4: pod.ip, port: SystemSimulation.port)
            guard var since = pod.readySince else { continue }
            since = max(since, pod.refusesUntil)
            guard now > since, now.seconds(since: since) > world.knowledgeSeconds else { continue }
            world.expect(used.contains(address), "\(label): pod \(pod.number) is ready and not known")
            guard let id = endpoints[address]?.id, let suspended = suspendedSince[id], shadow.order.contains(id) else {
                continue
            }
            world.expect(
                now.seconds(since: max(since, suspended)) < world.knowledgeSeconds,
                "\(label): pod \(pod.number) is ready and stays suspended")
        }
    }
}
