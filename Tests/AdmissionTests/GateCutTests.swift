import Testing

@testable import Admission
@testable import Balancing

/// Lets another thread's steps happen at each cut inside `release` and `enter`: the races behind a lost wake-up, one by
/// one and every time.
@Suite struct GateCutTests {
    /// One endpoint with one slot, taken by a request that is about to end.
    private func busyGate() -> (gate: RevisionGate, endpoint: Endpoint, view: EndpointView) {
        let gate = RevisionGate(concurrency: 1, queueLimit: 10, budget: WaitBudget())
        let endpoint = makeEndpoints(1, concurrency: 1)[0]
        _ = gate.setEndpoints([endpoint])
        var view = EndpointView()
        _ = gate.admit(Waiter(worker: 0, token: 0), view: &view, random: 0)
        return (gate, endpoint, view)
    }

    /// A request arrives in the middle of a release: it gets the slot, at once or by the release's grant.
    @Test(arguments: [RevisionGate.Cut.slotHeld, .slotFreed])
    func arrivalDuringRelease(at place: RevisionGate.Cut) {
        var (gate, endpoint, view) = busyGate()
        var arrivals: [Bool] = []
        let outcome = gate.release(endpoint) { cut in
            guard cut == place else { return }
            if case .admitted = gate.admit(Waiter(worker: 1, token: 1), view: &view, random: 0) {
                arrivals.append(true)
            } else {
                arrivals.append(false)
            }
        }
        #expect(arrivals == [place == .slotFreed])
        #expect(outcome.text == (place == .slotFreed ? "done" : "1@0"))
        #expect(gate.waiting == 0 && endpoint.inFlight == 1)
    }

    /// A release comes between the steps of a request that begins to wait: one of the two sees the other.
    @Test(arguments: [RevisionGate.Cut.waiterCounted, .slotsLooked])
    func releaseDuringArrival(at place: RevisionGate.Cut) {
        var (gate, endpoint, view) = busyGate()
        var seen: [Bool] = []
        let outcome = gate.enter(Waiter(worker: 1, token: 1), view: &view, random: 0) { cut in
            guard cut == place else { return }
            endpoint.unreserve()
            seen.append(gate.somebodyWaits)
        }
        #expect(seen == [true], "the releaser must see the waiter")
        let settled = gate.settle(endpoint, holdsSlot: false).text
        switch outcome {
        case .admitted: #expect(place == .waiterCounted && settled == "done")
        case .queued: #expect(place == .slotsLooked && settled == "1@0")
        case .refused: Issue.record("refused")
        }
        #expect(gate.waiting == 0 && endpoint.inFlight == 1)
    }

    /// With a waiter in sight the slot is never free: it passes from hand to hand under the mutex.
    @Test func slotsPassFromHandToHand() {
        var (gate, endpoint, view) = busyGate()
        _ = gate.admit(Waiter(worker: 1, token: 1), view: &view, random: 0)
        let outcome = gate.release(endpoint) { Issue.record("the slot could have been stolen at \($0)") }
        #expect(outcome.text == "1@0")
    }

    /// The endpoint is retired or suspended in the middle of its last release.
    @Test(arguments: [RevisionGate.Cut.slotHeld, .slotFreed], [true, false])
    func listChangeDuringRelease(at place: RevisionGate.Cut, comesBack: Bool) {
        let (gate, endpoint, _) = busyGate()
        var idle = 0
        let outcome = gate.release(endpoint) { cut in
            guard cut == place else { return }
            idle += gate.setEndpoints([]).idle.count
            if comesBack { idle += gate.setEndpoints([endpoint]).idle.count }
        }
        #expect(endpoint.inFlight == 0 && endpoint.state == (comesBack ? .available : .retired))
        let reports = idle + (outcome.text == "drained" ? 1 : 0)
        #expect(reports == (comesBack && place == .slotHeld ? 0 : 1), "one report for each retirement that ended idle")
    }

    /// Two releases on two endpoints with two waiters that come in between: each slot finds its waiter.
    @Test func twoReleasesTwoArrivals() {
        let gate = RevisionGate(concurrency: 1, queueLimit: 10, budget: WaitBudget())
        let endpoints = makeEndpoints(2, concurrency: 1)
        _ = gate.setEndpoints(endpoints)
        var view = EndpointView()
        for token in UInt64(0)..<2 { _ = gate.admit(Waiter(worker: 0, token: token), view: &view, random: 0) }
        var inner = ""
        let outer = gate.release(endpoints[0]) { cut in
            guard cut == .slotHeld else { return }
            _ = gate.admit(Waiter(worker: 1, token: 2), view: &view, random: 0)
            _ = gate.admit(Waiter(worker: 1, token: 3), view: &view, random: 0)
            inner = gate.release(endpoints[1]).text
        }
        #expect(inner == "2@1" && outer.text == "3@0")
        #expect(gate.waiting == 0 && gate.inFlight == 2)
    }
}
