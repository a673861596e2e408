import Admission
import Balancing
import Knative
import Primitives

/// How a request ended.
public enum SystemOutcome: Int, CaseIterable, Sendable {
    /// By an answer of the application.
    case answered
    /// By 503: a queue was full.
    case refused
    /// By 504.
    case timedOut
    /// The client has gone.
    case cancelled
    /// Its pod or its activator died with it.
    case cut
    /// Nobody could be reached: 502.
    case failed
}

/// The whole system in virtual time: activators with real gates, finders, slices and stat rules; the real autoscaler;
/// a platform that starts, stops and loses pods; queue-proxies with real gates and statistics; an ingress; clients.
///
/// What the parts say to one another comes late, out of order and sometimes not at all. After each event the promises
/// that do not depend on luck are checked against a shadow: limits of concurrency and queues, first come first served,
/// one end for each request, no wake-up missed, floors and ceilings, zero only through activators.
public final class SystemSimulation: SeededSimulation {
    /// What happened, counted: a sweep that never reaches a corner proves nothing about it.
    public enum Event: Int, CaseIterable, Sendable {
        /// Of requests at activators.
        case waited, granted, grantForNobody, connectionRefused, resumed, crowded
        /// What was checked about waking, and slices that changed.
        case wakeChecked, sliced, sliceChecked
        /// Of what the autoscaler had counted.
        case countChecked
        /// What befell the parts.
        case podCrashed, activatorDrained, activatorDied, autoscalerRestarted, statLost
        /// Pods that were stopped, and revisions that went to zero.
        case scaledDown, scaledToZero
        /// Requests that went straight to a pod, and runs without faults.
        case direct, gentle
    }

    /// Where a request is.
    enum Place {
        /// On its way to an activator, or with the ingress.
        case travelling
        case waiting(WaitTicket)
        case granted(WaitTicket)
        case sent(Endpoint)
        case direct
        case ended
    }

    /// One client's request. Its id is its place in `requests`.
    struct Request {
        let revision: Int
        let service: UInt64
        let deadline: Instant
        var place = Place.travelling
        var attempts = 0
        var hops = 0
        var waitsSince = EventClock.start
        var activator: SimulatedActivator?
        var pod: SimulatedPod?
        var outcome: SystemOutcome?
    }

    static let namespace = "simulated"
    static let port: UInt16 = 8012
    static let podIPs: UInt32 = 0x0A00_0000
    static let activatorIPs: UInt32 = 0x0B00_0000
    /// More requests than this a run does not get.
    static let requestLimit = 250

    /// What the run has done, if it keeps a trace.
    public private(set) var trace: [String] = []
    /// How often each `Event` came, by its raw value, and how requests ended.
    public private(set) var counts = [Int](repeating: 0, count: Event.allCases.count)
    /// How many requests ended each way, by the raw value of `SystemOutcome`.
    public private(set) var outcomes = [Int](repeating: 0, count: SystemOutcome.allCases.count)
    /// How many events happened.
    public private(set) var steps = 0

    let plan: SystemPlan
    /// What goes wrong now: nothing once the traffic has ended.
    var faults: SystemPlan.Faults
    let clock = EventClock()
    var random: SeededRandom
    var requests: [Request] = []
    private(set) var revisions: [SimulatedRevision] = []
    private(set) var activators: [SimulatedActivator] = []
    /// Kept, since messages to them may be under way.
    private var goneActivators: [SimulatedActivator] = []
    private(set) lazy var objects = SystemObjects(self)
    private(set) lazy var autoscaler = SimulatedAutoscaler(self)
    private(set) lazy var ingress = SimulatedIngress(self)
    /// When a message was lost, or somebody who tells or decides was away, last.
    private(set) var disturbedAt = EventClock.start
    private let keepsTrace: Bool
    private var breach: SimulationBreach?
    private var numbers = (pod: 0, endpoint: 0, activator: 0)
    private var freeIPs: [UInt32] = []
    private var nextIP = SystemSimulation.podIPs

    /// A run that has not begun.
    public init(seed: UInt64, keepsTrace: Bool) {
        self.keepsTrace = keepsTrace
        random = SeededRandom(seed: seed)
        plan = SystemPlan(using: &random)
        faults = plan.faults
    }

    // MARK: The run

    /// Runs the traffic, then waits until everything is at rest, and checks that nothing is left.
    public func run() throws(SimulationBreach) {
        defer { end() }
        if faults.isNone { note(.gentle) }
        tell(plan.description)
        begin()
        let trafficEnds = EventClock.start.adding(seconds: Double(plan.trafficSeconds))
        try pass(until: trafficEnds) { false }
        faults = SystemPlan.Faults()
        let patience = plan.patienceMilliseconds.upperBound + 2_000
        try pass(until: clock.now.adding(milliseconds: patience)) { self.requests.allSatisfy { $0.outcome != nil } }
        for (id, request) in requests.enumerated() where request.outcome == nil {
            expect(false, "request \(id) has no end: \(request.place)")
        }
        let rest = plan.revisions.map(plan.restSeconds).max() ?? 0
        try pass(until: clock.now.adding(seconds: rest)) { self.revisions.allSatisfy(self.isAtRest) }
        checkRest()
        if let breach { throw breach }
    }

    /// Breaks the circles of references.
    private func end() {
        clock.clear()
        autoscaler.stop()
    }

    private func begin() {
        for (number, plan) in plan.revisions.enumerated() {
            revisions.append(SimulatedRevision(number, plan, in: self))
        }
        for revision in revisions { revision.begin() }
        autoscaler.start()
        ingress.start()
        for _ in 0..<plan.activators { addActivator() }
        clock.after((plan.delays.watch * 3 + 2_000) * 1_000_000) { [self] in
            ingress.openTraffic()
            everySecond()
        }
        checkNowAndThen()
    }

    private func pass(until end: Instant, _ isDone: () -> Bool) throws(SimulationBreach) {
        while !isDone(), clock.step(until: end) {
            steps += 1
            check()
            if let breach { throw breach }
        }
    }

    private func everySecond() {
        autoscaler.checkCounts()
        for pod in revisions.flatMap(\.pods) where pod.state != .pending && chance(faults.crash, &random) {
            note(.podCrashed)
            pod.crash()
        }
        for pod in revisions.flatMap(\.pods) where pod.state == .ready {
            if chance(faults.hiccup, &random) { pod.hiccup() }
        }
        let isQuiet = faults.isNone && clock.seconds > Double(plan.trafficSeconds)
        if !isQuiet, chance(plan.autoscalerRestart, &random) { autoscaler.restart() }
        let serving = activators.filter(\.isListed)
        if let victim = serving.randomElement(using: &random) {
            if chance(faults.activatorDeath, &random) {
                note(.activatorDied)
                victim.crash()
            } else if !isQuiet, chance(plan.activatorDrain, &random) {
                note(.activatorDrained)
                addActivator()
                let time = 4 * plan.delays.watch + 2_000
                clock.after(time * 1_000_000) { [weak victim] in if victim?.isListed == true { victim?.drain() } }
            }
        }
        clock.after(1_000_000_000) { [weak self] in self?.everySecond() }
    }

    private func checkNowAndThen() {
        for activator in activators where activator.isAlive {
            for throttler in activator.throttlers { throttler.checkKnowledge() }
        }
        for revision in revisions { revision.checkSlices() }
        clock.after(250_000_000) { [weak self] in self?.checkNowAndThen() }
    }

    // MARK: Parts

    func nextPodNumber() -> Int {
        numbers.pod += 1
        return numbers.pod
    }

    func nextEndpointNumber() -> Int {
        numbers.endpoint += 1
        return numbers.endpoint
    }

    /// An address for a pod: often one that a pod before had.
    func takeIP() -> UInt32 {
        if !freeIPs.isEmpty, chance(0.5, &random) { return freeIPs.removeFirst() }
        nextIP += 1
        return nextIP
    }

    func freeIP(_ ip: UInt32) { freeIPs.append(ip) }

    func pod(at ip: UInt32) -> SimulatedPod? {
        for revision in revisions { if let pod = revision.pods.first(where: { $0.ip == ip }) { return pod } }
        return nil
    }

    private func addActivator() {
        numbers.activator += 1
        activators.append(SimulatedActivator(numbers.activator, in: self))
    }

    func activatorGone(_ activator: SimulatedActivator) {
        activators.removeAll { $0 === activator }
        goneActivators.append(activator)
        clock.after(delay(500)) { [weak self] in self?.pathsChanged() }
        if activators.count(where: { !$0.isDraining }) < plan.activators {
            clock.after(delay(2_000)) { [weak self] in self?.addActivator() }
        }
    }

    /// Other activators than before may be named by public endpoints.
    func pathsChanged() { for revision in revisions { revision.publishEndpoints() } }

    // MARK: Time and chance

    /// A delay of at most `milliseconds`, mostly far less, in nanoseconds.
    func delay(_ milliseconds: UInt64) -> UInt64 {
        let most = milliseconds * 1_000_000
        return UInt64.random(in: 0...(chance(0.25, &random) ? most : most / 8), using: &random)
    }

    /// Does `action` when a packet has arrived.
    func networkLater(_ action: @escaping () -> Void) { clock.after(delay(plan.delays.network), action) }

    /// How long it takes at most until an announcement has led to a written scale, in seconds.
    var wakeSeconds: Double { Double(plan.delays.stat + plan.delays.write + 3 * plan.delays.mail + 15) / 1_000 }
    /// How long it takes at most until an activator uses a ready pod, in seconds: the list, a question, and a pause.
    var knowledgeSeconds: Double {
        Double(plan.delays.watch + 4 * plan.delays.network + 2 * plan.delays.mail + 260) / 1_000
    }

    // MARK: Checks

    /// Notes a breach unless `condition` holds; the run ends with the first.
    func expect(_ condition: Bool, _ message: @autoclosure () -> String) {
        guard !condition, breach == nil else { return }
        breach = SimulationBreach(step: steps, message: "at \(clock.seconds) s: \(message())")
    }

    func note(_ event: Event) { counts[event.rawValue] += 1 }
    /// How often `event` came.
    public func count(of event: Event) -> Int { counts[event.rawValue] }

    func tell(_ line: @autoclosure () -> String) {
        if keepsTrace { trace.append("\(clock.seconds): \(line())") }
    }

    func disturbed() {
        disturbedAt = clock.now
        note(.statLost)
    }

    /// A request ends, which it does once.
    func end(_ id: Int, _ outcome: SystemOutcome) {
        let former = requests[id].outcome
        expect(former == nil, "request \(id) ends twice: \(outcome), after \(former.map { "\($0)" } ?? "")")
        tell("request \(id): \(outcome)")
        requests[id].outcome = outcome
        requests[id].place = .ended
        outcomes[outcome.rawValue] += 1
        let isGentle = outcome != .cut && outcome != .failed
        expect(isGentle || !plan.faults.isNone, "request \(id) of a gentle run: \(outcome)")
    }

    private func check() {
        if !autoscaler.isUp || !activators.allSatisfy(\.isHeard) { disturbedAt = clock.now }
        for activator in activators where activator.isAlive {
            for throttler in activator.throttlers { throttler.check() }
            let waiting = activator.throttlers.reduce(0) { $0 + $1.shadow.queue.count }
            expect(
                activator.budget.waiting == waiting,
                "activator \(activator.number): its budget says \(activator.budget.waiting), not \(waiting)")
        }
    }

    /// Whether a revision has exactly its floor, and nothing under way.
    private func isAtRest(_ revision: SimulatedRevision) -> Bool {
        let least = revision.plan.minScale
        return revision.replicas == least && revision.pods.count == least && revision.pods.allSatisfy { $0.isIdle }
    }

    private func checkRest() {
        for revision in revisions {
            expect(
                isAtRest(revision),
                "\(revision.name.name): \(revision.replicas) pods are wanted and \(revision.pods.count) there after "
                    + "the end of all requests, not \(revision.plan.minScale)")
        }
        for activator in activators {
            for throttler in activator.throttlers {
                expect(throttler.gate.waiting == 0 && throttler.gate.inFlight == 0, "a gate holds slots at the end")
            }
        }
    }
}
