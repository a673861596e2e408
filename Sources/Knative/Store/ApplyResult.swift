/// What `ServiceStore.apply` did.
public struct ApplyResult: Sendable {
    /// What happened to one service.
    public enum Change: Sendable, Equatable {
        /// It is new.
        case created
        /// Its template changed: there is a new revision, or an older one of the same name is the latest again.
        case templateChanged
        /// Only its traffic, labels or annotations changed.
        case trafficChanged
        /// Nothing changed.
        case unchanged
        /// It was not taken; `diagnostics` says why. What was there before stays.
        case refused
    }

    /// One entry a document applied, in order.
    public internal(set) var changes: [(service: ServiceName, change: Change)] = []
    /// Revisions that were made, in order.
    public internal(set) var createdRevisions: [RevisionObject] = []
    /// Services that are gone.
    public internal(set) var removedServices: [ServiceName] = []
    /// Revisions that are gone with their service, or that were beyond `ServiceStore.maxReserveRevisions`: drain them.
    public internal(set) var removedRevisions: [RevisionObject] = []
    /// Problems of documents that do not fit what is there.
    public internal(set) var diagnostics: [Diagnostic] = []
}
