import Primitives

/// The pauses between attempts to connect: 100 ms × 1.3ⁿ and up to half of it more by chance, 20 steps, then from the
/// start (spec/dataplane 3.9). Pure.
struct ReconnectPace {
    private static let factor = 1.3
    private static let jitter = 0.5

    private let first: UInt64
    private let steps: Int
    private var step = 0

    init(firstMilliseconds: UInt64, steps: Int) {
        first = firstMilliseconds
        self.steps = max(1, steps)
    }

    /// The next pause, in nanoseconds.
    mutating func next(using random: inout SeededRandom) -> UInt64 {
        var pause = Double(first) * 1e6
        for _ in 0..<step { pause *= Self.factor }
        step = (step + 1) % steps
        return UInt64(min(pause * Double.random(in: 1..<1 + Self.jitter, using: &random), 1e18))
    }

    /// The next pause is the first again.
    mutating func reset() { step = 0 }
}
