import ClusterLink
import EventLoop
import Glibc
import Knative
import LocalPlatform
import Logging
import Primitives

/// Why a split run cannot begin.
public struct SplitFailure: Error, Sendable, CustomStringConvertible {
    /// For a person.
    public let description: String
}

/// `martlet run --split`: ingress, activators, autoscaler and queue-proxies as processes of their own, over real
/// sockets.
///
/// This process supervises: it loads the Services, starts the roles and the pods, and is their platform
/// (`SplitPlatform`) at a socket in the run directory. Lives on the main thread, which is the control thread.
public final class SplitRun {
    private let options: AllInOneOptions
    private let split: SplitOptions
    private let logger: Logger
    private let loop: Loop
    private let signals: Signals
    private let output: LogSink
    private let range: LoopbackRange
    private let context: SplitPodContext
    private let roles: SplitRoles
    private let platform: SplitPlatform
    private let files: WorkloadWatch
    private var hasIngress = false
    private var isEnding = false
    private var exitStatus = ExitCodes.ok

    /// Takes a range of addresses and opens the socket. No process runs yet.
    ///
    /// Call on the main thread before any other thread exists: signals are blocked here for all.
    public init(_ options: AllInOneOptions, split: SplitOptions, logger: Logger) throws {
        self.options = options
        self.split = split
        self.logger = logger
        let executable = split.executable ?? RunSocket.executable
        let folder = executable.split(separator: "/").dropLast().joined(separator: "/")
        let queue = split.queueExecutable ?? "/\(folder)/martlet-queue"
        guard access(queue, X_OK) == 0 else {
            throw SplitFailure(description: "\(queue): not there; martlet-queue must lie beside martlet")
        }
        signals = try Signals([SIGTERM, SIGINT, SIGHUP, SIGQUIT])
        loop = try Loop()
        output = try LogSink(descriptor: 1)
        _ = Machine.raiseFileLimit()
        range = try Self.takeRange()
        let local = LocalPlatform(loop: loop, logger: logger)
        context = SplitPodContext(
            loop: loop, platform: local, range: range, queueExecutable: queue, logger: logger)
        roles = SplitRoles(platform: local, executable: executable, logger: logger)
        let hub = try ClusterHub(path: try RunSocket.own(), loop: loop, log: logger)
        let platform = SplitPlatform(
            hub: hub, context: context, domain: options.control.domain, scaling: options.control.scaling,
            logger: logger)
        self.platform = platform
        files = WorkloadWatch(options.workload, loop: loop, logger: logger) { platform.apply($0) }
        local.onEvent = { [unowned self] event in happened(event) }
        local.onLine = { [unowned self] pod, stream, line in wrote(pod, stream, line) }
    }

    private static func takeRange() throws(SplitFailure) -> LoopbackRange {
        do throws(SystemError) { return try LoopbackRange(seed: UInt64.random(in: 0 ... .max)) } catch {
            let hint = "does something listen at every address on port 8012?"
            throw SplitFailure(description: "no free range of loopback addresses: \(error); \(hint)")
        }
    }

    /// Serves until a signal ends it; returns the exit status.
    public func run(_ services: [ServiceObject]) throws -> Int32 {
        try signals.attach(to: loop) { [unowned self] number in signalled(number) }
        roles.onCannotBind = { [unowned self] _ in cannotBind() }
        // Only now can a first pod be started: its objects are there before any role asks.
        files.applyFirst(services)
        startRoles()
        files.start { [unowned self] in reload("files changed") }
        loop.run()
        platform.hub.close()
        output.close()
        return exitStatus
    }

    // MARK: Roles

    private func startRoles() {
        let cluster = "unix:\(platform.hub.path)"
        logger.info("cluster socket", metadata: ["path": "\(platform.hub.path)"])
        let autoscaler = IPv4.text(range.takeRole())
        let log = ["--log-level", split.logLevel, "--log", split.logForm]
        roles.start(
            .init(
                name: "autoscaler",
                arguments: ["autoscaler", "--cluster", cluster, "--listen", "\(autoscaler):8080"]
                    + ["--metrics", "\(autoscaler):9090"]
                    + split.configAutoscaler.flatMap { ["--config-autoscaler", $0] } + log,
                graceSeconds: 5))
        for number in 1...split.activators {
            let host = IPv4.text(range.takeRole())
            roles.start(
                .init(
                    name: "activator-\(number)",
                    arguments: [
                        "activator", "--cluster", cluster, "--autoscaler", "\(autoscaler):8080",
                        "--http", "\(host):8012", "--http2", "\(host):8013", "--metrics", "\(host):9090",
                    ] + log,
                    environment: [
                        "POD_NAME": "activator-\(number)", "POD_IP": host,
                        "MARTLET_DRAIN_MILLISECONDS": "\(split.activatorDrainMilliseconds)",
                        "MARTLET_DRAIN_LIMIT_MILLISECONDS": "\(split.activatorLimitMilliseconds)",
                    ],
                    graceSeconds: Double(split.activatorDrainMilliseconds + split.activatorLimitMilliseconds) / 1_000
                        + 1))
        }
        platform.onActivators = { [unowned self] count in
            if count > 0 { startIngress() }
        }
        loop.after(milliseconds: split.activatorMilliseconds) { [unowned self] in startIngress() }
    }

    /// When there is an activator: a request that comes before would be refused.
    private func startIngress() {
        guard !hasIngress, !isEnding else { return }
        hasIngress = true
        let grace = Double(options.serving.drainMilliseconds) / 1_000 + 2
        roles.start(
            .init(
                name: "ingress",
                arguments: ["ingress", "--cluster", "unix:\(platform.hub.path)"] + split.ingressArguments
                    + ["--log-level", split.logLevel, "--log", split.logForm],
                environment: Self.stateHome, graceSeconds: grace))
        for (service, hosts) in platform.publicHosts {
            for host in hosts {
                let url = "http://\(host):\(options.serving.http.port)/"
                logger.info("serving", metadata: ["service": "\(service)", "url": "\(url)"])
            }
        }
    }

    /// Where the local authority is kept: the ingress must find the one that clients trust.
    private static var stateHome: [String: String] {
        let name = "XDG_STATE_HOME"
        return getenv(name).map { [name: String(cString: $0)] } ?? [:]
    }

    /// The ingress says why in its own line.
    private func cannotBind() {
        guard !isEnding else { return }
        exitStatus = ExitCodes.cannotBind
        drain("a role cannot bind its address")
    }

    private func happened(_ event: PodEvent) {
        if !roles.handle(event) { context.owners[event.id]?.handle(event) }
    }

    /// Lines of user processes and of the ingress' access log to standard output; what roles say of themselves to
    /// standard error.
    private func wrote(_ pod: PodID, _ stream: OutputStream, _ line: ByteView) {
        if let role = roles.name(of: pod) {
            write(stream == .output ? nil : role, line, isComplaint: stream != .output)
        } else if let label = context.labels[pod] {
            write(label, line, isComplaint: label.hasSuffix("/queue-proxy"))
        }
    }

    private func write(_ name: String?, _ line: ByteView, isComplaint: Bool) {
        ProcessLine.whole(name, line) { bytes in
            if isComplaint { WholeBytes.write(bytes, to: STDERR_FILENO) } else { output.append(bytes) }
        }
    }

    private func reload(_ cause: String) {
        if !isEnding { files.reload(cause) }
    }

    // MARK: End

    private func signalled(_ number: Int32) {
        guard number != SIGHUP else { return reload("SIGHUP") }
        if isEnding {
            logger.warning("second signal: ending now")
            exitStatus = ExitCodes.failure
            context.platform.stopAll(deadline: loop.now.adding(milliseconds: 1_000))
            endWhenAllAreGone(by: loop.now.adding(milliseconds: 2_000))
        } else {
            drain(ChildProcess.signalName(number))
        }
    }

    /// In the order of a request: the ingress answers what it has, then the activators, then the pods; the autoscaler
    /// last, so that held requests still get their pods.
    private func drain(_ cause: String) {
        isEnding = true
        logger.info("draining", metadata: ["signal": "\(cause)"])
        roles.stop("ingress") { [unowned self] in
            roles.stop("activator") { [unowned self] in stopPods() }
        }
    }

    private func stopPods() {
        logger.info("stopping pods", metadata: ["pods": "\(platform.podCount)"])
        let deadline = loop.now.adding(milliseconds: options.stopDeadlineMilliseconds)
        platform.end(deadline: deadline)
        waitForPods(by: deadline.adding(milliseconds: 1_000))
    }

    private func waitForPods(by deadline: Instant) {
        guard platform.podCount > 0, MonotonicClock.now() < deadline else {
            return roles.stop("autoscaler") { [unowned self] in
                endWhenAllAreGone(by: loop.now.adding(milliseconds: 1_000))
            }
        }
        loop.after(milliseconds: 5) { [unowned self] in waitForPods(by: deadline) }
    }

    private func endWhenAllAreGone(by deadline: Instant) {
        guard context.platform.podCount > 0, MonotonicClock.now() < deadline else { return loop.stop() }
        loop.after(milliseconds: 5) { [unowned self] in endWhenAllAreGone(by: deadline) }
    }
}
