import Primitives

extension ServiceStore {
    /// Works out where the requests of a service go (Knative `pkg/reconciler/route/traffic`).
    ///
    /// If any target is not ready or missing, the last good resolution stays and `problems` says why. If the service
    /// has a `rolloutSeconds`, a new latest revision takes over step by step: call again at `nextRolloutStep`, and
    /// `routesAreReady` when what is returned is in use.
    /// - Parameters:
    ///   - isReady: whether a revision of the service can serve; scaled to zero is ready.
    ///   - isFailed: whether it will not become ready.
    ///   - now: of one clock for the life of the store.
    public mutating func resolveTraffic(
        of name: ServiceName, isReady: (String) -> Bool, isFailed: (String) -> Bool, now: Instant
    ) -> TrafficResolution {
        guard var entry = entries[name] else { return TrafficResolution() }
        defer { entries[name] = entry }
        entry.updateLatestReady(isReady: isReady)
        var problems: [TrafficProblem] = []
        var targets: [ResolvedTarget] = []
        for target in entry.object.traffic {
            switch revision(for: target, of: entry, isReady: isReady, isFailed: isFailed) {
            case .success(let revision): targets.append(ResolvedTarget(target: target, revision: revision))
            case .failure(let problem): problems.append(problem.value)
            }
        }
        entry.isHeld = !problems.isEmpty
        guard problems.isEmpty else {
            var kept = entry.programmed
            kept.problems = problems
            kept.released = []
            return kept
        }
        let tags = Set(targets.compactMap(\.target.tag)).sorted()
        let hosts = [HostTraffic(targets)] + tags.map { HostTraffic(targets, tag: $0) }
        let goal = Rollout(hosts.compactMap { $0.goal(of: name.name) })
        let rollout = entry.object.rolloutSeconds > 0 ? goal.stepped(from: entry.rollout, now: now) : goal
        var wanted = TrafficResolution()
        for host in hosts {
            let shares = Self.consolidated(host.shares(rollout.configuration(name.name, tag: host.tag)))
            if host.tag.isEmpty { wanted.main = shares } else { wanted.tags[host.tag] = shares }
        }
        let moving = rollout.configurations.flatMap(\.revisions).map(\.revision)
        wanted.referenced = Set(targets.map(\.revision)).union(moving)
        wanted.isRollingOut = !rollout.isDone
        wanted.released = entry.programmed.referenced.subtracting(wanted.referenced).sorted()
        entry.rollout = rollout
        entry.programmed = wanted
        return wanted
    }

    /// The routes of a service's last resolution are in use: a rollout that has just begun plans its steps (Knative:
    /// the Ingress is ready).
    public mutating func routesAreReady(of name: ServiceName, now: Instant) {
        guard let seconds = entries[name]?.object.rolloutSeconds, seconds > 0 else { return }
        entries[name]?.rollout.observeReady(durationSeconds: seconds, now: now)
    }

    /// When `resolveTraffic` has the next step of a rollout to make; nil: none is due of itself. A rollout whose
    /// traffic has problems waits until they are gone.
    public var nextRolloutStep: Instant? {
        entries.values.compactMap { $0.isHeld ? nil : $0.rollout.nextStepAt }.min()
    }

    /// How far the traffic of a service has moved to its latest revision; empty for an unknown one.
    public func rollout(of name: ServiceName) -> Rollout { entries[name]?.rollout ?? Rollout() }

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
            // One that fails on the way gets no more than it has.
            if entry.programmed.isRollingOut, isFailed(ready) {
                return problem(
                    "RevisionMissing", "Revision \(quoted(ready)) failed to become ready.", isFailure: true)
            }
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

/// A target of `spec.traffic` with its revision.
private struct ResolvedTarget {
    let target: TrafficTarget
    let revision: String
}

/// The targets of one host: all of them for the main host, those with its tag for a tag's.
private struct HostTraffic {
    /// Empty for the main host.
    let tag: String
    private let targets: [ResolvedTarget]

    init(_ targets: [ResolvedTarget]) { (tag, self.targets) = ("", targets) }

    init(_ targets: [ResolvedTarget], tag: String) {
        (self.tag, self.targets) = (tag, targets.filter { $0.target.tag == tag })
    }

    private func share(of target: TrafficTarget) -> Int {
        !tag.isEmpty && targets.count == 1 ? 100 : target.percent
    }

    /// All that follows the latest revision at that one; nil if nothing does.
    func goal(of configuration: String) -> ConfigurationRollout? {
        let following = targets.filter(\.target.isLatestRevision)
        let percent = following.reduce(0) { $0 + share(of: $1.target) }
        guard let revision = following.first?.revision, percent > 0 else { return nil }
        return ConfigurationRollout(name: configuration, tag: tag, percent: percent, revision: revision)
    }

    /// The shares in the order of the targets. What follows the latest revision is divided as the rollout has it.
    func shares(_ rollout: ConfigurationRollout?) -> [RevisionShare] {
        var isDivided = false
        return targets.flatMap { target -> [RevisionShare] in
            guard target.target.isLatestRevision, let rollout else {
                return [RevisionShare(revision: target.revision, percent: share(of: target.target))]
            }
            defer { isDivided = true }
            return isDivided ? [] : rollout.revisions
        }
    }
}
