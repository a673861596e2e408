import Primitives
import Testing

@testable import Telemetry

private let start = Instant(nanoseconds: 5_000_000_000)
private func at(_ milliseconds: UInt64) -> Instant { start.adding(milliseconds: milliseconds) }

@Suite struct RequestStatsTests {
    private enum Event { case arrive(UInt64), proxied(UInt64), leave(UInt64), proxiedLeave(UInt64) }

    private func stats(_ events: [Event]) -> RequestStats {
        var stats = RequestStats(now: start)
        for event in events {
            switch event {
            case .arrive(let time): stats.arrive(now: at(time), proxied: false)
            case .proxied(let time): stats.arrive(now: at(time), proxied: true)
            case .leave(let time): stats.leave(now: at(time), proxied: false)
            case .proxiedLeave(let time): stats.leave(now: at(time), proxied: true)
            }
        }
        return stats
    }

    @Test func oneWindow() {
        let rows: [([Event], WindowReport)] = [
            ([], WindowReport()),
            ([.arrive(0)], WindowReport(averageConcurrency: 1, requestCount: 1)),
            ([.arrive(0), .leave(1000)], WindowReport(averageConcurrency: 1, requestCount: 1)),
            ([.arrive(250), .leave(750)], WindowReport(averageConcurrency: 0.5, requestCount: 1)),
            (
                [.arrive(0), .arrive(500), .leave(750), .leave(750)],
                WindowReport(averageConcurrency: 1, requestCount: 2)
            ),
            // Proxied requests are in both pairs of numbers.
            (
                [.proxied(0), .arrive(0), .proxiedLeave(500)],
                WindowReport(
                    averageConcurrency: 1.5, averageProxiedConcurrency: 0.5, requestCount: 2, proxiedRequestCount: 1)
            ),
            // Come and gone in no time: counted, without concurrency.
            ([.arrive(500), .leave(500)], WindowReport(averageConcurrency: 0, requestCount: 1)),
        ]
        for (events, report) in rows {
            var stats = stats(events)
            #expect(stats.report(now: at(1000)).report == report, "\(events)")
        }
    }

    @Test func requestsGoOnIntoTheNextWindow() {
        var stats = stats([.arrive(0), .proxied(500)])
        #expect(stats.report(now: at(1000)).report.averageConcurrency == 1.5)
        let second = stats.report(now: at(2000))
        #expect(second.report == WindowReport(averageConcurrency: 2, averageProxiedConcurrency: 1))
        stats.leave(now: at(2500), proxied: false)
        stats.leave(now: at(2500), proxied: true)
        #expect(stats.report(now: at(4000)).report.averageConcurrency == 0.5)
        #expect(stats.report(now: at(5000)).report == WindowReport())
        #expect(stats.concurrency == 0 && stats.proxied == 0)
    }

    @Test func lengthsOfWindows() {
        // Counts are per second; a short window counts as one second.
        var long = stats([.arrive(0), .arrive(0), .arrive(0)])
        #expect(long.report(now: at(2000)).report.requestCount == 1.5)
        var short = stats([.arrive(0)])
        #expect(short.report(now: at(1)).report.requestCount == 1)
        var none = stats([.arrive(0)])
        #expect(none.report(now: at(0)).report == WindowReport(averageConcurrency: 0, requestCount: 1))
        // Time that seems to run backwards adds nothing.
        var odd = stats([.arrive(800), .leave(500)])
        #expect(odd.report(now: at(1000)).report.averageConcurrency == 0)
    }

    /// An idle hour between two reports is in no window.
    @Test func resumes() {
        var stats = stats([.arrive(0), .leave(500)])
        _ = stats.report(now: at(1000))
        stats.resume(now: at(3_600_000))
        stats.arrive(now: at(3_600_000), proxied: false)
        let report = stats.report(now: at(3_600_500)).report
        #expect(report == WindowReport(averageConcurrency: 1, requestCount: 1))
    }

    /// However requests are spread over workers, the sum of their windows is that of one worker with all of them.
    @Test func workersAddUp() {
        for seed in UInt64(0)..<64 {
            var random = SeededRandom(seed: seed)
            var whole = RequestStats(now: start)
            var workers = [RequestStats](repeating: RequestStats(now: start), count: 3)
            var open: [(worker: Int, isProxied: Bool)] = []
            var time: UInt64 = 0
            for second in UInt64(1)...5 {
                while time < second * 1000 - 60 {
                    time += UInt64.random(in: 0...50, using: &random)
                    if !open.isEmpty, Bool.random(using: &random) {
                        let done = open.remove(at: Int.random(in: 0..<open.count, using: &random))
                        workers[done.worker].leave(now: at(time), proxied: done.isProxied)
                        whole.leave(now: at(time), proxied: done.isProxied)
                    } else {
                        let new = (Int.random(in: 0..<3, using: &random), Bool.random(using: &random))
                        open.append(new)
                        workers[new.0].arrive(now: at(time), proxied: new.1)
                        whole.arrive(now: at(time), proxied: new.1)
                    }
                }
                var sum = WindowSums()
                for index in workers.indices { sum.add(workers[index].report(now: at(second * 1000))) }
                let expected = whole.report(now: at(second * 1000))
                #expect(sum == expected, "seed \(seed) second \(second)")
                let report = expected.report
                #expect(report.averageProxiedConcurrency <= report.averageConcurrency, "seed \(seed)")
                #expect(report.proxiedRequestCount <= report.requestCount, "seed \(seed)")
            }
        }
    }
}

@Suite struct FirstRequestRuleTests {
    @Test func announcedOnceAndTakenOff() {
        var rule = FirstRequestRule()
        #expect(rule.isForgotten)
        #expect(arrived(&rule))
        #expect(!arrived(&rule))
        let first = rule.adjust(WindowReport(averageConcurrency: 2.5, requestCount: 4), inFlight: 3)
        #expect(first == WindowReport(averageConcurrency: 1.5, requestCount: 3))
        let second = rule.adjust(WindowReport(averageConcurrency: 2.5, requestCount: 4), inFlight: 3)
        #expect(second == WindowReport(averageConcurrency: 2.5, requestCount: 4))
        #expect(!arrived(&rule))
    }

    @Test func neverBelowZero() {
        var rule = FirstRequestRule()
        #expect(arrived(&rule))
        let adjusted = rule.adjust(WindowReport(averageConcurrency: 0.25, requestCount: 1), inFlight: 0)
        #expect(adjusted == WindowReport(averageConcurrency: 0, requestCount: 0))
        // The window was not idle, so the revision is still known.
        #expect(!rule.isForgotten)
    }

    @Test func forgottenAfterAnIdleWindow() {
        var rule = FirstRequestRule()
        _ = rule.arrived()
        _ = rule.adjust(WindowReport(averageConcurrency: 0.25, requestCount: 1), inFlight: 0)
        #expect(rule.adjust(WindowReport(), inFlight: 0) == WindowReport())
        #expect(rule.isForgotten)
        #expect(arrived(&rule))
        // A request that came with the report keeps it known.
        var kept = FirstRequestRule()
        _ = kept.arrived()
        _ = kept.adjust(WindowReport(averageConcurrency: 0, requestCount: 1), inFlight: 1)
        #expect(!kept.isForgotten)
    }

    /// Announcement and reports of the same second add up to what happened.
    @Test func nothingIsCountedTwice() {
        var rule = FirstRequestRule()
        var stats = RequestStats(now: start)
        #expect(arrived(&rule))
        for _ in 0..<5 { stats.arrive(now: start, proxied: false) }
        let sent = rule.adjust(stats.report(now: at(1000)).report, inFlight: 5)
        let announcement = FirstRequestRule.announcement
        #expect(announcement.averageConcurrency + sent.averageConcurrency == 5)
        #expect(announcement.requestCount + sent.requestCount == 5)
    }

    private func arrived(_ rule: inout FirstRequestRule) -> Bool { rule.arrived() }
}
