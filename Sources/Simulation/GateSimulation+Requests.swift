import Admission
import Balancing
import Primitives

/// What workers and clients do.
extension GateSimulation {
    /// A client sends a request to some worker.
    mutating func arrive() throws(SimulationBreach) {
        guard open.count < Self.openRequestLimit else { return }
        let gate = Int.random(in: 0..<gates.count, using: &random)
        let worker = Int.random(in: 0..<mailboxes.count, using: &random)
        let token = UInt64(requests.count)
        let patience = UInt64.random(in: 1...2_000, using: &random)
        let deadline = clock.now.adding(milliseconds: patience)
        requests.append(Request(gate: gate, worker: worker, deadline: deadline, place: .answered))
        open.append(token)
        let waiter = Waiter(worker: worker, token: token)
        let outcome = gates[gate].admit(waiter, view: &views[worker][gate], random: random.next())
        tell("worker \(worker): request \(token) at gate \(gate): \(outcome)")
        let shadow = shadows[gate]
        switch outcome {
        case .admitted(let endpoint):
            try expect(shadow.queue.isEmpty, "request \(token) overtook \(shadow.queue)")
            try expect(
                !shadow.isClosed && shadow.mayPick(endpoint.id), "request \(token): wrong endpoint \(endpoint.id)")
            note(.admitted)
            try begin(token, on: endpoint)
        case .queued(let ticket):
            try expect(shadow.firstWithRoom == nil, "request \(token) waits beside a free slot")
            let reason = shadow.refusal(waitingOverall: waitingOverall, budget: budgetLimit)
            try expect(reason == nil, "request \(token) waits past a limit")
            note(.queued)
            shadows[gate].queue.append(token)
            requests[Int(token)].place = .waiting(ticket)
        case .refused(let reason):
            let expected = shadow.refusal(waitingOverall: waitingOverall, budget: budgetLimit)
            try expect(reason == expected, "request \(token) refused: \(reason)")
            let hadRoom = shadow.queue.isEmpty && shadow.firstWithRoom != nil
            try expect(shadow.isClosed || !hadRoom, "request \(token) refused beside a free slot")
            let event: [RefusalReason: Event] = [.queueFull: .refusedQueueFull, .queueFullOverall: .refusedOverall]
            answer(token, event[reason] ?? .refusedClosed)
        }
        try check(gate)
    }

    /// A worker got a slot for its request and connects.
    private mutating func begin(_ token: UInt64, on endpoint: Endpoint) throws(SimulationBreach) {
        let gate = requests[Int(token)].gate
        let slot = shadows[gate].slots[endpoint.id]
        try expect(slot?.endpoint === endpoint, "request \(token): endpoint \(endpoint.id) is not the gate's object")
        shadows[gate].slots[endpoint.id]?.count += 1
        requests[Int(token)].place = .serving(pod: endpoint.id, isConnected: pods[endpoint.id].isAlive)
    }

    /// The only place where a request gets its answer.
    mutating func answer(_ token: UInt64, _ event: Event) {
        note(event)
        requests[Int(token)].place = .answered
        if let index = open.firstIndex(of: token) { open.remove(at: index) }
    }

    /// The pod is done with a request, or the connection turns out to be refused.
    mutating func finish(_ token: UInt64) throws(SimulationBreach) {
        let request = requests[Int(token)]
        guard case .serving(let pod, let isConnected) = request.place else {
            if case .waiting = request.place { try giveUp(token, .cancelled) }
            return
        }
        if isConnected {
            tell("worker \(request.worker): request \(token) ends on endpoint \(pod)")
            answer(token, pods[pod].isAlive ? .served : .failed)
            return try release(pod, gate: request.gate)
        }
        try connectionRefused(token, pod: pod)
    }

    /// Nothing was sent: suspend the endpoint, let the slot go, and try again with the same age.
    private mutating func connectionRefused(_ token: UInt64, pod: Int) throws(SimulationBreach) {
        let request = requests[Int(token)]
        try suspend(pod, gate: request.gate)
        try release(pod, gate: request.gate)
        requests[Int(token)].attempts += 1
        guard request.attempts + 1 < Self.attemptLimit else { return answer(token, .failed) }
        guard let avoided = shadows[request.gate].slots[pod]?.endpoint else { return answer(token, .failed) }
        let shadow = shadows[request.gate]
        let waiter = Waiter(worker: request.worker, token: token)
        let outcome = gates[request.gate].readmit(
            waiter, view: &views[request.worker][request.gate], random: random.next(), avoiding: avoided)
        tell("worker \(request.worker): request \(token) again at gate \(request.gate): \(outcome)")
        switch outcome {
        case .admitted(let endpoint):
            let hasOther = shadow.order.contains { $0 != pod && shadow.hasRoom($0) }
            try expect(shadow.hasRoom(endpoint.id), "request \(token): endpoint \(endpoint.id) has no room")
            try expect(endpoint.id != pod || !hasOther, "request \(token): the avoided endpoint before another")
            note(.readmittedAtOnce)
            try begin(token, on: endpoint)
        case .queued(let ticket):
            try expect(shadow.firstWithRoom == nil && !shadow.isClosed, "request \(token) waits again beside a slot")
            note(.readmittedQueued)
            shadows[request.gate].queue.insert(token, at: 0)
            requests[Int(token)].place = .waiting(ticket)
        case .refused(let reason):
            try expect(reason == .closed && shadow.isClosed, "request \(token) refused again: \(reason)")
            answer(token, .readmitRefused)
        }
        try check(request.gate)
    }

    /// A worker lets a slot go; the gate passes it on as the shadow says.
    private mutating func release(_ pod: Int, gate: Int) throws(SimulationBreach) {
        guard let slot = shadows[gate].slots[pod] else { return }
        shadows[gate].slots[pod]?.count -= 1
        let outcome = gates[gate].release(slot.endpoint)
        tell("release on endpoint \(pod): \(outcome)")
        let next = shadows[gate].hasRoom(pod) ? shadows[gate].queue.first : nil
        let drains = slot.isDraining && slot.count == 1
        switch outcome {
        case .done:
            try expect(next == nil, "release: \(next ?? 0) was not woken")
            try expect(!drains, "release: endpoint \(pod) drained unreported")
        case .granted(let grant):
            try expect(grant.endpoint === slot.endpoint, "release: another endpoint was granted")
            note(.grantedByRelease)
            try take([grant], gate: gate)
        case .drained:
            try expect(drains && next == nil, "release: endpoint \(pod) is not drained")
            note(.drained)
            shadows[gate].slots[pod]?.isDraining = false
        }
        try check(gate)
    }

    /// Checks grants against the queue's order and room, and posts them.
    mutating func take(_ grants: [Grant], gate: Int) throws(SimulationBreach) {
        for grant in grants {
            let token = grant.waiter.token
            let oldest = shadows[gate].queue.first
            try expect(oldest == token, "grant for \(token), but the oldest is \(oldest.map(String.init) ?? "nobody")")
            try expect(shadows[gate].hasRoom(grant.endpoint.id), "grant: endpoint \(grant.endpoint.id) has no room")
            try expect(shadows[gate].slots[grant.endpoint.id]?.endpoint === grant.endpoint, "grant: strange object")
            try expect(requests[Int(token)].worker == grant.waiter.worker, "grant for another worker")
            shadows[gate].queue.removeFirst()
            shadows[gate].slots[grant.endpoint.id]?.count += 1
            if case .waiting(let ticket) = requests[Int(token)].place { requests[Int(token)].place = .granted(ticket) }
            mailboxes[grant.waiter.worker].post(.grant(grant, gate: gate))
        }
    }

    /// A worker reads one message. False if there is none.
    mutating func deliver(to worker: Int) throws(SimulationBreach) -> Bool {
        guard let message = mailboxes[worker].deliver() else { return false }
        switch message {
        case .closed(let token):
            if case .waiting = requests[Int(token)].place { answer(token, .closedOut) }
        case .grant(let grant, let gate):
            let token = grant.waiter.token
            guard case .granted = requests[Int(token)].place else {
                tell("worker \(worker): grant for \(token), which has gone")
                note(.grantForNobody)
                try release(grant.endpoint.id, gate: gate)
                return true
            }
            tell("worker \(worker): grant for \(token) on endpoint \(grant.endpoint.id)")
            let isAlive = pods[grant.endpoint.id].isAlive
            requests[Int(token)].place = .serving(pod: grant.endpoint.id, isConnected: isAlive)
        }
        return true
    }

    /// A client goes away, or its time is over.
    mutating func giveUp(_ token: UInt64, _ event: Event) throws(SimulationBreach) {
        let request = requests[Int(token)]
        let ticket: WaitTicket
        switch request.place {
        case .answered: return
        case .serving(let pod, _):
            tell("request \(token) is cut off endpoint \(pod)")
            answer(token, event)
            return try release(pod, gate: request.gate)
        case .waiting(let held), .granted(let held): ticket = held
        }
        let position = shadows[request.gate].queue.firstIndex(of: token)
        let isGone = gates[request.gate].abandon(ticket)
        tell("request \(token) gives up: \(isGone)")
        try expect(isGone == (position != nil), "abandon of \(token): \(isGone)")
        note(isGone ? .abandoned : .abandonedTooLate)
        if let position { shadows[request.gate].queue.remove(at: position) }
        try expect(!gates[request.gate].abandon(ticket), "abandon of \(token) succeeded twice")
        answer(token, event)
        try check(request.gate)
    }

    /// Time passes; the deadlines it reaches fire, earliest request first.
    mutating func advance() throws(SimulationBreach) {
        clock.advance(milliseconds: UInt64.random(in: 1...400, using: &random))
        tell("time moves on")
        for token in open where requests[Int(token)].deadline <= clock.now { try giveUp(token, .timedOut) }
    }
}
