import Balancing
import EventLoop
import Glibc
import HTTP
import HTTP2
import Primitives
import Telemetry

/// Connections to pods that speak HTTP/2: shared by as many requests as there are streams, made when there are none
/// left, let go when they have been unused for long. What their streams say is in Worker+SharedStream.
extension Worker {
    // MARK: Choosing

    /// Sends the request of `exchange`, which has a slot of `endpoint`, on a stream of a connection that has one left,
    /// oldest first, or of a new one.
    func dispatchStream(_ exchange: ExchangePointer, _ connection: Downstream, to endpoint: Endpoint) {
        for token in pool.shared(endpoint: endpoint.id) {
            guard let upstream = upstreams[token], upstream.pointee.endpoint === endpoint else { continue }
            if let session = upstream.pointee.session {
                if mayOpen(session) { return openStream(exchange, connection, upstream, session) }
                guard session.acceptsRequests, !session.peerSettingsAreKnown else { continue }
            }
            guard upstream.pointee.waiting.count < limits.http2.concurrentStreams else { continue }
            exchange.pointee.stage = .connecting
            return wait(for: upstream, exchange)
        }
        connect(exchange, connection, to: endpoint, isShared: true)
    }

    /// Whether a stream can be opened now. Before the pod's SETTINGS are here only the first: how many it takes is not
    /// known, and what it refused could be tried once more only.
    private func mayOpen(_ session: HTTP2Session) -> Bool {
        session.roomForStreams > 0 && (session.peerSettingsAreKnown || session.requestCount == 0)
    }

    /// The exchange gets a stream when the connection has been made and the pod has said how many it takes.
    func wait(for upstream: Upstream, _ exchange: ExchangePointer) {
        upstream.pointee.waiting.append(exchange.pointee.token)
        exchange.pointee.upstream = upstream.pointee.token
    }

    /// The connection has been made: the first who waited for it gets a stream.
    func openSharing(_ upstream: Upstream) {
        guard let session = HTTP2Session(.client, pool: sessionPool, now: now) else {
            return sharedAttemptFailed(upstream, ENOMEM)
        }
        upstream.pointee.phase = .shared
        upstream.pointee.session = session
        upstream.pointee.idleSince = now
        armSweep()
        openWaiting(upstream, session)
        touch(upstream)
        if upstream.pointee.isReadable { queueTurn(upstream) }
    }

    /// Opens streams for those who wait, as many as the pod takes; the others go on waiting for its word, or are sent
    /// elsewhere after it.
    func openWaiting(_ upstream: Upstream, _ session: HTTP2Session) {
        let waiting = upstream.pointee.waiting
        upstream.pointee.waiting = []
        for token in waiting {
            guard let (exchange, connection) = waiter(token, of: upstream) else { continue }
            if mayOpen(session) {
                openStream(exchange, connection, upstream, session)
            } else if session.acceptsRequests, !session.peerSettingsAreKnown {
                upstream.pointee.waiting.append(token)
            } else {
                exchange.pointee.upstream = .none
                dispatchStream(exchange, connection, to: upstream.pointee.endpoint)
            }
        }
    }

    /// No connection came of it: whoever waited is tried elsewhere, or fails.
    func sharedAttemptFailed(_ upstream: Upstream, _ code: Int32) {
        let endpoint = upstream.pointee.endpoint
        dismiss(upstream) { connectFailed($0, $1, endpoint, code) }
    }

    /// The connection may not be used: whoever waited is told.
    func sharedAttemptRefused(_ upstream: Upstream, _ refusal: Refusal) {
        dismiss(upstream) { exchange, _ in fail(exchange, refusal) }
    }

    /// Closes a connection that is being made; those who waited for it go on with `next`.
    private func dismiss(_ upstream: Upstream, _ next: (ExchangePointer, Downstream) -> Void) {
        let waiting = upstream.pointee.waiting
        upstream.pointee.waiting = []
        if upstream.pointee.phase != .closed { close(upstream) }
        for token in waiting {
            guard let (exchange, connection) = waiter(token, of: upstream) else { continue }
            exchange.pointee.upstream = .none
            next(exchange, connection)
        }
    }

    /// An exchange that waits for `upstream`, unless it has ended or gone elsewhere.
    private func waiter(_ token: SlabToken, of upstream: Upstream) -> (ExchangePointer, Downstream)? {
        guard let exchange = exchanges[token], exchange.pointee.stage == .connecting,
            exchange.pointee.upstream == upstream.pointee.token,
            let connection = downstreams[exchange.pointee.downstream]
        else { return nil }
        return (exchange, connection)
    }

    // MARK: Bytes

    func sharedReady(_ upstream: Upstream) {
        if upstream.pointee.outbound.count > 0, flush(upstream) == .broken { return sharedBroke(upstream) }
        readShared(upstream)
        touch(upstream)
    }

    private func readShared(_ upstream: Upstream) {
        guard let session = upstream.pointee.session else { return }
        for _ in 0..<limits.readsPerWakeup {
            guard upstream.pointee.phase == .shared, upstream.pointee.isReadable else { return }
            switch receive(upstream, into: sessionPlace) {
            case .bytes(let count):
                take(ByteView(UnsafeRawBufferPointer(rebasing: sessionPlace[..<count])), upstream, session)
            case .wouldBlock: return
            case .endOfStream, .failed: return sharedBroke(upstream)
            }
        }
        if upstream.pointee.phase == .shared, upstream.pointee.isReadable { queueTurn(upstream) }
    }

    private func take(_ bytes: ByteView, _ upstream: Upstream, _ session: HTTP2Session) {
        var rest = bytes
        while !rest.isEmpty {
            let taken = session.receive(rest, now: now)
            drain(upstream, session)
            guard taken > 0 else { return assertionFailure("all events were taken") }
            rest = rest.dropping(first: taken)
        }
        // SETTINGS may have come, or a GOAWAY.
        if !upstream.pointee.waiting.isEmpty { openWaiting(upstream, session) }
    }

    /// Lets the session transmit at the end of the wake-up.
    func touch(_ upstream: Upstream) {
        guard !upstream.pointee.isTouched else { return }
        upstream.pointee.isTouched = true
        touchedSessions.append(TaggedToken(.upstream, upstream.pointee.token))
    }

    func transmit(_ upstream: Upstream) {
        guard upstream.pointee.phase == .shared, let session = upstream.pointee.session else { return }
        for _ in 0..<Self.transmitRounds {
            guard upstream.pointee.outbound.count == 0, session.wantsTransmit else { break }
            var writer = ByteWriter(transmitPlace)
            session.transmit(into: &writer, now: now)
            guard writer.count > 0 else { break }
            guard sendBytes(upstream, writer.written) == .taken else { return sharedBroke(upstream) }
        }
        drain(upstream, session)
        guard upstream.pointee.phase == .shared else { return }
        if session.streamCount == 0 { upstream.pointee.idleSince = now }
        if !session.acceptsRequests { pool.unshare(upstream.pointee.token, endpoint: upstream.pointee.endpoint.id) }
        if session.isFinished || (session.streamCount == 0 && !session.acceptsRequests) { return close(upstream) }
        if upstream.pointee.outbound.count == 0, session.wantsTransmit { touch(upstream) }
        armSharedTimer(upstream, session.deadline)
    }

    // MARK: Time

    private func armSharedTimer(_ upstream: Upstream, _ deadline: Instant) {
        guard deadline < upstream.pointee.timerInstant else { return }
        if upstream.pointee.timerInstant != .distantFuture { timers.cancel(upstream.pointee.timer) }
        upstream.pointee.timerInstant = deadline
        upstream.pointee.timer = timers.arm(
            deadline, payload: TaggedToken(.upstream, upstream.pointee.token).packed)
    }

    func sharedTimerFired(_ upstream: Upstream) {
        upstream.pointee.timerInstant = .distantFuture
        guard let session = upstream.pointee.session else { return }
        if session.deadline <= now {
            session.timeout(now: now)
            drain(upstream, session)
        }
        touch(upstream)
    }

    /// Every few seconds: says goodbye on connections that were unused for too long.
    func sweepShared() {
        for token in pool.allShared {
            guard let upstream = upstreams[token], let session = upstream.pointee.session, session.streamCount == 0,
                now.milliseconds(since: upstream.pointee.idleSince) >= limits.upstreamIdleMilliseconds
            else { continue }
            retireShared(token)
        }
    }

    /// No more requests on this connection; those under way go on.
    func retireShared(_ token: SlabToken) {
        guard let upstream = upstreams[token], let session = upstream.pointee.session else { return }
        session.goAway(now: now)
        touch(upstream)
    }

    // MARK: End

    /// The connection is of no more use: every stream ends with it.
    func sharedBroke(_ upstream: Upstream) {
        guard let session = upstream.pointee.session else { return close(upstream) }
        // First, so that nobody who tries again comes here.
        stopSharing(upstream)
        session.transportClosed(now: now)
        drain(upstream, session)
        close(upstream)
    }

    /// Takes the connection out of the pool.
    func stopSharing(_ upstream: Upstream) {
        pool.unshare(upstream.pointee.token, endpoint: upstream.pointee.endpoint.id)
    }
}
