#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The values of the last so many seconds, and their average.
///
/// A ring with one bucket a second; values of the same second are added, because several reporters each send their own
/// share of it. Source: Knative Serving, `pkg/autoscaler/aggregation/bucketing.go`.
struct BucketWindow: Sendable {
    /// Least weight of the newest second in a weighted average.
    static let leastExponent = 0.2
    /// Share of the whole weight that the window must hold.
    static let weightPrecision = 0.9999

    private let aggregation: WindowAggregation
    private var buckets: [Double]
    /// Second of the first write since the window was last empty; meaningless before the first write.
    private var firstWrite = 0
    /// Second of the newest write; nil before the first.
    private var lastWrite: Int?

    /// A window of `seconds`, at least 1.
    init(seconds: Int, aggregation: WindowAggregation) {
        self.aggregation = aggregation
        buckets = [Double](repeating: 0, count: max(1, seconds))
    }

    /// Length in seconds.
    var seconds: Int { buckets.count }

    /// Adds `value` to its second. Data older than the window is dropped.
    mutating func record(_ value: Double, second: Int) {
        guard let last = lastWrite else {
            firstWrite = second
            lastWrite = second
            buckets[index(of: second)] += value
            return
        }
        guard last - second < buckets.count else { return }
        if second < firstWrite { firstWrite = second }
        if second > last { advance(from: last, to: second) }
        buckets[index(of: second)] += value
    }

    /// Zeroes what lies between the last write and `second`.
    private mutating func advance(from last: Int, to second: Int) {
        if second - last >= buckets.count {
            for index in buckets.indices { buckets[index] = 0 }
            firstWrite = second
        } else {
            for skipped in (last + 1)...second { buckets[index(of: skipped)] = 0 }
        }
        lastWrite = second
    }

    /// Whether nothing was written for longer than the window.
    func isEmpty(second: Int) -> Bool {
        guard let last = lastWrite else { return true }
        return second - last > buckets.count
    }

    /// The average over the window that ends with `second`; 0 if it is empty.
    func average(second: Int) -> Double {
        guard let last = lastWrite else { return 0 }
        let age = max(0, second - last)
        guard age < buckets.count else { return 0 }
        return switch aggregation {
        case .linear: linearAverage(last: last, age: age)
        case .weightedExponential: weightedAverage(last: last, age: age)
        }
    }

    /// What the window that ends with `second` holds.
    func total(second: Int) -> Double {
        guard let last = lastWrite else { return 0 }
        let age = max(0, second - last)
        return (0..<max(0, buckets.count - age)).reduce(0) { $0 + buckets[index(of: last - $1)] }
    }

    /// The divisor is the seconds with history, not the window: one request in the first second averages 1, not 1/60.
    ///
    /// The sum is taken anew each time (some thousand additions at most, every 2 s), so no rounding error accumulates.
    private func linearAverage(last: Int, age: Int) -> Double {
        let remaining = buckets.count - age
        let total = total(second: last + age)
        let divisor = min(last - firstWrite + 1, remaining)
        // Six digits: a sum of shares such as 70.00000000000001 must not ask for one pod more.
        return (total / Double(divisor) * 1e6).rounded(.down) / 1e6
    }

    /// Seconds without data count as zero.
    private func weightedAverage(last: Int, age: Int) -> Double {
        let smoothing = BucketWindow.smoothing(buckets: buckets.count)
        var weight = smoothing * pow(1 - smoothing, Double(age))
        var total = 0.0
        for offset in 0..<(buckets.count - age) {
            total += buckets[index(of: last - offset)] * weight
            weight *= 1 - smoothing
        }
        return total
    }

    /// Weight of the newest second so that the whole window holds 99.99 % of all weight, at least 0.2.
    static func smoothing(buckets count: Int) -> Double {
        max(1 - pow(1 - weightPrecision, 1 / Double(count)), leastExponent)
    }

    /// Changes the length and keeps the newest seconds that fit.
    mutating func resize(seconds: Int) {
        let count = max(1, seconds)
        guard count != buckets.count else { return }
        var resized = BucketWindow(seconds: count, aggregation: aggregation)
        resized.firstWrite = firstWrite
        resized.lastWrite = lastWrite
        if let last = lastWrite {
            for offset in 0..<min(count, buckets.count) {
                resized.buckets[resized.index(of: last - offset)] = buckets[index(of: last - offset)]
            }
        }
        self = resized
    }

    /// Seconds before the clock's start count backwards from the end.
    private func index(of second: Int) -> Int {
        let remainder = second % buckets.count
        return remainder < 0 ? remainder + buckets.count : remainder
    }
}
