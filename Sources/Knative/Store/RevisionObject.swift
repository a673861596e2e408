/// One revision: an immutable copy of a service's template (Knative `Revision`).
public struct RevisionObject: Sendable {
    /// The name, unique in the namespace at a time: the template's own or `service-00001`.
    public let name: String
    /// The namespace.
    public let namespace: String
    /// The service it belongs to.
    public let service: String
    /// The configuration it was made from; named like the service.
    public let configuration: String
    /// The configuration's generation that made it, from 1.
    public let generation: Int
    /// Unique in the life of the store: a service that is removed and comes back uses its names again.
    public let uid: UInt64
    /// What it is made of.
    public let template: RevisionTemplate

    /// The service's name with its namespace.
    public var serviceName: ServiceName { ServiceName(namespace: namespace, name: service) }
}

/// Names of children, bounded to one DNS label (Knative `pkg/kmeta/names.go`).
enum ChildName {
    private static let longest = 63
    private static let digestLength = 32

    /// `parent` and `suffix` joined; shortened with an MD5 digest if that is longer than 63 bytes.
    static func make(parent: String, suffix: String) -> String {
        guard parent.utf8.count + suffix.utf8.count > longest else { return parent + suffix }
        let head = longest - digestLength
        if head > suffix.utf8.count {
            return String(parent.prefix(head - suffix.utf8.count)) + MD5.hexDigest(parent) + suffix
        }
        var name = String(parent.prefix(head)) + MD5.hexDigest(parent + suffix)
        name += suffix.prefix(max(0, longest - name.utf8.count))
        while let last = name.utf8.last, !Names.isLowerOrDigit(last | 0x20) { name.removeLast() }
        return name
    }
}

/// Whether traffic refers to a revision (Knative label `routingState`).
///
/// `reserve` is what the autoscaler calls unreachable.
public enum RoutingState: String, Sendable {
    /// New and not yet ready: traffic may come.
    case pending
    /// A target of the traffic that is programmed.
    case active
    /// No traffic: its floors (min-scale and others) do not hold, it may go to zero and be drained.
    case reserve
}
