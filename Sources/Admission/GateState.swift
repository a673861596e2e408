import Balancing

/// What a gate keeps under its mutex: who waits, which endpoints are listed, and which retired ones still serve.
struct GateState: Sendable {
    private struct Key: Hashable {
        let id: Int
        let address: EndpointAddress

        init(_ endpoint: Endpoint) {
            id = endpoint.id
            address = endpoint.address
        }
    }

    var queue = WaitQueue()
    private(set) var list: EndpointList
    /// Retired endpoints with requests in flight: each is reported `drained` once, by whoever takes it out.
    private(set) var draining: [Endpoint] = []
    var isClosed = false
    /// Which endpoints of a long list may have a free slot; nil if the policy has no use for it.
    private let hints: FreeHints?

    init(list: EndpointList, hints: FreeHints?) {
        self.list = list
        self.hints = hints
    }

    /// The gate's own object for `endpoint`, if it is listed.
    func listed(_ endpoint: Endpoint) -> Endpoint? {
        let endpoints = list.endpoints
        if let same = endpoints.first(where: { $0 === endpoint }) { return same }
        return endpoints.first { $0.id == endpoint.id && $0.address == endpoint.address }
    }

    /// Lists `endpoints`, retires those that are missing and appends to `idle` the missing ones that serve nothing.
    ///
    /// - Returns: the endpoints that were not listed before; only these can have slots nobody has offered to the queue.
    mutating func replaceList(by endpoints: [Endpoint], idle: inout [Endpoint]) -> [Endpoint] {
        let (next, added) = resolve(endpoints)
        let kept = Set(next.map(ObjectIdentifier.init))
        draining.removeAll { kept.contains(ObjectIdentifier($0)) }
        for endpoint in list.endpoints where !kept.contains(ObjectIdentifier(endpoint)) {
            if endpoint.enter(.retired) == 0 { idle.append(endpoint) } else { draining.append(endpoint) }
        }
        for endpoint in added where endpoint.state == .retired { endpoint.enter(.available) }
        if !added.isEmpty || !next.elementsEqual(list.endpoints, by: ===) {
            let hints = hints?.list(next, replacing: list.endpoints)
            list = EndpointList(next, hints: hints ?? ListHints())
        }
        return added
    }

    /// Replaces newly made objects by the ones the gate knows already and leaves out repeated ones.
    private func resolve(_ endpoints: [Endpoint]) -> (next: [Endpoint], added: [Endpoint]) {
        var known: [Key: (endpoint: Endpoint, isListed: Bool)] = [:]
        for endpoint in draining { known[Key(endpoint)] = (endpoint, false) }
        for endpoint in list.endpoints { known[Key(endpoint)] = (endpoint, true) }
        var seen: Set<Key> = []
        var next: [Endpoint] = []
        var added: [Endpoint] = []
        next.reserveCapacity(endpoints.count)
        for endpoint in endpoints where seen.insert(Key(endpoint)).inserted {
            let entry = known[Key(endpoint)] ?? (endpoint, false)
            next.append(entry.endpoint)
            if !entry.isListed { added.append(entry.endpoint) }
        }
        return (next, added)
    }

    /// Gives the free slots of `endpoints` to the oldest waiters, in the policy's spirit: packed, or one each in turn.
    mutating func grant(on endpoints: [Endpoint], policy: PickPolicy) -> [Grant] {
        var grants: [Grant] = []
        var open = endpoints
        while !queue.isEmpty, !open.isEmpty {
            var stillOpen: [Endpoint] = []
            for endpoint in open {
                while !queue.isEmpty, endpoint.tryReserve(), let waiter = queue.popOldest() {
                    grants.append(Grant(waiter: waiter, endpoint: endpoint))
                    if policy == .firstAvailable { continue }
                    stillOpen.append(endpoint)
                    break
                }
            }
            open = stillOpen
        }
        return grants
    }

    /// Reserves on any listed endpoint, on `avoided` only as the last resort.
    func reserve(avoiding avoided: Endpoint?, policy: PickPolicy, random: UInt64) -> Endpoint? {
        let endpoints = list.endpoints
        guard !endpoints.isEmpty else { return nil }
        let start = policy == .firstAvailable ? 0 : Int(random >> 1) % endpoints.count
        var lastResort: Endpoint?
        for offset in 0..<endpoints.count {
            let endpoint = endpoints[(start + offset) % endpoints.count]
            if endpoint === avoided { lastResort = endpoint } else if endpoint.tryReserve() { return endpoint }
        }
        return lastResort.flatMap { $0.tryReserve() ? $0 : nil }
    }

    /// Takes a retired endpoint that became idle out of the finishing ones; true for exactly one caller.
    mutating func finishDraining(_ endpoint: Endpoint) -> Bool {
        guard endpoint.state == .retired, endpoint.inFlight == 0,
            let index = draining.firstIndex(where: { $0 === endpoint })
        else { return false }
        draining.remove(at: index)
        return true
    }
}
