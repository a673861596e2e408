import Admission
import Balancing
import DataPlane
import EventLoop
import Knative
import Logging
import Primitives
import Routing
import Scaling

/// What the control plane is told at the start.
public struct ControlPlaneOptions: Sendable {
    /// The domain of service hosts. Default `localhost`.
    public var domain = "localhost"
    /// Autoscaler settings (Knative's config-autoscaler).
    public var scaling = ScalingConfig()
    /// Requests of one revision that may wait for capacity. Default 1,000.
    public var queueLimit = RevisionGate.defaultQueueLimit
    /// Requests of all revisions together that may wait. Default 10,000.
    public var queueLimitOverall = WaitBudget.defaultLimit

    /// The defaults.
    public init() {}
}

/// Joins what is wanted (Services), what is decided (scaling), what runs (pods) and what is routed (snapshots).
///
/// Lives on the control thread. Data flows one way: Services and statistics in; snapshots, slots and pods out.
public final class ControlPlane {
    /// Knative's decision period, in milliseconds.
    static let tickMilliseconds: UInt64 = 2_000
    /// Knative's statistics period, in milliseconds.
    static let reportMilliseconds: UInt64 = 1_000

    let loop: Loop
    let logger: Logger
    let workers: WorkerGroup
    let platform: any PodPlatform
    let options: ControlPlaneOptions
    let budget: WaitBudget
    private var endpointNumbers = EndpointNumbers()
    /// Whose an endpoint is, by its number, from its making until it has gone.
    private var endpointOwners: [Int: RevisionController] = [:]
    var store = ServiceStore()
    /// Every living revision by its unique number.
    var revisions: [UInt64: RevisionController] = [:]
    var podOwners: [PodHandle: RevisionController] = [:]
    var table: RouteTable?
    var generation = 0
    private var publicationIsDue = false
    /// Services whose traffic has been routed once: from then on a new revision must be ready first.
    var programmedServices: Set<ServiceName> = []
    var trafficLog: TrafficLog
    /// The generation of the snapshot that each worker uses.
    var takenGenerations: [Int]
    var rolloutTimer: TimerHandle = .none
    private var clockIsRunning = false
    private var lastReportAt: Instant
    /// Rounds of reports asked for, and those that every worker has answered. A worker takes its commands in order, so
    /// an answered round proves that it has taken every snapshot published before.
    private(set) var reportCount = 0
    private(set) var answeredReports = 0
    /// Answers of each worker.
    private var answers: [Int]
    private var decisionIsDue = false
    /// Pods are being stopped for good: none is started any more.
    var isEnding = false
    var onDrained: (() -> Void)?
    var drainedWorkers = 0

    /// A control plane without services.
    public init(
        loop: Loop, workers: WorkerGroup, platform: any PodPlatform, options: ControlPlaneOptions, logger: Logger
    ) throws(SystemError) {
        self.loop = loop
        self.workers = workers
        self.platform = platform
        self.options = options
        self.logger = logger
        budget = WaitBudget(limit: options.queueLimitOverall)
        answers = Array(repeating: 0, count: workers.count)
        takenGenerations = answers
        trafficLog = TrafficLog(logger: logger)
        lastReportAt = loop.now
        _ = try loop.watch(workers.events.fd, .readable) { [unowned self] _ in takeWorkerEvents() }
        platform.observer = { [unowned self] pod, change in podOwners[pod]?.podChanged(pod, change) }
    }

    // MARK: The clock

    /// Starts the one-second clock if anything has to be counted or decided. At rest, with every revision at zero,
    /// nothing wakes.
    func runClock() {
        guard !clockIsRunning else { return }
        clockIsRunning = true
        lastReportAt = loop.now
        armClock()
    }

    private func armClock() {
        loop.at(lastReportAt.adding(milliseconds: Self.reportMilliseconds)) { [unowned self] in secondPassed() }
    }

    private func secondPassed() {
        let now = loop.now
        interval = now.seconds(since: lastReportAt)
        lastReportAt = now
        reportCount += 1
        workers.post(.report)
        let active = revisions.values.filter(\.isActive)
        for revision in active { revision.recordSilence(at: now) }
        // A worker so busy that it did not answer for a second must not hold decisions up.
        if decisionIsDue { decide() }
        decisionIsDue = UInt64(reportCount) % (Self.tickMilliseconds / Self.reportMilliseconds) == 0
        clockIsRunning = !active.isEmpty || decisionIsDue
        if clockIsRunning { armClock() }
    }

    /// Decides for every revision, when the reports just asked for are in: without the last second's requests a pod
    /// would be taken from them.
    private func decide() {
        decisionIsDue = false
        for revision in revisions.values where revision.isActive { revision.tick() }
    }

    /// The length of the statistics window being reported, in seconds.
    private var interval = 1.0

    // MARK: Routes

    /// Publishes before the present wake-up ends: once for all revisions that become ready in it, since a publication
    /// costs as much as there are services.
    func publishSoon() {
        guard !publicationIsDue else { return }
        publicationIsDue = true
        loop.at(loop.now) { [unowned self] in
            publicationIsDue = false
            publish()
        }
    }

    // MARK: Workers

    private func takeWorkerEvents() {
        for event in workers.events.takeAll() {
            switch event {
            case .demand(let target): controller(of: target)?.demanded()
            case .suspect(let target, let endpoint): controller(of: target)?.suspected(endpoint)
            case .idle(let endpoint): endpointOwners[endpoint.id]?.endpointIsIdle(endpoint)
            case .report(let worker, let reports):
                take(reports)
                reportAnswered(by: worker)
            case .published(let worker, let generation): snapshotTaken(by: worker, generation)
            case .dispatched(let target, let arrived, let granted, let sent):
                controller(of: target)?.dispatched(arrived: arrived, granted: granted, sent: sent)
            case .question(let question):
                // Only sidecars have listeners at which one can be asked.
                workers.answer(question.asker, Answer(status: 404))
            case .drained:
                drainedWorkers += 1
                if drainedWorkers == workers.count { onDrained?() }
            case .failed(let worker, let error):
                logger.critical("worker failed to start", metadata: ["worker": "\(worker)", "error": "\(error)"])
            case .arrived, .doubt: break  // only activators are told
            case .descriptorsExhausted:
                logger.warning("descriptors have run out; accepting pauses until some are free")
            }
        }
    }

    private func take(_ reports: [RevisionReport]) {
        for report in reports {
            controller(of: report.target)?.record(report.sums, interval: max(interval, 0.001), at: lastReportAt)
        }
    }

    private func reportAnswered(by worker: Int) {
        answers[worker] += 1
        let rounds = answers.min() ?? 0
        guard rounds > answeredReports else { return }
        answeredReports = rounds
        if decisionIsDue, answeredReports == reportCount { decide() }
        for revision in revisions.values { revision.releaseUnreachable() }
    }

    func controller(of target: RevisionTarget) -> RevisionController? {
        revisions[target.id]
    }

    func makeEndpoint(_ address: EndpointAddress, concurrency: Int, owner: RevisionController) -> Endpoint {
        let endpoint = Endpoint(id: endpointNumbers.take(), address: address, concurrency: concurrency)
        endpointOwners[endpoint.id] = owner
        return endpoint
    }

    /// An endpoint serves nothing any more and will get nothing.
    func forget(_ endpoint: Endpoint) {
        endpointOwners[endpoint.id] = nil
        workers.post(.forget(endpoint))
        endpointNumbers.give(endpoint.id)
    }

    /// Sends slots to the workers whose requests got them.
    func deliver(_ grants: [Grant], of target: RevisionTarget) {
        for grant in grants { workers.post(.grant(target, grant), to: grant.waiter.worker) }
    }

    // MARK: Ending

    /// Stops taking requests and calls `done` when the last one is answered.
    public func drainWorkers(graceMilliseconds: UInt64, done: @escaping () -> Void) {
        onDrained = done
        workers.post(.drain)
        loop.after(milliseconds: graceMilliseconds) { [unowned self] in workers.post(.stopAccepting) }
    }

    /// Stops every pod by `deadline`, and starts none any more.
    public func stopPods(deadline: Instant) {
        isEnding = true
        platform.stopAll(deadline: deadline)
    }

    /// One line a revision, for the log at the end and for `explain` later.
    public var decisions: [(revision: String, record: DecisionRecord)] {
        revisions.values.compactMap { revision in
            revision.lastDecision.map { (revision.object.name, $0) }
        }
    }
}
