/// A share of the requests of one host.
public struct RevisionShare: Hashable, Sendable {
    /// The revision.
    public let revision: String
    /// The share in percent, 1…100.
    public let percent: Int

    /// Makes a share.
    public init(revision: String, percent: Int) {
        self.revision = revision
        self.percent = percent
    }
}

/// Why traffic could not be assigned as written (Knative condition `AllTrafficAssigned`).
public struct TrafficProblem: Hashable, Sendable {
    /// `RevisionMissing` or `RevisionNotOwned`.
    public let reason: String
    /// Knative's message.
    public let message: String
    /// Whether waiting will not help: the target failed, is missing, or belongs to somebody else.
    public let isFailure: Bool
}

/// Where the requests of a service go.
public struct TrafficResolution: Hashable, Sendable {
    /// The shares of the main host: one entry a revision, no zeros; they sum to 100. Empty before the first revision is
    /// ready.
    public internal(set) var main: [RevisionShare] = []
    /// The shares of each tag's host.
    public internal(set) var tags: [String: [RevisionShare]] = [:]
    /// Every revision a target names, also with 0 percent: they stay reachable.
    public internal(set) var referenced: Set<String> = []
    /// Whether a new latest revision takes over step by step (Knative condition `IngressReady` Unknown, reason
    /// `RolloutInProgress`).
    public internal(set) var isRollingOut = false
    /// What is wrong with the traffic as written. If there is anything, `main` and `tags` are the last good ones.
    public internal(set) var problems: [TrafficProblem] = []
    /// Revisions that the last good resolution referred to and this one does not: drain them.
    public internal(set) var released: [String] = []

    /// Whether the traffic is as the service describes it.
    public var isCurrent: Bool { problems.isEmpty }
}

/// One host name of a service.
public struct HostRoute: Hashable, Sendable {
    /// The name, without port.
    public let host: String
    /// The tag whose shares it has; nil for the main shares.
    public let tag: String?
    /// Whether it is a name for use inside (`name.ns`, `name.ns.svc`, `name.ns.svc.cluster.local`).
    public let isClusterLocal: Bool
}

extension ServiceObject {
    /// The host names of the service: the main one and one a tag, under `domain` and under the cluster-local names
    /// (Knative's default templates `{{.Name}}.{{.Namespace}}.{{.Domain}}` and `{{.Tag}}-{{.Name}}`).
    ///
    /// A service labelled cluster-local has no name under `domain`. Order: main first, then tags sorted.
    public func hosts(domain: String) -> [HostRoute] {
        let tags = Set(traffic.compactMap(\.tag)).sorted()
        return ([nil] + tags.map(Optional.some)).flatMap { tag in
            let name = (tag.map { $0 + "-" } ?? "") + metadata.name + "." + metadata.namespace
            let local = ["", ".svc", ".svc.cluster.local"].map { name + $0 }
            let external = name + "." + domain
            let routes = local.map { HostRoute(host: $0, tag: tag, isClusterLocal: true) }
            // Without a domain of its own a machine has no other names than these.
            guard !isClusterLocal, !domain.isEmpty, !local.contains(external) else { return routes }
            return [HostRoute(host: external, tag: tag, isClusterLocal: false)] + routes
        }
    }
}
