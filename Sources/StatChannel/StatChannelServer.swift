import EventLoop
import Glibc
import HTTP
import HTTP1
import Primitives
import WebSocket

/// The autoscaler's end of Knative's control channel (spec/autoscaling 4.3): a WebSocket server on any path that takes
/// binary messages, and the answer to a kubelet's probes.
///
/// Owned by the loop's thread. See Lifecycle.md.
public final class StatChannelServer {
    let loop: Loop
    let limits: StatChannelLimits
    private var listener: Listener?
    private var watch: Loop.WatchToken?
    private var acceptTimer: TimerHandle?
    private var connections: [ObjectIdentifier: ServerConnection] = [:]
    /// Bytes of messages in the making, of all connections.
    var gatheredBytes = 0
    /// Reads the heads of all connections in turn.
    var head: RequestHead
    private var whenGone: (() -> Void)?
    private var goneDeadline: TimerHandle?

    /// Where it listens, with the port it was given.
    public let address: SocketAddress

    /// Takes the bytes of one binary message, which are valid during the call.
    public var onMessage: (ByteView) -> Void = { _ in }

    /// Whether this process answers for a host, given in lower case and without its port. Others are refused with 421.
    /// Default: every host that does not begin with `autoscaler-bucket`, the name of a bucket that another may own
    /// (spec/autoscaling 4.4).
    public var ownsHost: (String) -> Bool = { !$0.hasPrefix("autoscaler-bucket") }

    /// The answer to a kubelet's probe: 200, or 503 if false. Default true.
    public var isHealthy: () -> Bool = { true }

    /// Connections, those in their handshake and those that are ending with them.
    public var connectionCount: Int { connections.count }

    /// Listens at `address`; port 0 picks a free one.
    public convenience init(loop: Loop, address: SocketAddress) throws(SystemError) {
        try self.init(loop: loop, address: address, limits: StatChannelLimits())
    }

    /// The same with other limits.
    public init(loop: Loop, address: SocketAddress, limits: StatChannelLimits) throws(SystemError) {
        self.loop = loop
        self.limits = limits
        let opened = try Listener(address, sharesPort: false)
        self.address = opened.address ?? address
        listener = consume opened
        var sizes = HTTPLimits()
        sizes.headBytes = limits.headBytes
        sizes.requestLineBytes = limits.headBytes / 2
        head = RequestHead(limits: sizes)
        try listen()
    }

    deinit {
        if let watch { loop.unwatch(watch) }
        if let acceptTimer { loop.cancel(acceptTimer) }
        if let goneDeadline { loop.cancel(goneDeadline) }
        for connection in connections.values { connection.drop() }
    }

    /// Refuses new connections, closes all with 1012 `Restarting`, so that clients connect to another at once, and
    /// calls `done` when all are gone or after `deadlineMilliseconds`; perhaps before this returns. Once.
    public func shutDown(deadlineMilliseconds: UInt64, then done: @escaping () -> Void) {
        guard whenGone == nil else { return }
        stopListening()
        whenGone = done
        goneDeadline = loop.after(milliseconds: deadlineMilliseconds) { [weak self] in self?.dropAll() }
        for connection in connections.values { connection.restart() }
        reportIfGone()
    }

    private func dropAll() {
        for connection in connections.values { connection.drop() }
        reportIfGone()
    }

    private func reportIfGone() {
        guard connections.isEmpty, let done = whenGone else { return }
        whenGone = {}
        if let goneDeadline { loop.cancel(goneDeadline) }
        goneDeadline = nil
        done()
    }

    // MARK: Accepting

    private func listen() throws(SystemError) {
        guard let fd = listener?.fd, watch == nil else { return }
        watch = try loop.watch(fd, .readable) { [weak self] _ in self?.accept() }
    }

    private func stopListening() {
        if let watch { loop.unwatch(watch) }
        if let acceptTimer { loop.cancel(acceptTimer) }
        (watch, acceptTimer) = (nil, nil)
        listener = nil
    }

    private func accept() {
        for _ in 0..<limits.acceptsPerWakeup {
            switch listener?.accept() {
            case nil: return
            case .nobody?: return
            case .connection(let socket, _)?: take(socket)
            case .failed?: return pauseAccepting()
            }
        }
    }

    /// Descriptors have run out: those who wait are still there when some are free again.
    private func pauseAccepting() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        acceptTimer = loop.after(milliseconds: limits.acceptPauseMilliseconds) { [weak self] in
            guard let self else { return }
            acceptTimer = nil
            do throws(SystemError) { try listen() } catch { pauseAccepting() }
        }
    }

    private func take(_ socket: consuming Socket) {
        guard connections.count < limits.connections else { return }  // the newest is closed
        socket.keepAlive(seconds: limits.keepAliveSeconds)
        let connection = ServerConnection(ChannelSocket(socket, loop: loop), server: self)
        let name = ObjectIdentifier(connection)
        connections[name] = connection
        connection.begin { [weak self] in
            self?.connections[name] = nil
            self?.reportIfGone()
        }
    }
}
