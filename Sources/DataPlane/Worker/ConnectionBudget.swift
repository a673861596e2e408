import Synchronization

/// How many client connections there are over all workers.
public final class ConnectionBudget: Sendable {
    private let used = Atomic<Int>(0)
    private let limit: Int

    /// At most `limit` connections.
    public init(limit: Int) { self.limit = limit }

    /// Counts one more; false, and nothing counted, at the limit.
    func take() -> Bool {
        if used.wrappingAdd(1, ordering: .relaxed).newValue <= limit { return true }
        give()
        return false
    }

    /// Counts one less.
    func give() { used.wrappingSubtract(1, ordering: .relaxed) }

    /// How many there are.
    public var count: Int { used.load(ordering: .relaxed) }
}
