import EventLoop
import Logging
import Primitives
import Probing

/// How the platform runs pods on this machine.
public struct LocalPlatformOptions {
    /// Ports to give to pods. nil, the default: 20000 to 32767, as far as it lies outside the kernel's ephemeral range.
    public var portRange: ClosedRange<UInt16>?
    /// Where the list of living pods is kept, mode 0700. Default `$XDG_RUNTIME_DIR/martlet` or `/tmp/martlet-<uid>`.
    /// nil: no list, so pods that outlive martlet and its guardian are not found by the next martlet.
    public var runDirectory: String?
    /// What every pod inherits. Default PATH, HOME, LANG, TZ, TMPDIR and USER of this process.
    public var baseEnvironment: [PodSpec.Variable]
    /// When pods that end by themselves are started again.
    public var restartPolicy = RestartPolicy()
    /// Most probes a second of all pods that are not ready. Default 20,000.
    public var probesPerSecond = 20_000
    /// Most pods at a time. Default 10,000.
    public var podLimit = 10_000
    /// Chooses the first port. Default random.
    public var portSeed = UInt64.random(in: 0 ... .max)

    /// The defaults.
    public init() {
        runDirectory = OrphanJournal.defaultDirectory()
        baseEnvironment = PodEnvironment.inherited()
    }
}

/// Processes of this machine as pods: starts, probes, restarts and stops them.
///
/// Owned by the loop's thread, which must live as long as the program: the kernel ends the pods with it. Every call
/// returns at once. Dropping the platform kills what still runs.
public final class LocalPlatform {
    /// Called with everything that happens, on the loop's thread, never from inside `start`, `stop` or `recheck`.
    public var onEvent: (PodEvent) -> Void {
        get { context.onEvent }
        set { context.onEvent = newValue }
    }

    /// Called with every line a pod writes, without its line end, in pieces of at most 16 KiB. The view is valid during
    /// the call only.
    public var onLine: (PodID, OutputStream, ByteView) -> Void {
        get { context.onLine }
        set { context.onLine = newValue }
    }

    private let context: PodContext
    private let podLimit: Int
    private var lastNumber: UInt64 = 0

    /// Starts the guardian and kills what an earlier martlet left behind.
    public init(
        loop: Loop, logger: Logger = Logger(label: "martlet.pods"),
        options: LocalPlatformOptions = LocalPlatformOptions()
    ) {
        context = PodContext(loop: loop, logger: logger, options: options)
        podLimit = min(options.podLimit, GuardianChannel.groupLimit / 2)
    }

    /// Starts a pod. Its process runs when this returns, or `failedToStart` will say why not.
    public func start(_ spec: PodSpec) -> PodID {
        lastNumber += 1
        let pod = Pod(id: PodID(number: lastNumber), spec: spec, context: context)
        context.inCall {
            guard context.pods.count < podLimit else {
                let error = "limit of \(podLimit) pods reached"
                context.emit(.failedToStart(pod.id, error: error, restartAfterMilliseconds: nil))
                context.emit(.stopped(pod.id))
                return
            }
            context.pods[pod.id] = pod
            pod.start()
        }
        return pod.id
    }

    /// Stops a pod: SIGTERM to its group, its grace, then SIGKILL. Unknown pods are ignored.
    public func stop(_ id: PodID) {
        context.inCall { context.pods[id]?.stop() }
    }

    /// Stops a pod with SIGKILL at this instant at the latest, or at an earlier one that it was told before.
    public func stop(_ id: PodID, killAt: Instant) {
        context.inCall { context.pods[id]?.stop(killAt: killAt) }
    }

    /// Stops every pod; nothing is left at `deadline`, or at the end of a pod's own grace if that is earlier.
    public func stopAll(deadline: Instant) {
        context.inCall {
            for pod in context.pods.values.sorted(by: { $0.id < $1.id }) {
                pod.stop(killAt: min(deadline, context.now.adding(seconds: pod.spec.graceSeconds)))
            }
        }
    }

    /// Looks at once whether a ready pod still answers: `unready` or `ready` follows. For who saw a request to it fail.
    public func recheck(_ id: PodID) {
        context.inCall { context.pods[id]?.recheck() }
    }

    /// How many pods there are, stopping ones included.
    public var podCount: Int { context.pods.count }

    /// Whether every event has been delivered and every ended probe reaped; for tests.
    var isQuiet: Bool { context.isQuiet }

    /// Writes the list of living pods now; for tests.
    func writeJournal() { context.orphans.writeJournal() }

    /// The process of a pod; nil if there is no such pod or it has had none yet.
    public func pid(of id: PodID) -> Int32? {
        context.pods[id].flatMap { $0.group > 0 ? $0.group : nil }
    }

    /// The port of a pod's present process; nil if it has none.
    public func port(of id: PodID) -> UInt16? {
        context.pods[id].flatMap { $0.port > 0 ? $0.port : nil }
    }

    /// What the start killed of earlier martlets, a line each.
    public var killedAtStart: [String] { context.orphans.killedAtStart }

    /// The process that kills the pods if this one is killed; nil if it could not be started.
    public var guardianPID: Int32? { context.orphans.guardianPID }

    deinit { context.killAll() }
}

/// What all pods of a platform share. Owned by the loop's thread.
final class PodContext {
    let loop: Loop
    let logger: Logger
    let orphans: OrphanGuard
    let restartPolicy: RestartPolicy
    let baseEnvironment: [PodSpec.Variable]
    let scratch: UnsafeMutableRawBufferPointer
    /// What probes of ports share.
    let probes: ProbeContext
    var ports: PortAllocator
    var budget: ProbeBudget
    var pods: [PodID: Pod] = [:]
    var onEvent: (PodEvent) -> Void = { _ in }
    var onLine: (PodID, OutputStream, ByteView) -> Void = { _, _, _ in }
    private var ownHold: PodContext?
    private var waiting: [PodEvent] = []
    private var callDepth = 0
    private var isDelivering = false
    private var isDeliveryArmed = false

    init(loop: Loop, logger: Logger, options: LocalPlatformOptions) {
        self.loop = loop
        self.logger = logger
        probes = ProbeContext(loop: loop, userAgent: ProbeSpec.userAgent)
        orphans = OrphanGuard(loop: loop, logger: logger, directory: options.runDirectory)
        restartPolicy = options.restartPolicy
        baseEnvironment = options.baseEnvironment
        scratch = .allocate(byteCount: PodOutput.readBytes, alignment: 16)
        let range = options.portRange ?? PortAllocator.range(avoiding: PortCheck.ephemeralRange())
        ports = PortAllocator(range: range, seed: options.portSeed)
        budget = ProbeBudget(rate: options.probesPerSecond)
    }

    /// The clock, not the loop's last wake-up: calls may come long after it.
    var now: Instant { MonotonicClock.now() }

    /// Whether every event has been delivered and every ended probe reaped.
    var isQuiet: Bool { waiting.isEmpty && !orphans.hasCommands }

    /// Runs a call from outside: events it causes are delivered after it, by the loop.
    func inCall(_ body: () -> Void) {
        callDepth += 1
        body()
        callDepth -= 1
        guard !waiting.isEmpty, !isDelivering, !isDeliveryArmed else { return }
        isDeliveryArmed = true
        loop.at(now) { [weak self] in
            self?.isDeliveryArmed = false
            self?.deliver()
        }
    }

    /// Delivers an event, in order, at once if the loop called us.
    func emit(_ event: PodEvent) {
        waiting.append(event)
        if callDepth == 0 { deliver() }
    }

    private func deliver() {
        guard !isDelivering else { return }
        isDelivering = true
        var index = 0
        while index < waiting.count {  // a handler's own calls may add more
            onEvent(waiting[index])
            index += 1
        }
        waiting.removeAll(keepingCapacity: true)
        isDelivering = false
    }

    /// Forgets a pod that has ended.
    func ended(_ pod: Pod) {
        pods[pod.id] = nil
        if pods.isEmpty { ownHold = nil }
    }

    /// Puts the commands of exec probes under the guard too.
    var commandHooks: ProbeAttempt.CommandHooks {
        ProbeAttempt.CommandHooks(
            started: { [orphans] in orphans.add(command: $0) }, ended: { [orphans] in orphans.remove(command: $0) })
    }

    /// The end of the platform: nothing may stay. Lives on until the loop has seen every process end.
    func killAll() {
        onEvent = { _ in }
        onLine = { _, _, _ in }
        if !pods.isEmpty { ownHold = self }
        for pod in pods.values { pod.stop(killAt: Instant(nanoseconds: 0)) }
    }

    deinit { scratch.deallocate() }
}
