import HTTP
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
        /// Where the host's paths stand in `rules`; none: all its requests are alike.
        var rulesStart: Int32 = 0
        var ruleCount: Int32 = 0

        var rules: Range<Int> { Int(rulesStart)..<Int(rulesStart) + Int(ruleCount) }
    }

    /// The first table's key if the caller brings no seed. Any number will do.
    private static let defaultKey: UInt64 = 0xB492_B66F_BE98_F273

    private let layout: SlotLayout
    /// Those of the hosts, then those of their paths.
    private let entries: [Entry]
    private let rules: PathRules
    private let drafts: [RouteDraft.Item]
    private let names: [UInt8]
    private let sequences: [Int]
    /// Owns what the entries point to.
    private let counters: [SplitCounter]

    /// How many routes there are.
    public var count: Int { drafts.count }

    /// Makes the table of `routes`; their indices are the `RouteIndex`es.
    ///
    /// - Parameters:
    ///   - routes: any number, each with its own host.
    ///   - previous: the table this one follows. A route with a split goes on counting where it was, so its division
    ///     stays exact over reloads; if its shares have changed, small ones come to their turn even when they change
    ///     again after a few requests.
    ///   - seed: hidden from clients, it keeps them from preparing names that collide. Default: that of `previous`.
    /// - Throws: all problems of all routes.
    public init(routes: [Route], previous: RouteTable? = nil, seed: UInt64? = nil) throws(RouteTableFailure) {
        let draft = try RouteDraft(routes)
        var builder = EntryBuilder(count: routes.count)
        for (index, route) in draft.routes.enumerated() {
            let name = draft.name(of: index)
            builder.set(index, splits: route.splits, counter: previous?.counter(of: name))
            builder.add(route.paths, of: index) { previous?.counter(of: name, $0) }
        }
        counters = builder.counters
        entries = builder.entries
        sequences = builder.sequences
        rules = builder.rules
        names = draft.names
        drafts = draft.routes
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
    ///
    /// - Precondition: the route has no paths.
    public func pick(_ route: RouteIndex) -> Int { turn(of: entries[route]) }

    /// The target of the next request on `route` that asks for `path`, its query with it; nil if no path of the route
    /// takes it.
    ///
    /// - Parameter bytes: the view that `fields` was parsed from.
    public func pick(
        _ route: RouteIndex, path: ByteView, _ fields: borrowing FieldTable, in bytes: ByteView
    ) -> Int? {
        let entry = entries[route]
        guard entry.ruleCount > 0 else { return turn(of: entry) }
        let query = path.firstIndex(of: UInt8(ascii: "?"))
        let found = rules.match(entry.rules, path: path[0..<(query ?? path.count)], fields, in: bytes)
        return found.map { turn(of: entries[$0]) }
    }

    @inline(__always)
    private func turn(of entry: Entry) -> Int {
        assert(entry.ruleCount == 0, "which of its paths?")
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
    private func counter(of host: ArraySlice<UInt8>) -> SplitCounter? {
        let found = host.withUnsafeBytes { find(ByteView($0)) }
        return found.flatMap { entries[$0].counter?.takeUnretainedValue() }
    }

    /// The same for a path that the host had before.
    private func counter(of host: ArraySlice<UInt8>, _ path: RoutePath) -> SplitCounter? {
        let found = host.withUnsafeBytes { find(ByteView($0)) }
        guard let found, let place = drafts[found].paths.firstIndex(where: path.matchesLike) else { return nil }
        let rule = entries[found].rules.lowerBound + place
        return entries[rules.entry(of: rule)].counter?.takeUnretainedValue()
    }

    /// How many slots a lookup looks at, at most. For tests.
    var probes: Int { layout.probes }
}

extension RoutePath {
    /// Whether `other` is for the same requests, wherever they go.
    fileprivate func matchesLike(_ other: RoutePath) -> Bool {
        prefix == other.prefix && conditions == other.conditions
    }
}

/// Lays the splits of hosts and paths out in a table's arrays.
private struct EntryBuilder {
    var entries: [RouteTable.Entry]
    var rules = PathRules()
    var sequences: [Int] = []
    var counters: [SplitCounter] = []

    /// For `count` hosts.
    init(count: Int) {
        entries = [RouteTable.Entry](repeating: RouteTable.Entry(target: 0), count: count)
    }

    /// Sets entry `index`. `counter` goes on where the division before was; nil: a new one.
    mutating func set(_ index: Int, splits: [Split], counter known: SplitCounter?) {
        guard let first = splits.first else { return }
        entries[index].target = first.target
        guard splits.count > 1 else { return }
        let cycle = SplitSequence.cycle(splits)
        let counter = known ?? SplitCounter()
        counters.append(counter)
        entries[index].counter = Unmanaged.passUnretained(counter)
        (entries[index].sequenceStart, entries[index].sequenceCount) = (sequences.count, UInt64(cycle.count))
        sequences += cycle
    }

    /// Appends the paths of host `index`, in the order in which they are tried.
    mutating func add(_ paths: [RoutePath], of index: Int, counter: (RoutePath) -> SplitCounter?) {
        (entries[index].rulesStart, entries[index].ruleCount) = (Int32(rules.count), Int32(paths.count))
        for path in paths {
            entries.append(RouteTable.Entry(target: 0))
            set(entries.count - 1, splits: path.splits, counter: counter(path))
            rules.append(path, entry: entries.count - 1)
        }
    }
}

extension SeededRandom {
    /// A key without the patterns a small seed has.
    fileprivate static func first(of seed: UInt64) -> UInt64 {
        var random = SeededRandom(seed: seed)
        return random.next()
    }
}
