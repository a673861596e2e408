import EventLoop
import Knative
import Logging
import Primitives

/// The server side of the cluster socket: the objects of a run, told to every role that subscribes.
///
/// A change is written to all subscribers inside `publish`. Only this user can connect (mode 0600). `Endpoints` that a
/// role writes are its registration: those of all roles under one name are told as one object, and vanish with their
/// connections. Owned by the control thread.
public final class ClusterHub {
    /// The path of the socket.
    public var path: String { listener.path }
    /// What is told. Changed by `publish` and by registrations.
    public private(set) var store = ObjectStore()
    /// A role has written an object other than `Endpoints`. If nobody takes them, they are published as they are.
    public var onApply: ((ClusterObject, SessionID) -> Void)?
    /// The registrations under a name have changed; the object holds them all, and none if the last has gone.
    public var onRegistration: (ClusterEndpoints) -> Void = { _ in }
    /// Why a revision has the scale it has, in lines for a person. The name is as the user gave it; empty: all.
    public var onExplain: (String) -> LinkAnswer = { _ in .refused("nothing is known here") }

    private let listener: UnixListener
    private let loop: Loop
    private let log: Logger
    private let limits: ClusterLimits
    private var watch: Loop.WatchToken = .none
    private var pause: TimerHandle = .none
    private var sessions: [SessionID: HubSession] = [:]
    private var sessionCount: UInt64 = 0
    private var registrations: [ObjectName: [SessionID: ClusterEndpoints]] = [:]

    /// Listens at `path`, at most 107 bytes long.
    /// - Throws: `EADDRINUSE` if another run listens there.
    public init(
        path: String, loop: Loop, log: Logger, limits: ClusterLimits = ClusterLimits()
    ) throws(SystemError) {
        listener = try UnixListener(path: path)
        self.loop = loop
        self.log = log
        self.limits = limits
        try listen()
    }

    /// How many roles are connected.
    public var sessionsConnected: Int { sessions.count }

    /// Keeps a change and writes it to every subscriber of its kind. What is as it was is not told. `synced` is no
    /// news: what the hub holds when a role subscribes is its beginning.
    public func publish(_ change: ClusterChange) {
        let key: ObjectKey
        let message: LinkMessage
        switch change {
        case .synced: return
        case .applied(let object):
            key = object.key
            let isNew = store[key] == nil
            guard store.apply(object) else { return }
            message = isNew ? .added(object) : .modified(object)
        case .removed(let kind, let name):
            key = ObjectKey(kind, name)
            guard store.remove(key) else { return }
            message = .deleted(kind, name)
        }
        let listening = sessions.values.filter { $0.kinds.contains(key.kind) }
        guard !listening.isEmpty else { return }
        let line = message.line
        for session in listening where !session.tell(key, line: line) {
            cut(session, "it is more than \(limits.pendingObjects) objects behind")
        }
    }

    /// Ends all connections and removes the socket's file with the hub.
    public func close() {
        loop.unwatch(watch)
        loop.cancel(pause)
        for session in sessions.values { session.connection.close() }
        sessions = [:]
    }

    // MARK: - Connections

    private func listen() throws(SystemError) {
        watch = try loop.watch(listener.fd, .readable) { [weak self] _ in self?.accept() }
    }

    private func accept() {
        for _ in 0..<UnixListener.backlog {
            switch listener.accept() {
            case .nobody: return
            case .connection(let socket): open(socket)
            case .failed(let code):
                // No descriptor is free: asked again later, or the loop would spin.
                log.error("cannot accept a role", metadata: ["reason": "\(SystemError(call: "", code: code).reason)"])
                loop.unwatch(watch)
                pause = loop.after(milliseconds: 100) { [weak self] in _ = try? self?.listen() }
                return
            }
        }
    }

    private func open(_ socket: consuming Socket) {
        guard sessions.count < limits.sessions else {
            log.warning("a role is refused: too many are connected", metadata: ["limit": "\(limits.sessions)"])
            return
        }
        let connection: LinkConnection
        do throws(SystemError) { connection = try LinkConnection(socket, loop: loop, limits: limits) } catch {
            log.error("cannot accept a role", metadata: ["reason": "\(error)"])
            return
        }
        sessionCount += 1
        let session = HubSession(id: SessionID(number: sessionCount), connection: connection, limits: limits)
        sessions[session.id] = session
        connection.onLine = { [weak self, weak session] line in
            if let self, let session { receive(line, from: session) }
        }
        connection.onDrained = { [weak self, weak session] in
            if let self { session?.pump(store) }
        }
        connection.onEnd = { [weak self, weak session] reason in
            if let self, let session { ended(session, reason) }
        }
    }

    private func ended(_ session: HubSession, _ reason: String) {
        log.debug("a role has gone", metadata: ["session": "\(session.id)", "reason": "\(reason)"])
        forget(session)
    }

    private func cut(_ session: HubSession, _ reason: String) {
        log.warning("a role is cut", metadata: ["session": "\(session.id)", "reason": "\(reason)"])
        session.connection.close()
        forget(session)
    }

    private func forget(_ session: HubSession) {
        guard sessions.removeValue(forKey: session.id) != nil else { return }
        for name in registrations.keys.sorted() where registrations[name]?[session.id] != nil {
            registrations[name]?[session.id] = nil
            publishRegistrations(of: name)
        }
    }

    // MARK: - Lines

    private func receive(_ line: [UInt8], from session: HubSession) {
        let message: LinkMessage?
        do throws(LinkProblem) { message = try LinkMessage(line: line) } catch {
            log.warning("a role's line is refused", metadata: ["session": "\(session.id)", "problem": "\(error)"])
            session.connection.send(LinkMessage.error("\(error)").line)
            return
        }
        switch message {
        case .watch(let kinds): session.subscribe(to: kinds, store)
        case .explain(let name): session.connection.send(onExplain(name).message.line)
        case .apply(.endpoints(let endpoints)): register(endpoints, from: session)
        case .apply(let object):
            if let onApply { onApply(object, session.id) } else { publish(.applied(object)) }
        case nil, .text, .added, .modified, .deleted, .slice, .sliceDeleted, .bookmark, .error:
            session.connection.send(LinkMessage.error("not a request: WATCH, APPLY or EXPLAIN").line)
        }
    }

    // MARK: - Registrations

    private func register(_ endpoints: ClusterEndpoints, from session: HubSession) {
        let count = registrations.values.count { $0[session.id] != nil }
        guard registrations[endpoints.name]?[session.id] != nil || count < limits.registrations else {
            session.connection.send(LinkMessage.error("more than \(limits.registrations) registrations").line)
            return
        }
        registrations[endpoints.name, default: [:]][session.id] = endpoints
        publishRegistrations(of: endpoints.name)
    }

    private func publishRegistrations(of name: ObjectName) {
        let all = (registrations[name] ?? [:]).sorted { $0.key < $1.key }.flatMap(\.value.addresses)
        var seen: Set<ClusterEndpoints.Address> = []
        let endpoints = ClusterEndpoints(name: name, addresses: all.filter { seen.insert($0).inserted })
        if registrations[name]?.isEmpty ?? true {
            registrations[name] = nil
            publish(.removed(.endpoints, name))
        } else {
            publish(.applied(.endpoints(endpoints)))
        }
        onRegistration(endpoints)
    }
}
