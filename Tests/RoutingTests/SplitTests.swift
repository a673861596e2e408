import Primitives
import Testing

@testable import Routing

@Suite struct SplitTests {
    static let percentages: [[Int]] = [
        [80, 20], [20, 80], [50, 50], [99, 1], [1, 99], [90, 10], [25, 25, 25, 25], [33, 33, 34], [98, 1, 1],
        [1, 2, 4, 8, 16, 32, 37, 0, 0, 0], [0, 100], [100, 0, 0], [0], [100], [5, 15, 80], [70, 0, 30],
        [Int](repeating: 1, count: 100), [Int](repeating: 10, count: 10), [51, 7, 7, 7, 7, 7, 7, 7],
    ]

    private func table(_ percents: [Int], previous: RouteTable? = nil) throws -> RouteTable {
        let splits = percents.enumerated().map { Split(target: $0, percent: $1) }
        return try RouteTable(routes: [Route(host: "a", splits: splits)], previous: previous)
    }

    /// At every prefix each target is within one request of its share; after 5,000 the shares are exact.
    @Test(arguments: percentages) func exactAtEveryPrefix(percents: [Int]) throws {
        let table = try table(percents)
        let shares = percents.count == 1 ? [100] : percents
        var counts = [Int](repeating: 0, count: percents.count)
        var worst = 0
        for sent in 1...5_000 {
            counts[table.pick(0)] += 1
            // In hundredths of a request, so that the check itself is exact.
            for (count, share) in zip(counts, shares) { worst = max(worst, abs(count * 100 - sent * share)) }
        }
        #expect(worst <= 100, "\(worst) hundredths of a request")
        #expect(counts == shares.map { $0 * 50 })
    }

    /// The smooth order known from weights 5, 1, 1.
    @Test func smoothOrder() {
        let splits = [5, 1, 1].enumerated().map { Split(target: $0, percent: $1) }
        #expect(SplitSequence.cycle(splits) == [0, 0, 1, 0, 2, 0, 0])
        #expect(
            SplitSequence.cycle([Split(target: 7, percent: 80), Split(target: 9, percent: 20)]) == [7, 7, 9, 7, 7])
    }

    /// Any division of 100 among up to twelve targets is exact after one cycle and stays near its shares on the way.
    @Test func randomDivisions() throws {
        for seed in UInt64(0)..<512 {
            var random = SeededRandom(seed: seed)
            var percents = [Int](repeating: 0, count: Int.random(in: 2...12, using: &random))
            for _ in 0..<100 {
                let skewed = min(
                    percents.indices.randomElement(using: &random) ?? 0, Int.random(in: 0..<12, using: &random))
                percents[skewed] += 1
            }
            let table = try table(percents)
            var counts = [Int](repeating: 0, count: percents.count)
            var worst = 0
            for sent in 1...100 {
                counts[table.pick(0)] += 1
                for (count, share) in zip(counts, percents) { worst = max(worst, abs(count * 100 - sent * share)) }
            }
            #expect(counts == percents, "seed \(seed)")
            #expect(worst <= 100, "seed \(seed): \(percents)")
        }
    }

    /// A reload does not start a cycle again, whether it leaves the route alone or changes its shares.
    @Test func countersSurviveReloads() throws {
        var current = try table([80, 20])
        let order = (0..<10).map { _ in current.pick(0) }
        #expect(order == [0, 0, 1, 0, 0, 0, 0, 1, 0, 0])
        var reloaded: [Int] = []
        for _ in 0..<10 {
            reloaded.append(current.pick(0))
            let other = Route(host: "other", splits: [Split(target: 9, percent: 100)])
            let same = Route(host: "A.", splits: [Split(target: 0, percent: 80), Split(target: 1, percent: 20)])
            current = try RouteTable(routes: [other, same], previous: current)
            #expect(match(current, "a") == 1)
            current = try RouteTable(routes: [same, other], previous: current)
        }
        #expect(reloaded == order)
        _ = current.pick(0)
        let changed = try table([20, 80], previous: current)
        #expect((0..<5).map { _ in changed.pick(0) } == [1, 0, 1, 1, 1], "from the second of its cycle on")
        let back = try table([80, 20], previous: changed)
        #expect((0..<5).map { _ in back.pick(0) } == [0, 1, 0, 0, 0])
    }

    /// A share that grows with every request, as in a rollout with few of them: it comes to its turn while it is small
    /// and gets its due in all.
    @Test func growingShares() throws {
        var current = try table([100]), early = 0, count = 0
        for percent in 1..<100 {
            current = try table([100 - percent, percent], previous: current)
            let picked = current.pick(0)
            if percent <= 30 { early += picked }
            count += picked
        }
        #expect((40...60).contains(count), "\(count) of 99 requests, where 49.5 are its due")
        #expect(early > 0, "a cycle that begins anew each time would not come to it before it has half")
    }

    /// Old and new tables are used side by side while workers change over: together they divide exactly.
    @Test func exactOverWorkersAndGenerations() async throws {
        let first = try table([1, 2, 4, 8, 16, 32, 37])
        let second = try table([1, 2, 4, 8, 16, 32, 37], previous: first)
        let counts = await withTaskGroup(of: [Int].self) { group in
            for worker in 0..<4 {
                group.addTask {
                    var counts = [Int](repeating: 0, count: 7)
                    for turn in 0..<2_500 { counts[(turn % 3 == worker % 3 ? first : second).pick(0)] += 1 }
                    return counts
                }
            }
            return await group.reduce([Int](repeating: 0, count: 7)) { zip($0, $1).map(+) }
        }
        #expect(counts == [100, 200, 400, 800, 1_600, 3_200, 3_700])
    }
}
