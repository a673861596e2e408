import Synchronization

/// Numbers that one worker adds to and the control side reads at any time, without a lock.
///
/// Each cell has one writer, so adding is a load and a store. A reader may see the parts of one request apart (a count
/// before its sum), as any scrape of a running process may.
struct MetricCells: ~Copyable, @unchecked Sendable {
    // Safe to share: the pointer never changes, and what it points to are atomics.
    private let cells: UnsafeMutablePointer<Atomic<UInt64>>
    let count: Int

    init(count: Int) {
        self.count = count
        cells = .allocate(capacity: count)
        for index in 0..<count { (cells + index).initialize(to: Atomic(0)) }
    }

    deinit {
        cells.deinitialize(count: count)
        cells.deallocate()
    }

    /// Adds to a cell. Owner: the one writer.
    func add(_ amount: UInt64, to index: Int) {
        precondition(index >= 0 && index < count)
        let cell = cells + index
        cell.pointee.store(cell.pointee.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// The value of a cell.
    subscript(index: Int) -> UInt64 {
        precondition(index >= 0 && index < count)
        return (cells + index).pointee.load(ordering: .relaxed)
    }
}

/// Where the buckets of a histogram end, and in which unit values come in.
struct MetricBounds: Equatable, Sendable {
    /// Upper ends, included, in what is recorded; the last bucket has none.
    let ends: [UInt64]
    /// How many recorded units make one of the exposition.
    let scale: Double

    /// Cells of a histogram: buckets, sum.
    var cellCount: Int { ends.count + 2 }

    /// The bucket of a value.
    func bucket(of value: UInt64) -> Int {
        var index = 0
        while index < ends.count, value > ends[index] { index += 1 }
        return index
    }

    /// The end of a bucket as it is exposed.
    func end(_ index: Int) -> Double { Double(ends[index]) / scale }

    /// Seconds, recorded in nanoseconds. Knative `serving/pkg/queue/request_metric.go` and otelhttp have the same.
    static let seconds = MetricBounds(
        ends: [5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000].map { $0 * 1_000_000 }, scale: 1e9
    )

    /// Bytes: OpenTelemetry's default bounds.
    static let bytes = MetricBounds(
        ends: [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000], scale: 1)

    /// Milliseconds, recorded in nanoseconds: the bounds of Knative until 1.18.
    static let milliseconds = MetricBounds(
        ends: [
            5, 10, 20, 40, 60, 80, 100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1000, 2000, 5000,
            10_000, 20_000, 50_000, 100_000,
        ].map { $0 * 1_000_000 }, scale: 1e6)
}
