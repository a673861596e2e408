import Admission
import Balancing

/// What one gate must do, written as plainly as possible: arrays, counts, no concurrency. The simulation asks it what
/// the real gate may answer and compares.
struct GateShadow {
    /// One endpoint as the gate should see it.
    struct Slot {
        /// The object the gate must use for it.
        var endpoint: Endpoint
        var count = 0
        var state = Endpoint.State.available
        /// Retired while busy: one `drained` is due.
        var isDraining = false
    }

    let concurrency: Int
    let queueLimit: Int
    /// All endpoints ever listed, by their id's place in `order` or not.
    var slots: [Int: Slot] = [:]
    /// The ids of the listed ones.
    var order: [Int] = []
    /// The tokens of those who wait, oldest first.
    var queue: [UInt64] = []
    var isClosed = false

    init(concurrency: Int, queueLimit: Int) {
        self.concurrency = concurrency
        self.queueLimit = queueLimit
    }

    var inFlight: Int { slots.values.reduce(0) { $0 + $1.count } }

    /// Whether one more request may be sent to endpoint `id`.
    func hasRoom(_ id: Int) -> Bool {
        guard let slot = slots[id], slot.state == .available else { return false }
        return concurrency == 0 || slot.count < concurrency
    }

    /// The first listed endpoint with room.
    var firstWithRoom: Int? { order.first(where: hasRoom) }

    /// The rule every step must leave true.
    var leavesNobodyBesideRoom: Bool { queue.isEmpty || firstWithRoom == nil }

    /// Why a newcomer may not wait, given how many wait at all gates.
    func refusal(waitingOverall: Int, budget: Int) -> RefusalReason? {
        if isClosed { return .closed }
        if queue.count >= queueLimit { return .queueFull }
        return waitingOverall >= budget ? .queueFullOverall : nil
    }

    /// Whether sending a request of this gate to `id` is right by limit and policy.
    func mayPick(_ id: Int) -> Bool {
        guard hasRoom(id), order.contains(id) else { return false }
        return (1...3).contains(concurrency) ? id == firstWithRoom : true
    }

    /// Takes a list change over: returns the ids that must be reported idle and those that may get waiters.
    mutating func list(_ ids: [Int], objects: [Int: Endpoint]) -> (idle: Set<Int>, added: Set<Int>) {
        var idle: Set<Int> = []
        for id in order where !ids.contains(id) {
            slots[id]?.state = .retired
            if slots[id]?.count == 0 { idle.insert(id) } else { slots[id]?.isDraining = true }
        }
        let added = Set(ids).subtracting(order)
        for id in added {
            if slots[id]?.isDraining == true {
                slots[id]?.state = .available  // the gate still knows its own object, whatever came in
                slots[id]?.isDraining = false
            } else if let object = objects[id] {
                slots[id] = Slot(endpoint: object)
            }
        }
        order = ids
        return (idle, added)
    }
}
