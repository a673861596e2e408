import Primitives
import Testing

@testable import QueueProxy

/// When the container is asked, on a clock of the test's.
@Suite struct ProbeRunTests {
    private static let start = Instant(nanoseconds: 5_000_000_000)

    private func at(_ milliseconds: UInt64) -> Instant { Self.start.adding(milliseconds: milliseconds) }

    /// With a period one try decides, within its timeout.
    @Test(arguments: [true, false]) func oneTry(passes: Bool) {
        var run = ProbeRun(isAggressive: false, timeoutSeconds: 3, successThreshold: 5)
        #expect(run.begin(now: at(0)) == .attempt(at: at(0), milliseconds: 3_000))
        #expect(run.tried(passed: passes, now: at(7)) == .over(passed: passes))
    }

    /// Refused again and again: pauses from 1 ms, doubled, up to Knative's 50 ms, for ten seconds.
    @Test func aggressivePauses() {
        var run = ProbeRun(isAggressive: true, timeoutSeconds: 0, successThreshold: 1)
        var step = run.begin(now: at(0))
        var (now, pauses, attempts) = (at(0), [UInt64](), 0)
        while case .attempt(let next, let limit) = step, attempts < 1_000 {
            if attempts > 0 { pauses.append(next.milliseconds(since: now)) }
            #expect(limit >= 1 && limit <= 100)
            #expect(next.adding(milliseconds: limit) <= at(10_000))
            attempts += 1
            now = next
            step = run.tried(passed: false, now: now)
        }
        #expect(step == .over(passed: false))
        #expect(pauses.prefix(8) == [1, 2, 4, 8, 16, 32, 50, 50])
        #expect(pauses.dropFirst(8).allSatisfy { $0 == 50 })
        #expect(now < at(10_000) && now >= at(9_950))
    }

    /// Passes must come in a row, and are remembered from run to run.
    @Test func successesAreKept() {
        var run = ProbeRun(isAggressive: true, timeoutSeconds: 0, successThreshold: 2)
        _ = run.begin(now: at(0))
        #expect(run.tried(passed: true, now: at(1)) == .attempt(at: at(2), milliseconds: 100))
        #expect(run.tried(passed: false, now: at(2)) == .attempt(at: at(4), milliseconds: 100))
        #expect(run.tried(passed: true, now: at(4)) == .attempt(at: at(8), milliseconds: 100))
        #expect(run.tried(passed: true, now: at(8)) == .over(passed: true))
        _ = run.begin(now: at(100))
        #expect(run.tried(passed: true, now: at(101)) == .over(passed: true))
        _ = run.begin(now: at(200))
        #expect(run.tried(passed: false, now: at(201)) == .attempt(at: at(202), milliseconds: 100))
        #expect(run.tried(passed: true, now: at(202)) == .attempt(at: at(204), milliseconds: 100))
    }
}
