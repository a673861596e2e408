import Admission
import Balancing
import Primitives

/// Several workers with their own views and mailboxes, several revisions that share one wait budget, replicas that
/// start, die, leave and come back, clients that come, give up and run out of time: over the real gates, step by step
/// against a shadow.
///
/// Each call of a gate is one step here; what threads may do inside a call is checked elsewhere.
public struct GateSimulation: SeededSimulation {
    /// What may happen.
    enum Action: CaseIterable, Sendable {
        case arrive, deliverOne, deliverAll, finish, cancel, advance
        case startPod, killPod, healPod, listSome, relistGone, probe, suspendAny, closeGate
    }

    /// What happened, counted: a sweep that never reaches a corner proves nothing about it.
    public enum Event: Int, CaseIterable, Sendable {
        /// Outcomes of `admit`.
        case admitted, queued, refusedQueueFull, refusedOverall, refusedClosed
        /// Outcomes of `readmit`.
        case readmittedAtOnce, readmittedQueued, readmitRefused
        /// Sources of grants.
        case grantedByRelease, grantedByList, grantedByResume
        /// What else releases and lists said.
        case drained, idle, cameBackBusy
        /// `abandon` in time and too late, and grants that found nobody.
        case abandoned, abandonedTooLate, grantForNobody
        /// Ends.
        case served, failed, cancelled, timedOut, closedOut
    }

    /// One replica. Its id is its place in `pods`.
    struct Pod {
        let gate: Int
        var isAlive = true
        /// The object the platform made last; the gate may keep an older one.
        var object: Endpoint
    }

    /// Where a request is, as its worker knows it; `granted` is known to the shadow only.
    enum Place {
        case waiting(WaitTicket)
        case granted(WaitTicket)
        case serving(pod: Int, isConnected: Bool)
        case answered
    }

    /// One client's request.
    struct Request {
        let gate: Int
        let worker: Int
        let deadline: Instant
        var attempts = 0
        var place: Place
    }

    /// What travels to a worker.
    enum Message: Sendable {
        case grant(Grant, gate: Int)
        case closed(UInt64)
    }

    /// How often a refused connection is tried elsewhere.
    static let attemptLimit = 3
    /// More requests than this are not begun while so many are open.
    static let openRequestLimit = 60

    let keepsTrace: Bool
    let stepLimit: Int
    let budgetLimit: Int
    var random: SeededRandom
    var clock = VirtualClock()
    let actions: WeightedActions<Action>
    let budget: WaitBudget
    var gates: [RevisionGate] = []
    var shadows: [GateShadow] = []
    var pods: [Pod] = []
    /// By worker, then gate.
    var views: [[EndpointView]]
    var mailboxes: [SimulatedMailbox<Message>]
    /// By token.
    var requests: [Request] = []
    var open: [UInt64] = []
    var step = 0
    var counts = [Int](repeating: 0, count: Event.allCases.count)
    /// What was done, if a trace is kept.
    public internal(set) var trace: [String] = []

    /// How often `event` happened.
    public func count(of event: Event) -> Int { counts[event.rawValue] }

    /// A run whose shape (workers, revisions, limits, what happens often) follows from the seed as well.
    public init(seed: UInt64, keepsTrace: Bool) { self.init(seed: seed, keepsTrace: keepsTrace, stepLimit: 2_000) }

    /// A run of `stepLimit` random steps, and as many more as it takes to calm down.
    public init(seed: UInt64, keepsTrace: Bool, stepLimit: Int) {
        self.keepsTrace = keepsTrace
        self.stepLimit = stepLimit
        random = SeededRandom(seed: seed)
        let workers = Int.random(in: 1...4, using: &random)
        let revisions = Int.random(in: 1...3, using: &random)
        budgetLimit = [2, 15, 10_000].randomElement(using: &random) ?? 15
        budget = WaitBudget(limit: budgetLimit)
        views = Array(repeating: Array(repeating: EndpointView(), count: revisions), count: workers)
        mailboxes = Array(repeating: SimulatedMailbox(), count: workers)
        actions = .swarm(Self.weights, keeping: { $0 == .arrive || $0 == .deliverOne }, using: &random)
        for _ in 0..<revisions { openGate(at: nil) }
    }

    private static let weights: [(action: Action, weight: Int)] = [
        (.arrive, 30), (.deliverOne, 15), (.deliverAll, 3), (.finish, 25), (.cancel, 4), (.advance, 5), (.startPod, 3),
        (.killPod, 1), (.healPod, 1), (.listSome, 2), (.relistGone, 2), (.probe, 4), (.suspendAny, 1), (.closeGate, 1),
    ]

    /// Makes a new revision's gate, in place of the one at `index` if given.
    mutating func openGate(at index: Int?) {
        let concurrency = [0, 0, 1, 1, 1, 2, 3, 4, 9].randomElement(using: &random) ?? 1
        let queueLimit = [0, 1, 2, 8, 1_000].randomElement(using: &random) ?? 8
        let gate = RevisionGate(concurrency: concurrency, queueLimit: queueLimit, budget: budget)
        let shadow = GateShadow(concurrency: concurrency, queueLimit: queueLimit)
        if let index {
            gates[index] = gate
            shadows[index] = shadow
        } else {
            gates.append(gate)
            shadows.append(shadow)
        }
    }

    /// Random steps, then everything is brought to its end and must be at zero.
    public mutating func run() throws(SimulationBreach) {
        while step < stepLimit {
            step += 1
            try perform(actions.next(using: &random))
            if step % 16 == 0 { try checkAll() }
        }
        try calmDown()
    }

    // MARK: Checks

    /// Fails the run unless `condition` holds.
    func expect(_ condition: Bool, _ message: @autoclosure () -> String) throws(SimulationBreach) {
        if !condition { throw SimulationBreach(step: step, message: message()) }
    }

    mutating func note(_ event: Event) { counts[event.rawValue] += 1 }

    mutating func tell(_ line: @autoclosure () -> String) {
        if keepsTrace { trace.append("\(step): \(line())") }
    }

    /// How many wait at all gates, by the shadows.
    var waitingOverall: Int { shadows.reduce(0) { $0 + $1.queue.count } }

    /// What must be true of gate `index` after every step.
    func check(_ index: Int) throws(SimulationBreach) {
        let gate = gates[index]
        let shadow = shadows[index]
        try expect(gate.waiting == shadow.queue.count, "gate \(index): \(gate.waiting) wait, not \(shadow.queue.count)")
        try expect(shadow.leavesNobodyBesideRoom, "gate \(index): \(shadow.queue) wait beside a free slot")
        try expect(budget.waiting == waitingOverall, "budget: \(budget.waiting) wait, not \(waitingOverall)")
    }

    /// The same for all gates and endpoints, figure by figure.
    func checkAll() throws(SimulationBreach) {
        for index in gates.indices {
            try check(index)
            let shadow = shadows[index]
            for (id, slot) in shadow.slots {
                try expect(
                    slot.endpoint.inFlight == slot.count && slot.endpoint.state == slot.state,
                    "endpoint \(id): \(slot.endpoint.inFlight) \(slot.endpoint.state), not \(slot.count) \(slot.state)")
                try expect(
                    shadow.concurrency == 0 || slot.count <= shadow.concurrency, "endpoint \(id): \(slot.count) at once"
                )
            }
            let room = shadow.order.count { shadow.slots[$0]?.state == .available }
            let capacity = shadow.concurrency > 0 ? room * shadow.concurrency : room > 0 ? Int.max : 0
            try expect(gates[index].inFlight == shadow.inFlight, "gate \(index): in flight \(gates[index].inFlight)")
            try expect(gates[index].endpointCount == shadow.order.count, "gate \(index): endpoint count")
            try expect(gates[index].capacity == capacity, "gate \(index): capacity \(gates[index].capacity)")
        }
    }

    /// Ends everything that is open and checks that nothing is left: no slot, no waiter, no report due.
    private mutating func calmDown() throws(SimulationBreach) {
        try checkAll()
        for pod in pods.indices { pods[pod].isAlive = true }
        for gate in gates.indices where !shadows[gate].isClosed {
            if Bool.random(using: &random) { try closeGate(gate, reopening: false) } else { try startPod(gate: gate) }
        }
        while !open.isEmpty || mailboxes.contains(where: { !$0.isEmpty }) {
            step += 1
            try expect(step < stepLimit + 100_000, "does not calm down: \(open.count) open")
            for worker in mailboxes.indices { while try deliver(to: worker) {} }
            if !open.isEmpty { try finish(open[0]) }
        }
        try checkAll()
        for gate in gates.indices { try list([], on: gate) }
        for (index, shadow) in shadows.enumerated() {
            try expect(shadow.inFlight == 0 && gates[index].inFlight == 0, "gate \(index): slots left")
            try expect(shadow.slots.values.allSatisfy { !$0.isDraining }, "gate \(index): a drained report is missing")
        }
        try expect(budget.waiting == 0, "budget: \(budget.waiting) left")
        let answers = [Event.served, .failed, .cancelled, .timedOut, .closedOut, .refusedQueueFull]
        let others = [Event.refusedOverall, .refusedClosed, .readmitRefused]
        let sum = (answers + others).reduce(0) { $0 + count(of: $1) }
        try expect(sum == requests.count, "\(requests.count) requests, \(sum) answers")
    }
}
