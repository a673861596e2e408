import Primitives
import Testing

@testable import LocalPlatform
@testable import Probing

/// When to ask, and what the answers mean.
@Suite struct ProbeTrackerTests {
    static let start = Instant(nanoseconds: 5_000_000_000)

    static func at(_ milliseconds: UInt64) -> Instant { start.adding(milliseconds: milliseconds) }

    static func spec(period: Int = 0, success: Int = 1, failure: Int = 0, delay: Int = 0) -> ProbeSpec {
        var spec = ProbeSpec()
        (spec.periodSeconds, spec.successThreshold, spec.failureThreshold) = (period, success, failure)
        spec.initialDelaySeconds = delay
        return spec
    }

    /// From 250 µs, 1/64 of the age, at most 50 ms; so it is found at most 1.6 % late.
    @Test func waitsGrowWithAge() {
        let table: [(age: UInt64, nanoseconds: UInt64)] = [
            (0, 250_000), (16, 250_000), (64, 1_000_000), (128, 2_000_000), (640, 10_000_000), (3_200, 50_000_000),
            (60_000, 50_000_000),
        ]
        for row in table {
            var tracker = ProbeTracker(role: .readiness, spec: ProbeSpec(), began: Self.start)
            #expect(tracker.first == Self.start.adding(nanoseconds: 250_000))
            #expect(tracker.record(.refused, now: Self.at(row.age)) == nil)
            let next = tracker.next(last: Self.at(row.age), now: Self.at(row.age))
            #expect(next == Self.at(row.age).adding(nanoseconds: row.nanoseconds), "age \(row.age)")
        }
    }

    @Test func anAnswerThatIsNotReadyIsAskedLessOften() {
        var tracker = ProbeTracker(role: .readiness, spec: ProbeSpec(), began: Self.start)
        _ = tracker.record(.failed("HTTP status 503"), now: Self.at(5))
        #expect(tracker.next(last: Self.at(5), now: Self.at(5)) == Self.at(15))
    }

    @Test func commandsAreAskedSlowly() {
        var tracker = ProbeTracker(role: .readiness, spec: ProbeSpec(.exec(command: ["true"])), began: Self.start)
        _ = tracker.record(.failed("no"), now: Self.at(5))
        #expect(tracker.next(last: Self.at(5), now: Self.at(5)) == Self.at(55))
        _ = tracker.record(.failed("no"), now: Self.at(60_000))
        #expect(tracker.next(last: Self.at(60_000), now: Self.at(60_000)) == Self.at(61_000))
    }

    @Test func initialDelayHolds() {
        let tracker = ProbeTracker(role: .readiness, spec: Self.spec(delay: 2), began: Self.start)
        #expect(tracker.first == Self.at(2_000).adding(nanoseconds: 250_000))
    }

    /// Aggressive: after the first success nobody asks by himself, and one failure is enough.
    @Test func aggressiveReadiness() {
        var tracker = ProbeTracker(role: .readiness, spec: Self.spec(success: 2), began: Self.start)
        #expect(tracker.record(.passed, now: Self.at(1)) == nil)
        #expect(tracker.record(.refused, now: Self.at(2)) == nil)
        #expect(tracker.record(.passed, now: Self.at(3)) == nil)
        #expect(tracker.record(.passed, now: Self.at(4)) == .passing)
        #expect(tracker.next(last: Self.at(4), now: Self.at(4)) == nil)
        tracker.recheck()
        #expect(tracker.record(.passed, now: Self.at(50)) == .confirmed)
        #expect(tracker.next(last: Self.at(50), now: Self.at(50)) == nil)
        tracker.recheck()
        #expect(tracker.record(.timedOut, now: Self.at(60)) == .failing("readiness probe failed: timed out"))
        #expect(tracker.record(.timedOut, now: Self.at(61)) == nil)
        #expect(tracker.next(last: Self.at(61), now: Self.at(61)) != nil)
        #expect(tracker.record(.passed, now: Self.at(70)) == nil)
        #expect(tracker.record(.passed, now: Self.at(71)) == .passing)
    }

    @Test func periodicReadiness() {
        var tracker = ProbeTracker(role: .readiness, spec: Self.spec(period: 10), began: Self.start)
        #expect(tracker.record(.passed, now: Self.at(5)) == .passing)
        #expect(tracker.next(last: Self.at(5), now: Self.at(6)) == Self.at(10_005))
        for number in 1...2 {
            #expect(tracker.record(.refused, now: Self.at(10_005)) == nil, "failure \(number) of 3")
        }
        #expect(
            tracker.record(.refused, now: Self.at(10_005)) == .failing("readiness probe failed: connection refused"))
        #expect(tracker.next(last: Self.at(10_005), now: Self.at(10_006)) == Self.at(11_005))
        #expect(tracker.record(.passed, now: Self.at(11_005)) == .passing)
    }

    /// Asked because a request failed: a refusal settles it, a slow answer is asked again soon until the threshold.
    @Test func recheckOfAPeriodicProbe() {
        var certain = ProbeTracker(role: .readiness, spec: Self.spec(period: 10), began: Self.start)
        _ = certain.record(.passed, now: Self.at(5))
        certain.recheck()
        #expect(certain.record(.refused, now: Self.at(20)) == .failing("readiness probe failed: connection refused"))
        var slow = ProbeTracker(role: .readiness, spec: Self.spec(period: 10), began: Self.start)
        _ = slow.record(.passed, now: Self.at(5))
        slow.recheck()
        for moment in [UInt64(20), 30] {
            #expect(slow.record(.timedOut, now: Self.at(moment)) == nil)
            #expect(slow.next(last: Self.at(moment), now: Self.at(moment)) == Self.at(moment + 10))
        }
        #expect(slow.record(.timedOut, now: Self.at(40)) == .failing("readiness probe failed: timed out"))
    }

    @Test func startupFailsAfterItsTime() {
        var tracker = ProbeTracker(role: .startup, spec: Self.spec(period: 2, failure: 3), began: Self.start)
        #expect(tracker.record(.refused, now: Self.at(5_999)) == nil)
        let text = "startup probe did not pass within 6 s: connection refused"
        #expect(tracker.record(.refused, now: Self.at(6_000)) == .failing(text))
        #expect(tracker.next(last: Self.at(6_000), now: Self.at(6_000)) == nil)
        var passing = ProbeTracker(role: .startup, spec: Self.spec(period: 2), began: Self.start)
        #expect(passing.record(.passed, now: Self.at(1)) == .passing)
        #expect(passing.next(last: Self.at(1), now: Self.at(1)) == nil)
    }

    @Test func livenessNeedsItsThreshold() {
        var tracker = ProbeTracker(role: .liveness, spec: Self.spec(period: 1, failure: 2), began: Self.start)
        #expect(tracker.first == Self.at(1_000))
        #expect(tracker.record(.timedOut, now: Self.at(1_000)) == nil)
        #expect(tracker.next(last: Self.at(1_000), now: Self.at(1_001)) == Self.at(2_000))
        #expect(tracker.record(.passed, now: Self.at(2_000)) == .passing)
        #expect(tracker.record(.timedOut, now: Self.at(3_000)) == nil)
        #expect(tracker.record(.timedOut, now: Self.at(4_000)) == .failing("liveness probe failed: timed out"))
        #expect(tracker.next(last: Self.at(4_000), now: Self.at(4_000)) == nil)
    }

    @Test func timeouts() {
        let aggressive = ProbeTracker(role: .readiness, spec: ProbeSpec(), began: Self.start)
        for (age, timeout) in [(UInt64(0), UInt64(100)), (800, 100), (1_600, 200), (60_000, 1_000)] {
            #expect(aggressive.timeoutMilliseconds(now: Self.at(age)) == timeout)
        }
        let periodic = ProbeTracker(role: .readiness, spec: Self.spec(period: 1), began: Self.start)
        #expect(periodic.timeoutMilliseconds(now: Self.start) == 1_000)
    }

    /// All together never ask more often than the budget, and one alone never waits.
    @Test func budgetSpreads() {
        var budget = ProbeBudget(rate: 20_000)
        #expect(budget.reserve(Self.start) == Self.start)
        let last = (1..<500).map { _ in budget.reserve(Self.start) }.last
        #expect(last == Self.start.adding(nanoseconds: 499 * 50_000))
        #expect(budget.reserve(Self.at(1_000)) == Self.at(1_000))
    }

    @Test func portRangeAvoidsTheKernels() {
        let table: [(kernel: ClosedRange<UInt16>?, range: ClosedRange<UInt16>)] = [
            (nil, 20_000...32_767), (32_768...60_999, 20_000...32_767), (30_000...60_999, 20_000...29_999),
            (20_500...60_999, 61_000...65_535), (15_000...65_000, 10_000...14_999), (1_024...65_535, 20_000...32_767),
            (40_000...50_000, 20_000...32_767),
        ]
        for row in table { #expect(PortAllocator.range(avoiding: row.kernel) == row.range) }
    }

    @Test func portsAreNeverGivenTwice() {
        for seed in UInt64(0)..<20 {
            var random = SeededRandom(seed: seed)
            var ports = PortAllocator(range: 100...149, seed: seed) { $0 % 7 != 0 ? Claim() : nil }
            var held: Set<UInt16> = []
            for _ in 0..<2_000 {
                if Bool.random(using: &random), let port = held.randomElement(using: &random) {
                    ports.give(port)
                    held.remove(port)
                } else if let port = ports.take() {
                    #expect(port % 7 != 0 && (100...149).contains(port), "seed \(seed)")
                    #expect(held.insert(port).inserted, "seed \(seed): \(port) twice")
                } else {
                    #expect(held.count == (100...149).count { $0 % 7 != 0 }, "seed \(seed)")
                }
                #expect(ports.count == held.count)
            }
        }
    }

    private final class Claim {}

    /// Two martlets on one machine: what one has given out is not free for the other, though nobody listens there yet.
    @Test func twoAllocatorsShareNoPort() {
        let range: ClosedRange<UInt16> = 19_000...19_039
        var first = PortAllocator(range: range, seed: 1), second = PortAllocator(range: range, seed: 1)
        var given: Set<UInt16> = []
        for _ in 0..<10 {
            guard let one = first.take(), let other = second.take() else { break }
            #expect(given.insert(one).inserted && given.insert(other).inserted)
        }
        #expect(given.count == 20)
        for port in given { first.give(port) }
        #expect(first.count == 0 && second.count == 10)
    }

    /// What was given back rests until every other port has had its turn.
    @Test func portsRest() {
        var ports = PortAllocator(range: 100...149, seed: 1) { _ in Claim() }
        let first = ports.take() ?? 0
        ports.give(first)
        for _ in 0..<49 {
            let next = ports.take() ?? 0
            #expect(next != first)
            ports.give(next)
        }
        #expect(ports.take() == first)
    }
}
