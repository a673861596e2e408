import EventLoop
import Knative
import LocalPlatform
import Logging
import Primitives
import Probing

/// What pods of a split run share. Owned by the control thread.
final class SplitPodContext {
    let loop: Loop
    let platform: LocalPlatform
    let range: LoopbackRange
    let probes: ProbeContext
    let logger: Logger
    /// The file of `martlet-queue`.
    let queueExecutable: String
    /// Whose pod a process is.
    var owners: [PodID: SplitPod] = [:]
    /// What a process is called in front of its lines.
    var labels: [PodID: String] = [:]
    private var lastNumber = 0

    init(loop: Loop, platform: LocalPlatform, range: LoopbackRange, queueExecutable: String, logger: Logger) {
        self.loop = loop
        self.platform = platform
        self.range = range
        self.queueExecutable = queueExecutable
        self.logger = logger
        probes = ProbeContext(loop: loop, userAgent: "kube-probe/martlet")
    }

    /// A number that no other pod of this run has.
    func takeNumber() -> Int {
        lastNumber += 1
        return lastNumber
    }
}

/// One pod of a split run: the user's process and a `martlet-queue` in front of it, at an address of their own.
///
/// The supervisor plays kubelet: both are started together, probed, restarted if they end, and stopped in kubelet's
/// order. Owned by the control thread.
final class SplitPod {
    private enum Phase { case running, draining, stopping, gone }

    /// Its name, `REVISION-pod-NUMBER`.
    let name: String
    /// Its address, in host order.
    let address: UInt32
    let revision: RevisionObject
    /// When it was made, in unix seconds.
    let startedAt: Int64
    /// Whether it may get requests.
    private(set) var isReady = false
    /// Whether both processes have been started.
    private(set) var isRunning = false
    /// Whether it has been told to go.
    var isLeaving: Bool { phase != .running }
    /// Ends of its processes that nobody asked for, since it was last ready.
    private(set) var failures = 0
    /// Readiness or life has changed.
    var onChange: () -> Void = {}
    /// Nothing of it is left.
    var onGone: () -> Void = {}

    private let context: SplitPodContext
    private var user: PodID?
    private var sidecar: PodID?
    private var isUserUp = false
    /// What kubelet asks the process itself: a command, or the first probe after a startup probe.
    private var isUserReady = true
    private var isQueueReady = false
    private var phase = Phase.running
    private var probe: KubeletProbe?
    private var hook: ProbeConnection?
    private var killAt = Instant.distantFuture
    private var lastReport: [String] = []
    private var log: Logger

    /// A pod that `start` will give its processes.
    /// - Throws: if it cannot have an address.
    init(_ revision: RevisionObject, context: SplitPodContext) throws(SystemError) {
        address = try context.range.takePod()
        self.revision = revision
        self.context = context
        name = "\(revision.name)-pod-\(context.takeNumber())"
        startedAt = MonotonicClock.wallSeconds()
        log = context.logger
        log[metadataKey: "pod"] = "\(name)"
    }

    // MARK: Start

    /// Starts both processes. The user's first: it takes longer.
    func start() {
        let platform = context.platform
        var spec = PodSpec(revision, ordinal: 1)
        spec.keepsPort = true
        let isExec = if case .exec = revision.template.container.readinessProbe.handler { true } else { false }
        let asksProcess = isExec || spec.startupProbe != nil
        isUserReady = !asksProcess
        spec.isAskedForReadiness = asksProcess
        // Else the sidecar asks it, by the same probe.
        if !isExec { spec.readinessProbe = nil }
        let user = platform.start(spec)
        adopt(user, label: name)
        self.user = user
        let sidecar = platform.start(queueSpec(userPort: platform.port(of: user) ?? 0))
        adopt(sidecar, label: "\(name)/queue-proxy")
        self.sidecar = sidecar
        let port: UInt16 = revision.template.container.port.isH2C ? 8013 : 8012
        probe = KubeletProbe(
            context.probes, loop: context.loop, host: address, port: port,
            probe: revision.template.container.readinessProbe
        ) { [weak self] isReady in
            self?.isQueueReady = isReady
            self?.consider()
        }
        probe?.begin()
    }

    private func queueSpec(userPort: UInt16) -> PodSpec {
        var spec = PodSpec(revision: revision.name, command: [context.queueExecutable])
        spec.service = revision.service
        spec.configuration = revision.configuration
        spec.environment = QueueEnvironment.variables(
            of: revision, pod: name, address: address, userPort: userPort)
        spec.isAskedForReadiness = false
        // The last request may take as long as the revision allows, and the drain comes before.
        spec.graceSeconds = graceSeconds
        return spec
    }

    /// Kubelet's terminationGracePeriodSeconds: the revision's time limit, and a little for the drain.
    private var graceSeconds: Double {
        Double(revision.template.timeoutSeconds) + Double(QueueEnvironment.drainQuietMilliseconds) / 1_000 + 1
    }

    private func adopt(_ id: PodID, label: String) {
        context.owners[id] = self
        context.labels[id] = label
    }

    // MARK: What happens

    /// An event of one of its two processes.
    func handle(_ event: PodEvent) {
        let isUser = event.id == user
        switch event {
        case .spawned:
            if isUser { isUserUp = true }
            isRunning = true
            consider()
        case .ready: if isUser { becameReady(true) }
        case .unready: if isUser { becameReady(false) }
        case .exited(_, let status, let lines, let restart): ended(isUser, status, lines, restart)
        case .failedToStart(_, let error, let restart): ended(isUser, error, [], restart)
        case .stopped(let id): stopped(id)
        }
    }

    private func becameReady(_ isReady: Bool) {
        isUserReady = isReady
        consider()
    }

    private func ended(_ isUser: Bool, _ status: String, _ lines: [String], _ restart: UInt64?) {
        // One that will not be tried again has failed for good.
        failures += restart == nil ? SplitRevision.failuresBeforeFailed : 1
        if isUser { isUserUp = false }
        guard !isLeaving else { return }
        var metadata: Logger.Metadata = ["status": "\(status)", "container": isUser ? "user" : "queue-proxy"]
        if let restart { metadata["restart_after_ms"] = "\(restart)" }
        log.error("pod exited", metadata: metadata)
        if [status] + lines != lastReport {
            for line in lines { log.error("last output", metadata: ["line": "\(line)"]) }
        }
        lastReport = [status] + lines
        isQueueReady = false
        probe?.begin()
        consider()
        onChange()
    }

    private func consider() {
        let now = isUserUp && isUserReady && isQueueReady && !isLeaving
        guard now != isReady else { return }
        isReady = now
        if now { failures = 0 } else { log.warning("pod is not ready") }
        onChange()
    }

    // MARK: End

    /// Stops it as kubelet does: the queue-proxy drains while the process works on, then the process ends. The caller
    /// has delisted it. Nothing is left at `deadline`.
    func stop(deadline: Instant = .distantFuture) {
        let limit = min(deadline, MonotonicClock.now().adding(seconds: graceSeconds))
        guard phase == .running else { return bound(by: limit) }
        phase = .draining
        isReady = false
        killAt = limit
        probe?.stop()
        guard let sidecar, user != nil else { return }
        // The hook before the signal, as the container's preStop: the sidecar answers it when it has drained.
        let hook = ProbeConnection(context.probes)
        self.hook = hook
        let left = max(1, limit.milliseconds(since: MonotonicClock.now()))
        hook.begin(.http1(path: "/wait-for-drain", headers: []), host: address, port: 8022, timeoutMilliseconds: left) {
            [weak self] _ in self?.drained()
        }
        context.loop.after(milliseconds: 20) { [context] in context.platform.stop(sidecar) }
    }

    private func bound(by limit: Instant) {
        guard limit < killAt else { return }
        killAt = limit
        for id in [user, sidecar].compactMap(\.self) { context.platform.stop(id, killAt: limit) }
    }

    private func drained() {
        guard phase == .draining else { return }
        phase = .stopping
        hook = nil
        if let user { context.platform.stop(user, killAt: killAt) }
    }

    private func stopped(_ id: PodID) {
        context.owners[id] = nil
        context.labels[id] = nil
        if id == user { user = nil }
        if id == sidecar {
            sidecar = nil
            drained()
        }
        guard user == nil, sidecar == nil, phase != .gone else { return }
        phase = .gone
        hook?.cancel()
        context.range.give(address)
        onGone()
    }
}
