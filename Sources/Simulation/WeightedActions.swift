import Primitives

/// The grammar of a random run: what may happen next, and how often compared to the rest.
public struct WeightedActions<Action: Sendable>: Sendable {
    private let actions: [Action]
    /// Running sums of the weights.
    private let bounds: [Int]

    /// Each action as often as its weight says; those with a weight of 0 or less never happen. At least one must.
    public init(_ weights: [(action: Action, weight: Int)]) {
        let used = weights.filter { $0.weight > 0 }
        precondition(!used.isEmpty, "WeightedActions: nothing can happen")
        actions = used.map(\.action)
        var sum = 0
        bounds = used.map {
            sum += $0.weight
            return sum
        }
    }

    /// The next action.
    public func next(using random: inout SeededRandom) -> Action {
        let target = Int.random(in: 0..<bounds[bounds.count - 1], using: &random)
        var index = 0
        while bounds[index] <= target { index += 1 }
        return actions[index]
    }

    /// The same actions with weights blown up, shrunk or switched off at random, `kept` ones excepted.
    ///
    /// A run that does everything a little does nothing a lot: queues never fill while everything drains them. Runs
    /// with lopsided weights reach the corners.
    public static func swarm(
        _ weights: [(action: Action, weight: Int)], keeping kept: (Action) -> Bool, using random: inout SeededRandom
    ) -> WeightedActions {
        let factors = [0, 1, 1, 2, 4, 16]
        return WeightedActions(
            weights.map { action, weight in
                let factor = factors[Int.random(in: 0..<factors.count, using: &random)]
                return (action, weight * (kept(action) ? max(1, factor) : factor))
            })
    }
}
