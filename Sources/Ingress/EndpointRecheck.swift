import Balancing
import EventLoop
import Primitives

/// Tries endpoints that refused a connection until they take one again, or are not asked for any more.
///
/// Lives on the control thread. No more tries are under way than there are suspended endpoints.
final class EndpointRecheck {
    /// One try, or the pause before it.
    private struct Try {
        let endpoint: Endpoint
        var pauseMilliseconds: UInt64
        /// While a connection is being made.
        var watch: Loop.WatchToken?
        var timer = TimerHandle.none
        let resume: () -> Void
    }

    private let loop: Loop
    private let limits: IngressLimits
    private var tries: [ObjectIdentifier: Try] = [:]
    private var sockets: [ObjectIdentifier: OpenSocket] = [:]

    init(loop: Loop, limits: IngressLimits) {
        self.loop = loop
        self.limits = limits
    }

    /// How many endpoints are being tried.
    var count: Int { tries.count }

    /// Begins to try `endpoint`, which is suspended; calls `resume` when it takes a connection.
    func begin(_ endpoint: Endpoint, resume: @escaping () -> Void) {
        let id = ObjectIdentifier(endpoint)
        guard tries[id] == nil else { return }
        tries[id] = Try(endpoint: endpoint, pauseMilliseconds: limits.recheckMilliseconds, resume: resume)
        pause(id)
    }

    private func pause(_ id: ObjectIdentifier) {
        guard let pause = tries[id]?.pauseMilliseconds else { return }
        tries[id]?.pauseMilliseconds = min(limits.recheckLongestMilliseconds, pause * 2)
        tries[id]?.timer = loop.after(milliseconds: pause) { [weak self] in self?.connect(id) }
    }

    private func connect(_ id: ObjectIdentifier) {
        guard let endpoint = tries[id]?.endpoint else { return }
        // It left, or somebody else found it well.
        guard endpoint.state == .suspended else { return end(id) }
        let address = SocketAddress(ipv4: endpoint.address.ipv4, port: endpoint.address.port)
        switch Socket.connect(to: address) {
        case .connected: succeed(id)
        case .failed: pause(id)
        case .pending(let socket): wait(for: OpenSocket(socket), id)
        }
    }

    private func wait(for socket: OpenSocket, _ id: ObjectIdentifier) {
        guard let watch = try? loop.watch(socket.fd, .writable, { [weak self] _ in self?.decided(id) }) else {
            return pause(id)
        }
        sockets[id] = socket
        tries[id]?.watch = watch
        tries[id]?.timer = loop.after(milliseconds: limits.recheckConnectMilliseconds) { [weak self] in
            self?.close(id)
            self?.pause(id)
        }
    }

    private func decided(_ id: ObjectIdentifier) {
        guard let socket = sockets[id] else { return }
        let code = socket.pendingError
        if let timer = tries[id]?.timer { loop.cancel(timer) }
        close(id)
        if code == 0 { succeed(id) } else { pause(id) }
    }

    private func close(_ id: ObjectIdentifier) {
        if let watch = tries[id]?.watch { loop.unwatch(watch) }
        tries[id]?.watch = nil
        sockets[id] = nil
    }

    private func succeed(_ id: ObjectIdentifier) {
        let resume = tries[id]?.resume
        end(id)
        resume?()
    }

    private func end(_ id: ObjectIdentifier) { tries[id] = nil }
}

/// A connection that is being made, closed when nobody holds it.
private final class OpenSocket {
    private let socket: Socket

    init(_ socket: consuming Socket) { self.socket = socket }

    var fd: Int32 { socket.fd }
    var pendingError: Int32 { socket.pendingError }
}
