import Knative
import Primitives
import Scaling
import Testing

@testable import Autoscaler

/// An hour of traffic in virtual time, with restarts of the autoscaler in it.
@Suite struct HourTests {
    /// Phases of 100 to 300 s with a load each, a third of them idle; the same seed is the same hour.
    private func phases(_ random: inout SeededRandom) -> [(from: Double, load: Double)] {
        var phases: [(from: Double, load: Double)] = []
        var at = 0.0
        while at < 3_600 {
            let isIdle = random.next() % 3 == 0
            phases.append((at, isIdle ? 0 : Double(1 + random.next() % 900)))
            at += 100 + Double(random.next() % 200)
        }
        return phases
    }

    @Test func hours() {
        for seed in 1...4 as ClosedRange<UInt64> { hour(seed: seed) }
    }

    private func hour(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let phases = phases(&random)
        let world = World(["max-scale": "10", "target-burst-capacity": "50"])
        world.startSeconds = 0.5 + Double(random.next() % 30) / 10
        world.load = { second in phases.last { $0.from <= second }?.load ?? 0 }
        world.start()
        var lastRestart = 0.0
        var restartAt = 600.0 + Double(random.next() % 600)
        for second in 1...3_600 {
            world.run(to: Double(second))
            if Double(second) >= restartAt {
                restartAt += 1_200
                lastRestart = Double(second)
                let before = world.scale
                world.kill()
                world.start()
                #expect(world.scale == before)
            }
            check(
                world, phases, second: Double(second), lastRestart: lastRestart, "seed \(seed), second \(second)")
        }
        for (index, entry) in world.history.enumerated() where entry.replicas == 0 {
            let isProbed = world.probes.contains { $0 <= entry.seconds && $0 > entry.seconds - 1.5 }
            #expect(isProbed, "seed \(seed): to zero without asking at \(entry.seconds)")
            let next = index + 1 < world.history.count ? world.history[index + 1].replicas : 1
            #expect(next == 1, "seed \(seed): from zero to \(next)")
        }
    }

    private func check(
        _ world: World, _ phases: [(from: Double, load: Double)], second: Double, lastRestart: Double, _ place: String
    ) {
        guard let phase = phases.last(where: { $0.from <= second }), let scale = world.scale else { return }
        #expect(scale <= 10, "\(place): max-scale")
        let age = second - phase.from
        if phase.load > 0, age > 3 { #expect(scale > 0, "\(place): load and no pod") }
        // The stable window has seen nothing else.
        if phase.load > 0, age > 65 {
            #expect(scale >= min(10, Int((phase.load / 70).rounded(.up))), "\(place): too few for \(phase.load)")
        }
        // Idle, and none is held any more by a panic of its own or of a restart.
        let calm = min(age, second - lastRestart)
        if phase.load == 0, calm > 80 { #expect(scale <= 1, "\(place): \(scale) pods idle") }
        if phase.load == 0, calm > 125 { #expect(scale == 0, "\(place): not at zero") }
    }
}
