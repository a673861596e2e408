import Admission
import Balancing
import Primitives

/// What the platform and the control side do.
extension GateSimulation {
    /// More replicas than this a revision does not get.
    private static let podLimit = 6

    mutating func perform(_ action: Action) throws(SimulationBreach) {
        let gate = Int.random(in: 0..<gates.count, using: &random)
        switch action {
        case .arrive: try arrive()
        case .deliverOne: _ = try deliver(to: Int.random(in: 0..<mailboxes.count, using: &random))
        case .deliverAll:
            let worker = Int.random(in: 0..<mailboxes.count, using: &random)
            while try deliver(to: worker) {}
        case .finish: if let token = randomServing() { try finish(token) }
        case .cancel: if let token = open.randomElement(using: &random) { try giveUp(token, .cancelled) }
        case .advance: try advance()
        case .startPod: if shadows[gate].order.count < Self.podLimit { try startPod(gate: gate) }
        case .killPod: if let pod = pods.indices.randomElement(using: &random) { pods[pod].isAlive = false }
        case .healPod: if let pod = pods.indices.randomElement(using: &random) { pods[pod].isAlive = true }
        case .listSome:
            let kept = shadows[gate].order.filter { _ in Int.random(in: 0..<3, using: &random) > 0 }
            try list(kept.shuffled(using: &random), on: gate)
        case .relistGone: try relistGone(gate)
        case .probe: try probe(gate)
        case .suspendAny:
            if let pod = shadows[gate].order.randomElement(using: &random) { try suspend(pod, gate: gate) }
        case .closeGate: if Int.random(in: 0..<8, using: &random) == 0 { try closeGate(gate, reopening: true) }
        }
    }

    private mutating func randomServing() -> UInt64? {
        guard let start = open.indices.randomElement(using: &random) else { return nil }
        for offset in open.indices {
            let token = open[(start + offset) % open.count]
            if case .serving = requests[Int(token)].place { return token }
        }
        return nil
    }

    /// A new replica is listed, somewhere in the order.
    mutating func startPod(gate: Int) throws(SimulationBreach) {
        let id = pods.count
        pods.append(Pod(gate: gate, object: makeObject(id, gate: gate)))
        var order = shadows[gate].order
        order.insert(id, at: Int.random(in: 0...order.count, using: &random))
        try list(order, on: gate)
    }

    private func makeObject(_ id: Int, gate: Int) -> Endpoint {
        let address = EndpointAddress.loopback(port: UInt16(truncatingIfNeeded: 1_024 + id))
        return Endpoint(id: id, address: address, concurrency: shadows[gate].concurrency)
    }

    /// A replica that left comes back, busy or idle, as the old object or as a new one.
    private mutating func relistGone(_ gate: Int) throws(SimulationBreach) {
        let gone = shadows[gate].slots.filter { $0.value.state == .retired }.keys.sorted()
        guard let id = gone.randomElement(using: &random), shadows[gate].order.count < Self.podLimit else { return }
        if shadows[gate].slots[id]?.isDraining == true { note(.cameBackBusy) }
        if Bool.random(using: &random) { pods[id].object = makeObject(id, gate: gate) }
        try list(shadows[gate].order + [id], on: gate)
    }

    /// Gives gate `gate` the replicas `ids` and compares all it says.
    mutating func list(_ ids: [Int], on gate: Int) throws(SimulationBreach) {
        guard !shadows[gate].isClosed else { return }
        let objects = Dictionary(uniqueKeysWithValues: ids.map { ($0, pods[$0].object) })
        let room = shadows[gate].list(ids, objects: objects)
        let change = gates[gate].setEndpoints(ids.map { pods[$0].object })
        tell("gate \(gate) lists \(ids): \(change.grants.count) grants, idle \(change.idle.map(\.id))")
        try expect(Set(change.idle.map(\.id)) == room.idle, "idle \(change.idle.map(\.id)), not \(room.idle.sorted())")
        try expect(change.idle.count == room.idle.count, "an endpoint is idle twice")
        try expect(change.grants.allSatisfy { room.added.contains($0.endpoint.id) }, "a grant on a listed endpoint")
        counts[Event.idle.rawValue] += change.idle.count
        counts[Event.grantedByList.rawValue] += change.grants.count
        try take(change.grants, gate: gate)
        try check(gate)
    }

    /// A connection to `pod` was refused, or somebody says so.
    mutating func suspend(_ pod: Int, gate: Int) throws(SimulationBreach) {
        guard let slot = shadows[gate].slots[pod] else { return }
        let isFirst = gates[gate].suspend(slot.endpoint)
        tell("endpoint \(pod) is suspended: \(isFirst)")
        let isExpected = slot.state == .available && shadows[gate].order.contains(pod)
        try expect(isFirst == isExpected, "suspend of \(pod): \(isFirst)")
        if isFirst { shadows[gate].slots[pod]?.state = .suspended }
    }

    /// A suspended replica is probed; a living one comes back.
    private mutating func probe(_ gate: Int) throws(SimulationBreach) {
        let suspended = shadows[gate].order.filter { shadows[gate].slots[$0]?.state == .suspended }
        guard let pod = suspended.randomElement(using: &random), let slot = shadows[gate].slots[pod] else { return }
        guard pods[pod].isAlive else { return }
        shadows[gate].slots[pod]?.state = .available
        let grants = gates[gate].resume(slot.endpoint)
        tell("endpoint \(pod) is resumed: \(grants.count) grants")
        counts[Event.grantedByResume.rawValue] += grants.count
        try take(grants, gate: gate)
        try expect(gates[gate].resume(slot.endpoint).isEmpty, "resumed twice")
        try check(gate)
    }

    /// The revision is deleted. It is not reopened while a request or a grant of it is under way.
    mutating func closeGate(_ gate: Int, reopening: Bool) throws(SimulationBreach) {
        if shadows[gate].isClosed {
            let isOpen = open.contains { requests[Int($0)].gate == gate }
            guard reopening, !isOpen, shadows[gate].inFlight == 0, mailboxes.allSatisfy(\.isEmpty) else { return }
            return openGate(at: gate)
        }
        if Bool.random(using: &random) { try list([], on: gate) }
        let refused = gates[gate].close()
        tell("gate \(gate) closes on \(refused.map(\.token))")
        try expect(refused.map(\.token) == shadows[gate].queue, "close named \(refused.map(\.token))")
        _ = shadows[gate].list([], objects: [:])
        shadows[gate].queue = []
        shadows[gate].isClosed = true
        for waiter in refused { mailboxes[waiter.worker].post(.closed(waiter.token)) }
        try check(gate)
    }
}
