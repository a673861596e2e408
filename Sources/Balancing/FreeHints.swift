import Synchronization

/// Which endpoints of one gate's list may have a free slot: a hint, one bit for each place in a long list.
///
/// It saves *first available* the look at every full endpoint in front, each of which is a cache line that other
/// workers write. A bit that is set means "perhaps"; one that is clear, "not when somebody last looked". Nothing is
/// decided by it: a slot is taken by `Endpoint.tryReserve` alone, and who finds none by the hints looks at all.
///
/// Who passes more than `patience` full endpoints clears their bits, and a release sets its endpoint's if it is clear.
/// So a few requests at a time only read the bits, and lists of at most `shortList` endpoints have none.
///
/// **Why no bit stays wrong.** What must not last is a clear bit beside a free slot:
///
///     who passes a full endpoint            who frees a slot (release, resume)
///     P1  clear the bit                     F1  write endpoint.word
///     P2  look at endpoint.word again:      F2  look at the bit:
///         set the bit if a slot is free         set it if it is clear
///
/// All four are sequentially consistent. If P2 does not see F1, then P1 is before F2, and F2 sees the clear bit. A set
/// bit beside a full endpoint costs a look at that endpoint.
///
/// A new list gives places anew: it stores the places, then its generation, then sets all bits. Who frees a slot and
/// reads a place from before wrote F1 before any bit of the new list was cleared, so P2 sees it. Who passes endpoints
/// of a list from before finds another generation after P1, and sets again what it cleared.
///
/// Any thread may call `slotFreed`; `list` is for the gate, under its mutex.
public final class FreeHints: Sendable {
    /// Lists of at most this many endpoints have no bits: looking at each endpoint costs as little. 16.
    public static let shortList = 16
    /// A choice that passes at most this many full endpoints clears no bit: the looks cost less than the writes. 3.
    @inlinable public static var patience: Int { 3 }

    /// Words for so many places; a longer list makes another block, which has these words too.
    @usableFromInline
    final class Block: Sendable {
        @usableFromInline let words: [Unmanaged<FreeWord>]
        private let held: [FreeWord]

        init(_ words: [FreeWord]) {
            held = words
            self.words = words.map(Unmanaged.passUnretained)
        }

        func prefix(_ count: Int) -> [FreeWord] { Array(held.prefix(count)) }
    }

    private struct Kept {
        /// Every block there was, since a release may still look at it: each has twice the words of the one before.
        var blocks: [Block] = []
        var generation: UInt = 0
    }

    @usableFromInline let block = Atomic<Unmanaged<Block>?>(nil)
    private let kept = Mutex(Kept())

    /// Hints for no list yet.
    public init() {}

    /// Gives `endpoints` their places and sets all bits. Those of `old` that are missing lose theirs.
    ///
    /// For the gate, under its mutex. Makes new words only for a list longer than every one before.
    ///
    /// - Returns: the hints by which to choose from this list; empty if it is short.
    public func list(_ endpoints: [Endpoint], replacing old: [Endpoint]) -> ListHints {
        for endpoint in old { endpoint.place.store(-1, ordering: .sequentiallyConsistent) }
        guard endpoints.count > Self.shortList else { return ListHints() }
        return kept.withLock { kept in
            let words = Self.words(for: endpoints.count, &kept.blocks)
            // Before the places: who reads one of them finds its word.
            block.store(kept.blocks.last.map(Unmanaged.passUnretained), ordering: .sequentiallyConsistent)
            for (place, endpoint) in endpoints.enumerated() {
                endpoint.place.store(place, ordering: .sequentiallyConsistent)
            }
            kept.generation &+= 1
            for word in words { word.begin(kept.generation) }
            return ListHints(words: words, generation: kept.generation)
        }
    }

    /// A slot of `endpoint` is free since a moment ago, or it takes requests again.
    @inlinable
    public func slotFreed(_ endpoint: Endpoint) {
        let place = endpoint.place.load(ordering: .sequentiallyConsistent)
        guard place >= 0, let block = block.load(ordering: .sequentiallyConsistent) else { return }
        block._withUnsafeGuaranteedRef { block in
            guard place >> 6 < block.words.count else { return }
            block.words[place >> 6]._withUnsafeGuaranteedRef { $0.set(1 &<< UInt64(place & 63)) }
        }
    }

    /// The words for `count` places.
    private static func words(for count: Int, _ blocks: inout [Block]) -> [FreeWord] {
        let needed = (count + 63) / 64
        let known = blocks.last?.words.count ?? 0
        if needed > known {
            let fresh = (known..<max(needed, 2 * known)).map { _ in FreeWord() }
            blocks.append(Block((blocks.last?.prefix(known) ?? []) + fresh))
        }
        return blocks.last?.prefix(needed) ?? []
    }
}

/// The bits of 64 places.
@usableFromInline
final class FreeWord: Sendable {
    @usableFromInline let bits = Atomic<UInt64>(0)
    /// The list whose places these are.
    @usableFromInline let generation = Atomic<UInt>(0)
    /// Makes the object 64 bytes large, so that no two words share a cache line: they are written by all workers.
    private let padding: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    init() {}

    /// The places are those of another list from now on.
    func begin(_ number: UInt) {
        generation.store(number, ordering: .sequentiallyConsistent)
        bits.store(.max, ordering: .sequentiallyConsistent)
    }

    /// Sets `bit`. Most often it is set, and nothing is written.
    @inlinable
    func set(_ bit: UInt64) {
        if bits.load(ordering: .sequentiallyConsistent) & bit == 0 {
            bits.bitwiseOr(bit, ordering: .sequentiallyConsistent)
        }
    }

    /// Reserves on the first endpoint whose bit is set and which has a free slot. Returns its place in `list`.
    ///
    /// - Parameters:
    ///   - first: the place of this word's lowest bit; there is such an endpoint.
    ///   - generation: that of `list`.
    ///   - passed: how many full endpoints this choice has passed.
    @inlinable
    func reserve(
        from list: UnsafeBufferPointer<Unmanaged<Endpoint>>, first: Int, generation: UInt, passed: inout Int
    ) -> Int? {
        let count = list.count - first
        let places = count < 64 ? 1 &<< UInt64(count) &- 1 : UInt64.max
        var candidates = bits.load(ordering: .sequentiallyConsistent) & places
        var full: UInt64 = 0
        while candidates != 0 {
            let place = first + candidates.trailingZeroBitCount
            if list[place]._withUnsafeGuaranteedRef({ $0.tryReserve() }) {
                if passed > FreeHints.patience { clear(full, list, first: first, generation: generation) }
                return place
            }
            full |= candidates & (0 &- candidates)
            candidates &= candidates &- 1
            passed += 1
        }
        if passed > FreeHints.patience { clear(full, list, first: first, generation: generation) }
        return nil
    }

    /// Clears the bits of `full`, if there are any, and sets those again that turn out to be wrong.
    @usableFromInline
    func clear(_ full: UInt64, _ list: UnsafeBufferPointer<Unmanaged<Endpoint>>, first: Int, generation: UInt) {
        guard full != 0 else { return }
        bits.bitwiseAnd(~full, ordering: .sequentiallyConsistent)  // P1
        var wrong: UInt64 = 0
        if self.generation.load(ordering: .sequentiallyConsistent) != generation {
            wrong = full
        } else {
            var left = full
            while left != 0 {  // P2
                let place = first + left.trailingZeroBitCount
                if list[place]._withUnsafeGuaranteedRef({ $0.hasFreeSlot }) { wrong |= left & (0 &- left) }
                left &= left &- 1
            }
        }
        if wrong != 0 { bits.bitwiseOr(wrong, ordering: .sequentiallyConsistent) }
    }
}

/// The hints that belong to one edition of a list of endpoints. Empty: look at each endpoint.
///
/// Valid with that list only. It keeps its words alive.
public struct ListHints: Sendable {
    @usableFromInline let words: [FreeWord]
    @usableFromInline let generation: UInt

    /// No hints.
    @inlinable
    public init() {
        words = []
        generation = 0
    }

    init(words: [FreeWord], generation: UInt) {
        self.words = words
        self.generation = generation
    }

    /// The same hints with a list of words of their own, whose reference count no other worker writes.
    public func copy() -> ListHints { ListHints(words: words.map { $0 }, generation: generation) }

    /// Whether there are none.
    @inlinable
    var isEmpty: Bool { words.isEmpty }

    /// Reserves on the first of `endpoints` that has a free slot as far as the hints say. Returns its place.
    @inlinable
    func reserve(from endpoints: [Endpoint]) -> Int? {
        assert((endpoints.count + 63) / 64 == words.count, "hints of another list")
        return endpoints.withUnsafeBufferPointer { list in
            list.withMemoryRebound(to: Unmanaged<Endpoint>.self) { list in
                var passed = 0
                return words.withUnsafeBufferPointer { words in
                    words.withMemoryRebound(to: Unmanaged<FreeWord>.self) { words in
                        for index in words.indices {
                            let place = words[index]._withUnsafeGuaranteedRef {
                                $0.reserve(from: list, first: index << 6, generation: generation, passed: &passed)
                            }
                            if let place { return place }
                        }
                        return nil
                    }
                }
            }
        }
    }

    /// How many of `endpoints` have a free slot and a clear bit: none while no call is on its way. For tests.
    package func misleading(_ endpoints: [Endpoint]) -> Int {
        guard !isEmpty else { return 0 }
        return endpoints.indices.count { endpoints[$0].hasFreeSlot && !isSet($0) }
    }

    /// Whether the bit of `place` is set.
    func isSet(_ place: Int) -> Bool {
        words[place >> 6].bits.load(ordering: .sequentiallyConsistent) >> UInt64(place & 63) & 1 == 1
    }
}
