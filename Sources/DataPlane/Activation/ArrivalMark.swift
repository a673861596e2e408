import Synchronization

/// Whether the owner of a revision knows that there are requests for it, and how often a worker began to count some.
///
/// A worker notes an arrival when it begins to count requests of the revision, which is at most once between two
/// reports. The owner forgets a revision only if nobody came since it began to ask for reports; so an arrival is either
/// in one of those reports or told anew, and no wake-up is lost. Any thread.
public final class ArrivalMark: Sendable {
    /// Bit 0: the owner knows. Above it: the arrivals.
    private let word = Atomic<UInt64>(0)

    /// Nobody has come.
    public init() {}

    /// A worker begins to count. True if the owner does not know: then it is to be told.
    func note() -> Bool { word.wrappingAdd(2, ordering: .sequentiallyConsistent).oldValue & 1 == 0 }

    /// What is there now, for `forget`.
    public var mark: UInt64 { word.load(ordering: .sequentiallyConsistent) }

    /// The owner knows, from now on.
    public func seen() { word.bitwiseOr(1, ordering: .sequentiallyConsistent) }

    /// The owner knows no more, unless somebody came since `mark` was read. True if it is so.
    public func forget(since mark: UInt64) -> Bool {
        word.compareExchange(expected: mark, desired: mark & ~1, ordering: .sequentiallyConsistent).exchanged
    }
}
