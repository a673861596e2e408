import Testing

@testable import Simulation

@Suite struct GateSimulationTests {
    /// 256 seeds over the real gates, against the shadow; together they must have reached every corner.
    @Test func sweep() {
        var counts = [Int](repeating: 0, count: GateSimulation.Event.allCases.count)
        let failure = SeedSweep.run(GateSimulation.self) { run in
            for event in GateSimulation.Event.allCases { counts[event.rawValue] += run.count(of: event) }
        }
        #expect(failure == nil, "\(failure?.description ?? "")")
        guard failure == nil, SeedSweep.replayedSeed == nil else { return }
        for event in GateSimulation.Event.allCases {
            #expect(counts[event.rawValue] >= 50, "\(event) happened \(counts[event.rawValue]) times")
        }
    }

    /// The same seed is the same run, or no failure could be replayed.
    @Test func runsRepeat() throws {
        for seed in UInt64(0)..<4 {
            var first = GateSimulation(seed: seed, keepsTrace: true)
            var second = GateSimulation(seed: seed, keepsTrace: true)
            try first.run()
            try second.run()
            #expect(first.trace.count > 100 && first.trace == second.trace, "seed \(seed)")
            #expect(first.counts == second.counts, "seed \(seed)")
        }
    }
}

/// A simulation that breaks its promise on some seeds: shows that a failure is seen and can be found again.
private struct BrokenSimulation: SeededSimulation {
    let seed: UInt64
    let keepsTrace: Bool
    var trace: [String] = []

    init(seed: UInt64, keepsTrace: Bool) {
        self.seed = seed
        self.keepsTrace = keepsTrace
    }

    mutating func run() throws(SimulationBreach) {
        if keepsTrace { trace.append("reached the edge") }
        if seed >= 3 { throw SimulationBreach(step: 1, message: "fell off") }
    }
}

@Suite struct SeedSweepTests {
    @Test(.enabled(if: SeedSweep.replayedSeed == nil, "replaying one seed")) func failuresNameTheirSeed() throws {
        let failure = try #require(SeedSweep.run(BrokenSimulation.self, count: 10))
        #expect(failure.seed == 3 && failure.trace == ["reached the edge"])
        #expect(failure.description.contains("MARTLET_SEED=3"))
        #expect(failure.description.contains("fell off"))
        var ran = 0
        #expect(SeedSweep.run(BrokenSimulation.self, count: 3) { _ in ran += 1 } == nil)
        #expect(ran == 3)
    }

    @Test func mailboxKeepsItsOrder() {
        var mailbox = SimulatedMailbox<Int>()
        #expect(mailbox.deliver() == nil && mailbox.isEmpty)
        var received: [Int] = []
        for number in 0..<10 {
            mailbox.post(number)
            mailbox.post(number + 100)
            if let message = mailbox.deliver() { received.append(message) }
        }
        #expect(mailbox.count == 10)
        while let message = mailbox.deliver() { received.append(message) }
        #expect(received == (0..<10).flatMap { [$0, $0 + 100] })
    }

    @Test func clockMovesForwardOnly() {
        var clock = VirtualClock()
        let start = clock.now
        clock.advance(milliseconds: 5)
        clock.advance(to: start)
        #expect(clock.now.milliseconds(since: start) == 5)
    }
}
