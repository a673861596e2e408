import Primitives

/// When to ask whether the activator is in the path of a revision that is to lose its last pod. Pure.
///
/// It is asked only when everything else allows zero, once a second until it answers; an answer counts for a second, so
/// zero is never decided by an old one. Source: Knative Serving, `pkg/reconciler/autoscaling/kpa/scaler.go`.
struct ActivatorProbe: Equatable, Sendable {
    /// What is known.
    enum State: Equatable, Sendable {
        /// Nothing was asked.
        case idle
        /// A question is under way, since then.
        case asking(Instant)
        /// It was answered by something else, or not at all; asked again from then on.
        case failed(again: Instant)
        /// The activator answered.
        case answered(Instant)
    }

    private(set) var state = State.idle
    /// Since when nobody has answered, to be told in the log; nil once told.
    private var complainsAt: Instant?

    /// Whether an answer of the activator is fresh enough to go by.
    func isAnswered(now: Instant) -> Bool {
        guard case .answered(let instant) = state else { return false }
        return now.nanoseconds(since: instant) <= Period.probeFreshness
    }

    /// When to ask again after a failure.
    var nextAt: Instant? {
        guard case .failed(let again) = state else { return nil }
        return again
    }

    /// Notes that an answer is needed. True: ask now.
    mutating func need(now: Instant) -> Bool {
        switch state {
        case .idle, .answered:
            complainsAt = now.adding(nanoseconds: Period.probePatience)
            state = .asking(now)
            return true
        case .asking: return false
        case .failed(let again):
            guard now >= again else { return false }
            state = .asking(now)
            return true
        }
    }

    /// The question was answered by the activator, or not. True: it is time to complain.
    mutating func report(isAnswered: Bool, now: Instant) -> Bool {
        guard case .asking(let since) = state else { return false }  // given up meanwhile
        if isAnswered {
            state = .answered(now)
            return false
        }
        state = .failed(again: since.adding(nanoseconds: Period.probe))
        guard let deadline = complainsAt, now >= deadline else { return false }
        complainsAt = now.adding(nanoseconds: Period.probePatience)
        return true
    }

    /// Zero is not wanted any more.
    mutating func giveUp() { state = .idle }
}
