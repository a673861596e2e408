import Primitives

/// Everything that one decision went by, kept for `martlet explain`: trivial to copy, no text until asked.
public struct DecisionRecord: Equatable, Sendable {
    /// When it was decided.
    public var time: Instant
    /// What settled the number.
    public var rule: ScaleRule
    /// Pods that shall be from now on.
    public var desired: Int
    /// Pods that should have been until now.
    public var previous: Int
    /// Pods that the reconciliation wants, carried out or not: 0 once the revision is called inactive though its last
    /// pod stays for now, -1 unknown. Knative's `status.desiredScale`.
    public var want: Int
    /// Ready pods.
    public var ready: Int
    /// Ready and starting pods.
    public var existing: Int

    /// The formula's last wish, before the bounds; -1 before the first.
    public var wish: Int
    /// The averages; nil if there was no data, or for a decision by demand.
    public var averages: MetricAverages?
    /// The formula's numbers; nil if it did not run.
    public var verdict: Decider.Verdict?
    /// Spare burst capacity after the last valid decision.
    public var excessBurstCapacity: Int
    /// Where requests should go.
    public var mode: ServingMode
    /// Since when panic lasts; nil out of panic.
    public var panicSince: Instant?

    /// Requests in flight and waiting, for a decision by demand.
    public var demand: Demand?
    /// Pods kept up by an earlier demand; 0 if none.
    public var demandedPods: Int

    /// The revision's state before this decision.
    public var activityBefore: RevisionActivity
    /// The revision's state after it.
    public var activityAfter: RevisionActivity
    /// Whether a route leads to the revision.
    public var isReachable: Bool
    /// Whether the initial scale was reached once.
    public var isInitialized: Bool
    /// The settings that held.
    public var spec: ScalingSpec

    /// What a decision by demand saw.
    public struct Demand: Equatable, Sendable {
        /// Requests that pods are serving.
        public var inFlight: Int
        /// Requests that wait for a pod.
        public var queued: Int
        /// Pods that all of them would need.
        public var need: Int
    }
}

/// What shall be, and when to look again.
public struct ScaleDecision: Equatable, Sendable {
    /// Pods that shall exist (ready or starting). 0 and up.
    public var desired: Int
    /// Seconds after which the next tick should come even if the driver would not tick by then.
    ///
    /// The regular tick every 2 s serves as well. Nil: nothing changes by the mere passing of time.
    public var recheckAfterSeconds: Double?
    /// What led to it.
    public var record: DecisionRecord
}
