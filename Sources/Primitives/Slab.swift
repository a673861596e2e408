/// Names one occupant of a slab: its place and which occupant of that place it is, so a stale name is recognised.
@frozen
public struct SlabToken: Hashable, Sendable {
    /// Place in the slab.
    public var index: UInt32
    /// Which occupant of that place; never 0 for a real one.
    public var generation: UInt32

    /// A name for place `index`, occupant `generation`.
    @inlinable
    public init(index: UInt32, generation: UInt32) {
        self.index = index
        self.generation = generation
    }

    /// The name packed in 64 bits, as it stands in `epoll_data` or a timer.
    @inlinable
    public var packed: UInt64 { UInt64(generation) << 32 | UInt64(index) }

    /// Unpacks what `packed` made.
    @inlinable
    public init(packed: UInt64) {
        self.init(index: UInt32(truncatingIfNeeded: packed), generation: UInt32(truncatingIfNeeded: packed >> 32))
    }

    /// Names nothing.
    public static var none: SlabToken {
        @inlinable get { SlabToken(index: .max, generation: 0) }
    }
}

/// Holds elements at addresses that never move, and reuses places last-in first-out.
///
/// Owned by one thread. Insert and remove are O(1) and allocate only when the slab grows by a page of elements.
public struct Slab<Element: ~Copyable>: ~Copyable {
    @usableFromInline
    static var pageCount: Int { 64 }

    @usableFromInline var pages = Stack<UnsafeMutablePointer<Element>>()
    @usableFromInline var generations = Stack<UInt32>()
    @usableFromInline var free = Stack<UInt32>()
    @usableFromInline var occupied = 0
    @usableFromInline let limit: Int

    /// An empty slab for at most `limit` elements.
    @inlinable
    public init(limit: Int) { self.limit = limit }

    /// How many elements it holds.
    @inlinable
    public var count: Int { occupied }

    /// The name the next element will have; nil if the slab is full.
    @inlinable
    public mutating func vacancy() -> SlabToken? {
        if free.isEmpty, !grow() { return nil }
        let index = free[free.count - 1]
        return SlabToken(index: index, generation: generations[Int(index)] | 1)  // odd: occupied
    }

    /// Takes in `element` under the name that `vacancy` just gave; returns its stable address.
    @inlinable
    @discardableResult
    public mutating func insert(_ element: consuming Element, at token: SlabToken) -> UnsafeMutablePointer<Element> {
        let place = occupy(token)
        place.initialize(to: element)
        return place
    }

    /// Gives the place of the name that `vacancy` just gave, for an element that is built in it and not moved there.
    /// The caller must initialise it before anything else happens to the slab.
    @inlinable
    public mutating func occupy(_ token: SlabToken) -> UnsafeMutablePointer<Element> {
        let index = free.popLast()
        precondition(
            index == token.index && generations[Int(token.index)] | 1 == token.generation, "Slab: not the vacancy")
        generations[Int(token.index)] = token.generation
        occupied += 1
        return address(token.index)
    }

    /// The name of who has place `index` now; nil if nobody has.
    @inlinable
    public func occupant(of index: UInt32) -> SlabToken? {
        guard Int(index) < generations.count, generations[Int(index)] & 1 == 1 else { return nil }
        return SlabToken(index: index, generation: generations[Int(index)])
    }

    /// Takes in what `make` builds for its token; nil if the slab is full.
    @inlinable
    public mutating func insert(_ make: (SlabToken) -> Element) -> SlabToken? {
        guard let token = vacancy() else { return nil }
        insert(make(token), at: token)
        return token
    }

    /// The element `token` names, at its stable address; nil if it has gone.
    @inlinable
    public subscript(token: SlabToken) -> UnsafeMutablePointer<Element>? {
        guard Int(token.index) < generations.count, generations[Int(token.index)] == token.generation else {
            return nil
        }
        return address(token.index)
    }

    /// Ends the element `token` names. Does nothing if it has gone.
    @inlinable
    public mutating func remove(_ token: SlabToken) {
        guard let place = self[token] else { return }
        place.deinitialize(count: 1)
        generations[Int(token.index)] &+= 1  // even: free; the next occupant gets the next odd number
        free.append(token.index)
        occupied -= 1
    }

    /// The tokens of all elements, in order of place. Allocates: for sweeps, not for the hot path.
    public func tokens() -> [SlabToken] {
        var all: [SlabToken] = []
        for index in 0..<generations.count where generations[index] & 1 == 1 {
            all.append(SlabToken(index: UInt32(index), generation: generations[index]))
        }
        return all
    }

    @inlinable
    func address(_ index: UInt32) -> UnsafeMutablePointer<Element> {
        pages[Int(index) / Self.pageCount] + Int(index) % Self.pageCount
    }

    @inlinable
    mutating func grow() -> Bool {
        let start = generations.count
        guard start < limit else { return false }
        let added = min(Self.pageCount, limit - start)
        pages.append(.allocate(capacity: Self.pageCount))
        for _ in 0..<added { generations.append(0) }
        for index in stride(from: start + added - 1, through: start, by: -1) { free.append(UInt32(index)) }
        return true
    }

    @inlinable
    deinit {
        for index in 0..<generations.count where generations[index] & 1 == 1 {
            address(UInt32(index)).deinitialize(count: 1)
        }
        for index in 0..<pages.count { pages[index].deallocate() }
    }
}
