import Admission
import Primitives
import Synchronization
import Telemetry

/// The three time limits of a revision (spec.timeoutSeconds and its companions), in nanoseconds; 0 means off.
public struct RevisionTimeouts: Sendable, Equatable {
    /// From the complete head to the end of the response. Default 300 s.
    public var total: UInt64 = 300_000_000_000
    /// From the complete head to the first byte of the response. Default off.
    public var responseStart: UInt64 = 0
    /// Between two parts of the response. Default off.
    public var idle: UInt64 = 0

    /// Knative's defaults.
    public init() {}
}

/// What the pods of a revision are spoken to in.
public enum UpstreamProtocol: Sendable, Equatable {
    /// HTTP/1.1, whatever the client speaks: a container port without a name, or named `http1`.
    case http1
    /// HTTP/2 by prior knowledge, whatever the client speaks: a container port named `h2c`. Requests that ask for a
    /// change of protocol (WebSocket) still go over HTTP/1.1.
    case h2c
    /// HTTP/2 for requests that came in HTTP/2, else HTTP/1.1: what Knative's queue-proxy does (spec/dataplane 1.6).
    case asInbound
}

/// What one worker keeps for one revision.
struct WorkerCell {
    var view = EndpointView()
    var stats: RequestStats
    /// Whether the worker has this cell in its list for the next report.
    var isListed = false
}

/// One revision as the workers see it: its gate, its limits, and a cell for every worker.
///
/// Immutable but for the gate (its own locks and atomics), the demand flag (atomic) and the cells.
/// `@unchecked Sendable`: cell `i` is touched by worker `i` only, and lives as long as the target, which every exchange
/// and every snapshot holds.
public final class RevisionTarget: @unchecked Sendable {
    /// The owner's number for the revision.
    public let id: UInt64
    /// Name of the revision.
    public let name: String
    /// Its namespace.
    public let namespace: String
    /// Who may enter, and who waits.
    public let gate: RevisionGate
    /// Its time limits.
    public let timeouts: RevisionTimeouts
    /// What its pods are spoken to in.
    public let upstreamProtocol: UpstreamProtocol

    /// TLS to its pods; nil: plain TCP.
    public let upstreamSecurity: UpstreamSecurity?
    /// Its names for telemetry, if the process serves many revisions; nil: they are those of the process.
    let labels: RevisionLabels?
    /// What a gateway does with its requests; nil: nothing but sending them on.
    let amendment: UnsafeMutablePointer<Amendment>?

    private let cells: UnsafeMutablePointer<WorkerCell>
    private let workerCount: Int
    private let demandIsPending = Atomic<Bool>(false)
    /// Whether the owner knows that there are requests.
    public let arrivals = ArrivalMark()
    private let nameBytes: UnsafeMutableBufferPointer<UInt8>
    private let namespaceBytes: UnsafeMutableBufferPointer<UInt8>

    /// A revision for `workerCount` workers. Several may share one gate, as the routes of a gateway that lead to one
    /// service. `labels`: its names for telemetry, if they are not those of the process.
    public init(
        id: UInt64, name: String, namespace: String, gate: RevisionGate, timeouts: RevisionTimeouts,
        upstreamProtocol: UpstreamProtocol = .http1, upstreamSecurity: UpstreamSecurity? = nil,
        rule: GatewayRule? = nil, labels: RevisionLabels? = nil, workerCount: Int, now: Instant
    ) {
        self.id = id
        self.name = name
        self.namespace = namespace
        self.gate = gate
        self.timeouts = timeouts
        self.upstreamProtocol = upstreamProtocol
        self.upstreamSecurity = upstreamSecurity
        amendment = rule.map { Amendment.make($0) }
        self.labels = labels
        self.workerCount = workerCount
        cells = .allocate(capacity: workerCount)
        for index in 0..<workerCount { (cells + index).initialize(to: WorkerCell(stats: RequestStats(now: now))) }
        nameBytes = Self.bytes(of: name)
        namespaceBytes = Self.bytes(of: namespace)
    }

    private static func bytes(of text: String) -> UnsafeMutableBufferPointer<UInt8> {
        let utf8 = Array(text.utf8)
        let bytes = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: utf8.count)
        _ = bytes.initialize(fromContentsOf: utf8)
        return bytes
    }

    /// The name, for the access log.
    var nameView: ByteView { ByteView(UnsafeRawBufferPointer(nameBytes)) }

    /// The namespace, for the look-up by names.
    var namespaceView: ByteView { ByteView(UnsafeRawBufferPointer(namespaceBytes)) }

    /// The cell of one worker; only that worker may ask.
    func cell(_ worker: Int) -> UnsafeMutablePointer<WorkerCell> {
        precondition(worker < workerCount)
        return cells + worker
    }

    /// Notes that capacity is wanted. True if nobody has said so since `demandSeen`: then tell the control thread.
    func raiseDemand() -> Bool { !demandIsPending.exchange(true, ordering: .acquiringAndReleasing) }

    /// The control thread has taken notice; from now on a further demand is told again.
    public func demandSeen() { demandIsPending.store(false, ordering: .releasing) }

    deinit {
        cells.deinitialize(count: workerCount)
        cells.deallocate()
        nameBytes.deallocate()
        namespaceBytes.deallocate()
        if let amendment { Amendment.free(amendment) }
    }
}
