import Balancing
import Primitives
import Testing

@testable import Activator

/// Passive health by answers: what raises a doubt, what decides it, and what is never done.
@Suite struct PodDoubtTests {
    typealias Action = PodFinder.Action

    private static func pod(_ number: UInt32) -> EndpointAddress { PodFinderTests.pod(number) }
    private static func at(_ milliseconds: UInt64) -> Instant { PodFinderTests.at(milliseconds) }

    private func question(_ actions: [Action]) throws -> PodFinder.Question {
        try #require(
            actions.compactMap { if case .ask(let question) = $0 { question } else { nil } }.last)
    }

    private func suspended(_ actions: [Action]) -> [EndpointAddress] {
        actions.compactMap { if case .suspend(let address) = $0 { address } else { nil } }
    }

    private func resumed(_ actions: [Action]) -> [EndpointAddress] {
        actions.compactMap { if case .resume(let address) = $0 { address } else { nil } }
    }

    /// So many pods, listed as ready and healthy at 0.
    private func finder(_ pods: UInt32, _ change: (inout PodFinder.Settings) -> Void = { _ in }) -> Finder {
        var settings = PodFinder.Settings()
        change(&settings)
        let finder = Finder(settings)
        let listed = (1...pods).map { (Self.pod($0), true) }
        for action in finder.list(listed, cluster: nil, now: Self.at(0)) {
            if case .ask(let question) = action { _ = finder.probed(question, .ready, now: Self.at(0)) }
        }
        return finder
    }

    /// An application that means its 503 keeps its pod: each doubt costs one question, ever more seldom.
    @Test func goodAnswersAreTrusted() throws {
        let finder = finder(2)
        var now = Self.at(10), pauses: [UInt64] = []
        for _ in 0..<7 {
            let asked = finder.doubt(Self.pod(1), now: now)
            #expect(asked.count == 1, "used while it is asked: no other action")
            #expect(finder.doubt(Self.pod(1), now: now).isEmpty, "one question at a time")
            let actions = finder.probed(try question(asked), .ready, now: now)
            guard actions.count == 1, case .trust(Self.pod(1), let until, false) = actions[0] else {
                Issue.record("\(actions)")
                return
            }
            pauses.append(until.milliseconds(since: now))
            now = until
        }
        #expect(pauses == [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
        // After as long a time of peace it begins anew.
        now = now.adding(milliseconds: 30_000)
        let actions = finder.probed(try question(finder.doubt(Self.pod(1), now: now)), .ready, now: now)
        #expect(actions == [.trust(Self.pod(1), until: now.adding(milliseconds: 1_000), isSpared: false)])
    }

    /// A pod that ends answers its probe with 503: set aside, asked at leisure, used again when it says so.
    @Test(arguments: [PodFinder.Outcome.unready, .unreachable])
    func badAnswersSetAside(outcome: PodFinder.Outcome) throws {
        let finder = finder(2)
        var actions = finder.probed(
            try question(finder.doubt(Self.pod(1), now: Self.at(20_000))), outcome, now: Self.at(20_001))
        #expect(actions == [.suspend(Self.pod(1))], "it stays listed: no update")
        #expect(finder.doubt(Self.pod(1), now: Self.at(20_002)).isEmpty)
        #expect(finder.deadline == Self.at(20_201))
        actions = finder.timeout(now: Self.at(20_201))
        actions = finder.probed(try question(actions), outcome, now: Self.at(20_202))
        #expect(actions.isEmpty && finder.deadline == Self.at(20_402))
        actions = finder.timeout(now: Self.at(20_402))
        actions = finder.probed(try question(actions), .ready, now: Self.at(20_403))
        #expect(resumed(actions) == [Self.pod(1)] && actions.count == 2, "and trusted for a while: \(actions)")
        // Delisted while it is set aside.
        _ = finder.probed(try question(finder.doubt(Self.pod(2), now: Self.at(30_000))), outcome, now: Self.at(30_001))
        actions = finder.list([(Self.pod(1), true)], cluster: nil, now: Self.at(30_002))
        #expect(actions == [.update(.pods([Self.pod(1)]))])
    }

    /// A pod that does not answer in time (stopped, hung) is set aside; the question goes on and ends that.
    @Test func silence() throws {
        let finder = finder(2)
        let asked = try question(finder.doubt(Self.pod(2), now: Self.at(100)))
        #expect(finder.deadline == Self.at(1_100))
        #expect(finder.timeout(now: Self.at(1_099)).isEmpty)
        #expect(finder.timeout(now: Self.at(1_100)) == [.suspend(Self.pod(2))])
        #expect(finder.deadline == .distantFuture, "the question is held open")
        #expect(resumed(finder.probed(asked, .ready, now: Self.at(5_000))) == [Self.pod(2)])
    }

    /// Half of the pods at most, and never the only one.
    @Test(arguments: [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] as [(UInt32, Int)])
    func share(pods: UInt32, expected: Int) throws {
        let finder = finder(pods)
        var aside = 0, spared = 0
        for number in 1...pods {
            let asked = try question(finder.doubt(Self.pod(number), now: Self.at(50)))
            for action in finder.probed(asked, .unready, now: Self.at(51)) {
                if case .suspend = action { aside += 1 }
                if case .trust(Self.pod(number), _, true) = action { spared += 1 }
            }
        }
        #expect(aside == expected && spared == Int(pods) - expected)
        // Nor by silence.
        let other = self.finder(pods)
        for number in 1...pods { _ = other.doubt(Self.pod(number), now: Self.at(50)) }
        #expect(suspended(other.timeout(now: Self.at(1_050))).count == expected)
        #expect(other.deadline == .distantFuture)
    }

    /// The share is one of this activator's pods, as no other's are of use to it.
    @Test func shareOfTheSlice() throws {
        let finder = finder(4)
        finder.use(PodSlice(index: 1, count: 2))  // pods 3 and 4
        for (number, isAside) in [(3, true), (4, false)] as [(UInt32, Bool)] {
            let asked = try question(finder.doubt(Self.pod(number), now: Self.at(50)))
            let actions = finder.probed(asked, .unready, now: Self.at(51))
            #expect(suspended(actions).isEmpty != isAside)
        }
    }

    /// When the others go, those that were set aside are used again: they are worth more than nobody.
    @Test func othersGo() throws {
        let finder = finder(4)
        for number in [1, 2] as [UInt32] {
            let asked = try question(finder.doubt(Self.pod(number), now: Self.at(50)))
            #expect(suspended(finder.probed(asked, .unready, now: Self.at(51))) == [Self.pod(number)])
        }
        var actions = finder.list((1...3).map { (Self.pod($0), true) }, cluster: nil, now: Self.at(60))
        #expect(resumed(actions) == [Self.pod(1)])
        actions = finder.list((1...2).map { (Self.pod($0), true) }, cluster: nil, now: Self.at(70))
        #expect(resumed(actions).isEmpty, "one of two may be aside")
        actions = finder.list([(Self.pod(2), true)], cluster: nil, now: Self.at(80))
        #expect(resumed(actions) == [Self.pod(2)])
        let update = try #require(actions.firstIndex(of: .update(.pods([Self.pod(2)]))))
        #expect(update < (actions.firstIndex(of: .resume(Self.pod(2))) ?? 0), "first listed, then resumed")
    }

    /// A refused connection goes before a doubt, counts in the share, and is never spared.
    @Test func refusalsCount() throws {
        let finder = finder(3)
        let first = try question(finder.doubt(Self.pod(1), now: Self.at(50)))
        #expect(finder.suspect(Self.pod(1), now: Self.at(51)).isEmpty, "it is being asked")
        let second = try question(finder.doubt(Self.pod(2), now: Self.at(52)))
        #expect(suspended(finder.probed(second, .unready, now: Self.at(53))).isEmpty, "a third is out already")
        #expect(resumed(finder.probed(first, .ready, now: Self.at(54))) == [Self.pod(1)])
        // Set aside, then another refuses: the one set aside comes back.
        let third = try question(finder.doubt(Self.pod(3), now: Self.at(55)))
        #expect(suspended(finder.probed(third, .unready, now: Self.at(56))) == [Self.pod(3)])
        #expect(resumed(finder.suspect(Self.pod(1), now: Self.at(57))) == [Self.pod(3)])
    }

    /// Kubernetes sees it fail while it is in doubt: out of use, and asked anew.
    @Test func fallenInDoubt() throws {
        let finder = finder(2)
        let asked = try question(finder.doubt(Self.pod(1), now: Self.at(50)))
        let actions = finder.list([(Self.pod(1), false), (Self.pod(2), true)], cluster: nil, now: Self.at(51))
        #expect(actions.contains(.cancel(asked)) && actions.contains(.update(.pods([Self.pod(2)]))))
        #expect(try question(actions).address == Self.pod(1))
        #expect(finder.probed(asked, .unready, now: Self.at(52)).isEmpty)
    }

    /// Pods that are not used, or unknown, cannot be doubted.
    @Test func noDoubt() {
        let finder = finder(1) { $0.allowsEarlyPods = false }
        #expect(finder.doubt(Self.pod(9), now: Self.at(1)).isEmpty)
        _ = finder.list([(Self.pod(1), false)], cluster: nil, now: Self.at(2))
        #expect(finder.doubt(Self.pod(1), now: Self.at(3)).isEmpty)
    }

    // MARK: Counting

    @Test func failuresInARow() {
        let endpoint = Endpoint(id: 1, address: Self.pod(1), concurrency: 0)
        // Noncopyable values cannot stand in an expectation.
        func failed(_ now: UInt64, limit: Int = 5) -> Bool { endpoint.health.failed(limit: limit, now: now) }
        func doubted(_ now: UInt64) -> Bool { endpoint.health.doubted(now: now) }
        var told: [Int] = []
        for number in 1...4 where failed(10) { told.append(number) }
        endpoint.health.answered()
        for number in 1...6 where failed(10) { told.append(number) }
        #expect(told == [5], "a good answer begins anew; one worker tells, once")
        #expect(failed(10 + PassiveHealth.repeatNanoseconds))
        endpoint.health.keepQuiet(until: 5_000_000_000)
        for _ in 1...9 { #expect(!failed(4_999_999_999)) }
        #expect(!doubted(4_999_999_999) && doubted(5_000_000_000))
        for _ in 1...9 { #expect(!failed(9_000_000_000, limit: 0), "off") }
    }
}
