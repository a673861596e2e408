import Primitives

/// Whether a revision is up: the `Active` condition of Knative's PodAutoscaler.
///
/// Source: Knative Serving, `pkg/reconciler/autoscaling/kpa/kpa.go`, `computeActiveCondition`.
public struct RevisionActivity: Equatable, Sendable {
    /// The three values of the condition.
    public enum Phase: String, Equatable, Sendable, CaseIterable {
        /// No traffic, or a start that failed (condition False).
        case inactive
        /// Pods are starting, requests wait (condition Unknown).
        case activating
        /// Enough pods are ready (condition True).
        case active
    }

    /// Why the phase is what it is: the condition's reason, spelled as Knative does.
    public enum Reason: String, Equatable, Sendable {
        /// Inactive: nobody asks for it.
        case noTraffic = "NoTraffic"
        /// Inactive: the start took longer than the progress deadline.
        case timedOut = "TimedOut"
        /// Activating: requests wait for pods.
        case queued = "Queued"
        /// Active.
        case none = ""
    }

    /// The present phase.
    public private(set) var phase: Phase
    /// Its reason.
    public private(set) var reason: Reason
    /// When the phase began.
    public private(set) var since: Instant

    /// An activity that begins now.
    public init(_ phase: Phase, since: Instant) {
        self.phase = phase
        self.since = since
        reason =
            switch phase {
            case .inactive: .noTraffic
            case .activating: .queued
            case .active: .none
            }
    }

    /// How long the phase has lasted.
    public func nanoseconds(at now: Instant) -> UInt64 { now.nanoseconds(since: since) }

    /// Takes note of what is wanted and what is there.
    ///
    /// - Parameters:
    ///   - want: pods wanted; -1 if unknown.
    ///   - ready: ready pods.
    ///   - threshold: ready pods from which the revision counts as active. 0 only while new with initial scale 0.
    mutating func update(want: Int, ready: Int, threshold: Int, now: Instant) {
        if want == 0 || (want < 0 && threshold == 0) {
            // Nothing but a failed start ever takes the pods away while they are starting.
            let isFailure = phase == .activating && threshold > 0
            return enter(.inactive, reason: isFailure ? .timedOut : reasonToStayInactive, now: now)
        }
        // Not known yet whether anybody asks: an inactive revision stays so.
        if want < 0, phase == .inactive { return }
        if ready < max(1, threshold) {
            enter(.activating, reason: .queued, now: now)
        } else {
            enter(.active, reason: .none, now: now)
        }
    }

    /// A failed start stays on record until something else happens.
    private var reasonToStayInactive: Reason { phase == .inactive ? reason : .noTraffic }

    private mutating func enter(_ next: Phase, reason nextReason: Reason, now: Instant) {
        reason = nextReason
        if next != phase { (phase, since) = (next, now) }
    }
}
