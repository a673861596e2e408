import Autoscaler
import ClusterLink
import EventLoop
import Glibc
import Logging
import Primitives
import Scaling
import StatChannel

/// The options of `martlet autoscaler`.
public struct AutoscalerRoleOptions: Sendable {
    /// Where objects come from and go to.
    public var cluster: ClusterPlace
    /// The folder that takes what is written, if objects come from a folder; nil: nothing is written.
    public var output: String?
    /// Where activators connect. Default :8080, Knative's.
    public var listen = SocketAddress(ipv4: 0, port: 8080)
    /// Where metrics are; nil: nowhere. Default :9090, Knative's.
    public var metrics: SocketAddress? = SocketAddress(ipv4: 0, port: 9090)
    /// The port at which pods are asked for statistics. Default 9090, Knative's.
    public var podPort = QueueProxyReader.port
    /// Defaults of all revisions, and limits.
    public var engine = AutoscalerOptions()
    /// How long activators may take to end their connections after SIGTERM, in milliseconds. Default 2,000.
    public var stopDeadlineMilliseconds: UInt64 = 2_000

    /// An autoscaler of the objects there.
    public init(cluster: ClusterPlace) { self.cluster = cluster }
}

extension AutoscalerRoleOptions {
    /// Takes on Knative's ConfigMap `config-autoscaler`: entries `KEY=VALUE`, and files with all of it; entries win.
    ///
    /// Every problem is appended, each a sentence for the user.
    public mutating func setAutoscaler(_ entries: [String], files: [String], _ problems: inout [String]) {
        engine.scaling = AutoscalerSettings.read(entries: entries, files: files, &problems)
    }
}

/// The autoscaler in a process of its own: takes what activators push, asks pods, and writes how many there shall be.
///
/// Lives on the main thread, which is the control thread; there is no other.
public final class AutoscalerRole {
    private let options: AutoscalerRoleOptions
    private let logger: Logger
    private let loop: Loop
    private let signals: Signals
    private let engine: AutoscalerEngine
    private let reader: QueueProxyReader
    private let probe: PublicServiceProbe
    private let channel: StatChannelServer
    private var pages: PageServer?
    private var isEnding = false
    private var exitStatus = ExitCodes.ok

    /// Binds the addresses and opens the source. Nothing is decided yet.
    ///
    /// Call on the main thread before any other thread exists: signals are blocked here for all.
    public init(_ options: AutoscalerRoleOptions, logger: Logger) throws(SystemError) {
        self.options = options
        self.logger = logger
        signals = try Signals([SIGTERM, SIGINT, SIGHUP, SIGQUIT])
        loop = try Loop()
        _ = Machine.raiseFileLimit()
        let source = try options.cluster.source(loop: loop, log: logger, output: options.output)
        reader = QueueProxyReader(loop: loop, port: options.podPort)
        probe = PublicServiceProbe(loop: loop)
        var settings = options.engine
        settings.seed = UInt64.random(in: 0 ... .max)
        engine = AutoscalerEngine(
            options: settings, source: source, clock: loop, pods: reader, activators: probe, logger: logger)
        channel = try StatChannelServer(loop: loop, address: options.listen)
        channel.onMessage = { [engine] in engine.receive($0) }
        guard let metrics = options.metrics else { return }
        pages = try PageServer(loop: loop, address: metrics) { [unowned self] in page($0) }
    }

    /// Scales until a signal ends it; returns the exit status.
    public func run() throws(SystemError) -> Int32 {
        try signals.attach(to: loop) { [unowned self] in signalled($0) }
        channel.isHealthy = { [unowned self] in !isEnding }
        engine.start()
        logger.info("listening", metadata: ["address": "\(channel.address)", "for": "activators"])
        if let address = pages?.address {
            logger.info("listening", metadata: ["address": "\(address)", "for": "metrics"])
        }
        loop.run()
        return exitStatus
    }

    /// What `--metrics` answers with.
    private func page(_ path: String) -> PageServer.Page? {
        switch path {
        case "/metrics":
            PageServer.Page(
                type: "text/plain; version=0.0.4; charset=utf-8",
                body: engine.metricsPage(connections: channel.connectionCount))
        case "/live": PageServer.Page(body: Array("ok\n".utf8))
        case "/ready":
            engine.isSynced && !isEnding
                ? PageServer.Page(body: Array("ok\n".utf8))
                : PageServer.Page(status: 503, body: Array("not all objects are known\n".utf8))
        case _: nil
        }
    }

    private func signalled(_ number: Int32) {
        // Objects are told by their source whenever they change, so there is nothing to read anew.
        guard number != SIGHUP else { return }
        guard !isEnding else {
            exitStatus = ExitCodes.failure
            return loop.stop()
        }
        isEnding = true
        logger.info("ending", metadata: ["connections": "\(channel.connectionCount)"])
        engine.stop()
        // Activators are told to come again (1012): the next process, or another one, takes them.
        channel.shutDown(deadlineMilliseconds: options.stopDeadlineMilliseconds) { [unowned self] in
            reader.close()
            probe.close()
            pages?.close()
            loop.stop()
        }
    }
}
