/// The activator's rule for the first request of a revision it has not heard of: it is reported at once, not at the end
/// of the second, because it wakes a revision that has no pod.
///
/// The first regular report leaves that request out, so that the autoscaler, which adds what comes in one second,
/// counts it once. One value per revision. Source: Knative Serving, `pkg/activator/handler/concurrency_reporter.go`.
public struct FirstRequestRule: Equatable, Sendable {
    private enum State: Equatable { case unknown, announced, known }
    private var state = State.unknown

    /// What is sent for a first request.
    public static let announcement = WindowReport(averageConcurrency: 1, requestCount: 1)

    /// A revision not heard of yet.
    public init() {}

    /// A request came in.
    ///
    /// - Returns: true if `announcement` is to be sent now.
    public mutating func arrived() -> Bool {
        guard state == .unknown else { return false }
        state = .announced
        return true
    }

    /// Makes a window's report into what is to be sent.
    ///
    /// A revision that was idle for the whole window is still reported (as zero), and then forgotten unless a request
    /// is in flight: the next one is a first one again.
    /// - Parameter inFlight: requests of the revision that are in flight at the end of the window.
    public mutating func adjust(_ report: WindowReport, inFlight: Int) -> WindowReport {
        var adjusted = report
        if state == .announced {
            adjusted.averageConcurrency = max(0, report.averageConcurrency - 1)
            adjusted.requestCount = max(0, report.requestCount - 1)
            state = .known
        }
        if report.averageConcurrency == 0, inFlight == 0 { state = .unknown }
        return adjusted
    }

    /// Whether the revision is not known (any more), so that its counters may be dropped.
    public var isForgotten: Bool { state == .unknown }
}
