import ClusterLink
import DataPlane
import EventLoop
import Glibc
import Ingress
import Logging
import Primitives
import TLS

/// The options of `martlet ingress`.
public struct IngressRoleOptions: Sendable {
    /// Addresses for clients, threads, access log and drain.
    public var serving = ServingOptions()
    /// Where parts of the cluster connect: cluster-local hosts are served there alone, and what is said about who asked
    /// is believed. Nil: cluster-local hosts are served at `serving.http` if that is a loopback address, else nowhere.
    /// Default nil.
    public var local: SocketAddress?
    /// What is taken from the cluster, and redirects.
    public var ingress = IngressOptions()
    /// How long the first objects are waited for before connections are taken, in milliseconds. Default 10,000. At the
    /// limit: connections are taken, and requests get 404 until the objects come.
    public var syncMilliseconds: UInt64 = 10_000

    /// The defaults.
    public init() {}

    /// The plain listener, the one with TLS, the one of the cluster; those that there are.
    var listeners: [(scheme: String, options: ListenerOptions)] {
        var plain = ListenerOptions(serving.http, redirectPort: serving.https?.port)
        plain.servesClusterLocal = local == nil && serving.http.isLoopback
        var all: [(scheme: String, options: ListenerOptions)] = [("http", plain)]
        if let https = serving.https { all.append(("https", ListenerOptions(https, tls: TLSServerSettings()))) }
        if let local {
            var listener = ListenerOptions(local)
            listener.servesClusterLocal = true
            listener.believesForwarded = true
            all.append(("local", listener))
        }
        return all
    }
}

/// Knative's front ingress as a process of its own: Ingress and Endpoints objects in, requests out to pods and
/// activators.
///
/// Lives on the main thread, which is the control thread.
public final class IngressRole {
    private let options: IngressRoleOptions
    private let logger: Logger
    private let loop: Loop
    private let signals: Signals
    private let log: LogSink
    private let workers: WorkerGroup
    private let control: IngressController
    private let certificates: CertificateKeeper?
    private let source: any ClusterSource
    private var isServing = false
    private var isEnding = false
    private var exitStatus = ExitCodes.ok
    private var failure: (any Error)?

    /// Binds the addresses. No request is served yet.
    ///
    /// Call on the main thread before any other thread exists: signals are blocked here for all.
    ///
    /// - Parameters:
    ///   - opened: needed if `options.serving.https` is set.
    ///   - makeSource: makes where the objects come from.
    public init(
        _ options: IngressRoleOptions, certificates opened: OpenedCertificates?, logger: Logger,
        source makeSource: (Loop) throws -> any ClusterSource
    ) throws {
        self.options = options
        self.logger = logger
        signals = try Signals([SIGTERM, SIGINT, SIGHUP, SIGQUIT])
        loop = try Loop()
        log = try LogSink(descriptor: 1)
        certificates = if let opened { try CertificateKeeper(opened, loop: loop, logger: logger) } else { nil }
        var worker = options.serving.workerOptions(certificates)
        worker.forwarding = .gateway
        workers = try WorkerGroup(listeners: options.listeners.map(\.options), options: worker, log: log)
        source = try makeSource(loop)
        control = try IngressController(
            loop: loop, workers: workers, source: source, options: options.ingress, logger: logger)
    }

    /// Serves until a signal ends it; returns the exit status.
    public func run() throws -> Int32 {
        try signals.attach(to: loop) { [unowned self] number in signalled(number) }
        certificates?.start { [workers] set in workers.post(.certificates(set)) }
        control.onPublished = { [unowned self] in certificates?.use(hosts: control.publicHosts) }
        control.start { [unowned self] in serve() }
        loop.after(milliseconds: options.syncMilliseconds) { [unowned self] in serveUnsynced() }
        loop.run()
        workers.post(.stop)
        workers.join()
        log.close()
        if let failure { throw failure }
        return exitStatus
    }

    /// The routes lie in the mailboxes by now: no connection that waited in the kernel meets a table without them.
    private func serve() {
        guard !isServing else { return }
        isServing = true
        do {
            try workers.start(IngressController.emptySnapshot())
        } catch {
            failure = error
            return loop.stop()
        }
        for (address, scheme) in zip(workers.addresses, options.listeners.map(\.scheme)) {
            logger.info(
                "listening",
                metadata: ["address": "\(address)", "scheme": "\(scheme)", "workers": "\(workers.count)"])
        }
    }

    private func serveUnsynced() {
        guard !isServing else { return }
        logger.warning(
            "the cluster has not told its objects; serving without them",
            metadata: ["waited_ms": "\(options.syncMilliseconds)"])
        serve()
    }

    // MARK: End

    private func signalled(_ number: Int32) {
        guard number != SIGHUP else {
            certificates?.reload()
            return
        }
        if isEnding {
            logger.warning("second signal: ending now")
            exitStatus = ExitCodes.failure
            loop.stop()
        } else {
            drain(number)
        }
    }

    /// Serves what comes while clients move away, and finishes what is under way.
    private func drain(_ number: Int32) {
        isEnding = true
        logger.info("draining", metadata: ["signal": "\(ChildProcess.signalName(number))"])
        guard isServing else { return loop.stop() }
        control.drain(graceMilliseconds: options.serving.drainGraceMilliseconds) { [unowned self] in loop.stop() }
        loop.after(milliseconds: options.serving.drainMilliseconds) { [unowned self] in
            logger.error("requests are still under way at the drain deadline")
            exitStatus = ExitCodes.drainDeadline
            loop.stop()
        }
    }
}
