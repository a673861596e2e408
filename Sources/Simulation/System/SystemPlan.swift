import Primitives
import Scaling

/// What one run of `SystemSimulation` is like: all of it follows from the seed.
struct SystemPlan {
    /// How requests of a revision arrive for a while.
    enum Traffic: CaseIterable { case quiet, trickle, steady, burst }

    /// One revision.
    struct Revision {
        var concurrency = 0
        var annotations: [String: String] = [:]
        var minScale = 0
        var maxScale = 0
        var windowSeconds = 6
        /// Pods may be used before they are listed as ready.
        var allowsEarlyPods = true
        /// How long a pod takes to accept requests, and to be called ready after that, in milliseconds.
        var startMilliseconds: ClosedRange<UInt64> = 10...500
        var readyMilliseconds: ClosedRange<UInt64> = 0...1_000
        /// How long a request takes, in milliseconds.
        var serviceMilliseconds: ClosedRange<UInt64> = 1...200
        /// The metric is `rps`.
        var countsRate = false
        /// Scale-down delay and retention, for the time it may take to go to zero.
        var slowSeconds = 0
    }

    /// What goes wrong. A run without any is *gentle*: then no request may fail.
    struct Faults {
        /// Chance of a pod's crash, a second and pod.
        var crash = 0.0
        /// Chance that a pod refuses connections for a while, a second and pod.
        var hiccup = 0.0
        /// Chance that a stat message is lost on its way.
        var lostStat = 0.0
        /// Chance that a question for statistics is not answered.
        var lostScrape = 0.0
        /// Chance of an activator's sudden death, a second.
        var activatorDeath = 0.0
        /// Whether stopped pods end before everybody knows, and requests longer than that are cut.
        var hasHastyStops = false

        var isNone: Bool { crash + hiccup + lostStat + lostScrape + activatorDeath == 0 && !hasHastyStops }
    }

    /// The longest delays, in milliseconds; most are far shorter.
    struct Delays {
        var network: UInt64 = 2
        var watch: UInt64 = 50
        var write: UInt64 = 50
        var stat: UInt64 = 20
        var scrape: UInt64 = 50
        /// Between a worker and the control thread of an activator.
        var mail: UInt64 = 1
    }

    var revisions: [Revision] = []
    var activators = 1
    var queueLimit = 1_000
    var budget = 10_000
    var faults = Faults()
    var delays = Delays()
    /// Chance of a restart of the autoscaler and of an orderly change of an activator, a second. Both are gentle.
    var autoscalerRestart = 0.0
    var activatorDrain = 0.0
    var graceSeconds = 3
    var trafficSeconds = 20
    /// The longest time a client waits, and its chance to go sooner.
    var patienceMilliseconds: ClosedRange<UInt64> = 5_000...30_000
    var cancelChance = 0.0
    /// Chance that requests come at another worker of an activator in the middle of a release.
    var crowding = 0.0

    /// The plan of a seed.
    init(using random: inout SeededRandom) {
        activators = Int.random(in: 1...3, using: &random)
        queueLimit = pick([1_000, 1_000, 20, 3, 1], &random)
        budget = pick([10_000, 10_000, 25, 5, 1], &random)
        delays.network = pick([1, 2, 10], &random)
        delays.watch = pick([5, 50, 500, 1_000], &random)
        delays.write = pick([1, 50, 500], &random)
        delays.stat = pick([1, 20, 300], &random)
        delays.mail = pick([1, 1, 40], &random)
        delays.scrape = pick([5, 50, 2_500], &random)
        graceSeconds = Int(delays.watch * 2 / 1_000) + Int.random(in: 2...4, using: &random)
        trafficSeconds = Int.random(in: 8...30, using: &random)
        cancelChance = pick([0, 0.05, 0.3], &random)
        crowding = pick([0, 0.05, 0.3], &random)
        if chance(0.2, &random) { patienceMilliseconds = 50...3_000 }
        autoscalerRestart = pick([0, 0, 0.03, 0.1], &random)
        activatorDrain = pick([0, 0, 0.03, 0.1], &random)
        if chance(0.6, &random) {
            faults.crash = pick([0, 0.02, 0.1], &random)
            faults.hiccup = pick([0, 0, 0.1], &random)
            faults.lostStat = pick([0, 0.1, 0.5], &random)
            faults.lostScrape = pick([0, 0.1, 0.5], &random)
            faults.activatorDeath = pick([0, 0.03, 0.1], &random)
            faults.hasHastyStops = chance(0.4, &random)
            delays.watch = pick([delays.watch, 3_000], &random)
        }
        for _ in 0..<pick([1, 1, 2], &random) { revisions.append(revision(&random)) }
    }

    private func revision(_ random: inout SeededRandom) -> Revision {
        var revision = Revision()
        revision.concurrency = pick([0, 1, 1, 2, 3, 5, 10], &random)
        revision.windowSeconds = pick([6, 6, 8], &random)
        revision.allowsEarlyPods = chance(0.7, &random)
        revision.minScale = pick([0, 0, 0, 0, 1, 2], &random)
        revision.maxScale = pick([0, 0, 2, 3, 5], &random)
        let slowest: UInt64 = pick([20, 500, 3_000], &random)
        revision.startMilliseconds = 1...slowest
        revision.readyMilliseconds = 0...pick([0, 100, 1_000], &random)
        revision.serviceMilliseconds = 1...pick([20, 300, 2_000], &random)
        var notes: [String: String] = ["window": "\(revision.windowSeconds)s"]
        notes["target-burst-capacity"] = pick(["-1", "0", "0", "1", "10", "211"], &random)
        if revision.minScale > 0 { notes["min-scale"] = "\(revision.minScale)" }
        notes["max-scale"] = "\(revision.maxScale == 0 ? 8 : revision.maxScale)"
        if revision.maxScale == 0 { revision.maxScale = 8 }
        if chance(0.2, &random) { notes["initial-scale"] = "2" }
        if chance(0.2, &random), revision.maxScale >= 2 { notes["activation-scale"] = "2" }
        if chance(0.5, &random) { notes["target"] = pick(["1", "2", "5"], &random) }
        if chance(0.2, &random) { (notes["metric"], revision.countsRate) = ("rps", true) }
        if chance(0.2, &random) { (notes["scale-down-delay"], revision.slowSeconds) = ("4s", 4) }
        if chance(0.2, &random) {
            notes["scale-to-zero-pod-retention-period"] = "5s"
            revision.slowSeconds += 5
        }
        if chance(0.2, &random) { notes["metric-aggregation-algorithm"] = "weighted-exponential" }
        for (key, value) in notes { revision.annotations[ScalingAnnotations.keyPrefix + key] = value }
        return revision
    }

    /// For traces.
    var description: String {
        let parts = revisions.map { revision in
            let notes = revision.annotations.sorted { $0.key < $1.key }.map {
                "\($0.key.dropFirst(ScalingAnnotations.keyPrefix.count))=\($0.value)"
            }
            return "limit \(revision.concurrency), early pods \(revision.allowsEarlyPods), "
                + notes.joined(separator: " ")
        }
        return
            "\(activators) activators, queues \(queueLimit) \(budget), grace \(graceSeconds) s, \(faults), \(delays); "
            + parts.joined(separator: "; ")
    }

    /// How long after the end of all traffic a revision must have its fewest pods, in seconds.
    ///
    /// Averages fall over a window, panic lasts one more, restarts begin it anew; then pods go by halves every two
    /// seconds, the revision is active for a window, and its last pod stays for the grace period.
    func restSeconds(_ revision: Revision) -> Double {
        let delays = Double(delays.watch + delays.write + delays.stat + delays.scrape) / 1_000
        return Double(4 * revision.windowSeconds + revision.slowSeconds + 2 * graceSeconds + 30) + 4 * delays
    }
}

/// One of `choices`.
func pick<Choice>(_ choices: [Choice], _ random: inout SeededRandom) -> Choice {
    choices[Int.random(in: 0..<choices.count, using: &random)]
}

/// True with probability `probability`.
func chance(_ probability: Double, _ random: inout SeededRandom) -> Bool {
    probability > 0 && Double.random(in: 0..<1, using: &random) < probability
}
