/// A last-in first-out list of trivial elements in memory of its own.
///
/// What an array does, without its question at every change whether somebody else holds the same memory: a stack
/// cannot be copied. Owned by one thread; grows by doubling and never shrinks.
@frozen
public struct Stack<Element: BitwiseCopyable>: ~Copyable {
    @usableFromInline var base: UnsafeMutablePointer<Element>
    @usableFromInline var capacity: Int
    @usableFromInline var used = 0

    /// An empty stack that holds `capacity` elements, at least one, before it grows.
    @inlinable
    public init(capacity: Int = 8) {
        self.capacity = max(1, capacity)
        base = .allocate(capacity: self.capacity)
    }

    /// How many elements it holds.
    @inlinable
    public var count: Int { used }

    /// Whether it holds nothing.
    @inlinable
    public var isEmpty: Bool { used == 0 }

    /// The element at `index` from the bottom, which must be in `0..<count`.
    @inlinable
    public subscript(index: Int) -> Element {
        get {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: used), "Stack: index out of range")
            return base[index]
        }
        set {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: used), "Stack: index out of range")
            base[index] = newValue
        }
    }

    /// Puts `element` on top.
    @inlinable
    public mutating func append(_ element: Element) {
        if used == capacity { grow() }
        (base + used).initialize(to: element)
        used &+= 1
    }

    /// Takes the top off; nil if there is none.
    @inlinable
    public mutating func popLast() -> Element? {
        guard used > 0 else { return nil }
        used &-= 1
        return base[used]
    }

    /// Forgets all elements; keeps the memory.
    @inlinable
    public mutating func removeAll() { used = 0 }

    /// Keeps the elements of which `isKept` is true, in their order.
    @inlinable
    public mutating func keep(where isKept: (Element) -> Bool) {
        var kept = 0
        for index in 0..<used where isKept(base[index]) {
            base[kept] = base[index]
            kept += 1
        }
        used = kept
    }

    @inlinable @inline(never)
    mutating func grow() {
        let larger = UnsafeMutablePointer<Element>.allocate(capacity: capacity * 2)
        larger.initialize(from: base, count: used)
        base.deallocate()
        base = larger
        capacity *= 2
    }

    @inlinable
    deinit { base.deallocate() }
}
