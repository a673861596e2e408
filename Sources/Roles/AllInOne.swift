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
import Telemetry

/// The options of `martlet run`.
public struct AllInOneOptions: Sendable {
    /// Where clients connect. Default 127.0.0.1:8080.
    public var http = SocketAddress.loopback(port: 8080)
    /// Where clients connect with TLS; nil: nowhere. Default nil.
    public var https: SocketAddress?
    /// Where the certificates for `https` come from. Default the local authority.
    public var certificates = CertificateOrigin.localAuthority
    /// Whether requests at `http` are answered with 301 to `https`. Default false.
    public var redirectsToHTTPS = false
    /// Data-plane threads. Default one a core.
    public var workers = Machine.coreCount
    /// What to run.
    public var workload = Workload()
    /// Domain, scaling and queues.
    public var control = ControlPlaneOptions()
    /// Limits of the data plane.
    public var limits = DataPlaneLimits()
    /// Form of the access log on standard output.
    public var accessLog = AccessLogFormat.envoy
    /// Whether X-Forwarded-* from clients is believed.
    public var trustsForwarded = false
    /// How long new connections are still taken after SIGTERM, in milliseconds. Default 500.
    public var drainGraceMilliseconds: UInt64 = 500
    /// How long requests under way may take after SIGTERM, in milliseconds. Default 30,000.
    public var drainDeadlineMilliseconds: UInt64 = 30_000
    /// How long pods may take to stop at the end, in milliseconds. Default 10,000.
    public var stopDeadlineMilliseconds: UInt64 = 10_000

    /// The defaults.
    public init() {}
}

/// Exit statuses of `martlet`, after sysexits(3).
public enum ExitStatus {
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
    let certificates: CertificateKeeper?
    private var watch: FileWatch?
    private var hub: ClusterHub?
    private var isEnding = false
    private var exitStatus = ExitStatus.ok

    /// Binds the address and starts the guardian of the pods. No process runs yet.
    ///
    /// Call on the main thread before any other thread exists: signals are blocked here for all.
    ///
    /// - Parameter certificates: needed if `options.https` is set.
    public init(_ options: AllInOneOptions, certificates opened: OpenedCertificates?, logger: Logger) throws {
        self.options = options
        self.logger = logger
        signals = try Signals([SIGTERM, SIGINT, SIGHUP, SIGQUIT])
        loop = try Loop()
        log = try LogSink(descriptor: 1)
        var worker = WorkerOptions()
        worker.count = options.workers
        worker.limits = options.limits
        worker.limits.connections = min(worker.limits.connections, Self.connectionsFor(files: Machine.raiseFileLimit()))
        worker.accessLog = options.accessLog
        worker.trustsForwarded = options.trustsForwarded
        worker.seed = UInt64.random(in: 0 ... .max)
        certificates = try Self.keeper(opened, loop, logger)
        worker.certificates = certificates?.set
        worker.tickets = certificates?.tickets
        workers = try WorkerGroup(listeners: options.listeners, options: worker, log: log)
        pods = LocalPods(platform: LocalPlatform(loop: loop, logger: logger))
        control = try ControlPlane(
            loop: loop, workers: workers, platform: pods, options: options.control, logger: logger)
    }

    /// A connection needs two descriptors, its own and its pod's; a twentieth is kept in reserve.
    static func connectionsFor(files: Int) -> Int { max(16, files * 19 / 20 / 2) }

    /// Serves until a signal ends it; returns the exit status.
    public func run(_ services: [ServiceObject]) throws -> Int32 {
        pods.onLine = { [log] name, line in Self.write(name, line, to: log) }
        try signals.attach(to: loop) { [unowned self] number in signalled(number) }
        for diagnostic in control.apply(services, removing: true) { report(diagnostic) }
        certificates?.start { [workers] set in workers.post(.certificates(set)) }
        useHosts()
        // The routes lie in the mailboxes by now: no connection that waited in the kernel meets a table without them.
        try workers.start(ControlPlane.emptySnapshot())
        watchFiles()
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

    private static func write(_ name: String, _ line: ByteView, to log: LogSink) {
        withUnsafeTemporaryAllocation(byteCount: line.count + name.utf8.count + 8, alignment: 1) { place in
            var writer = ByteWriter(place)
            writer.append(text: name)
            writer.append(" | ")
            writer.append(line)
            writer.append(ASCII.lf)
            log.append(writer.written)
        }
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

    // MARK: Reload

    private func watchFiles() {
        guard let files = options.workload.files else { return }
        do {
            let watch = try FileWatch(loop: loop) { [unowned self] in reload("files changed") }
            for folder in files.folders { try watch.add(folder: folder) }
            self.watch = watch
        } catch {
            logger.warning("files are not watched; send SIGHUP after a change", metadata: ["error": "\(error)"])
        }
    }

    /// Reads everything anew. If anything is wrong, says so and keeps the old state whole.
    private func reload(_ cause: String) {
        guard !isEnding else { return }
        defer { useHosts() }
        let result = options.workload.read()
        for diagnostic in result.diagnostics { report(diagnostic) }
        guard !result.diagnostics.hasErrors else {
            return logger.error("reload refused; the old state stays", metadata: ["cause": "\(cause)"])
        }
        for diagnostic in control.apply(result.services, removing: true) { report(diagnostic) }
        logger.info("reloaded", metadata: ["cause": "\(cause)"])
    }

    private func report(_ diagnostic: Diagnostic) {
        var line = "\(diagnostic)\n"
        line.withUTF8 { bytes in _ = Glibc.write(2, bytes.baseAddress, bytes.count) }
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
                exitStatus = ExitStatus.failure
                stopPods(within: 1_000)
            } else {
                drain(number)
            }
        }
    }

    /// Serves what comes while clients move away, finishes what is under way, then stops the pods.
    private func drain(_ number: Int32) {
        isEnding = true
        logger.info("draining", metadata: ["signal": "\(Self.name(of: number))"])
        var isDone = false
        control.drainWorkers(graceMilliseconds: options.drainGraceMilliseconds) { [unowned self] in
            isDone = true
            stopPods(within: options.stopDeadlineMilliseconds)
        }
        loop.after(milliseconds: options.drainGraceMilliseconds + options.drainDeadlineMilliseconds) { [unowned self] in
            guard !isDone else { return }
            logger.error("requests are still under way at the drain deadline")
            exitStatus = ExitStatus.drainDeadline
            stopPods(within: options.stopDeadlineMilliseconds)
        }
    }

    static func name(of signal: Int32) -> String {
        switch signal {
        case SIGTERM: "SIGTERM"
        case SIGINT: "SIGINT"
        case SIGQUIT: "SIGQUIT"
        default: "\(signal)"
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
