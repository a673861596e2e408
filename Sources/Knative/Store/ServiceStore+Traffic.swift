extension ServiceStore {
    /// Works out where the requests of a service go (Knative `pkg/reconciler/route/traffic`).
    ///
    /// If any target is not ready or missing, the last good resolution stays and `problems` says why.
    /// - Parameters:
    ///   - isReady: whether a revision of the service can serve; scaled to zero is ready.
    ///   - isFailed: whether it will not become ready.
    public mutating func resolveTraffic(
        of name: ServiceName, isReady: (String) -> Bool, isFailed: (String) -> Bool
    ) -> TrafficResolution {
        guard var entry = entries[name] else { return TrafficResolution() }
        entry.updateLatestReady(isReady: isReady)
        var wanted = TrafficResolution()
        var shares: [(target: TrafficTarget, revision: String)] = []
        for target in entry.object.traffic {
            switch revision(for: target, of: entry, isReady: isReady, isFailed: isFailed) {
            case .success(let revision): shares.append((target, revision))
            case .failure(let problem): wanted.problems.append(problem.value)
            }
        }
        guard wanted.problems.isEmpty else {
            entries[name] = entry
            var kept = entry.programmed
            kept.problems = wanted.problems
            kept.released = []
            return kept
        }
        wanted.main = Self.consolidated(shares.map { RevisionShare(revision: $0.revision, percent: $0.target.percent) })
        for tag in Set(shares.compactMap(\.target.tag)) {
            let tagged = shares.filter { $0.target.tag == tag }
            wanted.tags[tag] = Self.consolidated(
                tagged.map {
                    RevisionShare(revision: $0.revision, percent: tagged.count == 1 ? 100 : $0.target.percent)
                })
        }
        wanted.referenced = Set(shares.map(\.revision))
        wanted.released = entry.programmed.referenced.subtracting(wanted.referenced).sorted()
        entry.programmed = wanted
        entries[name] = entry
        return wanted
    }

    private struct Unassigned: Error { let value: TrafficProblem }

    private func revision(
        for target: TrafficTarget, of entry: Entry, isReady: (String) -> Bool, isFailed: (String) -> Bool
    ) -> Result<String, Unassigned> {
        func problem(_ reason: String, _ message: String, isFailure: Bool) -> Result<String, Unassigned> {
            .failure(Unassigned(value: TrafficProblem(reason: reason, message: message, isFailure: isFailure)))
        }
        let service = entry.object.metadata
        let revisionName: String
        if let stated = target.revisionName {
            revisionName = stated
            if !entry.revisions.contains(where: { $0.name == stated }) {
                guard let other = revision(stated, namespace: service.namespace) else {
                    let text = "Revision \(quoted(stated)) referenced in traffic not found."
                    return problem("RevisionMissing", text, isFailure: true)
                }
                let text =
                    "Revision \(quoted(stated)) belongs to Service \(quoted(other.service)), "
                    + "not Service \(quoted(service.name))."
                return problem("RevisionNotOwned", text, isFailure: true)
            }
        } else if let ready = entry.latestReady {
            revisionName = ready
        } else {
            let failed = entry.revisions.last.map { isFailed($0.name) } ?? false
            let text = "Configuration \(quoted(service.name)) "
            return problem(
                "RevisionMissing",
                text + (failed ? "does not have any ready Revision." : "is waiting for a Revision to become ready."),
                isFailure: failed)
        }
        guard !isReady(revisionName) else { return .success(revisionName) }
        let failed = isFailed(revisionName)
        let text = "Revision \(quoted(revisionName)) " + (failed ? "failed to become ready." : "is not yet ready.")
        return problem("RevisionMissing", text, isFailure: failed)
    }

    /// Adds the shares of the same revision, keeps the order of first mention, leaves out zeros; a single one has all.
    private static func consolidated(_ shares: [RevisionShare]) -> [RevisionShare] {
        var order: [String] = []
        var percents: [String: Int] = [:]
        for share in shares {
            if percents[share.revision] == nil { order.append(share.revision) }
            percents[share.revision, default: 0] += share.percent
        }
        if order.count == 1 { return [RevisionShare(revision: order[0], percent: 100)] }
        return order.compactMap { name in
            guard let percent = percents[name], percent > 0 else { return nil }
            return RevisionShare(revision: name, percent: percent)
        }
    }

    /// The host names of a service; none for an unknown one.
    public func hosts(of name: ServiceName, domain: String) -> [HostRoute] {
        entries[name]?.object.hosts(domain: domain) ?? []
    }
}

extension ServiceStore.Entry {
    /// The newest ready revision not older than the known one becomes the latest ready; a known one that is no longer
    /// ready stays until a newer one is.
    mutating func updateLatestReady(isReady: (String) -> Bool) {
        for revision in revisions.reversed() {
            if revision.name == latestReady { return }
            if isReady(revision.name) {
                latestReady = revision.name
                return
            }
        }
    }
}
