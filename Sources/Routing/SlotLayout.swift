import Primitives

/// Lays hosts out in an open-addressing table so that every lookup, found or not, ends within a bounded number of
/// slots.
///
/// Robin Hood placing (who is further from home goes first) keeps all names near their home slot. If a set of hosts is
/// unlucky, other keys are tried and then more room; a set made to collide under every key is beyond a client's reach,
/// and the best layout found is taken.
struct SlotLayout {
    /// One place of the table.
    struct Slot: Sendable {
        var hash: UInt64
        /// The route, or -1 in an empty slot.
        var route: Int32
        /// Where its name stands: beside the hash, so that a lookup touches two places in memory and no third.
        var nameStart: UInt32
    }

    /// How many slots a lookup looks at, at most.
    static let probeLimit = 16
    /// Keys tried for one size.
    static let keysPerSize = 4
    /// How often the table may double for a better layout.
    static let doublings = 3

    /// A power of two, at most half of them full.
    private(set) var slots: [Slot]
    /// Keys the hash.
    let key: UInt64
    /// How many slots from its home on a name may stand.
    private(set) var probes = 0

    /// The best layout of the hosts of `draft`; `key` is the first to be tried.
    static func make(_ draft: RouteDraft, key first: UInt64) -> SlotLayout {
        var random = SeededRandom(seed: first)
        var slotCount = 4
        while slotCount < draft.routes.count * 2 { slotCount *= 2 }
        var best = SlotLayout(draft, key: first, slotCount: slotCount)
        for attempt in 1..<keysPerSize * (doublings + 1) where best.probes > probeLimit {
            let next = SlotLayout(draft, key: random.next(), slotCount: slotCount << (attempt / keysPerSize))
            if next.probes < best.probes { best = next }
        }
        return best
    }

    private init(_ draft: RouteDraft, key: UInt64, slotCount: Int) {
        slots = [Slot](repeating: Slot(hash: 0, route: -1, nameStart: 0), count: slotCount)
        self.key = key
        for (index, route) in draft.routes.enumerated() {
            let hash = draft.name(of: index).withUnsafeBytes { HostName.hash(ByteView($0), key: key) }
            insert(Slot(hash: hash, route: Int32(index), nameStart: UInt32(route.nameStart)))
        }
    }

    private mutating func insert(_ slot: Slot) {
        let mask = slots.count - 1
        var slot = slot
        var place = Int(truncatingIfNeeded: slot.hash) & mask
        var distance = 0
        while slots[place].route >= 0 {
            let other = (place - Int(truncatingIfNeeded: slots[place].hash)) & mask
            if other < distance {
                swap(&slot, &slots[place])
                probes = max(probes, distance + 1)
                distance = other
            }
            place = (place + 1) & mask
            distance += 1
        }
        slots[place] = slot
        probes = max(probes, distance + 1)
    }
}
