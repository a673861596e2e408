import EventLoop
import Glibc
import Primitives

/// Drives one pod: obeys its lifecycle, owns its process, pipes, timers and probes. Owned by the loop's thread.
final class Pod {
    /// How often the rest of a group is looked for after its leader has ended, in milliseconds: first, and at most.
    static let groupPollMilliseconds: (first: UInt64, limit: UInt64) = (2, 50)

    let id: PodID
    let spec: PodSpec
    private let context: PodContext
    private let variables: [PodSpec.Variable]
    private var lifecycle: PodLifecycle
    private var child: ChildProcess?
    private var childWatch: Loop.WatchToken?
    private var timer: (handle: TimerHandle, at: Instant)?
    private var probes: PodProbes?
    private var outputs: [PodOutput] = []
    private var lines = LineRing()
    private var endText = ""
    private var unreadyReason = ""
    private var restartReason: String?
    private var hasFailedToStart = false
    /// Id of the present or last process and of its group; 0 before the first.
    private(set) var group: Int32 = 0
    /// The port of the present process; 0 if there is none.
    private(set) var port: UInt16 = 0

    /// A pod that `start` will give its first process.
    init(id: PodID, spec: PodSpec, context: PodContext) {
        self.id = id
        self.spec = spec
        self.context = context
        variables = PodEnvironment.variables(of: spec, base: context.baseEnvironment)
        let grace = spec.graceSeconds >= 0 ? min(spec.graceSeconds, 86_400) : 0
        lifecycle = PodLifecycle(policy: context.restartPolicy, graceMilliseconds: UInt64(grace * 1_000))
    }

    /// Whether it answers requests.
    var isReady: Bool {
        if case .ready = lifecycle.state { return true }
        return false
    }

    /// Starts the first process.
    func start() {
        let problems = spec.problems()
        if problems.isEmpty { spawn() } else { failToStart(problems.joined(separator: "; "), canRetry: false) }
    }

    /// Stops it; nothing is left at `killAt`.
    func stop(killAt: Instant) { handle(.stop(killAt: killAt)) }

    /// Stops it with its own grace.
    func stop() { stop(killAt: context.now.adding(seconds: spec.graceSeconds)) }

    /// Looks whether it still answers.
    func recheck() {
        if isReady { probes?.recheck() }
    }

    // MARK: Obeying

    private func handle(_ event: PodLifecycle.Event) {
        let orders = lifecycle.handle(event, now: context.now)
        let delay = lifecycle.restartDelayMilliseconds
        armTimer()
        if orders.contains(.stopProbes) { stopProbes() }
        if orders.contains(.reportUnready) { context.emit(.unready(id, reason: unreadyReason)) }
        if orders.contains(.terminate) { terminate() }
        if orders.contains(.kill) { kill() }
        if orders.contains(.reportEnd) { reportEnd(restartAfterMilliseconds: delay) }
        if orders.contains(.spawn) { spawn() }
        if orders.contains(.startProbes) { startProbes() }
        if orders.contains(.reportReady) { context.emit(.ready(id, port: port, at: context.now)) }
        if orders.contains(.watchGroup) { pollGroup(after: Self.groupPollMilliseconds.first) }
        if orders.contains(.reportStopped) { end() }
    }

    private func armTimer() {
        let deadline = lifecycle.deadline
        if timer?.at == deadline { return }
        if let timer { context.loop.cancel(timer.handle) }
        timer = nil
        guard let deadline else { return }
        let handle = context.loop.at(deadline) { [weak self] in
            self?.timer = nil
            self?.handle(.timer)
        }
        timer = (handle, deadline)
    }

    private func terminate() {
        child?.signalGroup(SIGTERM)
        child?.signalGroup(SIGCONT)  // a stopped process would not hear the first
    }

    private func kill() {
        if child != nil { child?.signalGroup(SIGKILL) } else { ChildProcess.signalGroup(group, SIGKILL) }
    }

    private func reportEnd(restartAfterMilliseconds delay: UInt64?) {
        if hasFailedToStart {
            context.emit(.failedToStart(id, error: endText, restartAfterMilliseconds: delay))
        } else {
            let status = restartReason.map { "\(endText), after \($0)" } ?? endText
            context.emit(.exited(id, status: status, lastLines: lines.texts, restartAfterMilliseconds: delay))
        }
    }

    private func end() {
        stopProbes()
        closeOutputs()
        releasePort(isLast: true)
        context.orphans.remove(group: group)
        context.ended(self)
        context.emit(.stopped(id))
    }

    // MARK: Starting

    private func spawn() {
        lines.removeAll()
        restartReason = nil
        hasFailedToStart = false
        if port == 0 {
            guard let free = context.ports.take() else {
                let range = context.ports.range
                return failToStart("no free port in \(range.lowerBound) to \(range.upperBound)")
            }
            port = free
        }
        outputs = [makeOutput(.output), makeOutput(.error)]
        guard let output = outputs[0].open(), let error = outputs[1].open() else {
            return failToStart("no file descriptors left for its output")
        }
        do throws(SpawnFailure) {
            let started = try launch(output: output, error: error)
            group = started.pid
            child = consume started
        } catch {
            return failToStart(error.description)
        }
        context.orphans.add(group: group, revision: spec.revision, port: port)
        outputs.forEach { $0.begin() }
        let now = context.now
        watchChild()
        handle(.spawned)
        // Last: who hears it may stop the pod at once.
        context.emit(.spawned(id, pid: group, at: now))
    }

    private func launch(output: Int32, error: Int32) throws(SpawnFailure) -> ChildProcess {
        let environment = environmentStrings()
        let path = try ChildProcess.resolve(
            PodSpec.resolving(spec.command.first ?? "", port: port), searchPath: searchPath,
            workingDirectory: spec.workingDirectory)
        let request = SpawnRequest(
            path: path, arguments: spec.command.map { PodSpec.resolving($0, port: port) }, environment: environment,
            workingDirectory: spec.workingDirectory)
        return try ChildProcess.spawn(request, output: output, error: error)
    }

    private var searchPath: String {
        variables.first { $0.name == "PATH" }?.value ?? PodEnvironment.defaultPath
    }

    private func environmentStrings() -> [String] {
        variables.map { "\($0.name)=\(PodSpec.resolving($0.value, port: port))" } + ["PORT=\(port)"]
    }

    private func makeOutput(_ stream: OutputStream) -> PodOutput {
        PodOutput(loop: context.loop, scratch: context.scratch) { [weak self] line in
            guard let self else { return }
            self.lines.append(line)
            self.context.onLine(self.id, stream, line)
        }
    }

    private func failToStart(_ error: String, canRetry: Bool = true) {
        hasFailedToStart = true
        endText = error
        closeOutputs()
        releasePort()
        handle(.spawnFailed(canRetry: canRetry))
    }

    private func startProbes() {
        let target = ProbeAttempt.Target(
            port: port, speaksHTTP2: spec.speaksHTTP2, environment: environmentStrings(), searchPath: searchPath,
            workingDirectory: spec.workingDirectory)
        let started = PodProbes(context: context, spec: spec, target: target) { [weak self] role, change in
            self?.probed(role, change)
        }
        probes = started
        started.begin()
    }

    private func stopProbes() {
        probes?.stop()
        probes = nil
    }

    private func probed(_ role: ProbeTracker.Role, _ change: ProbeTracker.Change) {
        switch (role, change) {
        case (.readiness, .passing), (.readiness, .confirmed): handle(.becameReady)
        case (.readiness, .failing(let reason)):
            unreadyReason = reason
            handle(.becameUnready)
        case (.liveness, .failing(let reason)), (.startup, .failing(let reason)):
            unreadyReason = reason
            restartReason = reason
            handle(.livenessFailed)
        case (.liveness, .passing), (.liveness, .confirmed), (.startup, .passing), (.startup, .confirmed): break
        }
    }

    // MARK: Ending

    private func watchChild() {
        guard let pidfd = child?.pidfd else { return }
        childWatch = try? context.loop.watch(pidfd, .readable) { [weak self] _ in self?.childEnded() }
        guard childWatch == nil else { return }
        // Without a watch its end would not be seen: better none than one that cannot be supervised.
        kill()
        pollEnd()
    }

    private func pollEnd() {
        context.loop.after(milliseconds: 5) { [weak self] in
            guard let self, self.child != nil else { return }
            self.childEnded()
            self.pollEnd()
        }
    }

    private func childEnded() {
        let spares = lifecycle.sparesGroup
        // Before the leader is reaped its id, and so the group's, cannot become somebody else's.
        if !spares {
            kill()
            context.orphans.remove(group: group)
        }
        guard let status = child?.reap() else { return }
        if let childWatch { context.loop.unwatch(childWatch) }
        childWatch = nil
        child = nil
        endText = status.description
        let othersLive = spares && ChildProcess.groupExists(group)
        if !othersLive {
            context.orphans.remove(group: group)
            closeOutputs()
        }
        releasePort()
        handle(.exited(othersLive: othersLive))
    }

    private func pollGroup(after milliseconds: UInt64) {
        context.loop.after(milliseconds: milliseconds) { [weak self] in
            guard let self, case .lingering = self.lifecycle.state else { return }
            if ChildProcess.groupExists(self.group) {
                self.pollGroup(after: min(milliseconds * 2, Self.groupPollMilliseconds.limit))
            } else {
                self.handle(.groupGone)
            }
        }
    }

    private func closeOutputs() {
        outputs.forEach { $0.finish() }
        outputs = []
    }

    private func releasePort(isLast: Bool = false) {
        guard isLast || !spec.keepsPort else { return }
        if port != 0 { context.ports.give(port) }
        port = 0
    }
}
