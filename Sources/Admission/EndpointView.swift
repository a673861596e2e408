import Balancing

/// One edition of a gate's list of endpoints. Immutable; its address names the edition.
final class EndpointList: Sendable {
    let endpoints: [Endpoint]
    let hints: ListHints

    init(_ endpoints: [Endpoint], hints: ListHints = ListHints()) {
        self.endpoints = endpoints
        self.hints = hints
    }

    /// The edition's name. While somebody holds the list, no other list can have the same one.
    var edition: UInt { UInt(bitPattern: ObjectIdentifier(self)) }
}

/// A worker's copy of one gate's list of endpoints, so that admitting a request takes no lock.
///
/// Owned by one worker, kept beside the gate and handed to every `admit`. The gate refreshes it when its list has
/// changed. A view that is behind does no harm: endpoints that left refuse reservations, and new ones are found under
/// the gate's mutex. Used with another gate by mistake it is refreshed too, since editions are unique.
public struct EndpointView: Sendable {
    /// Held so that the edition's address is not given to another list.
    private var list: EndpointList?
    private(set) var edition: UInt = 0
    private(set) var endpoints: [Endpoint] = []
    /// Which of them may have a free slot.
    private(set) var hints = ListHints()
    /// Where this worker's round robin goes on.
    var cursor = 0

    /// A view that has seen nothing yet.
    public init() {}

    /// How many endpoints the view shows, available or not.
    public var count: Int { endpoints.count }

    /// Shows `list` from now on. Workers begin their rounds at different places, else all would meet at the first.
    mutating func show(_ list: EndpointList, random: UInt64) {
        guard list.edition != edition else { return }
        self.list = list
        edition = list.edition
        endpoints = list.endpoints.map { $0 }  // storage of its own: workers must not share its reference count
        hints = list.hints.copy()
        if cursor == 0, !endpoints.isEmpty { cursor = Int(random >> 1) % endpoints.count }
    }
}
