/// How an earlier life of the process left a revision (Knative: the PodAutoscaler's status and the scale).
public struct EarlierLife: Equatable, Sendable {
    /// Pods that should exist.
    public var desired: Int
    /// The phase of its activity. It begins anew with the new life: nothing is timed by a clock that nobody kept.
    public var phase: RevisionActivity.Phase

    /// `desired` pods in `phase`.
    public init(desired: Int, phase: RevisionActivity.Phase) {
        self.desired = desired
        self.phase = phase
    }
}
