import Admission
import Balancing
import Knative
import Primitives
import Telemetry

/// One pod: a container with a queue-proxy before it, whose gate and statistics are the real ones.
final class SimulatedPod {
    enum State { case pending, starting, ready, draining, gone }

    /// Where a request is in a pod.
    private enum Stage {
        case waiting(WaitTicket)
        case running(TimerHandle)
    }

    let number: Int
    let revision: SimulatedRevision
    let ip: UInt32
    private(set) var state = State.pending
    /// Kubernetes calls it ready, since then.
    private(set) var readySince: Instant?
    /// When it began to accept requests.
    private(set) var acceptsSince: Instant?
    /// Requests in the container.
    private(set) var running = 0
    private unowned let world: SystemSimulation
    private let gate: RevisionGate
    private let budget = WaitBudget(limit: .max)
    private let container: Endpoint
    private var view = EndpointView()
    private var stats: RequestStats
    private var windowEnds: Instant
    private var lastReport = WindowReport()
    /// What really came straight to it, now and in the window of `lastReport`.
    private var ownLoad = TrueLoad()
    private var lastOwn = TrueLoad.Peak()
    private var stages: [Int: Stage] = [:]
    private var proxied: Set<Int> = []
    /// Who waits in the queue-proxy, oldest first.
    private var queue: [Int] = []
    /// Questions of activators that are held until it is ready.
    private var held: [(Bool) -> Void] = []
    private var acceptsUntil = Instant.distantFuture
    /// When it refused connections last.
    private(set) var refusesUntil = EventClock.start

    init(_ number: Int, ip: UInt32, of revision: SimulatedRevision, in world: SystemSimulation) {
        self.number = number
        self.ip = ip
        self.revision = revision
        self.world = world
        let limit = revision.plan.concurrency
        gate = RevisionGate(concurrency: limit, queueLimit: 10 * limit, budget: budget)
        container = Endpoint(id: 0, address: .loopback(port: 8080), concurrency: limit)
        stats = RequestStats(now: world.clock.now)
        windowEnds = world.clock.now.adding(milliseconds: 1_000)
        world.clock.after(world.delay(100)) { [weak self] in self?.start() }
    }

    var isStaying: Bool { state != .draining && state != .gone }
    var isListed: Bool { state == .starting || state == .ready }
    var isIdle: Bool { stages.isEmpty }
    var accepts: Bool {
        switch state {
        case .pending, .starting, .gone: false
        case .ready: world.clock.now >= refusesUntil
        case .draining: world.clock.now < acceptsUntil
        }
    }

    var name: ObjectName { ObjectName(namespace: SystemSimulation.namespace, name: "pod-\(number)") }
    var object: ClusterPod {
        var pod = ClusterPod(name: name, revision: revision.name.name)
        pod.ip = state == .pending ? nil : ip
        (pod.isRunning, pod.isReady) = (state != .pending, readySince != nil && state == .ready)
        pod.isTerminating = state == .draining
        return pod
    }

    // MARK: Life

    private func start() {
        guard state == .pending else { return }
        state = .starting
        revision.podChanged(self)
        let time = UInt64.random(in: revision.plan.startMilliseconds, using: &world.random)
        world.clock.after(time * 1_000_000) { [weak self] in self?.accept() }
    }

    private func accept() {
        guard state == .starting else { return }
        state = .ready
        acceptsSince = world.clock.now
        _ = gate.setEndpoints([container])
        world.tell("pod \(number) accepts requests")
        for answer in held { answer(true) }
        held = []
        let time = UInt64.random(in: revision.plan.readyMilliseconds, using: &world.random)
        world.clock.after(time * 1_000_000) { [weak self] in
            guard let self, state == .ready else { return }
            readySince = world.clock.now
            revision.podChanged(self)
        }
    }

    /// It is stopped: nobody is to send more, and what is there is finished.
    func drain() {
        guard isStaying else { return }
        world.tell("pod \(number) drains \(stages.count)")
        let wasAccepting = state == .ready
        state = .draining
        for answer in held { answer(false) }
        held = []
        revision.podChanged(self)
        guard wasAccepting else { return vanish() }
        extendDrain()
        guard world.plan.faults.hasHastyStops else { return }
        world.clock.after(world.delay(3_000)) { [weak self] in
            guard let self, state == .draining else { return }
            crash()
        }
    }

    /// A request that comes late moves the end on, as with a queue-proxy's quiet period.
    private func extendDrain() {
        let quiet = world.plan.faults.hasHastyStops ? 100 : 2 * world.plan.delays.watch + 500
        acceptsUntil = world.clock.now.adding(milliseconds: quiet)
        world.clock.at(acceptsUntil) { [weak self] in self?.finishDrain() }
    }

    private func finishDrain() {
        guard state == .draining, world.clock.now >= acceptsUntil, stages.isEmpty else { return }
        vanish()
    }

    private func vanish() {
        state = .gone
        world.tell("pod \(number) is gone")
        revision.podGone(self)
    }

    /// It dies with all it has.
    func crash() {
        guard state != .gone else { return }
        world.tell("pod \(number) crashes with \(stages.count)")
        for answer in held { answer(false) }
        held = []
        let cut = stages.keys.sorted()
        for case .running(let timer) in stages.values { world.clock.cancel(timer) }
        stages = [:]
        (running, queue) = (0, [])
        for id in cut { world.networkLater { [world] in world.podReplied(id, .cut) } }
        vanish()
    }

    /// It takes no connections for a while.
    func hiccup() {
        world.tell("pod \(number) refuses connections")
        refusesUntil = world.clock.now.adding(nanoseconds: world.delay(2_000))
    }

    /// An activator asks whether it takes requests.
    func ask(_ answer: @escaping (Bool) -> Void) {
        switch state {
        case .starting: held.append(answer)
        case .ready: answer(accepts)
        case .pending, .draining, .gone: answer(false)
        }
    }

    // MARK: Requests

    /// A request comes in.
    func receive(_ id: Int, proxied isProxied: Bool) {
        if state == .draining { extendDrain() }
        advanceWindows()
        stats.arrive(now: world.clock.now, proxied: isProxied)
        if isProxied { proxied.insert(id) } else { ownLoad.enter() }
        let limit = revision.plan.concurrency
        switch gate.admit(Waiter(worker: 0, token: UInt64(id)), view: &view, random: world.random.next()) {
        case .admitted:
            world.expect(queue.isEmpty, "pod \(number): request \(id) overtook \(queue)")
            begin(id)
        case .queued(let ticket):
            world.expect(limit > 0 && running == limit, "pod \(number): request \(id) waits beside a free slot")
            world.expect(queue.count < 10 * limit, "pod \(number): \(queue.count) wait, and one more")
            queue.append(id)
            stages[id] = .waiting(ticket)
        case .refused:
            world.expect(queue.count == 10 * limit, "pod \(number): request \(id) is refused beside \(queue.count)")
            leave(id)
            reply(id, .refused)
        }
    }

    private func begin(_ id: Int) {
        running += 1
        let limit = revision.plan.concurrency
        world.expect(limit == 0 || running <= limit, "pod \(number): its container has \(running) requests")
        let timer = world.clock.after(world.requests[id].service) { [weak self] in self?.finish(id) }
        stages[id] = .running(timer)
    }

    private func finish(_ id: Int) {
        stages[id] = nil
        running -= 1
        leave(id)
        reply(id, .answered)
        release()
    }

    /// Whoever sent it has gone.
    func abandon(_ id: Int) {
        guard let stage = stages.removeValue(forKey: id) else { return }
        leave(id)
        switch stage {
        case .waiting(let ticket):
            world.expect(gate.abandon(ticket), "pod \(number): request \(id) is not in its queue")
            queue.removeAll { $0 == id }
        case .running(let timer):
            world.clock.cancel(timer)
            running -= 1
            release()
        }
        finishDrain()
    }

    private func release() {
        switch gate.release(container) {
        case .granted(let grant):
            let id = Int(grant.waiter.token)
            world.expect(queue.first == id, "pod \(number): \(id) is served before \(queue)")
            if !queue.isEmpty { queue.removeFirst() }
            begin(id)
        case .done, .drained:
            world.expect(queue.isEmpty, "pod \(number): \(queue) were not woken")
        }
        world.expect(container.inFlight == running, "pod \(number): \(container.inFlight) slots for \(running)")
        finishDrain()
    }

    private func leave(_ id: Int) {
        advanceWindows()
        let wasProxied = proxied.remove(id) != nil
        stats.leave(now: world.clock.now, proxied: wasProxied)
        if !wasProxied { ownLoad.leave() }
    }

    private func reply(_ id: Int, _ outcome: SystemOutcome) {
        world.networkLater { [world] in world.podReplied(id, outcome) }
    }

    // MARK: Statistics

    /// What it tells the autoscaler: the last whole second. And what that may be made of at most.
    func report() -> (WindowReport, own: TrueLoad.Peak) {
        advanceWindows()
        return (lastReport, lastOwn)
    }

    private func advanceWindows() {
        while windowEnds <= world.clock.now {
            lastReport = stats.report(now: windowEnds).report
            lastOwn = ownLoad.take()
            windowEnds = windowEnds.adding(milliseconds: 1_000)
        }
    }
}
