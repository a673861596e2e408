import Primitives
import Testing

@testable import StatChannel

@Suite struct PaceTests {
    /// 100 ms × 1.3ⁿ and up to half more, twenty times, then from the start.
    @Test func pauses() {
        for seed in 0..<200 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            var pace = ReconnectPace(firstMilliseconds: 100, steps: 20)
            for round in 0..<3 {
                var least = 100.0
                for step in 0..<20 {
                    let pause = Double(pace.next(using: &random)) / 1e6
                    #expect(pause >= least - 0.001 && pause < least * 1.5, "seed \(seed), \(round), step \(step)")
                    least *= 1.3
                }
            }
            _ = pace.next(using: &random)
            pace.reset()
            #expect(pace.next(using: &random) < 150_000_000)
        }
    }

    /// The jitter is used: pauses of one step differ, over the whole of its range.
    @Test func jitter() {
        var random = SeededRandom(seed: 1)
        let pauses = (0..<1000).map { _ in
            var pace = ReconnectPace(firstMilliseconds: 100, steps: 20)
            return pace.next(using: &random)
        }
        #expect((pauses.min() ?? 0) < 101_000_000 && (pauses.max() ?? 0) > 149_000_000)
    }
}
