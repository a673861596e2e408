/// A page of metrics in the making, in Prometheus's text format 0.0.4: for roles with a few families of their own.
///
/// Families come by ascending names, as the format's writers give them. For the control side: it allocates.
public struct MetricPage {
    /// What the samples of a family are.
    public enum Kind: Sendable {
        /// It goes up and down.
        case gauge
        /// It only goes up.
        case counter
    }

    private var text: PrometheusText
    /// Samples that were left out because the page is full.
    public private(set) var omitted = 0

    /// An empty page of at most `limit` bytes; samples beyond are left out.
    public init(limit: Int = PrometheusExposition.pageLimit) { text = PrometheusText(limit: limit) }

    /// What has been written.
    public var bytes: [UInt8] { text.bytes }

    /// Begins a family.
    public mutating func family(_ name: String, _ kind: Kind, help: String) {
        text.family(name, kind == .gauge ? .gauge : .counter, help: help)
    }

    /// Labels as they stand between the braces, to be made once for several samples.
    public static func labels(_ labels: [(name: String, value: String)]) -> String { PrometheusText.labels(labels) }

    /// Adds a sample of the family begun last.
    public mutating func sample(_ name: String, labels: String = "", value: Double) {
        guard text.bytes.count + name.utf8.count + labels.utf8.count + 40 <= text.limit else {
            omitted += 1
            return
        }
        text.sample(name, labels: labels, value: value)
    }

    /// Adds a family that is one histogram of seconds.
    ///
    /// - Parameters:
    ///   - ends: upper ends of the buckets in nanoseconds; `counts` has one more entry, each of its own bucket.
    ///   - nanoseconds: the sum of all values.
    public mutating func histogram(
        _ name: String, help: String, ends: [UInt64], counts: [UInt64], nanoseconds: UInt64
    ) {
        assert(counts.count == ends.count + 1)
        text.family(name, .histogram, help: help)
        text.histogram(
            name, labels: "", bounds: MetricBounds(ends: ends, scale: 1e9), counts: counts, sum: nanoseconds)
    }
}
