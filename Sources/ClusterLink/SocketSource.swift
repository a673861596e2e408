import EventLoop
import Knative
import Logging
import Primitives

/// Objects from the socket of `martlet run --split`: a subscriber of its `ClusterHub`. Owned by the control thread.
///
/// A lost connection is tried again from 10 ms on; the observer then gets the difference. What was written is written
/// again, the newest of each name: the hub may be a new one, and registrations end with their connection.
public final class SocketSource: ClusterSource {
    /// The path of the socket.
    public let path: String

    private let loop: Loop
    private let log: Logger
    private let limits: ClusterLimits
    private var connection: LinkConnection?
    private var retry: TimerHandle = .none
    private var retryMilliseconds: UInt64
    private var isLossTold = false

    private var kinds: Set<ObjectKind> = []
    private var observer: ((ClusterChange) -> Void)?
    private var known = ObjectStore()
    /// What has been told since the connection was made; nil once all has been.
    private var listed: [ObjectKey: ClusterObject]? = [:]

    private var writes: [ObjectKey: (order: UInt64, object: ClusterObject)] = [:]
    private var writeCount: UInt64 = 0

    /// Will connect to the socket at `path` on `loop`; nothing need listen there yet.
    public init(path: String, loop: Loop, log: Logger, limits: ClusterLimits = ClusterLimits()) {
        self.path = path
        self.loop = loop
        self.log = log
        self.limits = limits
        retryMilliseconds = limits.firstRetryMilliseconds
    }

    /// Whether it is connected now.
    public var isConnected: Bool { connection?.isOpen ?? false }

    /// Begins to tell. A second call replaces the first: its observer hears no more.
    public func watch(_ kinds: Set<ObjectKind>, _ observer: @escaping (ClusterChange) -> Void) {
        self.kinds = kinds
        self.observer = observer
        known = ObjectStore()
        close()
        retry = loop.after(milliseconds: 0) { [weak self] in self?.connect() }
    }

    /// Writes `object` now, or as soon as there is a connection.
    public func apply(_ object: ClusterObject) {
        writeCount += 1
        writes[object.key] = (writeCount, object)
        if writes.count > limits.rememberedWrites, let oldest = writes.min(by: { $0.value.order < $1.value.order }) {
            writes[oldest.key] = nil
        }
        connection?.send(LinkMessage.apply(object).line)
    }

    /// Ends the connection. Registered objects vanish; `watch` begins anew.
    public func close() {
        loop.cancel(retry)
        connection?.close()
        connection = nil
    }

    // MARK: - Connection

    private func connect() {
        switch Socket.connect(toUnixPath: path) {
        case .connected(let socket): open(socket)
        case .pending(let socket): open(socket)
        case .failed(let code): lost(SystemError(call: "connect", code: code).reason)
        }
    }

    private func open(_ socket: consuming Socket) {
        let made: LinkConnection
        do throws(SystemError) { made = try LinkConnection(socket, loop: loop, limits: limits) } catch {
            return lost(error.reason)
        }
        made.onLine = { [weak self] line in self?.receive(line) }
        made.onEnd = { [weak self] reason in self?.lost(reason) }
        connection = made
        listed = [:]
        made.send(LinkMessage.watch(kinds).line)
        for write in writes.values.sorted(by: { $0.order < $1.order }) {
            made.send(LinkMessage.apply(write.object).line)
        }
    }

    private func lost(_ reason: String) {
        connection = nil
        if !isLossTold {
            log.warning("no connection to the cluster socket", metadata: ["socket": "\(path)", "reason": "\(reason)"])
            isLossTold = true
        }
        retry = loop.after(milliseconds: retryMilliseconds) { [weak self] in self?.connect() }
        retryMilliseconds = min(limits.lastRetryMilliseconds, retryMilliseconds * 2)
    }

    // MARK: - Events

    private func receive(_ line: [UInt8]) {
        let message: LinkMessage?
        do throws(LinkProblem) { message = try LinkMessage(line: line) } catch {
            log.error("a line of the cluster socket is not understood", metadata: ["problem": "\(error)"])
            return
        }
        switch message {
        case .added(let object), .modified(let object):
            listed?[object.key] = object
            if known.apply(object) { observer?(.applied(object)) }
        case .deleted(let kind, let name):
            let key = ObjectKey(kind, name)
            listed?[key] = nil
            if known.remove(key) { observer?(.removed(kind, name)) }
        case .bookmark: finishList()
        case .error(let text):
            log.error("the cluster socket has refused a line", metadata: ["message": "\(text)"])
        case nil, .watch, .apply, .explain, .text: break
        }
    }

    private func finishList() {
        guard let listed else { return }
        self.listed = nil
        retryMilliseconds = limits.firstRetryMilliseconds
        if isLossTold { log.info("connected to the cluster socket", metadata: ["socket": "\(path)"]) }
        isLossTold = false
        for object in known.all() where listed[object.key] == nil {
            _ = known.remove(object.key)
            observer?(.removed(object.kind, object.name))
        }
        observer?(.synced)
    }
}
