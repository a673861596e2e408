import Primitives
import Routing

/// The routes at one moment: immutable, published to every worker, kept by every request that chose from it.
public final class RoutingSnapshot: Sendable {
    /// Counts publications; shown so that stale routing can be seen.
    public let generation: Int
    /// Hosts to splits; a split's target is an index into `targets`.
    public let table: RouteTable
    /// The revisions.
    public let targets: [RevisionTarget]
    /// Revisions by their names; only for `ForwardingMode.activator`.
    let revisions: RevisionIndex?
    /// `table`, which keeps it alive, without a count of references: a request looks twice and keeps nothing.
    private let heldTable: Unmanaged<RouteTable>

    /// Makes a snapshot. Every target index of `table` must be an index of `targets`. An activator's has `revisions`.
    public init(
        generation: Int, table: RouteTable, targets: [RevisionTarget], revisions: RevisionIndex? = nil
    ) {
        self.generation = generation
        self.revisions = revisions
        self.table = table
        heldTable = .passUnretained(table)
        self.targets = targets
    }

    /// The revision that serves the next request for `host`; nil if no rule has it.
    func target(of host: ByteView) -> RevisionTarget? {
        let index: Int? = heldTable._withUnsafeGuaranteedRef { table in
            guard let route = table.match(host: host) else { return nil }
            return table.pick(route)
        }
        guard let index else { return nil }
        return targets[index]
    }
}
