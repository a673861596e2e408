import Synchronization

/// Counts a route's requests over all workers and over reloads.
final class SplitCounter: Sendable {
    let requests = Atomic<UInt64>(0)
}

/// The order in which a route's targets take turns: smooth weighted round robin, one full cycle written out.
///
/// Indexed by one shared counter, it divides requests exactly: after each cycle (at most 100 requests) every target has
/// had its share, and in between nobody is more than one request away from it.
enum SplitSequence {
    /// One cycle, divided by the weights' greatest common divisor. Every step adds to each target its weight, picks the
    /// one with most (the first of equals) and takes the total off it.
    static func cycle(_ splits: [Split]) -> [Int] {
        let divisor = splits.reduce(0) { greatestCommonDivisor($0, $1.percent) }
        guard divisor > 0 else { return [] }
        let weights = splits.map { $0.percent / divisor }
        let total = weights.reduce(0, +)
        var credit = [Int](repeating: 0, count: weights.count)
        var order: [Int] = []
        order.reserveCapacity(total)
        for _ in 0..<total {
            var best = 0
            for index in weights.indices {
                credit[index] += weights[index]
                if credit[index] > credit[best] { best = index }
            }
            credit[best] -= total
            order.append(splits[best].target)
        }
        return order
    }

    private static func greatestCommonDivisor(_ left: Int, _ right: Int) -> Int {
        right == 0 ? left : greatestCommonDivisor(right, left % right)
    }
}
