import EventLoop
import Knative
import Logging
import Primitives

/// Objects from the socket of `martlet run --split`: a subscriber of its `ClusterHub`. Owned by the control thread.
///
/// A lost connection is tried again from 10 ms on; the observer then gets the difference. What was written is written
/// again, the newest of each name: the hub may be a new one, and registrations end with their connection. Told
/// EndpointSlices become the `Endpoints` of their services.
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
    /// What the observer was told.
    private var known = ObjectStore()
    /// Endpoints as they were told: whole, and in slices.
    private var endpoints = EndpointBook()
    /// What has been told since the connection was made; nil once all has been.
    private var listed: Listed? = Listed()
    private var areSlicesRefused = false

    private struct Listed {
        var objects: Set<ObjectKey> = []
        var slices: Set<ObjectName> = []
    }

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
        endpoints = EndpointBook()
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
        listed = Listed()
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
        case .added(.endpoints(let object)), .modified(.endpoints(let object)):
            listed?.objects.insert(ObjectKey(.endpoints, object.name))
            endpoints.set(object, of: object.name)
            tellEndpoints(of: object.name)
        case .added(let object), .modified(let object):
            listed?.objects.insert(object.key)
            if known.apply(object) { observer?(.applied(object)) }
        case .deleted(.endpoints, let name):
            listed?.objects.remove(ObjectKey(.endpoints, name))
            endpoints.set(nil, of: name)
            tellEndpoints(of: name)
        case .deleted(let kind, let name):
            let key = ObjectKey(kind, name)
            listed?.objects.remove(key)
            if known.remove(key) { observer?(.removed(kind, name)) }
        case .slice(let slice): take(slice)
        case .sliceDeleted(let name):
            listed?.slices.remove(name)
            if let service = endpoints.remove(slice: name) { tellEndpoints(of: service) }
        case .bookmark: finishList()
        case .error(let text):
            log.error("the cluster socket has refused a line", metadata: ["message": "\(text)"])
        case nil, .watch, .apply, .explain, .text: break
        }
    }

    private func take(_ slice: EndpointSlice) {
        guard kinds.contains(.endpoints) else { return }
        guard endpoints.sliceCount < limits.slices || endpoints.has(slice: slice.name) else {
            if !areSlicesRefused {
                log.error(
                    "there are too many EndpointSlices; more are passed over", metadata: ["limit": "\(limits.slices)"])
            }
            areSlicesRefused = true
            return
        }
        listed?.slices.insert(slice.name)
        for service in endpoints.apply(slice) { tellEndpoints(of: service) }
    }

    /// Tells what is behind a service now, unless that is as it was.
    private func tellEndpoints(of service: ObjectName) {
        if let now = endpoints[service] {
            if known.apply(.endpoints(now)) { observer?(.applied(.endpoints(now))) }
        } else if known.remove(ObjectKey(.endpoints, service)) {
            observer?(.removed(.endpoints, service))
        }
    }

    private func finishList() {
        guard let listed else { return }
        self.listed = nil
        retryMilliseconds = limits.firstRetryMilliseconds
        if isLossTold { log.info("connected to the cluster socket", metadata: ["socket": "\(path)"]) }
        isLossTold = false
        for slice in endpoints.sliceNames.filter({ !listed.slices.contains($0) }).sorted() {
            if let service = endpoints.remove(slice: slice) { tellEndpoints(of: service) }
        }
        for service in endpoints.objectNames.filter({ !listed.objects.contains(ObjectKey(.endpoints, $0)) }).sorted() {
            endpoints.set(nil, of: service)
            tellEndpoints(of: service)
        }
        for object in known.all() where object.kind != .endpoints && !listed.objects.contains(object.key) {
            _ = known.remove(object.key)
            observer?(.removed(object.kind, object.name))
        }
        observer?(.synced)
    }
}
