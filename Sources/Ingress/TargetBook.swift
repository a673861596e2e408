import DataPlane

/// The targets of all routes, each in a place of its own that it keeps from snapshot to snapshot: so a division that
/// does not change goes on where it was.
struct TargetBook {
    private struct Key: Hashable {
        let backend: ObjectIdentifier
        let rule: GatewayRule
    }

    private var places: [Key: Int] = [:]
    private var targets: [RevisionTarget?] = []
    private var used: Set<Int> = []
    private var free: [Int] = []

    /// How many targets there are.
    var count: Int { places.count }

    /// The place of the target for `backend` and `rule`; `make` makes one that is new.
    mutating func place(
        of rule: GatewayRule, _ backend: Backend, make: () -> RevisionTarget
    ) -> Int {
        let key = Key(backend: ObjectIdentifier(backend), rule: rule)
        let place = places[key] ?? add(key, make())
        used.insert(place)
        return place
    }

    private mutating func add(_ key: Key, _ target: RevisionTarget) -> Int {
        let place = free.popLast() ?? targets.count
        if place == targets.count { targets.append(target) } else { targets[place] = target }
        places[key] = place
        return place
    }

    /// All targets by their places, after those that nobody asked for since the last call were dropped. Places without
    /// a target hold `placeholder`; no route leads there.
    mutating func settle(placeholder: RevisionTarget) -> [RevisionTarget] {
        for (key, place) in places where !used.contains(place) {
            places[key] = nil
            targets[place] = nil
            free.append(place)
        }
        used = []
        return targets.map { $0 ?? placeholder }
    }
}
