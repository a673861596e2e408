import DataPlane
import EventLoop
import Telemetry

/// What roles have in common that take the requests of clients in this process: `martlet run` and `martlet ingress`.
public struct ServingOptions: Sendable {
    /// Where clients connect. Default 127.0.0.1:8080.
    public var http = SocketAddress.loopback(port: 8080)
    /// Where clients connect with TLS; nil: nowhere. Default nil.
    public var https: SocketAddress?
    /// Whether clients get session tickets, with which they come back without a full handshake. Default true.
    public var issuesSessionTickets = true
    /// Data-plane threads. Default one a core.
    public var workers = Machine.coreCount
    /// Limits of the data plane.
    public var limits = DataPlaneLimits()
    /// Form of the access log on standard output.
    public var accessLog = AccessLogFormat.envoy
    /// Whether X-Forwarded-* from all clients is believed.
    public var trustsForwarded = false
    /// How long new connections are still taken after SIGTERM, in milliseconds. Default 500.
    public var drainGraceMilliseconds: UInt64 = 500
    /// How long requests under way may take after SIGTERM, in milliseconds. Default 30,000.
    public var drainDeadlineMilliseconds: UInt64 = 30_000

    /// The defaults.
    public init() {}

    /// How long a drain may take in all, in milliseconds.
    var drainMilliseconds: UInt64 { drainGraceMilliseconds + drainDeadlineMilliseconds }

    /// What workers are started with, as many connections as this process may have files. Raises that limit.
    func workerOptions(_ certificates: CertificateKeeper?) -> WorkerOptions {
        var worker = WorkerOptions()
        worker.count = workers
        worker.limits = limits
        worker.limits.connections = min(limits.connections, Self.connectionsFor(files: Machine.raiseFileLimit()))
        worker.accessLog = accessLog
        worker.trustsForwarded = trustsForwarded
        worker.seed = UInt64.random(in: 0 ... .max)
        worker.certificates = certificates?.set
        worker.tickets = issuesSessionTickets ? certificates?.tickets : nil
        return worker
    }

    /// A connection needs two descriptors, its own and its pod's; a twentieth is kept in reserve.
    static func connectionsFor(files: Int) -> Int { max(16, files * 19 / 20 / 2) }
}
