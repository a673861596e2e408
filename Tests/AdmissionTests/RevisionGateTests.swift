import Primitives
import Testing

@testable import Admission
@testable import Balancing

/// One gate, one worker's view, and outcomes in a form that can be compared.
final class GateBench {
    enum Seen: Equatable {
        case admitted(Int), queued, refused(RefusalReason)
    }

    let gate: RevisionGate
    let budget: WaitBudget
    var view = EndpointView()
    var tickets: [UInt64: WaitTicket] = [:]

    init(concurrency: Int, queueLimit: Int = 100, budget: Int = 1_000) {
        self.budget = WaitBudget(limit: budget)
        gate = RevisionGate(concurrency: concurrency, queueLimit: queueLimit, budget: self.budget)
    }

    func admit(_ token: UInt64, random: UInt64 = 0) -> Seen {
        seen(gate.admit(Waiter(worker: 0, token: token), view: &view, random: random), token)
    }

    func readmit(_ token: UInt64, avoiding: Endpoint?) -> Seen {
        let waiter = Waiter(worker: 0, token: token)
        return seen(gate.readmit(waiter, view: &view, random: 0, avoiding: avoiding), token)
    }

    func abandon(_ token: UInt64) -> Bool { tickets[token].map(gate.abandon) ?? false }

    private func seen(_ outcome: AdmissionOutcome, _ token: UInt64) -> Seen {
        switch outcome {
        case .admitted(let endpoint): return .admitted(endpoint.id)
        case .refused(let reason): return .refused(reason)
        case .queued(let ticket):
            tickets[token] = ticket
            return .queued
        }
    }
}

/// Grants as (token, endpoint) pairs.
func pairs(_ grants: [Grant]) -> [[Int]] { grants.map { [Int($0.waiter.token), $0.endpoint.id] } }

extension ReleaseOutcome {
    /// The outcome in short: `done`, `drained`, or `token@endpoint`.
    var text: String {
        switch self {
        case .done: "done"
        case .drained: "drained"
        case .granted(let grant): "\(grant.waiter.token)@\(grant.endpoint.id)"
        }
    }
}

@Suite struct RevisionGateTests {
    @Test func freeSlotsAdmitAtOnce() {
        let bench = GateBench(concurrency: 2)
        let endpoints = makeEndpoints(2, concurrency: 2)
        let change = bench.gate.setEndpoints(endpoints)
        #expect(change.grants.isEmpty && change.idle.isEmpty)
        #expect((0..<5).map { bench.admit($0) } == [.admitted(0), .admitted(0), .admitted(1), .admitted(1), .queued])
        #expect(bench.gate.inFlight == 4 && bench.gate.waiting == 1 && bench.gate.capacity == 4)
        #expect(bench.gate.endpointCount == 2 && bench.budget.waiting == 1)
        #expect(bench.gate.release(endpoints[1]).text == "4@1")
        #expect(bench.gate.inFlight == 4 && bench.gate.waiting == 0 && bench.budget.waiting == 0)
        for endpoint in [endpoints[0], endpoints[0], endpoints[1], endpoints[1]] {
            #expect(bench.gate.release(endpoint).text == "done")
        }
        #expect(bench.gate.inFlight == 0)
    }

    @Test(arguments: [0, 1, 4]) func coldStart(concurrency: Int) {
        let bench = GateBench(concurrency: concurrency)
        #expect(bench.gate.capacity == 0)
        for token in UInt64(0)..<9 { #expect(bench.admit(token) == .queued) }
        let grants = pairs(bench.gate.setEndpoints(makeEndpoints(2, concurrency: concurrency)).grants)
        switch concurrency {
        case 0: #expect(grants == (0..<9).map { [$0, $0 % 2] })
        case 1: #expect(grants == [[0, 0], [1, 1]])
        default: #expect(grants == (0..<8).map { [$0, $0 % 2] })
        }
        #expect(bench.gate.waiting == 9 - grants.count && bench.gate.inFlight == grants.count)
        #expect(bench.gate.capacity == (concurrency == 0 ? .max : 2 * concurrency))
    }

    @Test func newcomersStandBehind() {
        let bench = GateBench(concurrency: 1)
        let endpoints = makeEndpoints(3, concurrency: 1)
        #expect(bench.admit(0) == .queued && bench.admit(1) == .queued)
        #expect(pairs(bench.gate.setEndpoints([endpoints[0]]).grants) == [[0, 0]])
        #expect(bench.admit(2) == .queued, "somebody waits")
        #expect(pairs(bench.gate.setEndpoints(endpoints).grants) == [[1, 1], [2, 2]])
        #expect(bench.admit(3) == .queued && bench.admit(4) == .queued)
        #expect(bench.gate.release(endpoints[2]).text == "3@2")
        #expect(bench.gate.release(endpoints[0]).text == "4@0")
        #expect(bench.gate.release(endpoints[1]).text == "done")
        #expect(bench.admit(5) == .admitted(1), "nobody waits")
    }

    @Test func abandonedOnesAreSkipped() {
        let bench = GateBench(concurrency: 1)
        let endpoint = makeEndpoints(1, concurrency: 1)
        _ = bench.gate.setEndpoints(endpoint)
        #expect((0..<4).map { bench.admit($0) } == [.admitted(0), .queued, .queued, .queued])
        #expect(bench.abandon(1) && !bench.abandon(1))
        #expect(bench.gate.waiting == 2 && bench.budget.waiting == 2)
        #expect(bench.gate.release(endpoint[0]).text == "2@0")
        #expect(!bench.abandon(2), "the grant is on its way")
        #expect(bench.abandon(3))
        #expect(bench.gate.release(endpoint[0]).text == "done")
        #expect(bench.gate.waiting == 0 && bench.budget.waiting == 0 && bench.gate.inFlight == 0)
        #expect(bench.admit(9) == .admitted(0))
    }

    @Test(arguments: [0, 1, 2, 5]) func queueLimit(limit: Int) {
        let bench = GateBench(concurrency: 1, queueLimit: limit)
        let endpoint = makeEndpoints(1, concurrency: 1)
        _ = bench.gate.setEndpoints(endpoint)
        #expect(bench.admit(0) == .admitted(0))
        for token in 0..<limit { #expect(bench.admit(UInt64(1 + token)) == .queued) }
        for token in UInt64(90)..<93 { #expect(bench.admit(token) == .refused(.queueFull)) }
        #expect(bench.gate.waiting == limit && bench.budget.waiting == limit)
        #expect(bench.readmit(99, avoiding: nil) == .queued, "accepted before, so never refused")
        #expect(bench.gate.release(endpoint[0]).text == "99@0")
        #expect(bench.admit(94) == .refused(.queueFull))
        #expect(bench.gate.release(endpoint[0]).text == (limit > 0 ? "1@0" : "done"))
        #expect(bench.admit(95) == (limit > 0 ? .queued : .admitted(0)), "one place has become free")
    }

    @Test func budgetOverAllGates() {
        let budget = WaitBudget(limit: 3)
        var view = EndpointView()
        let gates = (0..<2).map { _ in RevisionGate(concurrency: 1, queueLimit: 2, budget: budget) }
        func admit(_ gate: Int) -> RefusalReason? {
            let outcome = gates[gate].admit(Waiter(worker: 0, token: 0), view: &view, random: 0)
            if case .refused(let reason) = outcome { return reason }
            return nil
        }
        #expect(admit(0) == nil && admit(0) == nil && admit(0) == .queueFull)
        #expect(admit(1) == nil && admit(1) == .queueFullOverall)
        #expect(budget.waiting == 3)
        #expect(gates[0].close().count == 2)
        #expect(budget.waiting == 1)
        #expect(admit(1) == nil && admit(1) == .queueFull)
    }

    @Test func budgetOutlivesItsGates() {
        let budget = WaitBudget()
        var gate: RevisionGate? = RevisionGate(concurrency: 1, budget: budget)
        var view = EndpointView()
        _ = gate?.admit(Waiter(worker: 0, token: 0), view: &view, random: 0)
        #expect(budget.waiting == 1 && budget.limit == 10_000 && gate?.queueLimit == 1_000)
        gate = nil
        #expect(budget.waiting == 0)
    }

    @Test func suspendAndResume() {
        let bench = GateBench(concurrency: 0)
        let endpoints = makeEndpoints(2, concurrency: 0)
        _ = bench.gate.setEndpoints(endpoints)
        #expect(bench.admit(0) != .queued)
        #expect(bench.gate.suspend(endpoints[0]) && !bench.gate.suspend(endpoints[0]))
        for token in UInt64(1)..<9 { #expect(bench.admit(token, random: token << 60) == .admitted(1)) }
        #expect(bench.gate.suspend(endpoints[1]))
        #expect(bench.gate.capacity == 0 && bench.gate.endpointCount == 2)
        #expect(bench.admit(10) == .queued && bench.admit(11) == .queued)
        #expect(bench.gate.release(endpoints[1]).text == "done", "no hand-over on a suspended endpoint")
        #expect(bench.gate.setEndpoints(endpoints).grants.isEmpty, "listing it again does not resume it")
        #expect(pairs(bench.gate.resume(endpoints[0])) == [[10, 0], [11, 0]])
        #expect(bench.gate.resume(endpoints[0]).isEmpty)
        let stranger = makeEndpoints(1, concurrency: 0, from: 7)[0]
        #expect(!bench.gate.suspend(stranger) && bench.gate.resume(stranger).isEmpty)
        #expect(stranger.state == .available)
    }

    @Test func retiredOnesDrain() {
        let bench = GateBench(concurrency: 2)
        let endpoints = makeEndpoints(3, concurrency: 2)
        _ = bench.gate.setEndpoints(endpoints)
        #expect((0..<4).map { bench.admit($0) } == [.admitted(0), .admitted(0), .admitted(1), .admitted(1)])
        let change = bench.gate.setEndpoints([])
        #expect(change.idle.map(\.id) == [2] && change.grants.isEmpty)
        #expect(bench.admit(4) == .queued)
        #expect(bench.gate.inFlight == 4, "retired ones count until they are idle")
        #expect(bench.gate.release(endpoints[0]).text == "done")
        #expect(bench.gate.release(endpoints[0]).text == "drained")
        #expect(bench.abandon(4))
        #expect(bench.gate.release(endpoints[1]).text == "done")
        #expect(bench.gate.release(endpoints[1]).text == "drained")
        #expect(bench.gate.inFlight == 0 && endpoints.allSatisfy { $0.state == .retired })
    }

    /// A replica that leaves the list and comes back keeps its count, even as a newly made object.
    @Test func comingBackKeepsTheCount() {
        let bench = GateBench(concurrency: 1)
        let endpoint = makeEndpoints(1, concurrency: 1)[0]
        _ = bench.gate.setEndpoints([endpoint])
        #expect(bench.admit(0) == .admitted(0))
        #expect(bench.gate.setEndpoints([]).idle.isEmpty)
        let twin = makeEndpoints(1, concurrency: 1)[0]
        #expect(bench.admit(1) == .queued)
        #expect(bench.gate.setEndpoints([twin, twin, endpoint]).grants.isEmpty, "it is still busy")
        #expect(bench.gate.endpoints.map(ObjectIdentifier.init) == [ObjectIdentifier(endpoint)])
        #expect(endpoint.state == .available)
        #expect(bench.gate.release(endpoint).text == "1@0")
        #expect(bench.gate.suspend(twin) && endpoint.state == .suspended, "the twin stands for it")
        #expect(bench.gate.setEndpoints([]).idle.isEmpty)
        #expect(bench.gate.release(endpoint).text == "drained")
        #expect(pairs(bench.gate.setEndpoints([twin]).grants) == [] && bench.admit(2) == .admitted(0))
        #expect(endpoint.state == .retired, "the gate had forgotten it")
    }

    @Test func readmittedOnesGoFirst() {
        let bench = GateBench(concurrency: 1)
        let endpoints = makeEndpoints(2, concurrency: 1)
        _ = bench.gate.setEndpoints(endpoints)
        #expect((0..<4).map { bench.admit($0) } == [.admitted(0), .admitted(1), .queued, .queued])
        #expect(bench.gate.suspend(endpoints[0]))
        #expect(bench.gate.release(endpoints[0]).text == "done")
        #expect(bench.readmit(0, avoiding: endpoints[0]) == .queued)
        #expect(bench.gate.release(endpoints[1]).text == "0@1")
        #expect(pairs(bench.gate.resume(endpoints[0])) == [[2, 0]])
        #expect(bench.gate.waiting == 1)
    }

    @Test(arguments: [0, 1, 4]) func avoidingIsAWish(concurrency: Int) {
        let bench = GateBench(concurrency: concurrency)
        let endpoints = makeEndpoints(2, concurrency: concurrency)
        _ = bench.gate.setEndpoints(endpoints)
        #expect(bench.readmit(0, avoiding: endpoints[0]) == .admitted(1))
        #expect(bench.readmit(1, avoiding: endpoints[1]) == .admitted(0))
        _ = bench.gate.setEndpoints([endpoints[0]])
        _ = bench.gate.release(endpoints[0])
        #expect(bench.readmit(2, avoiding: endpoints[0]) == .admitted(0), "better than waiting beside it")
        _ = bench.gate.release(endpoints[0])
        let stranger = makeEndpoints(1, concurrency: 1, from: 9)[0]
        _ = bench.gate.setEndpoints([])
        #expect(bench.readmit(3, avoiding: stranger) == .queued && stranger.inFlight == 0)
    }

    @Test func closing() {
        let bench = GateBench(concurrency: 1)
        let endpoints = makeEndpoints(2, concurrency: 1)
        _ = bench.gate.setEndpoints([endpoints[0]])
        #expect((0..<3).map { bench.admit($0) } == [.admitted(0), .queued, .queued])
        #expect(bench.gate.close().map(\.token) == [1, 2])
        #expect(bench.gate.close().isEmpty)
        #expect(!bench.abandon(1) && bench.gate.waiting == 0 && bench.budget.waiting == 0)
        #expect(bench.admit(3) == .refused(.closed) && bench.readmit(0, avoiding: nil) == .refused(.closed))
        let change = bench.gate.setEndpoints(endpoints)
        #expect(change.grants.isEmpty && change.idle.isEmpty && bench.gate.endpointCount == 0)
        #expect(!bench.gate.suspend(endpoints[0]) && bench.gate.resume(endpoints[0]).isEmpty)
        #expect(bench.gate.release(endpoints[0]).text == "drained" && bench.gate.inFlight == 0)
    }

    /// Views that are behind: they never reach a retired endpoint, never miss a new one, and may serve another gate.
    @Test func staleViews() {
        let bench = GateBench(concurrency: 1)
        let endpoints = makeEndpoints(3, concurrency: 1)
        _ = bench.gate.setEndpoints([endpoints[0]])
        #expect(bench.admit(0) == .admitted(0))
        _ = bench.gate.release(endpoints[0])
        _ = bench.gate.setEndpoints([endpoints[1]])
        #expect(bench.view.endpoints.map(\.id) == [0])
        #expect(bench.admit(1) == .admitted(1))
        #expect(bench.view.endpoints.map(\.id) == [1])
        let other = GateBench(concurrency: 1)
        _ = other.gate.setEndpoints([endpoints[2]])
        other.view = bench.view
        #expect(other.admit(2) == .admitted(2))
    }

    /// Each worker's round robin starts somewhere else, so workers in step do not meet at one endpoint.
    @Test func roundsStartApart() {
        let gate = RevisionGate(concurrency: 10, budget: WaitBudget())
        _ = gate.setEndpoints(makeEndpoints(8, concurrency: 10))
        var random = SeededRandom(seed: 5)
        var firsts: Set<Int> = []
        for worker in 0..<32 {
            var view = EndpointView()
            let waiter = Waiter(worker: worker, token: 0)
            if case .admitted(let endpoint) = gate.admit(waiter, view: &view, random: random.next()) {
                firsts.insert(endpoint.id)
            }
        }
        #expect(firsts.count >= 6, "\(firsts)")
    }
}
