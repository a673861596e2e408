import Synchronization

/// How many requests may wait in all queues together: one counter shared by the gates of all revisions.
///
/// It keeps a thousand sleeping revisions from holding a thousand full queues. Any thread; lock-free.
public final class WaitBudget: Sendable {
    /// The default of `limit`: 10,000 requests.
    public static let defaultLimit = 10_000

    /// How many requests may wait. Default 10,000. At the limit the newest is refused (503, `queueFullOverall`).
    public let limit: Int

    private let taken = Atomic<Int>(0)

    /// A budget of `limit` waiting requests; negative counts as 0.
    public init(limit: Int = WaitBudget.defaultLimit) { self.limit = max(0, limit) }

    /// Requests waiting now, over all gates.
    public var waiting: Int { taken.load(ordering: .relaxed) }

    /// Counts one more waiting request; false at the limit.
    func tryTake() -> Bool {
        var current = taken.load(ordering: .relaxed)
        while current < limit {
            let (exchanged, original) = taken.weakCompareExchange(
                expected: current, desired: current + 1, ordering: .relaxed)
            if exchanged { return true }
            current = original
        }
        return false
    }

    /// Counts one more even past the limit: for a request that was admitted before and is put back.
    func take() { taken.wrappingAdd(1, ordering: .relaxed) }

    /// Gives back `count` waiting requests.
    func give(_ count: Int) {
        assert(count >= 0 && waiting >= count, "WaitBudget: gave back more than was taken")
        taken.wrappingSubtract(count, ordering: .relaxed)
    }
}
