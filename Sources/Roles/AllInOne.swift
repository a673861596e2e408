import Balancing
import ClusterLink
import ControlPlane
import DataPlane
import EventLoop
import Glibc
import Knative
import LocalPlatform
import Logging
import Primitives

/// The options of `martlet run`.
public struct AllInOneOptions: Sendable {
    /// Addresses for clients, threads, access log and drain.
    public var serving = ServingOptions()
    /// Where the certificates for `serving.https` come from. Default the local authority.
    public var certificates = CertificateOrigin.localAuthority
    /// Whether requests at `serving.http` are answered with 301 to `serving.https`. Default false.
    public var redirectsToHTTPS = false
    /// What to run.
    public var workload = Workload()
    /// Domain, scaling and queues.
    public var control = ControlPlaneOptions()
    /// How long pods may take to stop at the end, in milliseconds. Default 10,000.
    public var stopDeadlineMilliseconds: UInt64 = 10_000

    /// The defaults.
    public init() {}
}

/// Exit statuses of `martlet`, after sysexits(3).
public enum ExitCodes {
    /// All went well.
    public static let ok: Int32 = 0
    /// Something failed.
    public static let failure: Int32 = 1
    /// Requests were still under way when the drain deadline passed.
    public static let drainDeadline: Int32 = 2
    /// The address cannot be bound.
    public static let cannotBind: Int32 = 71
    /// The configuration was rejected.
    public static let badConfiguration: Int32 = 78
}

/// Ingress, activator, queue-proxy and autoscaler in one process, over processes of this machine as pods.
///
/// The hop between the roles is a function call. Lives on the main thread, which is the control thread.
public final class AllInOne {
    private let options: AllInOneOptions
    let logger: Logger
    let loop: Loop
    private let signals: Signals
    private let log: LogSink
    private let workers: WorkerGroup
    private let pods: LocalPods
    let control: ControlPlane
    private let files: WorkloadWatch
    let certificates: CertificateKeeper?
    private var hub: ClusterHub?
    private var isEnding = false
    private var exitStatus = ExitCodes.ok

    /// Binds the address and starts the guardian of the pods. No process runs yet.
    ///
    /// Call on the main thread before any other thread exists: signals are blocked here for all.
    ///
    /// - Parameter certificates: needed if `options.serving.https` is set.
    public init(_ options: AllInOneOptions, certificates opened: OpenedCertificates?, logger: Logger) throws {
        self.options = options
        self.logger = logger
        signals = try Signals([SIGTERM, SIGINT, SIGHUP, SIGQUIT])
        loop = try Loop()
        log = try LogSink(descriptor: 1)
        certificates = if let opened { try CertificateKeeper(opened, loop: loop, logger: logger) } else { nil }
        workers = try WorkerGroup(
            listeners: options.listeners, options: options.serving.workerOptions(certificates), log: log)
        pods = LocalPods(platform: LocalPlatform(loop: loop, logger: logger))
        let control = try ControlPlane(
            loop: loop, workers: workers, platform: pods, options: options.control, logger: logger)
        self.control = control
        files = WorkloadWatch(options.workload, loop: loop, logger: logger) { control.apply($0, removing: true) }
    }

    /// Serves until a signal ends it; returns the exit status.
    public func run(_ services: [ServiceObject]) throws -> Int32 {
        pods.onLine = { [log] name, line in ProcessLine.whole(name, line) { log.append($0) } }
        try signals.attach(to: loop) { [unowned self] number in signalled(number) }
        files.applyFirst(services)
        certificates?.start { [workers] set in workers.post(.certificates(set)) }
        useHosts()
        // The routes lie in the mailboxes by now: no connection that waited in the kernel meets a table without them.
        try workers.start(ControlPlane.emptySnapshot())
        files.start { [unowned self] in reload("files changed") }
        hub = openSocket()
        announce()
        loop.run()
        hub?.close()
        hub = nil
        workers.post(.stop)
        workers.join()
        log.close()
        return exitStatus
    }

    private func announce() {
        for (address, scheme) in zip(workers.addresses, ["http", "https"]) {
            logger.info(
                "listening",
                metadata: ["address": "\(address)", "scheme": "\(scheme)", "workers": "\(workers.count)"])
        }
        for (service, hosts) in control.publicHosts {
            for host in hosts {
                for (address, scheme) in zip(workers.addresses, ["http", "https"]) {
                    let url = "\(scheme)://\(host.host):\(address.port)/"
                    logger.info("serving", metadata: ["service": "\(service)", "url": "\(url)"])
                }
            }
        }
    }

    private func reload(_ cause: String) {
        guard !isEnding else { return }
        files.reload(cause)
        useHosts()
    }

    // MARK: End

    private func signalled(_ number: Int32) {
        switch number {
        case SIGHUP:
            reload("SIGHUP")
            certificates?.reload()
        default:
            if isEnding {
                logger.warning("second signal: ending now")
                exitStatus = ExitCodes.failure
                stopPods(within: 1_000)
            } else {
                drain(number)
            }
        }
    }

    /// Serves what comes while clients move away, finishes what is under way, then stops the pods.
    private func drain(_ number: Int32) {
        isEnding = true
        logger.info("draining", metadata: ["signal": "\(ChildProcess.signalName(number))"])
        var isDone = false
        control.drainWorkers(graceMilliseconds: options.serving.drainGraceMilliseconds) { [unowned self] in
            isDone = true
            stopPods(within: options.stopDeadlineMilliseconds)
        }
        loop.after(milliseconds: options.serving.drainMilliseconds) { [unowned self] in
            guard !isDone else { return }
            logger.error("requests are still under way at the drain deadline")
            exitStatus = ExitCodes.drainDeadline
            stopPods(within: options.stopDeadlineMilliseconds)
        }
    }

    private func stopPods(within milliseconds: UInt64) {
        logger.info("stopping pods", metadata: ["pods": "\(pods.podCount)"])
        let deadline = loop.now.adding(milliseconds: milliseconds)
        control.stopPods(deadline: deadline)
        endWhenPodsAreGone(by: deadline.adding(milliseconds: 1_000))
    }

    private func endWhenPodsAreGone(by deadline: Instant) {
        guard pods.podCount > 0, MonotonicClock.now() < deadline else { return loop.stop() }
        loop.after(milliseconds: 5) { [unowned self] in endWhenPodsAreGone(by: deadline) }
    }
}
