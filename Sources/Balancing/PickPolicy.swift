/// How one endpoint is chosen out of many, by `containerConcurrency` as Knative's activator does it.
///
/// Pure: the caller brings the list, the memory of the last choice and the random bits.
public enum PickPolicy: Equatable, Sendable {
    /// Two endpoints at random, the one with fewer requests in flight (`containerConcurrency: 0`).
    case leastOfTwo
    /// The first with a free slot in the list's order, which packs requests on few replicas (1 to 3).
    case firstAvailable
    /// One after the other, full ones skipped (4 and more).
    case roundRobin

    /// The policy of a revision with this `containerConcurrency`.
    public init(concurrency: Int) {
        self = concurrency <= 0 ? .leastOfTwo : concurrency < 4 ? .firstAvailable : .roundRobin
    }

    /// Reserves a slot on one of `endpoints`; nil if none has one.
    ///
    /// - Parameters:
    ///   - hints: those of this list. They make *first available* look at fewer endpoints; the others do without. Where
    ///     they show no endpoint, each one is looked at, so nil means the same with and without them.
    ///   - cursor: where round robin goes on; any number is valid. Kept by the caller beside the list.
    ///   - random: 64 fresh random bits; only `leastOfTwo` looks at them.
    @inlinable
    public func reserve(
        from endpoints: [Endpoint], hints: ListHints = ListHints(), cursor: inout Int, random: UInt64
    ) -> Endpoint? {
        guard !endpoints.isEmpty else { return nil }
        switch self {
        case .leastOfTwo:
            return Self.reserveLeastOfTwo(endpoints, random: random)
        case .firstAvailable:
            if !hints.isEmpty, let index = hints.reserve(from: endpoints) { return endpoints[index] }
            guard let index = Self.reserveFirst(endpoints, from: 0) else { return nil }
            return endpoints[index]
        case .roundRobin:
            let start = cursor >= 0 && cursor < endpoints.count ? cursor : 0
            guard let index = Self.reserveFirst(endpoints, from: start) else { return nil }
            cursor = index + 1
            return endpoints[index]
        }
    }

    @inlinable
    static func reserveLeastOfTwo(_ endpoints: [Endpoint], random: UInt64) -> Endpoint? {
        let count = UInt64(endpoints.count)
        // The high half scaled to 0..<count, the low half to a distance of 1..<count: two different places.
        let first = Int((random >> 32 &* count) >> 32)
        guard count > 1 else { return reserveFirst(endpoints, from: 0).map { endpoints[$0] } }
        let distance = 1 + Int(((random & 0xFFFF_FFFF) &* (count - 1)) >> 32)
        let second = (first + distance) % endpoints.count
        // `first` is random already, so a tie needs no further coin.
        let chosen = endpoints[second].fullness < endpoints[first].fullness ? second : first
        if endpoints[chosen].tryReserve() { return endpoints[chosen] }
        // Both may be suspended, or the choice was taken in this instant: any other one is better than waiting.
        guard let index = reserveFirst(endpoints, from: first) else { return nil }
        return endpoints[index]
    }

    /// Reserves on the first endpoint with a free slot from `start` on, going round once. Returns its place.
    ///
    /// The array holds the references for the whole scan; counting them once more at each endpoint would cost eight
    /// times the look itself, and write to memory all workers share.
    @inlinable
    static func reserveFirst(_ endpoints: [Endpoint], from start: Int) -> Int? {
        endpoints.withUnsafeBufferPointer { list in
            list.withMemoryRebound(to: Unmanaged<Endpoint>.self) { list in
                for index in start..<list.count where list[index]._withUnsafeGuaranteedRef({ $0.tryReserve() }) {
                    return index
                }
                for index in 0..<start where list[index]._withUnsafeGuaranteedRef({ $0.tryReserve() }) { return index }
                return nil
            }
        }
    }
}
