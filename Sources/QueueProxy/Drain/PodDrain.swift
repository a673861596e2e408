import Primitives

/// When a pod that is to go may go: Knative's drainer and the sequence after SIGTERM. Pure.
///
/// A drain begins with the first `/wait-for-drain` or with SIGTERM. From then on health is answered with 503 while
/// traffic is served as before. It is over when for the quiet period no new request has come. A hook that is not
/// followed by SIGTERM within a second was the restart of one container: then everything is as it was. Beyond
/// Knative's, a hook also waits for the requests under way, since kubelet stops the container when it is answered.
/// Source: spec/dataplane 1.10.
public struct PodDrain: Sendable {
    /// How long after a hook SIGTERM may come, in milliseconds. Knative's.
    public static let signalMilliseconds: UInt64 = 1_000

    enum State: Equatable, Sendable {
        case serving
        /// By a hook or a signal.
        case draining
        /// The quiet period after a signal has passed: no new connection is taken.
        case stopping
    }

    /// What is to be done.
    public enum Action: Equatable, Sendable {
        /// Health is answered with 503 from now on.
        case sayUnready
        /// Health is asked as usual again.
        case sayReady
        /// Answer everybody who waits for the drain.
        case answerHooks
        /// Say goodbye on every connection, accept no more, and end when nothing is under way.
        case stop
        /// End at once: the second signal.
        case exit
    }

    private(set) var state = State.serving
    private let quietMilliseconds: UInt64
    private var beganAt = Instant(nanoseconds: 0)
    private var hookedAt: Instant?
    private var isSignalled = false
    private var hasHooks = false

    /// A pod that serves; `quietMilliseconds` without a new request end a drain. Knative's is 30,000.
    public init(quietMilliseconds: UInt64) { self.quietMilliseconds = quietMilliseconds }

    /// Whether somebody waits for the drain whom only requests under way hold up: then they are to be counted.
    public func awaitsRequests(now: Instant, lastRequest: Instant) -> Bool {
        hasHooks && quietEnds(lastRequest) <= now
    }

    /// Kubelet asks to be told when the drain is over.
    public mutating func hook(now: Instant) -> [Action] {
        hasHooks = true
        if hookedAt == nil { hookedAt = now }
        return begin(now)
    }

    /// SIGTERM or SIGINT.
    public mutating func signal(now: Instant) -> [Action] {
        guard !isSignalled else { return [.exit] }
        isSignalled = true
        return begin(now)
    }

    /// Time has passed, or requests have ended.
    ///
    /// - Parameters:
    ///   - lastRequest: when the last request that is no probe came.
    ///   - isBusy: whether requests are under way; nil if nobody has counted.
    public mutating func advance(now: Instant, lastRequest: Instant, isBusy: Bool?) -> [Action] {
        guard state != .serving else { return [] }
        var actions: [Action] = []
        if let hookedAt, !isSignalled, now >= hookedAt.adding(milliseconds: Self.signalMilliseconds) {
            self.hookedAt = nil
            hasHooks = false
            state = .serving
            return [.sayReady, .answerHooks]
        }
        guard quietEnds(lastRequest) <= now || state == .stopping else { return [] }
        if isSignalled, state == .draining {
            state = .stopping
            actions.append(.stop)
        }
        if hasHooks, isBusy == false {
            hasHooks = false
            actions.append(.answerHooks)
        }
        return actions
    }

    /// When `advance` is to be called next; never while nothing is to come by itself: requests under way are counted by
    /// who asks `awaitsRequests`.
    public func deadline(now: Instant, lastRequest: Instant) -> Instant {
        guard state == .draining else { return .distantFuture }
        let quiet = quietEnds(lastRequest)
        let restart = hookedAt.map { $0.adding(milliseconds: Self.signalMilliseconds) } ?? .distantFuture
        if isSignalled { return quiet }
        // A hook that is quiet already waits for requests under way, or was answered; a signal may still come.
        return quiet > now ? min(quiet, restart) : restart
    }

    private mutating func begin(_ now: Instant) -> [Action] {
        guard state == .serving else { return [] }
        state = .draining
        beganAt = now
        return [.sayUnready]
    }

    private func quietEnds(_ lastRequest: Instant) -> Instant {
        max(beganAt, lastRequest).adding(milliseconds: quietMilliseconds)
    }
}
