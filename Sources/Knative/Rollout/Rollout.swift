import Primitives

/// How far the traffic of a route has moved to new revisions (Knative's gradual rollout, spec/autoscaling 6.7).
///
/// A host that follows the latest ready revision has a state of its own here. While a rollout is under way it names
/// several revisions, oldest first; the newest gains a step at a time and in the end has all.
///
/// Pure: the time is an argument, of one clock for all calls. Where the state is written to an Ingress (`json`), that
/// clock counts from 1970, as Knative's does.
public struct Rollout: Hashable, Sendable {
    /// Sorted by tag, then name.
    public private(set) var configurations: [ConfigurationRollout]

    /// The state with these parts, in any order.
    public init(_ configurations: [ConfigurationRollout] = []) {
        self.configurations = configurations.sorted { ($0.tag, $0.name) < ($1.tag, $1.name) }
    }

    /// Whether every host sends to its latest revision alone.
    public var isDone: Bool { configurations.allSatisfy(\.isDone) }

    /// Whether a new revision has got its first percent and nobody has told since that the routes with it are in use.
    public var awaitsReady: Bool { configurations.contains(where: \.awaitsReady) }

    /// When `stepped` has something to do next; nil: not before `observeReady`, or nothing is under way.
    public var nextStepAt: Instant? { configurations.compactMap(\.steps.nextAt).min() }

    /// The state of one host; nil if nothing there follows the latest revision.
    /// - Parameter tag: empty for the main host.
    public func configuration(_ name: String, tag: String) -> ConfigurationRollout? {
        configurations.first { $0.tag == tag && $0.name == name }
    }

    /// The routes with the first percent are in use (Knative: the Ingress is ready again): works out how large the
    /// steps are and when they come, so that the rollout takes `durationSeconds` in all.
    /// - Parameter durationSeconds: from 1.
    public mutating func observeReady(durationSeconds: Int, now: Instant) {
        for index in configurations.indices where configurations[index].awaitsReady {
            configurations[index].planSteps(durationSeconds: durationSeconds, now: now)
        }
    }

    /// This state, which is what the traffic shall come to, reached from `previous` as far as it may be by now.
    ///
    /// A host that is new, or has one percent, is served at once. Every other one begins a rollout if its revision is
    /// new, and goes a step on if one is due.
    public func stepped(from previous: Rollout?, now: Instant) -> Rollout {
        Rollout(
            configurations.map { goal in
                guard goal.percent > 1, let known = previous?.configuration(goal.name, tag: goal.tag) else {
                    return goal
                }
                return goal.stepped(from: known, now: now)
            })
    }
}

/// The rollout of one configuration on one host (Knative `ConfigurationRollout`).
public struct ConfigurationRollout: Hashable, Sendable {
    /// When steps come and how large they are (Knative `RolloutParams`).
    public struct Steps: Hashable, Sendable {
        /// When the newest revision got its first percent; nil: nothing is under way.
        public var startedAt: Instant?
        /// When the next step is due; nil: they have not been planned yet.
        public var nextAt: Instant?
        /// From one step to the next, in nanoseconds; 0: not planned yet.
        public var intervalNanoseconds: UInt64 = 0
        /// What the newest revision gains in a step, in percent of the host's requests; 0: not planned yet.
        public var percent = 0

        /// Nothing is under way.
        public init() {}
    }

    /// The configuration, which is named like its service.
    public let name: String
    /// The tag whose host it is; empty for the main host.
    public let tag: String
    /// What of the host's requests goes to this configuration, 0...100.
    public let percent: Int
    /// Who gets it: oldest first, none without a share; they sum to `percent`.
    public private(set) var revisions: [RevisionShare]
    /// The timing of the rollout.
    public private(set) var steps: Steps

    /// All of it to one revision.
    public init(name: String, tag: String = "", percent: Int, revision: String) {
        self.init(
            name: name, tag: tag, percent: percent,
            revisions: [RevisionShare(revision: revision, percent: percent)], steps: Steps())
    }

    /// A state as it was kept.
    ///
    /// - Parameter revisions: they must sum to `percent`.
    init(name: String, tag: String, percent: Int, revisions: [RevisionShare], steps: Steps) {
        assert(revisions.reduce(0) { $0 + $1.percent } == percent, "the shares are not the whole")
        (self.name, self.tag, self.percent) = (name, tag, percent)
        (self.revisions, self.steps) = (revisions, steps)
    }

    /// Whether there is one revision, or none.
    public var isDone: Bool { revisions.count < 2 }

    /// Whether a rollout has begun whose steps are not planned.
    public var awaitsReady: Bool { steps.startedAt != nil && steps.intervalNanoseconds == 0 }

    /// This, which has all of it with one revision, reached from `previous`.
    fileprivate func stepped(from previous: ConfigurationRollout, now: Instant) -> ConfigurationRollout {
        let kept = previous.shares(adjustedTo: percent)
        guard let wanted = revisions.last?.revision, let newest = kept.last else { return self }
        var result = self
        guard newest.revision == wanted else {
            result.revisions = Self.beginning(with: wanted, from: kept)
            result.steps.startedAt = now
            return result
        }
        guard kept.count > 1 else { return self }
        (result.revisions, result.steps) = (kept, previous.steps)
        // A step beyond the whole moves the whole, and Knative discards a state that has one.
        result.steps.percent = min(result.steps.percent, percent)
        if let due = result.steps.nextAt, result.steps.percent > 0, now >= due { result.step(now: now) }
        return result
    }

    /// The shares for another percentage: the newest gets what is more; what is less is taken from the oldest first.
    private func shares(adjustedTo goal: Int) -> [RevisionShare] {
        guard goal < percent else {
            var result = revisions
            if goal > percent, let newest = result.popLast() { result.append(newest.adding(goal - percent)) }
            return result
        }
        var excess = percent - goal
        var result: [RevisionShare] = []
        for share in revisions {
            let taken = min(excess, share.percent)
            excess -= taken
            if share.percent > taken { result.append(share.adding(-taken)) }
        }
        return result
    }

    /// A new revision takes one percent of the newest that has any.
    private static func beginning(with revision: String, from shares: [RevisionShare]) -> [RevisionShare] {
        var result = shares
        if let giver = result.lastIndex(where: { $0.percent > 0 }) { result[giver] = result[giver].adding(-1) }
        return result.filter { $0.percent > 0 } + [RevisionShare(revision: revision, percent: 1)]
    }

    /// Knative's plan: as many equal steps as the time that the first percent took fits into what is left, in whole
    /// seconds, but none below one percent. So routes that are slow to change are not changed faster than they can be.
    fileprivate mutating func planSteps(durationSeconds: Int, now: Instant) {
        guard let startedAt = steps.startedAt else { return }
        let firstStep = max(1, now.seconds(since: startedAt).rounded(.up))
        let left = max(1, Double(durationSeconds) - firstStep)
        let remaining = Double(max(1, percent - 1))
        let count = min(remaining, max(1, left / firstStep))
        steps.percent = Int((remaining / count).rounded())
        steps.intervalNanoseconds = UInt64(min(9e18, left / count * 1e9))
        steps.nextAt = now.adding(nanoseconds: steps.intervalNanoseconds)
        assert(steps.percent >= 1 && steps.percent <= max(1, percent) && steps.intervalNanoseconds > 0)
    }

    /// Moves one step to the newest revision, from the second newest backwards: the oldest is drained last, for it has
    /// served longest.
    private mutating func step(now: Instant) {
        guard let newest = revisions.popLast() else { return }
        var excess = steps.percent
        while excess > 0, let older = revisions.popLast() {
            if older.percent > excess { revisions.append(older.adding(-excess)) }
            excess -= min(excess, older.percent)
        }
        // All that the older ones have lost, which at the end is less than a step.
        let others = revisions.reduce(0) { $0 + $1.percent }
        revisions.append(RevisionShare(revision: newest.revision, percent: percent - others))
        if isDone { steps = Steps() } else { steps.nextAt = now.adding(nanoseconds: steps.intervalNanoseconds) }
    }
}

extension RevisionShare {
    fileprivate func adding(_ difference: Int) -> RevisionShare {
        RevisionShare(revision: revision, percent: percent + difference)
    }
}
