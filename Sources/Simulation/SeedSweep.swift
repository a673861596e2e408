#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A run whose every choice follows from its seed.
public protocol SeededSimulation {
    /// A run that has not begun. With `keepsTrace` it remembers what it did, for the report of a failure.
    init(seed: UInt64, keepsTrace: Bool)
    /// Runs to the end. Throws what a promise's breach looked like.
    mutating func run() throws(SimulationBreach)
    /// What was done, in order, if a trace was kept.
    var trace: [String] { get }
}

/// A promise that was broken, seen from inside a run.
public struct SimulationBreach: Error, Sendable {
    /// How many steps had been taken.
    public var step: Int
    /// Which promise, and the figures.
    public var message: String

    /// `message` at step `step`.
    public init(step: Int, message: String) {
        self.step = step
        self.message = message
    }
}

/// A failed run, with all that is needed to see it again.
public struct SimulationFailure: Error, CustomStringConvertible, Sendable {
    /// The seed that shows the failure.
    public var seed: UInt64
    /// What was broken.
    public var breach: SimulationBreach
    /// The last actions before it.
    public var trace: [String]

    /// The report: seed, breach, the way there, and the line that replays it.
    public var description: String {
        let way = trace.map { "\n    " + $0 }.joined()
        return "seed \(seed), step \(breach.step): \(breach.message)\(way)\n"
            + "  replay: \(SeedSweep.variable)=\(seed) swift test"
    }
}

/// Runs a simulation over many seeds.
public enum SeedSweep {
    /// The environment variable that replays one seed instead of the sweep.
    public static let variable = "MARTLET_SEED"
    /// How many seeds a sweep tries, from 0 on, unless it says otherwise.
    public static let defaultCount: UInt64 = 256
    /// How many actions before a breach the report shows.
    public static let traceLines = 40

    /// The seed to replay, if the environment names one.
    public static var replayedSeed: UInt64? {
        guard let text = getenv(variable) else { return nil }
        return UInt64(String(cString: text))
    }

    /// The environment variable that sets how many seeds a sweep tries.
    public static let countVariable = "MARTLET_SEEDS"

    /// How many seeds the environment asks for, else `count`.
    public static func count(or count: UInt64) -> UInt64 {
        guard let text = getenv(countVariable), let asked = UInt64(String(cString: text)) else { return count }
        return asked
    }

    /// Whether the environment says how many seeds are tried.
    public static var isCounted: Bool { getenv(countVariable) != nil }

    /// Runs each seed and hands the finished run to `inspect`; returns the first failure, with its trace.
    ///
    /// With `MARTLET_SEED` in the environment only that seed is run.
    public static func run<Simulation: SeededSimulation>(
        _ type: Simulation.Type, count: UInt64 = defaultCount, inspect: (Simulation) -> Void = { _ in }
    ) -> SimulationFailure? {
        let seeds = replayedSeed.map { $0...$0 } ?? 0...max(count, 1) - 1
        for seed in seeds {
            var simulation = Simulation(seed: seed, keepsTrace: false)
            do throws(SimulationBreach) {
                try simulation.run()
                inspect(simulation)
            } catch {
                return SimulationFailure(seed: seed, breach: error, trace: trace(of: type, seed: seed))
            }
        }
        return nil
    }

    /// Runs the seed once more to learn what led to its breach.
    private static func trace<Simulation: SeededSimulation>(of type: Simulation.Type, seed: UInt64) -> [String] {
        var simulation = Simulation(seed: seed, keepsTrace: true)
        do throws(SimulationBreach) { try simulation.run() } catch {
            // The first line says what kind of run it is.
            return simulation.trace.prefix(1) + simulation.trace.dropFirst().suffix(traceLines)
        }
        return ["the second run of this seed did not fail: something in it is not seeded"]
    }
}
