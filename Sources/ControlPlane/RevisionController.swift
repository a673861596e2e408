import Admission
import Balancing
import DataPlane
import EventLoop
import Knative
import Logging
import Primitives
import Scaling
import Telemetry

/// One revision on this machine: its gate, its scaler, its pods.
///
/// Lives on the control thread. The scaler says how many pods there shall be; this makes it so, one pod at a time, and
/// lets no pod go before its last request is answered.
final class RevisionController {
    /// A pod as the controller sees it.
    struct Pod {
        let ordinal: Int
        var endpoint: Endpoint?
        /// It takes no new requests, and is stopped when it has answered the last.
        var isLeaving = false
        /// It has been told to stop.
        var isStopping = false
        var spawnedAt: Instant?
        var failures = 0
        var isKnownAsSlow = false
    }

    /// Failures in a row, none of the pods ever ready, after which waiting requests are refused instead of held.
    static let failuresBeforeRefusing = 3
    /// How long a process may take to be ready before the log says so, in seconds.
    static let slowStartSeconds = 5.0

    let object: RevisionObject
    unowned let plane: ControlPlane
    private(set) var target: RevisionTarget
    private var scaler: RevisionScaler
    private var pods: [PodHandle: Pod] = [:]
    private(set) var lastDecision: DecisionRecord?
    /// Whether it has been able to serve once; scaled to zero it still is.
    private(set) var isRoutable = false
    private(set) var isFailed = false
    private var isRetired = false
    /// The round of reports that must be answered before pods may go for want of a route.
    private var unreachableSince = 0
    private var whenGone: (() -> Void)?
    /// Whether a wake-up from zero is under way, to be told in the log when its first request is sent.
    private var wakeUp: WakeUp?
    /// How the last pod ended: the same output again is not worth the same lines again.
    private var lastCrash: [String] = []
    private var startsAgainAt = Instant(nanoseconds: 0)
    private var startBackOffMilliseconds: UInt64 = 1_000
    private var logger: Logger

    init(_ object: RevisionObject, plane: ControlPlane) {
        self.object = object
        self.plane = plane
        logger = plane.logger
        logger[metadataKey: "revision"] = "\(object.name)"
        var problems: [ScalingProblem] = []
        let annotations = ScalingAnnotations(
            parsing: object.template.annotations, config: plane.options.scaling, problems: &problems)
        scaler = RevisionScaler(
            config: plane.options.scaling, annotations: annotations,
            containerConcurrency: object.template.containerConcurrency, now: plane.loop.now)
        target = Self.makeTarget(object, plane)
        isRoutable = scaler.isInitialized
    }

    private static func makeTarget(_ object: RevisionObject, _ plane: ControlPlane) -> RevisionTarget {
        let gate = RevisionGate(
            concurrency: object.template.containerConcurrency, queueLimit: plane.options.queueLimit,
            budget: plane.budget)
        var timeouts = RevisionTimeouts()
        timeouts.total = UInt64(object.template.timeoutSeconds) * 1_000_000_000
        timeouts.responseStart = UInt64(object.template.responseStartTimeoutSeconds ?? 0) * 1_000_000_000
        timeouts.idle = UInt64(object.template.idleTimeoutSeconds ?? 0) * 1_000_000_000
        // What Knative's gateway and queue-proxy amount to together: the port's name decides, not the client.
        return RevisionTarget(
            id: object.uid, name: object.name, namespace: object.namespace, gate: gate, timeouts: timeouts,
            upstreamProtocol: object.template.container.port.isH2C ? .h2c : .http1,
            workerCount: plane.workers.count, now: plane.loop.now)
    }

    /// Pods that are there to stay: ready or starting.
    private var existing: Int { pods.values.reduce(0) { $0 + ($1.isLeaving ? 0 : 1) } }
    private var ready: Int { pods.values.reduce(0) { $0 + (!$1.isLeaving && $1.endpoint != nil ? 1 : 0) } }

    /// Whether it must be counted and decided on each second.
    var isActive: Bool {
        !pods.isEmpty || scaler.desired > 0 || scaler.activity.phase != .inactive || target.gate.waiting > 0
    }

    // MARK: Decisions

    /// Decides anew, every two seconds and whenever the facts changed.
    func tick() {
        guard !isRetired else { return }
        carryOut(scaler.tick(now: plane.loop.now, ready: ready, existing: existing))
        if scaler.isInitialized, !isRoutable { becomeRoutable() }
        releaseUnreachable()
        tellOfSlowStarts()
    }

    /// Once for each process: an application that listens elsewhere looks like one that is slow.
    private func tellOfSlowStarts() {
        for (handle, pod) in pods where pod.endpoint == nil && !pod.isKnownAsSlow && !pod.isLeaving {
            guard let spawned = pod.spawnedAt else { continue }
            let seconds = plane.loop.now.seconds(since: spawned)
            guard seconds >= Self.slowStartSeconds else { continue }
            pods[handle]?.isKnownAsSlow = true
            var metadata = podMetadata(handle)
            metadata["seconds"] = "\(Int(seconds))"
            let isDefault = object.template.container.readinessProbe == .defaultReadiness
            metadata["hint"] =
                isDefault ? "it must listen on the port in the variable PORT" : "its readinessProbe does not succeed"
            logger.warning("pod is not ready yet", metadata: metadata)
        }
    }

    /// A request waits: from zero, and whenever more wait than the pods can take, pods start at once.
    func demanded() {
        guard !isRetired else { return }
        // First, so that a request that comes while we look is told again.
        target.demandSeen()
        let gate = target.gate
        let now = plane.loop.now
        let waiting = gate.waiting
        if let decision = scaler.demand(inFlight: gate.inFlight, queued: waiting, existing: existing, now: now) {
            if ready == 0, wakeUp == nil { wakeUp = WakeUp(demandedAt: now) }
            carryOut(decision)
        } else if existing < scaler.desired {
            scale(to: scaler.desired)
        }
        plane.runClock()
    }

    private func carryOut(_ decision: ScaleDecision) {
        let changed = (lastDecision?.desired ?? 0) != decision.desired
        lastDecision = decision.record
        let readyBefore = ready
        // Before the log: a request may be waiting for it.
        scale(to: decision.desired)
        // Without a route or a waiting request it is only a number, which nobody carries out.
        if changed, scaler.isReachable || !isRoutable || target.gate.waiting > 0 {
            logger.info(
                "scale",
                metadata: [
                    "desired": "\(decision.desired)", "ready": "\(readyBefore)",
                    "why": "\(decision.record.explanation)",
                ])
        }
        if let seconds = decision.recheckAfterSeconds, seconds < 1.5, seconds > 0 {
            plane.loop.at(plane.loop.now.adding(seconds: seconds)) { [weak self] in self?.tick() }
        }
    }

    /// Statistics of one worker for the second that ended at `now`.
    func record(_ sums: WindowSums, interval: Double, at now: Instant) {
        let stat = RequestStat(
            averageConcurrency: sums.concurrencyNanoseconds / 1e9 / interval,
            requestCount: Double(sums.requests) / interval)
        if scaler.record(stat, at: now) { tick() }
    }

    /// The zero that idle pods would report, so that averages fall as in Knative.
    func recordSilence(at now: Instant) { _ = scaler.record(RequestStat(), at: now) }

    func setReachable(_ isReachable: Bool) {
        guard scaler.isReachable != isReachable else { return }
        scaler.setReachable(isReachable)
        unreachableSince = plane.reportCount
        plane.runClock()
    }

    /// No route leads here and no worker has an old snapshot any more: nothing can come, so the pods need not wait out
    /// a window.
    func releaseUnreachable() {
        guard !scaler.isReachable, isRoutable, target.gate.waiting == 0, plane.answeredReports > unreachableSince
        else { return }
        for handle in pods.keys { leave(handle) }
    }

    private func becomeRoutable() {
        isRoutable = true
        isFailed = false
        logger.info("revision is ready")
        plane.publishSoon()
    }

    // MARK: Pods

    private func scale(to desired: Int) {
        guard !isRetired, !plane.isEnding, scaler.isReachable || !isRoutable || target.gate.waiting > 0
        else { return }
        while existing < desired, plane.loop.now >= startsAgainAt { startPod() }
        if existing > desired {
            for handle in leastUseful(existing - desired) { leave(handle) }
        }
    }

    private func startPod() {
        let taken = Set(pods.values.map(\.ordinal))
        let ordinal = (1...).first { !taken.contains($0) } ?? 1
        wakeUp?.spawned(at: MonotonicClock.now())
        let handle = plane.platform.start(object, ordinal: ordinal)
        pods[handle] = Pod(ordinal: ordinal)
        plane.podOwners[handle] = self
    }

    /// Whom to let go: pods that are not ready before ready ones, idle before busy, young before old.
    private func leastUseful(_ count: Int) -> [PodHandle] {
        let staying = pods.filter { !$0.value.isLeaving }
        let sorted = staying.sorted { first, second in
            let (left, right) = (first.value, second.value)
            if (left.endpoint == nil) != (right.endpoint == nil) { return left.endpoint == nil }
            let (leftLoad, rightLoad) = (left.endpoint?.inFlight ?? 0, right.endpoint?.inFlight ?? 0)
            return leftLoad != rightLoad ? leftLoad < rightLoad : first.key.number > second.key.number
        }
        return sorted.prefix(count).map(\.key)
    }

    /// Takes a pod out of the balance; it is stopped when idle, at the latest after the revision's own time limit.
    private func leave(_ handle: PodHandle) {
        guard let pod = pods[handle], !pod.isLeaving else { return }
        pods[handle]?.isLeaving = true
        guard pod.endpoint != nil else { return stop(handle) }
        updateEndpoints()
        let limit = UInt64(max(1, object.template.timeoutSeconds)) * 1_000
        plane.loop.after(milliseconds: limit) { [weak self] in self?.stop(handle) }
    }

    private func stop(_ handle: PodHandle) {
        guard let pod = pods[handle], !pod.isStopping else { return }
        pods[handle]?.isStopping = true
        plane.platform.stop(handle)
    }

    /// Tells the gate who is there. Waiting requests get the new slots; pods that left and are idle are stopped.
    private func updateEndpoints() {
        let staying = pods.values.filter { !$0.isLeaving }.compactMap { pod in
            pod.endpoint.map { (pod.ordinal, $0) }
        }
        let change = target.gate.setEndpoints(staying.sorted { $0.0 < $1.0 }.map(\.1))
        plane.deliver(change.grants, of: target)
        for endpoint in change.idle { endpointIsIdle(endpoint) }
    }

    /// A retired endpoint has answered its last request.
    func endpointIsIdle(_ endpoint: Endpoint) {
        guard let handle = pods.first(where: { $0.value.endpoint === endpoint })?.key else { return }
        if pods[handle]?.isLeaving == true { stop(handle) }
    }

    /// A worker could not connect; the endpoint is suspended until the platform has looked.
    func suspected(_ endpoint: Endpoint) {
        guard let handle = pods.first(where: { $0.value.endpoint === endpoint })?.key else { return }
        plane.platform.recheck(handle)
    }

    // MARK: What happens to pods

    func podChanged(_ handle: PodHandle, _ change: PodChange) {
        guard pods[handle] != nil else { return }
        switch change {
        case .spawned(let pid, let instant):
            pods[handle]?.spawnedAt = instant
            pods[handle]?.isKnownAsSlow = false
            logger.debug("pod started", metadata: podMetadata(handle).merging(["pid": "\(pid)"]) { $1 })
        case .ready(let port, let instant): podIsReady(handle, port: port, at: instant)
        case .unready(let reason):
            logger.warning("pod is not ready", metadata: podMetadata(handle).merging(["reason": "\(reason)"]) { $1 })
            dropEndpoint(of: handle)
        case .exited(let status, let lines, let restart): podExited(handle, status, lines, restart)
        case .failedToStart(let error, let restart): podFailed(handle, error, restart)
        case .stopped: podIsGone(handle)
        }
    }

    private func podMetadata(_ handle: PodHandle) -> Logger.Metadata {
        ["pod": "\(object.name)-\(pods[handle]?.ordinal ?? 0)"]
    }

    private func podIsReady(_ handle: PodHandle, port: UInt16, at instant: Instant) {
        guard var pod = pods[handle], !pod.isLeaving else { return }
        if let known = pod.endpoint, known.address.port == port {
            // The good answer to a recheck: take it back into the balance.
            return plane.deliver(target.gate.resume(known), of: target)
        }
        dropEndpoint(of: handle)
        let concurrency = object.template.containerConcurrency
        pod.endpoint = plane.makeEndpoint(.loopback(port: port), concurrency: concurrency, owner: self)
        pod.failures = 0
        pods[handle] = pod
        startBackOffMilliseconds = 1_000
        lastCrash = []
        wakeUp?.ready(at: instant)
        updateEndpoints()
        let hadFailed = isFailed
        isFailed = false
        logger.debug("pod is ready", metadata: podMetadata(handle))
        if !isRoutable {
            tick()
        } else if hadFailed {
            // A rollout that waits for it goes on.
            plane.publish()
        }
    }

    /// Takes the endpoint of a pod out of the balance because the pod does not answer (any more).
    private func dropEndpoint(of handle: PodHandle) {
        guard let endpoint = pods[handle]?.endpoint else { return }
        pods[handle]?.endpoint = nil
        updateEndpoints()
        plane.forget(endpoint)
    }

    private func podExited(_ handle: PodHandle, _ status: String, _ lines: [String], _ restart: UInt64?) {
        var metadata = podMetadata(handle)
        metadata["status"] = "\(status)"
        if let restart { metadata["restart_after_ms"] = "\(restart)" }
        logger.error("pod exited", metadata: metadata)
        pods[handle]?.spawnedAt = nil
        let report = [status] + lines
        if report != lastCrash { for line in lines { logger.error("last output", metadata: ["line": "\(line)"]) } }
        lastCrash = report
        dropEndpoint(of: handle)
        if restart == nil {
            podIsGone(handle)
        } else {
            countFailure(of: handle, "the process ends before it is ready: \(status)")
        }
    }

    private func podFailed(_ handle: PodHandle, _ error: String, _ restart: UInt64?) {
        var metadata = podMetadata(handle)
        metadata["error"] = "\(error)"
        logger.error("pod cannot be started", metadata: metadata)
        if restart == nil {
            startsAgainAt = plane.loop.now.adding(milliseconds: startBackOffMilliseconds)
            startBackOffMilliseconds = min(30_000, startBackOffMilliseconds * 2)
            podIsGone(handle)
            refuseWaiting(error)
        } else {
            countFailure(of: handle, error)
        }
    }

    private func countFailure(of handle: PodHandle, _ reason: String) {
        pods[handle]?.failures += 1
        guard let failures = pods[handle]?.failures, failures >= Self.failuresBeforeRefusing else { return }
        refuseWaiting(reason)
    }

    /// Nothing of this revision starts: requests that wait get their answer now instead of at their time limit. Later
    /// ones find a new gate, and may be luckier.
    private func refuseWaiting(_ reason: String) {
        guard ready == 0 else { return }
        let isNews = !isFailed
        isFailed = true
        let old = target
        let waiters = old.gate.close()
        target = Self.makeTarget(object, plane)
        for waiter in waiters { plane.workers.post(.refuse(waiter), to: waiter.worker) }
        if isNews || !waiters.isEmpty {
            logger.error(
                "revision fails to start", metadata: ["reason": "\(reason)", "refused_requests": "\(waiters.count)"])
        }
        plane.publish()
    }

    private func podIsGone(_ handle: PodHandle) {
        if let endpoint = pods[handle]?.endpoint {
            pods[handle]?.endpoint = nil
            updateEndpoints()
            plane.forget(endpoint)
        }
        pods[handle] = nil
        plane.podOwners[handle] = nil
        if isRetired, pods.isEmpty {
            whenGone?()
        } else if existing < scaler.desired, !isRetired {
            scale(to: scaler.desired)
        }
    }

    // MARK: Ends

    /// The revision is deleted: requests under way finish, waiting ones are refused, pods go.
    func retire(whenGone: @escaping () -> Void) {
        isRetired = true
        self.whenGone = whenGone
        for waiter in target.gate.close() { plane.workers.post(.refuse(waiter), to: waiter.worker) }
        for handle in Array(pods.keys) { leave(handle) }
        if pods.isEmpty { whenGone() }
    }

    /// The first request after a wake-up was sent: says where the time went.
    func dispatched(arrived: Instant, granted: Instant, sent: Instant) {
        guard let times = wakeUp?.finished() else { return }
        wakeUp = nil
        func microseconds(_ from: Instant, _ until: Instant) -> Logger.MetadataValue {
            "\(until.nanoseconds(since: from) / 1_000)"
        }
        logger.info(
            "cold start",
            metadata: [
                "request_to_spawn_us": microseconds(arrived, times.spawned),
                "spawn_to_ready_us": microseconds(times.spawned, times.ready),
                "ready_to_dispatch_us": microseconds(times.ready, sent),
            ])
    }
}

/// The times of one wake-up from zero.
private struct WakeUp {
    let demandedAt: Instant
    private var spawnedAt: Instant?
    private var readyAt: Instant?

    init(demandedAt: Instant) { self.demandedAt = demandedAt }

    mutating func spawned(at instant: Instant) { spawnedAt = spawnedAt ?? instant }
    mutating func ready(at instant: Instant) { readyAt = readyAt ?? instant }

    func finished() -> (spawned: Instant, ready: Instant)? {
        guard let spawnedAt, let readyAt else { return nil }
        return (spawnedAt, readyAt)
    }
}
