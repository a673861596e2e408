/// The services of one machine with their revisions and the traffic between them: what a cluster's API server and
/// Knative's controllers keep.
///
/// A value: apply to a copy and keep the old one if the result `hasErrors`. Pure; the caller says which revisions are
/// ready. Source: Knative's configuration, route and labeler reconcilers.
public struct ServiceStore: Sendable {
    /// What is kept of one service.
    struct Entry: Sendable {
        var object: ServiceObject
        /// The documents of the last `apply` that named the service, in order.
        var documents: [ServiceObject] = []
        /// The configuration's generation; rises with each change of the template.
        var generation = 0
        /// Oldest first; the last one is the latest created.
        var revisions: [RevisionObject] = []
        /// The newest revision that was seen ready.
        var latestReady: String?
        /// The last resolution without problems.
        var programmed = TrafficResolution()
        /// How far that one has moved to the latest revision.
        var rollout = Rollout()
        /// The last resolution had problems, so that nothing moves.
        var isHeld = false
    }

    /// Revisions without traffic kept of one service; the oldest beyond go (Knative `max-non-active-revisions`, which
    /// is 1000 there). Default 100.
    public var maxReserveRevisions = 100

    var entries: [ServiceName: Entry] = [:]
    private var order: [ServiceName] = []
    /// Which service has the revision of a name. Looked up for each share of each route, so it is not searched for.
    private var owners: [RevisionName: ServiceName] = [:]
    private var lastUID: UInt64 = 0

    /// An empty store.
    public init() {}

    // MARK: - Reading

    /// The services in the order in which they were first applied.
    public var services: [ServiceObject] { order.compactMap { entries[$0]?.object } }

    /// One service.
    public func service(_ name: ServiceName) -> ServiceObject? { entries[name]?.object }

    /// The revisions of a service, oldest first; the last one is the latest created.
    public func revisions(of name: ServiceName) -> [RevisionObject] { entries[name]?.revisions ?? [] }

    /// One revision by its name.
    public func revision(_ name: String, namespace: String) -> RevisionObject? {
        guard let owner = owners[RevisionName(name: name, namespace: namespace)] else { return nil }
        return entries[owner]?.revisions.first { $0.name == name }
    }

    /// The newest revision of a service that was ready when traffic was last resolved.
    public func latestReadyRevision(of name: ServiceName) -> String? { entries[name]?.latestReady }

    /// Whether traffic refers to a revision, by the last resolution.
    public func routingState(of revision: RevisionObject) -> RoutingState {
        guard let entry = entries[revision.serviceName] else { return .reserve }
        if entry.programmed.referenced.contains(revision.name) { return .active }
        let isLatest = entry.revisions.last?.uid == revision.uid
        return isLatest && entry.latestReady != revision.name ? .pending : .reserve
    }

    /// Revisions that no traffic refers to, by the last resolution: the caller drains them.
    public func reserveRevisions(of name: ServiceName) -> [RevisionObject] {
        revisions(of: name).filter { routingState(of: $0) == .reserve }
    }

    // MARK: - Applying

    /// Takes documents in order, as `kubectl apply` does.
    ///
    /// Several documents may name one service: each changed template makes a revision. Documents that a service had in
    /// the last call and still has at the same position are not applied again, so that a reload of an unchanged file
    /// changes nothing.
    /// - Parameter removing: whether services that are not named are removed (a reload of all files).
    public mutating func apply(_ services: [ServiceObject], removing: Bool) -> ApplyResult {
        var result = ApplyResult()
        var documents: [ServiceName: [ServiceObject]] = [:]
        for service in services { documents[service.serviceName, default: []].append(service) }
        if removing { remove(except: Set(documents.keys), &result) }
        var skipped: [ServiceName: Int] = [:]
        for (name, list) in documents { skipped[name] = unchangedPrefix(of: list, name) }
        for service in services {
            let name = service.serviceName
            if let left = skipped[name], left > 0 {
                skipped[name] = left - 1
                result.changes.append((name, .unchanged))
                continue
            }
            result.changes.append((name, apply(service, &result)))
        }
        remember(documents, result)
        for name in order { collect(name, &result) }
        reportHostConflicts(&result)
        return result
    }

    /// How many documents at the beginning of `list` were the same in the last call.
    private func unchangedPrefix(of list: [ServiceObject], _ name: ServiceName) -> Int {
        guard let entry = entries[name], let last = list.last else { return 0 }
        let count = zip(entry.documents, list).prefix { $0.describesSame(as: $1) }.count
        // A file that lost its last documents goes back to what its last one says.
        return count == list.count && !entry.object.describesSame(as: last) ? count - 1 : count
    }

    /// Keeps what was applied for the next call, up to the first document that was refused: that one is tried again.
    private mutating func remember(_ documents: [ServiceName: [ServiceObject]], _ result: ApplyResult) {
        var accepted: [ServiceName: Int] = [:], refused: Set<ServiceName> = []
        for (name, change) in result.changes {
            if change == .refused { refused.insert(name) }
            if !refused.contains(name) { accepted[name, default: 0] += 1 }
        }
        for (name, list) in documents { entries[name]?.documents = Array(list.prefix(accepted[name] ?? 0)) }
    }

    private mutating func apply(_ service: ServiceObject, _ result: inout ApplyResult) -> ApplyResult.Change {
        let name = service.serviceName
        guard var entry = entries[name] else {
            var entry = Entry(object: service)
            guard addRevision(of: service, to: &entry, &result) else { return .refused }
            entries[name] = entry
            order.append(name)
            return .created
        }
        let old = entry.object
        if old.template == service.template {
            entry.object = service
            entries[name] = entry
            return old.describesSame(as: service) ? .unchanged : .trafficChanged
        }
        if let revisionName = service.template.name, revisionName == old.template.name {
            let differences = service.template.differences(from: old.template).joined(separator: ", ")
            let key = "spec.template.metadata.name"
            result.diagnostics.append(
                service.error(
                    at: service.places.revisionName, key: key,
                    "Saw the following changes without a name change (-old +new): \(key)",
                    remedy: "\(differences); give the revision a new name, or remove it"))
            return .refused
        }
        guard addRevision(of: service, to: &entry, &result) else { return .refused }
        entry.object = service
        entries[name] = entry
        return .templateChanged
    }

    /// Makes the revision of a new generation, or takes up the one of that name again if it has the same spec.
    private mutating func addRevision(
        of service: ServiceObject, to entry: inout Entry, _ result: inout ApplyResult
    ) -> Bool {
        let (name, namespace) = (service.metadata.name, service.metadata.namespace)
        let generation = entry.generation + 1
        let revisionName =
            service.template.name ?? ChildName.make(parent: name, suffix: "-" + zeroPadded(generation, width: 5))
        if let index = entry.revisions.firstIndex(where: { $0.name == revisionName }),
            service.template.name != nil, entry.revisions[index].template.hasSameSpec(as: service.template)
        {
            entry.generation = generation
            entry.revisions.append(entry.revisions.remove(at: index))
            return true
        }
        let isTaken =
            revision(revisionName, namespace: namespace) != nil
            || entry.revisions.contains { $0.name == revisionName }
        guard !isTaken else {
            result.diagnostics.append(
                service.error(
                    at: service.places.revisionName, key: "spec.template.metadata.name",
                    "The revision name \(quoted(revisionName)) is taken by a conflicting Revision, "
                        + "so traffic will not be migrated",
                    remedy: "choose another name"))
            return false
        }
        lastUID += 1
        let revision = RevisionObject(
            name: revisionName, namespace: namespace, service: name, configuration: name, generation: generation,
            uid: lastUID, template: service.template)
        entry.generation = generation
        entry.revisions.append(revision)
        owners[RevisionName(revision)] = service.serviceName
        result.createdRevisions.append(revision)
        return true
    }

    private mutating func remove(except kept: Set<ServiceName>, _ result: inout ApplyResult) {
        for name in order where !kept.contains(name) {
            guard let entry = entries.removeValue(forKey: name) else { continue }
            result.removedServices.append(name)
            result.removedRevisions += entry.revisions
            for revision in entry.revisions { owners[RevisionName(revision)] = nil }
        }
        order.removeAll { !kept.contains($0) }
    }

    /// Drops the oldest revisions without traffic beyond `maxReserveRevisions`.
    private mutating func collect(_ name: ServiceName, _ result: inout ApplyResult) {
        guard var entry = entries[name], entry.revisions.count > maxReserveRevisions else { return }
        let named = Set(entry.object.traffic.compactMap(\.revisionName))
        let reserve = reserveRevisions(of: name).filter { revision in
            !named.contains(revision.name) && revision.name != entry.latestReady
                && revision.template.annotations["serving.knative.dev/no-gc"] != "true"
        }
        let excess = Set(reserve.prefix(max(0, reserve.count - maxReserveRevisions)).map(\.uid))
        let removed = entry.revisions.filter { excess.contains($0.uid) }
        result.removedRevisions += removed
        for revision in removed { owners[RevisionName(revision)] = nil }
        entry.revisions.removeAll { excess.contains($0.uid) }
        entries[name] = entry
    }

    /// `tag-name` may be the host of another service.
    private func reportHostConflicts(_ result: inout ApplyResult) {
        var owners: [String: ServiceName] = [:]
        for name in order { owners[name.name + "." + name.namespace] = name }
        for service in services {
            for tag in Set(service.traffic.compactMap(\.tag)).sorted() {
                let host = tag + "-" + service.metadata.name + "." + service.metadata.namespace
                if let owner = owners[host] {
                    result.diagnostics.append(
                        service.error(
                            at: service.places.traffic, key: "spec.traffic",
                            "the host \(quoted(host)) of tag \(quoted(tag)) belongs to service \(quoted(owner.name))",
                            remedy: "choose another tag"))
                } else {
                    owners[host] = service.serviceName
                }
            }
        }
    }
}

/// The name of a revision is unique in its namespace.
private struct RevisionName: Hashable, Sendable {
    let name: String
    let namespace: String

    init(name: String, namespace: String) { (self.name, self.namespace) = (name, namespace) }
    init(_ revision: RevisionObject) { self.init(name: revision.name, namespace: revision.namespace) }
}

extension ServiceObject {
    /// Whether applying `other` after this changes nothing.
    func describesSame(as other: ServiceObject) -> Bool {
        metadata == other.metadata && template == other.template && traffic == other.traffic
    }

    func error(at mark: YAMLMark, key: String, _ problem: String, remedy: String) -> Diagnostic {
        Diagnostic(severity: .error, file: places.file, mark: mark, key: key, problem: problem, remedy: remedy)
    }
}
