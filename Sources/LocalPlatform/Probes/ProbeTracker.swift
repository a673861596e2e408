import Primitives
import Probing

/// Counts the outcomes of one probe of one process and says when to ask next. Pure.
///
/// Until it passes for the first time the process is asked again after 1/64 of its age, at least 250 µs and at most
/// 50 ms (commands: 1/8, 50 ms to 1 s): so waiting costs at most 1.6 % of the start time and no fixed period adds to
/// it. Afterwards Kubernetes' rules hold: period, timeout, thresholds. Source: core/v1 Probe.
struct ProbeTracker: Sendable {
    /// What the probe decides.
    enum Role: Equatable, Sendable { case startup, readiness, liveness }

    /// A change worth telling.
    enum Change: Equatable, Sendable {
        case passing
        case failing(String)
        /// Asked for and found as good as before.
        case confirmed
    }

    enum Verdict: Equatable, Sendable { case unknown, passing, failing(since: Instant) }

    /// The shortest wait between two probes of something awaited, in nanoseconds: half of it is what finding out adds
    /// on average. A refused connection costs some 15 µs of CPU.
    static let eagerNanoseconds: UInt64 = 250_000

    let role: Role
    let spec: ProbeSpec
    private(set) var verdict = Verdict.unknown
    private(set) var isUrgent = false
    private let began: Instant
    private var successes = 0
    private var failures = 0
    private var lastOutcome = ProbeOutcome.refused

    /// A probe of a process spawned, or released by its startup probe, at `began`.
    init(role: Role, spec: ProbeSpec, began: Instant) {
        self.role = role
        self.spec = spec
        self.began = began.adding(milliseconds: UInt64(max(0, spec.initialDelaySeconds)) * 1_000)
    }

    /// When to ask first.
    var first: Instant { began.adding(nanoseconds: role == .liveness ? 1_000_000_000 : Self.eagerNanoseconds) }

    /// Failures in a row that count. Aggressive readiness: 1.
    var failureThreshold: Int {
        if spec.failureThreshold > 0 { return spec.failureThreshold }
        return role == .readiness && spec.periodSeconds == 0 ? 1 : 3
    }

    private var periodMilliseconds: UInt64 {
        spec.periodSeconds > 0 ? UInt64(spec.periodSeconds) * 1_000 : 10_000
    }

    private var isExec: Bool {
        if case .exec = spec.handler { return true }
        return false
    }

    /// How long one probe that begins at `now` may take, in milliseconds.
    func timeoutMilliseconds(now: Instant) -> UInt64 {
        if spec.timeoutSeconds > 0 { return UInt64(spec.timeoutSeconds) * 1_000 }
        guard role == .readiness, spec.periodSeconds == 0, !isExec else { return 1_000 }
        // Knative's 100 ms, and more patience with what has been slow for long, so that a slow first answer can arrive.
        return min(max(now.milliseconds(since: began) / 8, 100), 1_000)
    }

    /// Asks for a probe at once: somebody saw the pod fail.
    mutating func recheck() { isUrgent = true }

    /// Takes an outcome; a change is reported once.
    mutating func record(_ outcome: ProbeOutcome, now: Instant) -> Change? {
        lastOutcome = outcome
        return outcome == .passed ? recordPass() : recordFailure(outcome, now: now)
    }

    private mutating func recordPass() -> Change? {
        failures = 0
        successes += 1
        let wasUrgent = isUrgent
        isUrgent = false
        if verdict == .passing { return wasUrgent ? .confirmed : nil }
        // Kubernetes allows no success threshold for the other two.
        guard role != .readiness || successes >= max(1, spec.successThreshold) else { return nil }
        verdict = .passing
        return .passing
    }

    private mutating func recordFailure(_ outcome: ProbeOutcome, now: Instant) -> Change? {
        successes = 0
        failures += 1
        switch (role, verdict) {
        case (_, .failing): return nil
        case (.startup, .passing), (.readiness, .unknown): return nil
        case (.startup, .unknown):
            let limit = periodMilliseconds * UInt64(failureThreshold)
            guard now >= began.adding(milliseconds: limit) else { return nil }
            verdict = .failing(since: now)
            return .failing("startup probe did not pass within \(limit / 1_000) s: \(outcome.reason)")
        case (.liveness, .unknown), (.liveness, .passing), (.readiness, .passing):
            // Asked because of a failure, and nothing listens: no need to ask thrice.
            let isCertain = isUrgent && outcome == .refused
            guard failures >= failureThreshold || isCertain else { return nil }
            verdict = .failing(since: now)
            isUrgent = false
            return .failing("\(role == .liveness ? "liveness" : "readiness") probe failed: \(outcome.reason)")
        }
    }

    /// When to ask again, after a probe that began at `last` and ended at `now`; nil: when `recheck` asks.
    func next(last: Instant, now: Instant) -> Instant? {
        let periodic = max(now, last.adding(milliseconds: periodMilliseconds))
        switch (role, verdict) {
        case (.startup, .unknown), (.readiness, .unknown): return now.adding(nanoseconds: eagerness(since: began, now))
        case (.startup, .passing), (.startup, .failing), (.liveness, .failing): return nil
        case (.liveness, .unknown), (.liveness, .passing): return isUrgent ? now.adding(milliseconds: 10) : periodic
        case (.readiness, .passing):
            if isUrgent { return now.adding(milliseconds: 10) }
            return spec.periodSeconds > 0 ? periodic : nil
        case (.readiness, .failing(let since)):
            let eager = now.adding(nanoseconds: eagerness(since: since, now))
            guard spec.periodSeconds > 0 else { return eager }
            // Asked once a second at least: who waits for a pod to come back should not wait for a long period.
            return min(periodic, max(eager, last.adding(milliseconds: 1_000)))
        }
    }

    /// The wait in nanoseconds for something awaited since `start`.
    private func eagerness(since start: Instant, _ now: Instant) -> UInt64 {
        let age = now.nanoseconds(since: start)
        if isExec { return min(max(age / 8, 50_000_000), 1_000_000_000) }
        // A connection that was accepted cost the application something; a refusal cost it nothing.
        let least: UInt64 = lastOutcome == .refused || lastOutcome == .passed ? Self.eagerNanoseconds : 10_000_000
        return min(max(age / 64, least), 50_000_000)
    }
}

/// Spreads the eager probes of all pods: at most so many a second, in the order they ask. Pure.
///
/// A virtual clock of slots (GCRA with no burst): 500 pods that start together are each asked every 25 ms at the
/// default of 20,000 a second, and one pod alone never waits.
struct ProbeBudget: Sendable {
    private let interval: UInt64
    private var nextSlot = Instant(nanoseconds: 0)

    /// At most `rate` probes a second, at least 1.
    init(rate: Int) { interval = 1_000_000_000 / UInt64(max(1, rate)) }

    /// Takes the first free slot at or after `wanted`.
    mutating func reserve(_ wanted: Instant) -> Instant {
        let slot = max(wanted, nextSlot)
        nextSlot = slot.adding(nanoseconds: interval)
        return slot
    }
}
