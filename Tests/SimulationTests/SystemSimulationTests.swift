import Testing

@testable import Simulation

@Suite struct SystemSimulationTests {
    /// Whole systems, each with its own plan of traffic and faults, against the shadow. As many as some 20 s of a debug
    /// build allow; `MARTLET_SEEDS` sets another number, `MARTLET_SEED` runs one.
    @Test func sweep() {
        var counts = [Int](repeating: 0, count: SystemSimulation.Event.allCases.count)
        var outcomes = [Int](repeating: 0, count: SystemOutcome.allCases.count)
        var runs = 0, steps = 0
        let failure = SeedSweep.run(SystemSimulation.self, count: SeedSweep.count(or: 1_000)) { run in
            runs += 1
            steps += run.steps
            for (index, count) in run.counts.enumerated() { counts[index] += count }
            for (index, count) in run.outcomes.enumerated() { outcomes[index] += count }
        }
        #expect(failure == nil, "\(failure?.description ?? "")")
        if SeedSweep.isCounted { print(runs, "runs,", steps, "events,", counts, outcomes) }
        guard failure == nil, runs >= 1_000 else { return }
        for event in SystemSimulation.Event.allCases {
            #expect(counts[event.rawValue] >= 50, "\(event) happened \(counts[event.rawValue]) times")
        }
        for outcome in SystemOutcome.allCases {
            #expect(outcomes[outcome.rawValue] >= 50, "\(outcome) \(outcomes[outcome.rawValue]) times")
        }
    }

    /// The same seed is the same run, or no failure could be replayed.
    @Test func runsRepeat() throws {
        for seed in UInt64(0)..<4 {
            let first = SystemSimulation(seed: seed, keepsTrace: true)
            let second = SystemSimulation(seed: seed, keepsTrace: true)
            try first.run()
            try second.run()
            let difference = zip(first.trace, second.trace).first { $0 != $1 }
            #expect(first.trace.count > 50 && difference == nil, "seed \(seed): \(String(describing: difference))")
            #expect(first.outcomes == second.outcomes && first.counts == second.counts, "seed \(seed)")
        }
    }
}
