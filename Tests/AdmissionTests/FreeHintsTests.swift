import Primitives
import Testing

@testable import Admission
@testable import Balancing

/// A list with hints and what tests ask of it.
private struct HintBench {
    let hints = FreeHints()
    var endpoints: [Endpoint]
    var list = ListHints()

    init(_ count: Int, concurrency: Int = 1) {
        endpoints = makeEndpoints(count, concurrency: concurrency)
        list = hints.list(endpoints, replacing: [])
    }

    mutating func replace(by next: [Endpoint]) {
        list = hints.list(next, replacing: endpoints)
        endpoints = next
    }

    func pick() -> Int? {
        var cursor = 0
        return PickPolicy.firstAvailable.reserve(from: endpoints, hints: list, cursor: &cursor, random: 0)?.id
    }

    /// The next choices; -1 for none.
    func picks(_ count: Int) -> [Int] { (0..<count).map { _ in pick() ?? -1 } }

    func release(_ place: Int) {
        endpoints[place].unreserve()
        hints.slotFreed(endpoints[place])
    }

    /// The places whose bit is clear.
    var cleared: [Int] { endpoints.indices.filter { !list.isSet($0) } }

    /// What a worker does that has looked at `place` of an older `list` and found it full.
    func passed(_ place: Int, of list: ListHints, showing endpoints: [Endpoint]) {
        endpoints.withUnsafeBufferPointer { endpoints in
            endpoints.withMemoryRebound(to: Unmanaged<Endpoint>.self) {
                list.words[place >> 6].clear(
                    1 << UInt64(place & 63), $0, first: place & ~63, generation: list.generation)
            }
        }
    }
}

@Suite struct FreeHintsTests {
    @Test(arguments: [0, 1, 16, 17, 63, 64, 65, 128, 129, 1_000]) func sizes(count: Int) {
        let bench = HintBench(count)
        #expect(bench.list.isEmpty == (count <= 16))
        #expect(bench.list.words.count == (count <= 16 ? 0 : (count + 63) / 64))
        let places = bench.endpoints.map { $0.place.load(ordering: .relaxed) }
        #expect(places == (0..<count).map { count <= 16 ? -1 : $0 })
        #expect(bench.picks(count) == Array(0..<count))
        #expect(bench.pick() == nil)
        for place in (0..<count).reversed() {
            bench.release(place)
            #expect(bench.list.misleading(bench.endpoints) == 0 && bench.pick() == place)
            bench.release(place)
        }
    }

    /// Bits are cleared by who passes four full endpoints, and set by the release that frees one.
    @Test func fullAndFreed() {
        let bench = HintBench(70, concurrency: 2)
        #expect(bench.picks(8) == [0, 0, 1, 1, 2, 2, 3, 3] && bench.cleared == [], "three were passed at a time")
        #expect(bench.pick() == 4 && bench.cleared == [0, 1, 2, 3])
        bench.release(4)
        #expect(bench.cleared == [0, 1, 2, 3], "one that is set stays set")
        #expect(bench.picks(121) == (8..<129).map { $0 / 2 })
        #expect(bench.cleared == Array(0..<64))
        bench.release(7)
        bench.release(40)
        #expect(bench.cleared == (0..<64).filter { $0 != 7 && $0 != 40 })
        #expect(bench.picks(3) == [7, 40, 64] && bench.cleared == (0..<64).filter { $0 != 7 && $0 != 40 })
        #expect(bench.picks(3) == [65, 65, 66] && bench.cleared == (0..<66).filter { $0 != 7 && $0 != 40 })
    }

    /// With every bit wrong, in either direction, the choice is that of the plain scan.
    @Test func wrongBitsAreHarmless() {
        let bench = HintBench(100)
        for endpoint in bench.endpoints where endpoint.id != 40 { #expect(endpoint.tryReserve()) }
        #expect(bench.pick() == 40, "all bits said free")
        bench.endpoints[40].unreserve()  // nobody tells the hints
        for word in bench.list.words { word.bits.store(0, ordering: .relaxed) }
        #expect(bench.list.misleading(bench.endpoints) == 1)
        #expect(bench.pick() == 40 && bench.pick() == nil, "all bits said full")
    }

    @Test func anotherList() {
        var bench = HintBench(80)
        let first = (endpoints: bench.endpoints, list: bench.list)
        #expect(bench.picks(30) == Array(0..<30))
        bench.replace(by: first.endpoints.reversed())
        #expect(bench.cleared == [] && bench.pick() == 79)
        bench.release(79)  // id 0, listed last now
        #expect(bench.picks(51) == Array((30..<79).reversed()) + [0, -1])
        bench.release(79)
        #expect(bench.list.isSet(79) && bench.cleared.count >= 76 && bench.pick() == 0)
        bench.replace(by: Array(first.endpoints.prefix(16)))
        #expect(bench.list.isEmpty && first.endpoints.allSatisfy { $0.place.load(ordering: .relaxed) == -1 })
        bench.release(3)
        #expect(bench.pick() == 3)
        bench.replace(by: first.endpoints + makeEndpoints(120, concurrency: 1, from: 80))
        #expect(bench.list.words.count == 4 && bench.list.words[0] === first.list.words[0], "words are used again")
        #expect(bench.pick() == 80)
    }

    /// P1 and P2 of the argument beside `FreeHints`, with the other side's steps before, between and after.
    @Test func passedWhileFreed() {
        let bench = HintBench(20)
        #expect(bench.pick() == 0)
        bench.endpoints[0].unreserve()  // F1
        bench.hints.slotFreed(bench.endpoints[0])  // F2: the bit is set
        bench.passed(0, of: bench.list, showing: bench.endpoints)  // P1, P2
        #expect(bench.cleared == [], "F2, P1: P2 sees the slot")
        #expect(bench.pick() == 0)
        bench.endpoints[0].unreserve()  // F1
        bench.passed(0, of: bench.list, showing: bench.endpoints)  // P1, P2
        #expect(bench.cleared == [], "F1, P1, P2, F2")
        #expect(bench.pick() == 0)
        bench.passed(0, of: bench.list, showing: bench.endpoints)  // P1, P2
        #expect(bench.cleared == [0])
        bench.release(0)  // F1, F2
        #expect(bench.cleared == [], "P1, P2, F1, F2")
    }

    /// A worker that still has the list from before clears no bit of the new one.
    @Test func passedInAnotherList() {
        var bench = HintBench(20)
        let old = (endpoints: bench.endpoints, list: bench.list)
        #expect(bench.pick() == 0)
        bench.replace(by: Array(old.endpoints.dropFirst()))
        bench.passed(0, of: old.list, showing: old.endpoints)
        #expect(bench.cleared == [] && bench.pick() == 1)
        var cursor = 0
        let late = PickPolicy.firstAvailable.reserve(
            from: old.endpoints, hints: old.list, cursor: &cursor, random: 0)
        #expect(late?.id == 2 && bench.list.misleading(bench.endpoints) == 0)
    }
}

/// What a gate with a long list does to the hints.
@Suite struct GateHintsTests {
    @Test func suspendedAndResumed() {
        let bench = GateBench(concurrency: 1)
        let endpoints = makeEndpoints(20, concurrency: 1)
        _ = bench.gate.setEndpoints(endpoints)
        #expect(bench.gate.suspend(endpoints[0]))
        for place in 1...6 { #expect(bench.admit(UInt64(place)) == .admitted(place)) }
        #expect(!bench.view.hints.isSet(0))
        #expect(bench.gate.resume(endpoints[0]).isEmpty && bench.gate.misleadingHints == 0)
        #expect(bench.admit(0) == .admitted(0))
        #expect(bench.gate.suspend(endpoints[1]))
        #expect(bench.gate.release(endpoints[1]).text == "done" && bench.admit(7) == .admitted(7))
        #expect(!bench.view.hints.isSet(1))
        #expect(bench.gate.resume(endpoints[1]).isEmpty && bench.admit(8) == .admitted(1))
    }

    @Test func retiredAndBack() {
        let bench = GateBench(concurrency: 1)
        let endpoints = makeEndpoints(40, concurrency: 1)
        _ = bench.gate.setEndpoints(endpoints)
        for place in 0..<30 { #expect(bench.admit(UInt64(place)) == .admitted(place)) }
        _ = bench.gate.setEndpoints(Array(endpoints.dropFirst(10)))
        #expect(bench.gate.release(endpoints[4]).text == "drained" && bench.gate.release(endpoints[12]).text == "done")
        #expect(bench.gate.misleadingHints == 0 && bench.admit(30) == .admitted(12))
        _ = bench.gate.setEndpoints(endpoints)
        #expect(bench.gate.misleadingHints == 0, "4 was idle and is new again")
        #expect(bench.admit(31) == .admitted(4) && bench.admit(32) == .admitted(30))
        #expect(bench.gate.release(endpoints[0]).text == "done" && bench.gate.misleadingHints == 0)
        #expect(bench.admit(33) == .admitted(0))
    }

    /// Between the word and the bit of a release the slot is found without it, by a newcomer and by one that waits.
    @Test(arguments: [false, true]) func betweenWordAndBit(atOnce: Bool) {
        let bench = GateBench(concurrency: 1)
        let endpoints = makeEndpoints(20, concurrency: 1)
        _ = bench.gate.setEndpoints(endpoints)
        for place in 0..<20 { #expect(bench.admit(UInt64(place)) == .admitted(place)) }
        #expect(bench.admit(20) == .queued && bench.abandon(20))
        #expect(!bench.view.hints.isSet(7))
        var seen: [String] = []
        let outcome = bench.gate.release(endpoints[7]) { cut in
            guard cut == .slotFreed else { return }
            if atOnce { return seen.append("\(bench.admit(21))") }
            let outcome = bench.gate.enter(Waiter(worker: 0, token: 21), view: &bench.view, random: 0) { _ in }
            if case .admitted(let endpoint) = outcome { seen.append("\(GateBench.Seen.admitted(endpoint.id))") }
        }
        #expect(seen == ["admitted(7)"] && outcome.text == "done")
        #expect(bench.gate.waiting == 0 && bench.gate.misleadingHints == 0)
    }

    /// A release saw somebody wait who has left when it comes under the mutex: the slot it lets go shows.
    @Test func letGoUnderTheMutex() {
        let bench = GateBench(concurrency: 1)
        let endpoints = makeEndpoints(20, concurrency: 1)
        _ = bench.gate.setEndpoints(endpoints)
        for place in 0..<20 { #expect(bench.admit(UInt64(place)) == .admitted(place)) }
        #expect(bench.admit(20) == .queued && bench.abandon(20))
        #expect(!bench.view.hints.isSet(7))
        #expect(bench.gate.settle(endpoints[7], holdsSlot: true).text == "done")
        #expect(bench.view.hints.isSet(7) && bench.gate.misleadingHints == 0)
        #expect(bench.admit(21) == .admitted(7))
    }

    /// Random calls of one worker after the other: each choice is the plain scan's, and after each call every free
    /// slot shows in the hints.
    @Test func likeAPlainScan() {
        var chosen = 0
        var waited = 0
        for seed in UInt64(0)..<48 {
            var walk = PlainScanWalk(seed: seed)
            for step in 0..<400 {
                if let breach = walk.step() {
                    Issue.record("seed \(seed), step \(step): \(breach)")
                    return
                }
            }
            chosen += walk.chosen
            waited += walk.waited
        }
        #expect(chosen > 4_000 && waited > 200, "\(chosen) chosen, \(waited) waited")
    }
}

/// One gate with a changing list of up to 200 endpoints, three workers' views, and what a scan would have chosen.
private struct PlainScanWalk {
    let gate: RevisionGate
    let pool: [Endpoint]
    var listed: [Endpoint]
    var views = [EndpointView](repeating: EndpointView(), count: 3)
    var serving: [Endpoint] = []
    var random: SeededRandom
    var chosen = 0
    var waited = 0

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        let concurrency = Int.random(in: 1...3, using: &random)
        pool = makeEndpoints([20, 64, 70, 200].randomElement(using: &random) ?? 20, concurrency: concurrency)
        gate = RevisionGate(concurrency: concurrency, budget: WaitBudget())
        listed = pool
        _ = gate.setEndpoints(pool)
    }

    /// Does one thing. Returns what was wrong with it.
    mutating func step() -> String? {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<50:
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                if let breach = arrive() { return breach }
            }
        case 50..<90:
            for _ in 0..<Int.random(in: 1...8, using: &random) where !serving.isEmpty {
                _ = gate.release(serving.remove(at: Int.random(in: serving.indices, using: &random)))
            }
        case 90..<94: _ = gate.suspend(pool[Int.random(in: pool.indices, using: &random)])
        case 94..<98: _ = gate.resume(pool[Int.random(in: pool.indices, using: &random)])
        default: changeList()
        }
        return gate.misleadingHints == 0 ? nil : "\(gate.misleadingHints) hints mislead"
    }

    private mutating func arrive() -> String? {
        let expected = listed.first { $0.state == .available && $0.inFlight < $0.concurrency }
        let worker = Int.random(in: views.indices, using: &random)
        switch gate.admit(Waiter(worker: worker, token: 0), view: &views[worker], random: random.next()) {
        case .admitted(let endpoint):
            serving.append(endpoint)
            chosen += 1
            return endpoint === expected ? nil : "\(endpoint.id) instead of \(expected?.id ?? -1)"
        case .queued(let ticket):
            waited += 1
            return gate.abandon(ticket) && expected == nil ? nil : "waits beside \(expected?.id ?? -1)"
        case .refused(let reason): return "refused: \(reason)"
        }
    }

    private mutating func changeList() {
        let least = Bool.random(using: &random) ? 0 : pool.count / 2
        let count = Int.random(in: least...pool.count, using: &random)
        listed = Array(pool.shuffled(using: &random).prefix(count))
        _ = gate.setEndpoints(listed)
    }
}
