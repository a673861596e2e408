import EventLoop
import Glibc
import Primitives

/// Taking connections, draining, and the end of accepting.
extension Worker {
    /// A connection taken at the last moment may still send its first request for so long, in milliseconds.
    static let firstRequestGraceMilliseconds: UInt64 = 200

    /// Watches the listener of this index, unless accepting has ended. Returns 0 or an error number.
    func watchListener(_ index: Int) -> Int32 {
        guard index < listeners.count else { return 0 }
        let token = TaggedToken(.listener, SlabToken(index: UInt32(index), generation: 0))
        return poller.watch(listeners[index].socket.fd, for: .readable, token: token.packed)
    }

    func acceptConnections(_ index: Int) {
        guard index < listeners.count else { return }
        let listener = listeners[index]
        for _ in 0..<limits.acceptsPerWakeup {
            switch listener.socket.accept() {
            case .connection(let socket, let peer): admitConnection(socket, from: peer, at: listener)
            case .nobody: return
            case .failed(let code): return acceptFailed(code, index)
            }
        }
    }

    private func admitConnection(_ socket: consuming Socket, from peer: SocketAddress, at listener: WorkerListener) {
        guard listener.tls == nil || handshakes < limits.handshakes else { return }
        guard connectionBudget.take() else { return }
        guard countAddress(peer) else { return connectionBudget.give() }
        guard let token = downstreams.vacancy(),
            poller.register(socket.fd, token: TaggedToken(.downstream, token).packed) == 0
        else {
            uncountAddress(peer)
            return connectionBudget.give()
        }
        let connection = downstreams.insert(
            DownstreamConnection(socket: socket, token: token, peer: peer, now: now), at: token)
        connection.pointee.redirectPort = listener.redirectPort
        connection.pointee.purpose = listener.purpose
        connection.pointee.servesClusterLocal = listener.servesClusterLocal
        connection.pointee.believesForwarded = listener.believesForwarded
        if let context = listener.tls { return beginHandshake(connection, context) }
        expectFirstRequest(connection)
    }

    /// The connection is made; its first request is awaited.
    func expectFirstRequest(_ connection: Downstream) {
        let limit = limits.firstRequestMilliseconds ?? limits.keepAliveIdleMilliseconds
        setDeadline(connection, now.adding(milliseconds: limit))
    }

    /// Counts a connection of this address; false at the limit. This worker's share of the limit, since the kernel
    /// spreads one client's connections over the workers.
    private func countAddress(_ peer: SocketAddress) -> Bool {
        guard !peer.isLoopback else { return true }
        let share = max(1, limits.connectionsPerAddress / options.count)
        let count = addressCounts[peer.hostKey, default: 0]
        guard count < share else { return false }
        addressCounts[peer.hostKey] = count + 1
        return true
    }

    func uncountAddress(_ peer: SocketAddress) {
        guard !peer.isLoopback, let count = addressCounts[peer.hostKey] else { return }
        addressCounts[peer.hostKey] = count > 1 ? count - 1 : nil
    }

    /// Descriptors or memory ran out: pause instead of spinning; connections wait in the kernel.
    private func acceptFailed(_ code: Int32, _ index: Int) {
        poller.forget(listeners[index].socket.fd)
        let token = TaggedToken(.resumeAccept, SlabToken(index: UInt32(index), generation: 0))
        _ = timers.arm(now.adding(milliseconds: 100), payload: token.packed)
        if code == EMFILE || code == ENFILE { events.post(.descriptorsExhausted(worker: options.index)) }
    }

    /// From now on every answer closes its connection, and HTTP/2's peers are told to open no more streams.
    ///
    /// Unused connections stay until `stopAccepting`: the next request of a busy client may be on its way, and closing
    /// now would lose it. In the meantime it is answered, with `Connection: close`.
    func beginDrain() {
        isDraining = true
        for token in downstreams.tokens() {
            guard let connection = downstreams[token], let session = connection.pointee.session else { continue }
            session.goAway(now: now)
            touch(connection)
        }
    }

    /// Takes what the kernel has accepted already, then refuses.
    func stopAccepting() {
        beginDrain()  // streams that come from now on would keep their connections, and us, for ever
        for listener in listeners {
            while case .connection(let socket, let peer) = listener.socket.accept() {
                admitConnection(socket, from: peer, at: listener)
            }
        }
        listeners = []
        isClosingDown = true
        _ = timers.arm(now.adding(milliseconds: Self.firstRequestGraceMilliseconds), payload: TaggedToken(.wake).packed)
    }

    func sayDrainedIfSo() {
        guard isClosingDown, !saidDrained, exchanges.count == endedExchanges.count else { return }
        for token in downstreams.tokens() where !isFinished(token) { return }
        saidDrained = true
        events.post(.drained(worker: options.index))
    }

    /// Whether a connection has nothing left to do; one that is idle is closed for that.
    private func isFinished(_ token: SlabToken) -> Bool {
        guard let connection = downstreams[token] else { return true }
        switch connection.pointee.phase {
        case .head, .asking, .exchange, .tunnel: return false
        case .session:
            // Streams that their client leaves half open keep nobody from ending.
            guard connection.pointee.streamExchanges == 0, connection.pointee.streamQuestions == 0,
                connection.pointee.outbound.count == 0, let session = connection.pointee.session,
                !session.acceptsRequests, !session.wantsTransmit
            else { return false }
            endSession(connection)
            return true
        case .lingering, .closed: return true
        case .handshake:
            if now.milliseconds(since: connection.pointee.acceptedAt) < Self.firstRequestGraceMilliseconds {
                return false
            }
            close(connection)
            return true
        case .idle:
            guard connection.pointee.inbound.count == 0, connection.pointee.outbound.count == 0 else { return false }
            let age = now.milliseconds(since: connection.pointee.acceptedAt)
            if connection.pointee.requestsBegun == 0, age < Self.firstRequestGraceMilliseconds { return false }
            if hasBytes(connection) { return false }
            close(connection)
            return true
        }
    }
}
