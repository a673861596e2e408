import Admission
import Balancing
import DataPlane
import EventLoop
import Glibc
import Primitives
import Probing
import Routing
import TLS
import Telemetry

/// The sidecar cannot start. Every reason is told.
public struct SidecarFailure: Error {
    /// A message of the log for each reason, with its fields.
    let reasons: [(message: String, fields: [SidecarLog.Field])]
}

/// The queue-proxy: the workers, and around them what Knative's sidecar does besides passing requests on.
///
/// Lives on the main thread, which is the control thread: readiness, statistics, certificates, the drain. Make it
/// before any other thread exists: signals are blocked here for all.
public final class QueueSidecar {
    /// How long after the start its code is given back, in milliseconds.
    static let settledMilliseconds: UInt64 = 1_000

    let configuration: QueueConfiguration
    let log: SidecarLog
    let loop: Loop
    let workers: WorkerGroup
    let desk = QuestionDesk()
    let gate: RevisionGate
    var ending: PodEnding
    private let signals: Signals
    private let target: RevisionTarget
    private let listenerNames: [String]
    private let stats: StatWindows
    private let readiness: ReadinessCheck
    private let certificates: CertificateWatch?
    /// Request log, metrics and spans.
    private let telemetry: ProcessTelemetry
    /// What the last run of the probes said; so the log tells changes only.
    private var lastReadiness: (isReady: Bool, reason: String)?
    private var exitStatus: Int32 = 0

    /// What `martlet-queue` does: serves by what was read of the environment; returns the exit status.
    ///
    /// Every problem of the environment is told on standard error, before there is a log.
    public static func serve(_ reading: QueueConfigurationReading) -> Int32 {
        guard let configuration = reading.configuration else {
            WholeBytes.write(CheckReport.messages(reading.problems, reading.warnings), to: STDERR_FILENO)
            return 1
        }
        let log = SidecarLog(configuration.log, revision: configuration.revision)
        for warning in reading.warnings {
            log.write(.warn, "configuration", [("variable", warning.variable), ("warning", "\(warning)")])
        }
        do throws(SidecarFailure) {
            return try QueueSidecar(configuration, log: log).run()
        } catch {
            for reason in error.reasons { log.write(.fatal, reason.message, reason.fields) }
            return 1
        }
    }

    /// Opens every listener. Nothing is served yet.
    public init(_ configuration: QueueConfiguration, log: SidecarLog) throws(SidecarFailure) {
        self.configuration = configuration
        self.log = log
        Machine.keepHeapSmall()
        let start = MonotonicClock.now()
        do throws(SystemError) {
            signals = try Signals([SIGTERM, SIGINT])
            loop = try Loop()
        } catch {
            throw SidecarFailure(reasons: [("cannot start", [("error", "\(error)")])])
        }
        telemetry = try ProcessTelemetry(configuration, loop: loop, log: log)
        var options = WorkerOptions()
        options.count = configuration.workers
        options.limits = DataPlaneLimits(sidecar: configuration, files: Machine.raiseFileLimit())
        options.forwarding = .sidecar
        options.questions = desk
        options.telemetry = telemetry.requests
        options.seed = UInt64.random(in: 0 ... .max)
        certificates = try Self.certificates(configuration, log)
        options.certificates = certificates?.set
        options.tickets = certificates?.tickets
        let listeners = try Self.listeners(configuration)
        listenerNames = listeners.entries.map(\.name)
        do throws(SystemError) {
            workers = try WorkerGroup(
                listeners: listeners.entries.map(\.options), options: options, log: telemetry.output)
        } catch {
            throw SidecarFailure(reasons: [("cannot listen", [("error", "\(error)")])])
        }
        (gate, target) = Self.target(configuration, start)
        guard
            let stats = StatWindows(podName: configuration.revision.pod, loop: loop, workers: workers, start: start)
        else {
            let limit = "\(StatMessage.podNameLimit)"
            throw SidecarFailure(reasons: [("SERVING_POD is too long", [("limit_bytes", limit)])])
        }
        self.stats = stats
        let probes = ProbeContext(
            loop: loop, userAgent: ReadinessProbe.userAgent, followsRedirects: true,
            security: ProbeTrust.security(configuration.readiness))
        readiness = ReadinessCheck(configuration.readiness, probes, loop: loop)
        ending = PodEnding(configuration)
    }

    /// Serves until a signal ends it; returns the exit status: 0, or 1 if a worker could not start.
    public func run() -> Int32 {
        // A sidecar does not look at hosts: the table is empty, which no table can fail to be.
        guard let table = try? RouteTable(routes: []) else { preconditionFailure("an empty table is one") }
        do throws(SystemError) {
            try signals.attach(to: loop) { [unowned self] number in signalled(number) }
            _ = try loop.watch(workers.events.fd, .readable) { [unowned self] _ in takeEvents() }
            try watchGauges()
            try workers.start(RoutingSnapshot(generation: 1, table: table, targets: [target]))
        } catch {
            log.write(.fatal, "cannot start", [("error", "\(error)")])
            return 1
        }
        readiness.onResult = { [unowned self] in tellReadiness(isReady: $0, probe: $1, reason: $2) }
        certificates?.begin(on: loop, milliseconds: UInt64(configuration.certificateCheckMilliseconds)) {
            [workers] set in workers.post(.certificates(set))
        }
        stats.begin()
        announce()
        loop.after(milliseconds: Self.settledMilliseconds) { Machine.releaseCode() }
        loop.run()
        workers.post(.stop)
        workers.join()
        telemetry.finish(loop)
        return exitStatus
    }

    /// Ends `run` after the present event.
    func end(_ status: Int32) {
        exitStatus = status
        loop.stop()
    }

    private func announce() {
        for (name, address) in zip(listenerNames, workers.addresses) {
            log.write(.info, "listening", [("listener", name), ("address", "\(address)")])
        }
        log.write(
            .info, "serving",
            [
                ("version", QueueCommand.versionText), ("workers", "\(workers.count)"),
                ("container", "127.0.0.1:\(configuration.userPort)"),
                ("container_concurrency", "\(configuration.concurrency)"),
            ])
    }

    // MARK: Parts

    private static func certificates(
        _ configuration: QueueConfiguration, _ log: SidecarLog
    ) throws(SidecarFailure) -> CertificateWatch? {
        guard configuration.tls != nil else { return nil }
        do throws(CertificateWatch.Failure) {
            return try CertificateWatch(directory: configuration.certificateDirectory, log: log)
        } catch {
            throw SidecarFailure(reasons: [("certificate refused", [("error", "\(error)")])])
        }
    }

    private static func listeners(_ configuration: QueueConfiguration) throws(SidecarFailure) -> SidecarListeners {
        var listeners = SidecarListeners()
        listeners.add("queue", configuration.queueListen) { ListenerOptions($0) }
        if let tls = configuration.tls {
            listeners.add("tls", tls.listen) { ListenerOptions($0, tls: tls.settings) }
        }
        listeners.add("admin", configuration.adminListen) { ListenerOptions($0, purpose: .admin) }
        listeners.add("stat", configuration.statListen) { ListenerOptions($0, purpose: .stat) }
        if case .prometheus(let prometheus) = configuration.observability.requestMetrics {
            let security = try SidecarMetrics.security(of: prometheus)
            listeners.add("metrics", prometheus.listen) { address in
                var options = ListenerOptions(address, tls: security?.settings, purpose: .metrics)
                options.certificates = security?.certificates
                return options
            }
        }
        let failures = listeners.bind()
        guard failures.isEmpty else {
            throw SidecarFailure(
                reasons: failures.map { failure in
                    let fields = [("listener", failure.name), ("address", "\(failure.listen)")]
                    return ("cannot listen", fields + [("error", "\(failure.error)")])
                })
        }
        return listeners
    }

    /// The container: one endpoint with the revision's limit, ten times as many may wait (spec/dataplane 1.6).
    private static func target(
        _ configuration: QueueConfiguration, _ now: Instant
    ) -> (gate: RevisionGate, target: RevisionTarget) {
        let concurrency = configuration.concurrency
        let queueLimit = (configuration.admittedLimit ?? 0) - concurrency
        let gate = RevisionGate(
            concurrency: concurrency, queueLimit: max(0, queueLimit), budget: WaitBudget(limit: queueLimit))
        var timeouts = RevisionTimeouts()
        let total = UInt64(configuration.timeouts.totalSeconds) * 1_000_000_000
        timeouts.total = max(1, total)  // in the data plane 0 means no limit; here it is over at once
        timeouts.responseStart = UInt64(configuration.timeouts.responseStartSeconds) * 1_000_000_000
        timeouts.idle = UInt64(configuration.timeouts.idleSeconds) * 1_000_000_000
        let endpoint = Endpoint(id: 0, address: .loopback(port: configuration.userPort), concurrency: concurrency)
        _ = gate.setEndpoints([endpoint])
        let target = RevisionTarget(
            id: 1, name: configuration.revision.name, namespace: configuration.revision.namespace, gate: gate,
            timeouts: timeouts, upstreamProtocol: .asInbound, workerCount: configuration.workers, now: now)
        return (gate, target)
    }

    // MARK: What workers tell

    private func takeEvents() {
        for event in workers.events.takeAll() {
            switch event {
            case .question(let question): answer(question)
            case .report(_, let reports): stats.take(reports)
            case .drained: workerDrained()
            case .failed(_, let error):
                log.write(.fatal, "a worker could not start", [("error", "\(error)")])
                end(1)
            case .descriptorsExhausted:
                log.write(.warn, "file descriptors have run out; connections wait", [])
            // A sidecar's container has no platform that starts it, and is always its one endpoint.
            case .demand, .suspect, .idle, .dispatched, .arrived, .published, .doubt: break
            }
        }
    }

    private func answer(_ question: Question) {
        let asker = question.asker
        switch question.subject {
        case .readiness:
            readiness.ask { [workers, desk] isReady in
                // A drain may have begun since it was asked.
                workers.answer(asker, desk.isDraining ? .shuttingDown : isReady ? .ready : Answer(status: 503))
            }
        case .stat: workers.answer(asker, stats.answer)
        case .metrics: workers.answer(asker, telemetry.page)
        case .drain: hooked(asker)
        }
    }

    /// Says when readiness changes, or its reason.
    private func tellReadiness(isReady: Bool, probe: String, reason: String) {
        guard lastReadiness?.isReady != isReady || lastReadiness?.reason != reason else { return }
        lastReadiness = (isReady, reason)
        if isReady {
            log.write(.info, "the container is ready")
        } else {
            log.write(.warn, "the container is not ready", [("probe", probe), ("error", reason)])
        }
    }
}

extension Answer {
    fileprivate static let ready = Answer(status: 200, contentType: .plain, body: Array("queue".utf8))
    fileprivate static let shuttingDown = Answer(status: 503, contentType: .plain, body: Array("shutting down\n".utf8))
}
