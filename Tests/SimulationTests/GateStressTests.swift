import Admission
import Balancing
import Primitives
import Simulation
import Synchronization
import Testing

/// What one thread sees of the gate, the way a worker does: own view, own requests, one mailbox others post to.
private final class StressBench: Sendable {
    static let threads = 4
    static let operations = 50_000
    /// Turns of the last loop before a waiter that nobody wakes counts as lost.
    static let patience = 2_000_000

    let gate: RevisionGate
    let budget = WaitBudget(limit: 1_000)
    let endpoints: [Endpoint]
    /// How many requests are really on each endpoint, counted by the test.
    let loads: [LoadCell]
    let mailboxes: [GrantBox]
    let breaches = Mutex<[String]>([])
    let grants = Atomic<Int>(0)
    let finished = Atomic<Int>(0)

    final class LoadCell: Sendable { let value = Atomic<Int>(0) }
    final class GrantBox: Sendable {
        let grants = Mutex<[Grant]>([])
        func takeAll() -> [Grant] {
            grants.withLock { held in
                let all = held
                held.removeAll(keepingCapacity: true)
                return all
            }
        }
    }

    init(concurrency: Int, endpointCount: Int) {
        gate = RevisionGate(concurrency: concurrency, queueLimit: 500, budget: budget)
        endpoints = (0..<endpointCount).map {
            Endpoint(id: $0, address: .loopback(port: UInt16(9_000 + $0)), concurrency: concurrency)
        }
        loads = endpoints.map { _ in LoadCell() }
        mailboxes = (0..<Self.threads).map { _ in GrantBox() }
        _ = gate.setEndpoints(endpoints)
    }

    func breach(_ text: String) { breaches.withLock { if $0.count < 10 { $0.append(text) } } }

    func post(_ grant: Grant) {
        grants.wrappingAdd(1, ordering: .relaxed)
        mailboxes[grant.waiter.worker].grants.withLock { $0.append(grant) }
    }

    /// A request is sent to `endpoint`.
    func start(_ endpoint: Endpoint) {
        let load = loads[endpoint.id].value.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
        if gate.concurrency > 0, load > gate.concurrency { breach("\(load) requests on endpoint \(endpoint.id)") }
    }

    /// It ends.
    func end(_ endpoint: Endpoint) {
        loads[endpoint.id].value.wrappingSubtract(1, ordering: .sequentiallyConsistent)
        releaseUnused(endpoint)
    }

    func releaseUnused(_ endpoint: Endpoint) {
        if case .granted(let grant) = gate.release(endpoint) { post(grant) }
    }

    /// One of the rare changes of endpoints.
    func disturb(_ random: inout SeededRandom) {
        let endpoint = endpoints[Int.random(in: 0..<endpoints.count, using: &random)]
        switch Int.random(in: 0..<4, using: &random) {
        case 0: _ = gate.suspend(endpoint)
        case 1: gate.resume(endpoint).forEach(post)
        case 2: gate.setEndpoints(endpoints.filter { $0 !== endpoint }).grants.forEach(post)
        default: restore()
        }
    }

    /// All endpoints are listed and available.
    func restore() {
        gate.setEndpoints(endpoints).grants.forEach(post)
        for endpoint in endpoints { gate.resume(endpoint).forEach(post) }
    }
}

/// One thread's requests.
private struct StressWorker {
    let bench: StressBench
    let index: Int
    let disturbs: Bool
    var random: SeededRandom
    var view = EndpointView()
    var serving: [Endpoint] = []
    var waiting: [(token: UInt64, ticket: WaitTicket)] = []
    /// Abandoned too late: their grants are still to come.
    var orphans = 0
    var nextToken: UInt64 = 0

    init(bench: StressBench, index: Int, disturbs: Bool) {
        self.bench = bench
        self.index = index
        self.disturbs = disturbs
        random = SeededRandom(seed: UInt64(index))
    }

    mutating func run() {
        for _ in 0..<StressBench.operations {
            readMailbox()
            switch Int.random(in: 0..<64, using: &random) {
            case 0..<30: arrive()
            case 30..<56: endOne()
            case 56..<60: abandonOne()
            case 60..<62: retryOne()
            default: if disturbs { bench.disturb(&random) }
            }
        }
        if disturbs { bench.restore() }
        // Everybody ends what is being served and waits for its own turn: a lost wake-up shows as a turn that never
        // comes.
        var turns = 0
        while !(waiting.isEmpty && serving.isEmpty && orphans == 0) {
            readMailbox()
            while !serving.isEmpty { endOne() }
            turns += 1
            if turns > StressBench.patience {
                return bench.breach("worker \(index): \(waiting.count) were never woken")
            }
            Threads.yield()
        }
        bench.finished.wrappingAdd(1, ordering: .relaxed)
    }

    private mutating func readMailbox() {
        for grant in bench.mailboxes[index].takeAll() {
            if let place = waiting.firstIndex(where: { $0.token == grant.waiter.token }) {
                waiting.remove(at: place)
                bench.start(grant.endpoint)
                serving.append(grant.endpoint)
            } else {
                orphans -= 1
                bench.releaseUnused(grant.endpoint)
            }
        }
    }

    private mutating func arrive() {
        guard waiting.count + serving.count < 24 else { return }
        nextToken += 1
        let waiter = Waiter(worker: index, token: nextToken)
        switch bench.gate.admit(waiter, view: &view, random: random.next()) {
        case .admitted(let endpoint):
            bench.start(endpoint)
            serving.append(endpoint)
            checkNotOvertaking()
        case .queued(let ticket): waiting.append((nextToken, ticket))
        case .refused(let reason): if reason == .closed { bench.breach("refused: closed") }
        }
    }

    /// Just admitted past an own older waiter? Then that one had left the queue before, so it can no longer be
    /// abandoned.
    private mutating func checkNotOvertaking() {
        guard let oldest = waiting.first else { return }
        waiting.removeFirst()
        if bench.gate.abandon(oldest.ticket) {
            bench.breach("worker \(index): \(nextToken) overtook \(oldest.token)")
        } else {
            orphans += 1
        }
    }

    private mutating func endOne() {
        guard !serving.isEmpty else { return }
        bench.end(serving.remove(at: Int.random(in: 0..<serving.count, using: &random)))
    }

    private mutating func abandonOne() {
        guard !waiting.isEmpty else { return }
        let (_, ticket) = waiting.remove(at: Int.random(in: 0..<waiting.count, using: &random))
        if !bench.gate.abandon(ticket) { orphans += 1 }
    }

    private mutating func retryOne() {
        guard let endpoint = serving.popLast() else { return }
        bench.end(endpoint)
        nextToken += 1
        let waiter = Waiter(worker: index, token: nextToken)
        switch bench.gate.readmit(waiter, view: &view, random: random.next(), avoiding: endpoint) {
        case .admitted(let other):
            bench.start(other)
            serving.append(other)
        case .queued(let ticket): waiting.insert((nextToken, ticket), at: 0)
        case .refused: bench.breach("refused a second admission")
        }
    }
}

@Suite(.serialized) struct GateStressTests {
    /// Four threads on one gate: limits kept, nobody overtaken, nobody forgotten, nothing left.
    ///
    /// The lists of 20 and of 70 are long enough for hints: none misleads at the end.
    @Test(arguments: [
        (1, 1, false), (1, 3, true), (2, 5, true), (4, 2, false), (5, 3, true), (0, 3, true), (1, 20, true),
        (3, 20, true), (1, 70, false), (1, 70, true),
    ])
    func fourThreads(concurrency: Int, endpointCount: Int, disturbs: Bool) {
        let bench = StressBench(concurrency: concurrency, endpointCount: endpointCount)
        let started = Threads.run(StressBench.threads) { index in
            var worker = StressWorker(bench: bench, index: index, disturbs: disturbs && index == 0)
            worker.run()
        }
        let breaches = bench.breaches.withLock { $0 }
        #expect(started == StressBench.threads && breaches.isEmpty, "\(breaches)")
        #expect(bench.finished.load(ordering: .relaxed) == StressBench.threads)
        #expect(bench.gate.inFlight == 0 && bench.gate.waiting == 0 && bench.budget.waiting == 0)
        #expect(bench.gate.misleadingHints == 0)
        #expect(bench.loads.allSatisfy { $0.value.load(ordering: .relaxed) == 0 })
        #expect(concurrency == 0 || bench.grants.load(ordering: .relaxed) > 100, "somebody must have waited")
    }
}
