import Routing

/// The routes at one moment: immutable, published to every worker, kept by every request that chose from it.
public final class RoutingSnapshot: Sendable {
    /// Counts publications; shown so that stale routing can be seen.
    public let generation: Int
    /// Hosts to splits; a split's target is an index into `targets`.
    public let table: RouteTable
    /// The revisions.
    public let targets: [RevisionTarget]

    /// Makes a snapshot. Every target index of `table` must be an index of `targets`.
    public init(generation: Int, table: RouteTable, targets: [RevisionTarget]) {
        self.generation = generation
        self.table = table
        self.targets = targets
    }
}
