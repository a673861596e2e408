import Primitives
import Synchronization

/// All routes of a listener: an immutable snapshot that every worker reads without a lock.
///
/// Matching and picking allocate nothing and cost the same with ten hosts and with ten thousand: one hash, at most
/// `SlotLayout.probeLimit` neighbouring slots, one comparison. The only thing that changes is one counter a route.
public final class RouteTable: Sendable {
    /// What a request needs to know about one route.
    struct Entry: Sendable {
        /// The only target, if there is no counter.
        var target: Int
        /// The cycle in `sequences`.
        var sequenceStart = 0
        var sequenceCount: UInt64 = 1
        /// Nil for a single target: it costs no shared write. Kept alive by the table's `counters`; unmanaged because
        /// counting references on it would cost every worker more than the addition does.
        var counter: Unmanaged<SplitCounter>?
    }

    /// The first table's key if the caller brings no seed. Any number will do.
    private static let defaultKey: UInt64 = 0xB492_B66F_BE98_F273

    private let layout: SlotLayout
    private let entries: [Entry]
    private let splits: [[Split]]
    private let names: [UInt8]
    private let sequences: [Int]
    /// Owns what the entries point to.
    private let counters: [SplitCounter]

    /// How many routes there are.
    public var count: Int { entries.count }

    /// Makes the table of `routes`; their indices are the `RouteIndex`es.
    ///
    /// - Parameters:
    ///   - routes: any number, each with its own host.
    ///   - previous: the table this one follows. A route whose host and splits did not change goes on counting where it
    ///     was, so its division stays exact over reloads.
    ///   - seed: hidden from clients, it keeps them from preparing names that collide. Default: that of `previous`.
    /// - Throws: all problems of all routes.
    public init(routes: [Route], previous: RouteTable? = nil, seed: UInt64? = nil) throws(RouteTableFailure) {
        let draft = try RouteDraft(routes)
        var entries: [Entry] = []
        var sequences: [Int] = []
        var counters: [SplitCounter] = []
        entries.reserveCapacity(routes.count)
        for (index, route) in draft.routes.enumerated() {
            var entry = Entry(target: route.splits[0].target)
            if route.splits.count > 1 {
                let cycle = SplitSequence.cycle(route.splits)
                let known = previous?.counter(of: draft.name(of: index), splits: route.splits)
                let counter = known ?? SplitCounter()
                counters.append(counter)
                entry.counter = Unmanaged.passUnretained(counter)
                (entry.sequenceStart, entry.sequenceCount) = (sequences.count, UInt64(cycle.count))
                sequences += cycle
            }
            entries.append(entry)
        }
        self.counters = counters
        self.entries = entries
        self.sequences = sequences
        names = draft.names
        splits = draft.routes.map(\.splits)
        let key = seed.map { SeededRandom.first(of: $0) } ?? previous?.layout.key ?? Self.defaultKey
        layout = SlotLayout.make(draft, key: key)
    }

    /// The route of a `Host` or `:authority` value; nil if there is none.
    ///
    /// The host must be one of the table's, exactly. ASCII case, one trailing dot and a port are ignored, and an IPv6
    /// literal is matched with its brackets. Hosts over 253 bytes and ports that are not digits never match.
    public func match(host: ByteView) -> RouteIndex? {
        guard let name = HostName.host(in: host) else { return nil }
        return find(name)
    }

    /// The target of the next request on `route`, in exact proportion over all workers.
    ///
    /// A route with a single target costs one load; another one atomic addition.
    public func pick(_ route: RouteIndex) -> Int {
        let entry = entries[route]
        guard let counter = entry.counter else { return entry.target }
        let turn = counter._withUnsafeGuaranteedRef { $0.requests.wrappingAdd(1, ordering: .relaxed).oldValue }
        return sequences[entry.sequenceStart + Int(turn % entry.sequenceCount)]
    }

    private func find(_ name: ByteView) -> RouteIndex? {
        let hash = HostName.hash(name, key: layout.key)
        let mask = layout.slots.count - 1
        var place = Int(truncatingIfNeeded: hash) & mask
        for _ in 0..<layout.probes {
            let slot = layout.slots[place]
            guard slot.route >= 0 else { return nil }
            if slot.hash == hash, isName(at: Int(slot.nameStart), name) { return Int(slot.route) }
            place = (place + 1) & mask
        }
        return nil
    }

    private func isName(at start: Int, _ name: ByteView) -> Bool {
        names.withUnsafeBufferPointer { names in
            guard let base = names.baseAddress else { return false }
            return HostName.matches(name, lowercase: base + start + 1, count: Int(names[start]))
        }
    }

    /// The counter a following table goes on with.
    private func counter(of host: ArraySlice<UInt8>, splits other: [Split]) -> SplitCounter? {
        let found = host.withUnsafeBytes { find(ByteView($0)) }
        guard let found, splits[found] == other else { return nil }
        return entries[found].counter?.takeUnretainedValue()
    }

    /// How many slots a lookup looks at, at most. For tests.
    var probes: Int { layout.probes }
}

extension SeededRandom {
    /// A key without the patterns a small seed has.
    fileprivate static func first(of seed: UInt64) -> UInt64 {
        var random = SeededRandom(seed: seed)
        return random.next()
    }
}
