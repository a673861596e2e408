import Primitives
import Scaling
import Testing

@testable import Autoscaler

/// Whom a round asks, in which order, and what it comes to: spec/autoscaling 4.1.
@Suite struct ScrapeRoundTests {
    private static let now: Int64 = 1_800_000_000

    private func pods(old: Int, young: Int) -> [ScrapedPod] {
        (0..<old).map { ScrapedPod(ip: UInt32($0), startedAt: Self.now - 60) }
            + (0..<young).map { ScrapedPod(ip: 1_000 + UInt32($0), startedAt: Self.now - 59) }
    }

    private func round(old: Int, young: Int, seed: UInt64 = 7) -> ScrapeRound {
        var random = SeededRandom(seed: seed)
        return ScrapeRound(pods(old: old, young: young), window: 60, unixSeconds: Self.now, random: &random)
    }

    private func stat(_ value: Double) -> RequestStat {
        RequestStat(
            averageConcurrency: value, averageProxiedConcurrency: value / 2, requestCount: value * 2,
            proxiedRequestCount: value / 4)
    }

    @Test func asManyAsTheSample() {
        for (count, sample) in [(1, 1), (3, 3), (5, 4), (10, 7), (100, 14), (1_000, 16)] {
            var round = round(old: count, young: 0)
            #expect(round.begin().count == sample)
        }
        #expect(round(old: 0, young: 0).isOver)
    }

    @Test func oldOnesComeFirstAndChanceDecidesAmongTheRightOnes() {
        // Enough old ones: shuffled; young ones stay behind them in their order.
        let many = round(old: 20, young: 5)
        #expect(many.pods.prefix(20).allSatisfy { $0.ip < 1_000 } && many.pods.prefix(20).map(\.ip) != Array(0..<20))
        #expect(many.pods.suffix(5).map(\.ip) == Array(1_000..<1_005))
        // Too few: all of them in their order, then shuffled young ones.
        let few = round(old: 2, young: 20)
        #expect(few.pods.prefix(2).map(\.ip) == [0, 1])
        #expect(few.pods.suffix(20).map(\.ip) != Array(1_000..<1_020))
        #expect(Set(few.pods.map(\.ip)).count == 22)
        // The same seed asks the same pods, another one others.
        #expect(round(old: 20, young: 0).pods == round(old: 20, young: 0).pods)
        #expect(round(old: 20, young: 0).pods != round(old: 20, young: 0, seed: 8).pods)
    }

    @Test func anUnknownStartIsLongAgo() {
        var random = SeededRandom(seed: 1)
        let pods = [ScrapedPod(ip: 1, startedAt: Self.now), ScrapedPod(ip: 2, startedAt: nil)]
        let round = ScrapeRound(pods, window: 60, unixSeconds: Self.now, random: &random)
        #expect(round.pods.map(\.ip) == [2, 1])
        // A start that no clock can have does not trap.
        let absurd = [ScrapedPod(ip: 1, startedAt: .min), ScrapedPod(ip: 2, startedAt: .max)]
        #expect(ScrapeRound(absurd, window: 60, unixSeconds: Self.now, random: &random).sampleSize == 2)
    }

    @Test func theMeanStandsForAll() {
        var round = round(old: 10, young: 0)
        _ = round.begin()
        for _ in 0..<6 { #expect(round.succeeded(stat(2)) == .waiting) }
        let expected = RequestStat(
            averageConcurrency: 20, averageProxiedConcurrency: 10, requestCount: 40, proxiedRequestCount: 5)
        guard case .complete(let sum) = round.succeeded(stat(2)) else {
            Issue.record("not complete")
            return
        }
        #expect(abs(sum.averageConcurrency - expected.averageConcurrency) < 1e-9)
        #expect(abs(sum.averageProxiedConcurrency - expected.averageProxiedConcurrency) < 1e-9)
        #expect(abs(sum.requestCount - expected.requestCount) < 1e-9)
        #expect(abs(sum.proxiedRequestCount - expected.proxiedRequestCount) < 1e-9)
        #expect(round.succeeded(stat(9)) == .over && round.failed(.timedOut) == .over)
    }

    @Test func aFailureTakesTheNextUntilNoneIsLeft() {
        var round = round(old: 5, young: 0)
        let asked = Array(round.begin())
        #expect(asked.count == 4)
        #expect(round.failed(.timedOut) == .ask(round.pods[4]))
        #expect(round.succeeded(stat(1)) == .waiting)
        // Three have answered or may still; the second failure leaves nobody to replace it: the sample is dropped.
        #expect(round.failed(.status(500)) == .exhausted(isMesh: false))
        #expect(round.succeeded(stat(1)) == .over)
    }

    @Test func onlyMeshAnswersAreAMesh() {
        func run(_ failures: [ScrapeFailure], answers: Int = 0) -> ScrapeRound.Outcome {
            var round = round(old: 3, young: 0)
            _ = round.begin()
            for _ in 0..<answers { _ = round.succeeded(stat(1)) }
            var outcome = ScrapeRound.Outcome.waiting
            for failure in failures { outcome = round.failed(failure) }
            return outcome
        }
        // It takes all of them to say that none answers.
        #expect(run([.status(503)]) == .waiting && run([.status(503), .status(502)]) == .waiting)
        #expect(run([.status(503), .status(502), .status(503)]) == .exhausted(isMesh: true))
        #expect(run([.status(503), .status(502), .timedOut]) == .exhausted(isMesh: false))
        #expect(run([.status(500)]) == .exhausted(isMesh: false))
        #expect(run([.unreachable("refused")]) == .exhausted(isMesh: false))
        #expect(run([.status(503)], answers: 1) == .exhausted(isMesh: false))
    }

    /// One that answers while the others fail like a mesh: there is none, and no sample either.
    @Test func anAnswerAmongMeshFailures() {
        var round = round(old: 3, young: 0)
        _ = round.begin()
        #expect(round.failed(.status(503)) == .waiting)
        #expect(round.succeeded(stat(1)) == .exhausted(isMesh: false))
        #expect(round.failed(.status(503)) == .over && round.isOver)
    }
}
