import Primitives
import Testing

@testable import Admission
@testable import Balancing

/// A gate and what really happens at it, for one schedule.
private final class Stage {
    let gate: RevisionGate
    let budget = WaitBudget(limit: 100)
    let endpoints: [Endpoint]
    /// A view that is current when the threads begin.
    var view = EndpointView()
    var loads: [Int]
    /// Tokens in the order in which their waiting became known; a token leaves when it is granted or gone.
    var knownWaiting: [UInt64] = []
    var granted: [UInt64: Endpoint] = [:]
    var refused: Set<UInt64> = []
    var breaches: [String] = []

    init(concurrency: Int, endpointCount: Int) {
        gate = RevisionGate(concurrency: concurrency, queueLimit: 10, budget: budget)
        endpoints = makeEndpoints(endpointCount, concurrency: concurrency)
        loads = [Int](repeating: 0, count: endpointCount)
        _ = gate.setEndpoints(endpoints)
        if case .admitted(let endpoint) = gate.admit(Waiter(worker: 0, token: 0), view: &view, random: 0) {
            endpoint.unreserve()
        }
    }

    func start(_ endpoint: Endpoint) {
        loads[endpoint.id] += 1
        if gate.concurrency > 0, loads[endpoint.id] > gate.concurrency { breaches.append("too many on \(endpoint.id)") }
    }

    func take(_ grants: [Grant]) {
        for grant in grants {
            if let oldest = knownWaiting.first, oldest != grant.waiter.token, knownWaiting.contains(grant.waiter.token)
            {
                breaches.append("\(grant.waiter.token) before \(oldest)")
            }
            knownWaiting.removeAll { $0 == grant.waiter.token }
            granted[grant.waiter.token] = grant.endpoint
            start(grant.endpoint)
        }
    }

    /// After the last step: nobody waits beside a free slot, and the counts agree.
    func checkEnd() {
        let hasRoom = endpoints.contains { endpoint in
            endpoint.state == .available && (gate.concurrency == 0 || endpoint.inFlight < gate.concurrency)
        }
        if gate.waiting > 0, hasRoom { breaches.append("\(gate.waiting) wait beside a free slot") }
        if endpoints.map(\.inFlight) != loads { breaches.append("loads \(loads), gate \(endpoints.map(\.inFlight))") }
        if gate.waiting != knownWaiting.count { breaches.append("\(gate.waiting) wait, known \(knownWaiting)") }
        if budget.waiting != gate.waiting { breaches.append("budget \(budget.waiting)") }
    }
}

/// One thread's way through the gate, cut where another thread may come between. `step` returns false at the end.
private protocol Walker: AnyObject {
    func step(_ stage: Stage) -> Bool
}

/// `admit`: the look, the reservation, the part under the mutex.
private final class Newcomer: Walker {
    let token: UInt64
    var view: EndpointView
    var position = 0
    var waitedBefore: [UInt64] = []

    init(_ token: UInt64, _ stage: Stage) {
        self.token = token
        view = stage.view
    }

    func step(_ stage: Stage) -> Bool {
        position += 1
        switch position {
        case 1:
            waitedBefore = stage.knownWaiting
            if !stage.gate.mayTryAtOnce(view) { position = 2 }
            return true
        case 2:
            let endpoint = stage.gate.policy.reserve(from: view.endpoints, cursor: &view.cursor, random: 0)
            if let endpoint { admitted(endpoint, stage) }
            return endpoint == nil
        default:
            switch stage.gate.enter(Waiter(worker: 0, token: token), view: &view, random: 0, at: { _ in }) {
            case .admitted(let endpoint): admitted(endpoint, stage)
            case .queued: stage.knownWaiting.append(token)
            case .refused: stage.refused.insert(token)
            }
            return false
        }
    }

    private func admitted(_ endpoint: Endpoint, _ stage: Stage) {
        for older in waitedBefore where stage.knownWaiting.contains(older) {
            stage.breaches.append("\(token) overtook \(older)")
        }
        stage.granted[token] = endpoint
        stage.start(endpoint)
    }
}

/// `release`: the first look, the word, the second look, the part under the mutex.
private final class Releaser: Walker {
    let endpoint: Endpoint
    var position = 0
    var left = 0

    init(_ endpoint: Endpoint) { self.endpoint = endpoint }

    func step(_ stage: Stage) -> Bool {
        position += 1
        switch position {
        case 1:
            stage.loads[endpoint.id] -= 1  // the request has ended, whatever the gate does about it
            if stage.gate.somebodyWaits { position = 10 }
            return true
        case 2:
            left = endpoint.unreserve()
            return true
        case 3:
            return stage.gate.somebodyWaits || (left == 0 && endpoint.state == .retired)
        default:
            if case .granted(let grant) = stage.gate.settle(endpoint, holdsSlot: position == 11) { stage.take([grant]) }
            return false
        }
    }
}

/// Something that happens under the mutex in one step.
private final class Once: Walker {
    let action: (Stage) -> Void

    init(_ action: @escaping (Stage) -> Void) { self.action = action }

    func step(_ stage: Stage) -> Bool {
        action(stage)
        return false
    }
}

/// Runs every order in which the steps of several threads can follow each other, on the real gate.
///
/// Cut points are those outside the mutex; GateCutTests take those between the steps of one call.
@Suite struct GateInterleavingTests {
    /// More orders than this are drawn from at random instead of being tried one by one.
    private static let scheduleLimit = 5_000

    /// All schedules of what `make` sets up, or `scheduleLimit` random ones if there are more. Returns how many were
    /// run and what went wrong first.
    private func explore(_ make: () -> (Stage, [any Walker])) -> (schedules: Int, breach: String?) {
        var choices: [(taken: Int, options: Int)] = []
        for schedules in 1...Self.scheduleLimit {
            if let breach = run(make(), &choices, random: nil) { return (schedules, breach) }
            while let last = choices.last, last.taken + 1 == last.options { choices.removeLast() }
            guard let last = choices.indices.last else { return (schedules, nil) }
            choices[last].taken += 1
        }
        for seed in 0..<UInt64(Self.scheduleLimit) {
            choices = []
            if let breach = run(make(), &choices, random: SeededRandom(seed: seed)) { return (Int(seed), breach) }
        }
        return (Self.scheduleLimit, nil)
    }

    /// One schedule: `choices` as far as they go, then the first or a random walker each time. Returns a breach.
    private func run(
        _ setting: (Stage, [any Walker]), _ choices: inout [(taken: Int, options: Int)], random: SeededRandom?
    ) -> String? {
        var (stage, walkers) = setting
        var random = random
        var depth = 0
        while !walkers.isEmpty {
            if depth == choices.count {
                let taken = random == nil ? 0 : Int(truncatingIfNeeded: (random?.next() ?? 0) >> 8) % walkers.count
                choices.append((taken, walkers.count))
            }
            let chosen = choices[depth].taken
            if !walkers[chosen].step(stage) { walkers.remove(at: chosen) }
            depth += 1
        }
        stage.checkEnd()
        return stage.breaches.first.map { "\($0), schedule \(choices.map(\.taken))" }
    }

    /// A gate with `busy` requests on endpoint 0, and then `others` on endpoint 1.
    private func stage(_ concurrency: Int, busy: Int, others: Int? = nil) -> Stage {
        let stage = Stage(concurrency: concurrency, endpointCount: others == nil ? 1 : 2)
        for (index, count) in [busy, others ?? 0].enumerated() where count > 0 {
            for _ in 0..<count where stage.endpoints[index].tryReserve() { stage.start(stage.endpoints[index]) }
        }
        return stage
    }

    @Test func everyOrder() {
        for scenario in Scenario.allCases {
            let (schedules, breach) = explore { make(scenario) }
            #expect(breach == nil, "\(scenario), after \(schedules) schedules")
            #expect(schedules >= scenario.leastSchedules, "\(scenario): only \(schedules)")
        }
    }

    private enum Scenario: CaseIterable {
        case oneEachWay, twoComeOneGoes, twoComeTwoGo, threeComeOneGoes, twoEndpoints, givesUp, retired, resumed, closed

        /// Fewer would mean that the cut points have got lost.
        var leastSchedules: Int { self == .oneEachWay ? 10 : 100 }
    }

    private func make(_ scenario: Scenario) -> (Stage, [any Walker]) {
        switch scenario {
        case .oneEachWay:
            let stage = stage(1, busy: 1)
            return (stage, [Newcomer(1, stage), Releaser(stage.endpoints[0])])
        case .twoComeOneGoes:
            let stage = stage(1, busy: 1)
            return (stage, [Newcomer(1, stage), Newcomer(2, stage), Releaser(stage.endpoints[0])])
        case .twoComeTwoGo:
            let stage = stage(2, busy: 2)
            let releasers = [Releaser(stage.endpoints[0]), Releaser(stage.endpoints[0])]
            return (stage, [Newcomer(1, stage), Newcomer(2, stage)] + releasers)
        case .threeComeOneGoes:
            let stage = stage(1, busy: 1)
            return (stage, (UInt64(1)...3).map { Newcomer($0, stage) } + [Releaser(stage.endpoints[0])])
        case .twoEndpoints:
            let stage = stage(1, busy: 1, others: 1)
            let releasers = stage.endpoints.map { Releaser($0) }
            return (stage, [Newcomer(1, stage), Newcomer(2, stage)] + releasers)
        default: return makeChange(scenario)
        }
    }

    private func makeChange(_ scenario: Scenario) -> (Stage, [any Walker]) {
        let stage = stage(1, busy: 1, others: scenario == .retired ? 1 : nil)
        let endpoint = stage.endpoints[0]
        let change: Once
        switch scenario {
        case .givesUp:
            var view = EndpointView()
            if case .queued(let ticket) = stage.gate.admit(Waiter(worker: 0, token: 9), view: &view, random: 0) {
                stage.knownWaiting.append(9)
                change = Once { if $0.gate.abandon(ticket) { $0.knownWaiting.removeAll { $0 == 9 } } }
            } else {
                change = Once { $0.breaches.append("did not wait") }
            }
        case .retired: change = Once { $0.take($0.gate.setEndpoints([$0.endpoints[1]]).grants) }
        case .resumed:
            _ = stage.gate.suspend(endpoint)
            change = Once { $0.take($0.gate.resume(endpoint)) }
        default:
            change = Once { stage in
                let refused = stage.gate.close().map(\.token)
                if refused != stage.knownWaiting { stage.breaches.append("close named \(refused)") }
                stage.knownWaiting = []
            }
        }
        return (stage, [Newcomer(1, stage), Newcomer(2, stage), Releaser(endpoint), change])
    }
}
