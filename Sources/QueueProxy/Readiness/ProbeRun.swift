import Primitives

/// One probe of a container over one run of the readiness check: when to try, how long, and what came of it. Pure.
///
/// Aggressive (a period of 0, Knative's default): try until it passes often enough in a row, at most ten seconds in
/// all. Ours to improve: the first retries come after a millisecond and the pauses double up to Knative's 50 ms, so a
/// container that becomes ready soon is found soon. Otherwise one try decides. Source: spec/dataplane 1.9.
public struct ProbeRun: Sendable {
    /// Longest of an aggressive try, in milliseconds.
    public static let tryMilliseconds: UInt64 = 100
    /// Longest pause between two aggressive tries, in milliseconds.
    public static let pauseMilliseconds: UInt64 = 50
    /// Longest of an aggressive run, in milliseconds.
    public static let runMilliseconds: UInt64 = 10_000

    /// What comes next.
    public enum Step: Equatable, Sendable {
        /// Try at this moment, for at most so many milliseconds.
        case attempt(at: Instant, milliseconds: UInt64)
        /// The run is over.
        case over(passed: Bool)
    }

    let isAggressive: Bool
    let timeoutMilliseconds: UInt64
    let successThreshold: Int
    /// Passes in a row; they outlive the run, as Knative's.
    private(set) var successes = 0
    private var runEnds = Instant(nanoseconds: 0)
    private var nextPause: UInt64 = 1

    /// A probe that was never tried.
    ///
    /// - Parameters:
    ///   - timeoutSeconds: of the one try that is not aggressive; at least 1 counts.
    ///   - successThreshold: passes in a row; at least 1 counts.
    public init(isAggressive: Bool, timeoutSeconds: Int, successThreshold: Int) {
        self.isAggressive = isAggressive
        timeoutMilliseconds = UInt64(max(1, timeoutSeconds)) * 1_000
        self.successThreshold = max(1, successThreshold)
    }

    /// A run begins.
    public mutating func begin(now: Instant) -> Step {
        runEnds = now.adding(milliseconds: Self.runMilliseconds)
        nextPause = 1
        return attempt(at: now)
    }

    /// A try that ended now.
    public mutating func tried(passed: Bool, now: Instant) -> Step {
        guard isAggressive else { return .over(passed: passed) }
        successes = passed ? min(successes + 1, successThreshold) : 0
        if successes >= successThreshold { return .over(passed: true) }
        let next = now.adding(milliseconds: nextPause)
        nextPause = min(nextPause * 2, Self.pauseMilliseconds)
        guard next < runEnds else { return .over(passed: false) }
        return attempt(at: next)
    }

    private func attempt(at instant: Instant) -> Step {
        guard isAggressive else { return .attempt(at: instant, milliseconds: timeoutMilliseconds) }
        let left = max(1, runEnds.nanoseconds(since: instant) / 1_000_000)
        return .attempt(at: instant, milliseconds: min(Self.tryMilliseconds, left))
    }
}
