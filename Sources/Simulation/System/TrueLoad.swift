import Primitives

/// What really happened at one reporter since it last told: the most that a report may say.
struct TrueLoad {
    /// What one report may say at most.
    struct Peak {
        /// The most requests that were there at one instant.
        var concurrency = 0
        /// Requests that came.
        var arrivals = 0

        /// Its first request was told before, by itself.
        mutating func removeAnnounced() { (concurrency, arrivals) = (max(0, concurrency - 1), max(0, arrivals - 1)) }
    }

    private var open = 0
    private var peak = Peak()

    mutating func enter() {
        open += 1
        peak.arrivals += 1
        peak.concurrency = max(peak.concurrency, open)
    }

    mutating func leave() { open -= 1 }

    /// The peak since the last call.
    mutating func take() -> Peak {
        defer { peak = Peak(concurrency: open, arrivals: 0) }
        return peak
    }
}

/// How much an autoscaler may have counted of one revision: the sum of what really happened behind each report that has
/// reached it. A request that comes through an activator counts there, and not again in its pod.
///
/// The bound is one from above, within the skew of reporting that is stated here.
struct CountShadow {
    private struct Entry {
        let second: Int
        let concurrency: Double
        let requests: Double
    }

    /// How long before a sample is recorded its first pod may have answered, in seconds: another pod of the round does
    /// not answer for 3 s, and so on down the list.
    static let roundSeconds = 30
    /// What sums of shares may be off by.
    static let rounding = 1e-6

    /// A round asks a sample and lets it stand for all: this much more than it saw.
    private let samplingFactor: Double
    private var entries: [Entry] = []

    /// Nothing was told. `maxScale`: the most pods that are wanted; of those that go as many may still be known.
    init(maxScale: Int, sampleSize: (Int) -> Int) {
        let most = 2 * maxScale
        samplingFactor = Double(most) / Double(max(1, sampleSize(most)))
    }

    /// A pod answered: of what it saw only what did not come through an activator.
    mutating func scraped(_ own: TrueLoad.Peak, now: Instant) {
        add(Double(own.concurrency) * samplingFactor, Double(own.arrivals) * samplingFactor, now)
    }

    /// An activator's report came.
    mutating func pushed(concurrency: Double, requests: Double, now: Instant) { add(concurrency, requests, now) }

    private mutating func add(_ concurrency: Double, _ requests: Double, _ now: Instant) {
        let second = Self.second(of: now)
        guard concurrency > 0 || requests > 0 else { return }
        entries.append(Entry(second: second, concurrency: concurrency, requests: requests))
    }

    /// The most that a window of so many seconds may hold now.
    mutating func bound(window: Int, now: Instant) -> (concurrency: Double, requests: Double) {
        let oldest = Self.second(of: now) - window - Self.roundSeconds
        entries.removeAll { $0.second < oldest }
        return entries.reduce((Self.rounding, Self.rounding)) { ($0.0 + $1.concurrency, $0.1 + $1.requests) }
    }

    private static func second(of now: Instant) -> Int { Int(now.nanoseconds / 1_000_000_000) }
}
