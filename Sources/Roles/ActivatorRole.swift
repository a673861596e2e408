import Activator
import ClusterLink
import DataPlane
import EventLoop
import Glibc
import Logging
import Primitives
import QueueProxy
import TLS
import Telemetry

/// Knative's activator as a process of its own: objects in from a source, requests to pods, stats to the autoscaler.
///
/// Lives on the main thread, which is the control thread.
public final class ActivatorRole {
    private let logger: Logger
    private let loop: Loop
    private let signals: Signals
    private let log: LogSink
    private let workers: WorkerGroup
    private let activator: Activator
    private let source: any ClusterSource
    private let channel: ActivatorChannel
    private let telemetry: ProcessTelemetry
    private let listenerNames: [String]

    /// Binds the addresses. No request is served yet.
    ///
    /// Call on the main thread before any other thread exists: signals are blocked here for all.
    ///
    /// - Parameters:
    ///   - settings: what the environment and the command line say.
    ///   - accessLog: the form of the access log on standard output.
    ///   - makeSource: makes where the objects come from.
    public init(
        _ settings: ActivatorSettings, accessLog: AccessLogFormat, logger: Logger,
        source makeSource: (Loop) throws -> any ClusterSource
    ) throws {
        let configuration = settings.configuration
        self.logger = logger
        for warning in settings.warnings { logger.warning("configuration", metadata: ["problem": "\(warning)"]) }
        signals = try Signals([SIGTERM, SIGINT])
        loop = try Loop()
        log = try LogSink(descriptor: STDOUT_FILENO)
        telemetry = try ProcessTelemetry(
            settings.telemetry, workers: configuration.workers, loop: loop, output: log,
            say: { logger.warning("telemetry", metadata: ["problem": "\($0)"]) })
        let certificates = try ActivatorCertificates(folder: configuration.certificates)
        let desk = QuestionDesk()
        var options = Activator.options(for: configuration, desk: desk, files: Machine.raiseFileLimit())
        options.accessLog = accessLog
        options.telemetry = telemetry.requests
        options.seed = UInt64.random(in: 0 ... .max)
        var listeners = Activator.listeners(for: configuration)
        var names = ["http", "http2", "metrics"]
        if let set = certificates.set {
            options.certificates = set
            options.tickets = certificates.tickets
            listeners.append(ListenerOptions(configuration.listeners.tls, tls: settings.tls))
            names.append("https")
        }
        listenerNames = names
        workers = try WorkerGroup(listeners: listeners, options: options, log: log)
        channel = ActivatorChannel(configuration.autoscaler, loop: loop, seed: options.seed)
        activator = try Activator(
            configuration, loop: loop, workers: workers, desk: desk, sink: channel, logger: logger)
        activator.use(certificates)
        if telemetry.requests != nil {
            activator.labelsRevisions = true
            activator.requestMetrics = { [telemetry] in telemetry.page.body }
        }
        source = try makeSource(loop)
    }

    /// Serves until a signal ends it; returns the exit status.
    public func run() throws -> Int32 {
        try signals.attach(to: loop) { [unowned self] number in activator.signalled(number) }
        activator.onEnd = { [unowned self] in finish() }
        for (address, name) in zip(workers.addresses, listenerNames) {
            logger.info("listening", metadata: ["address": "\(address)", "listener": "\(name)"])
        }
        channel.begin { [unowned self] reason in activator.connectionChanged(reason: reason) }
        activator.begin(source)
        loop.run()
        workers.post(.stop)
        workers.join()
        telemetry.finish(loop)
        log.close()
        return activator.exitStatus
    }

    private func finish() {
        channel.close { [unowned self] in loop.stop() }
    }
}
