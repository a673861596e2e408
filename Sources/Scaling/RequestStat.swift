/// What one reporter saw of one revision over one second: the four numbers of Knative's `Stat` that scaling uses.
///
/// Reporters are the data plane (all workers of this machine added), or in a cluster the activators and queue-proxies.
/// *Proxied* requests came through an activator that reports them itself; they are subtracted so that each counts once.
/// Source: Knative Serving, `pkg/autoscaler/metrics/stat.proto`.
public struct RequestStat: Equatable, Sendable {
    /// Requests in flight (waiting or served), averaged over the second. Range 0 and up.
    public var averageConcurrency: Double
    /// The share of `averageConcurrency` that another reporter counts too. Range 0...`averageConcurrency`.
    public var averageProxiedConcurrency: Double
    /// Requests that began, per second. Range 0 and up.
    public var requestCount: Double
    /// The share of `requestCount` that another reporter counts too.
    public var proxiedRequestCount: Double

    /// Larger numbers than this are nonsense from the wire, and would blunt the arithmetic.
    static let largest = 1e12

    /// A stat of the given numbers; those left out are zero.
    public init(
        averageConcurrency: Double = 0, averageProxiedConcurrency: Double = 0, requestCount: Double = 0,
        proxiedRequestCount: Double = 0
    ) {
        self.averageConcurrency = averageConcurrency
        self.averageProxiedConcurrency = averageProxiedConcurrency
        self.requestCount = requestCount
        self.proxiedRequestCount = proxiedRequestCount
    }

    /// Whether every number is finite and within 0...1e12. Stats come from the network: those that are not are dropped.
    public var isPlausible: Bool {
        isPlausible(averageConcurrency) && isPlausible(averageProxiedConcurrency) && isPlausible(requestCount)
            && isPlausible(proxiedRequestCount)
    }

    // A comparison with NaN is false, so NaN is refused too.
    private func isPlausible(_ value: Double) -> Bool { value >= 0 && value <= RequestStat.largest }
}
