import Balancing
import EventLoop
import Glibc
import HTTP
import HTTP1
import Primitives
import Telemetry

/// The pod's side of a connection: choosing one, making one, giving it back, and what happens when it breaks.
extension Worker {
    typealias Upstream = UnsafeMutablePointer<UpstreamConnection>

    /// Sends the request of `exchange`, which has a slot, on the warmest unused connection to its endpoint or a new
    /// one.
    func dispatch(_ exchange: ExchangePointer, _ connection: Downstream) {
        if let telemetry { telemetryDispatches(exchange, telemetry) }
        if usesStream(exchange) {
            guard let endpoint = exchange.pointee.endpoint else { return assertionFailure("dispatched without a slot") }
            return dispatchStream(exchange, connection, to: endpoint)
        }
        guard let (number, identity) = exchange.pointee.endpoint.map({ ($0.id, ObjectIdentifier($0)) }) else {
            return assertionFailure("dispatched without a slot")
        }
        while let token = pool.pop(endpoint: number) {
            guard let upstream = upstreams[token], upstream.pointee.phase == .pooled else { continue }
            // Endpoint numbers are used again: the connection must be to this very endpoint.
            guard ObjectIdentifier(upstream.pointee.endpoint) == identity, !upstream.pointee.peerHasClosed,
                exchange.pointee.method.isIdempotent || isSilent(upstream)
            else {
                close(upstream)
                continue
            }
            upstream.pointee.phase = .awaitingHead
            attach(upstream, exchange)
            return sendRequest(exchange, connection, upstream)
        }
        guard let endpoint = exchange.pointee.endpoint else { return assertionFailure("dispatched without a slot") }
        connect(exchange, connection, to: endpoint, isShared: false)
    }

    /// Whether the request goes to its pod in HTTP/2. A change of protocol is HTTP/1.1's.
    private func usesStream(_ exchange: ExchangePointer) -> Bool {
        switch exchange.pointee.target.upstreamProtocol {
        case .http1: false
        case .h2c: !exchange.pointee.wantsUpgrade
        case .asInbound: exchange.pointee.isStream && !exchange.pointee.wantsUpgrade
        }
    }

    private func attach(_ upstream: Upstream, _ exchange: ExchangePointer) {
        upstream.pointee.exchange = exchange.pointee.token
        upstream.pointee.scanned = 0
        exchange.pointee.upstream = upstream.pointee.token
    }

    func connect(_ exchange: ExchangePointer, _ connection: Downstream, to endpoint: Endpoint, isShared: Bool) {
        exchange.pointee.stage = .connecting
        exchange.pointee.connectAttempts += 1
        guard let token = upstreams.vacancy() else { return fail(exchange, .overloaded) }
        let address = SocketAddress(ipv4: endpoint.address.ipv4, port: endpoint.address.port)
        let upstream: Upstream
        switch Socket.connect(to: address) {
        case .failed(let code): return connectFailed(exchange, connection, endpoint, code)
        case .connected(let socket):
            upstream = upstreams.insert(
                UpstreamConnection(
                    socket: socket, token: token, endpoint: endpoint, isShared: isShared, isConnected: true, now: now),
                at: token)
        case .pending(let socket):
            upstream = upstreams.insert(
                UpstreamConnection(
                    socket: socket, token: token, endpoint: endpoint, isShared: isShared, isConnected: false, now: now),
                at: token)
        }
        upstream.pointee.security = exchange.pointee.target.upstreamSecurity
        if isShared {
            pool.share(token, endpoint: endpoint.id)
            wait(for: upstream, exchange)
        } else {
            attach(upstream, exchange)
        }
        guard poller.register(upstream.pointee.socket.fd, token: TaggedToken(.upstream, token).packed) == 0 else {
            fail(exchange, .overloaded)
            return close(upstream)
        }
        if upstream.pointee.phase == .connecting {
            upstream.pointee.timer = timers.arm(
                now.adding(milliseconds: connectMilliseconds(exchange)),
                payload: TaggedToken(.upstream, token).packed)
        } else {
            upstreamConnected(upstream)
        }
    }

    /// Nothing was sent, so the request may go elsewhere; the pod is looked at by the control thread.
    func connectFailed(
        _ exchange: ExchangePointer, _ connection: Downstream, _ endpoint: Endpoint, _ code: Int32
    ) {
        let isOurFault = [EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL].contains(code)
        guard !isOurFault else { return fail(exchange, .overloaded) }
        guard !isSidecar else { return containerRefused(exchange, connection, code) }
        let target = exchange.pointee.target
        if target.gate.suspend(endpoint) { events.post(.suspect(target, endpoint)) }
        releaseSlot(exchange)
        guard exchange.pointee.connectAttempts < limits.upstreamConnectTries else {
            return fail(exchange, .connectFailed)
        }
        exchange.pointee.stage = .waiting
        readmit(exchange, connection, avoiding: endpoint)
    }

    func upstreamTimerFired(_ token: SlabToken) {
        guard let upstream = upstreams[token] else { return }
        switch upstream.pointee.phase {
        case .connecting, .handshaking: connectionAttemptFailed(upstream, ETIMEDOUT)
        case .shared: sharedTimerFired(upstream)
        case .awaitingHead, .body, .tunnel, .pooled, .closed: break
        }
    }

    func connectionAttemptFailed(_ upstream: Upstream, _ code: Int32) {
        let endpoint = upstream.pointee.endpoint
        let token = upstream.pointee.exchange
        if upstream.pointee.isShared { return sharedAttemptFailed(upstream, code) }
        close(upstream)
        guard let exchange = exchanges[token], exchange.pointee.stage == .connecting,
            let connection = downstreams[exchange.pointee.downstream]
        else { return }
        exchange.pointee.upstream = .none
        connectFailed(exchange, connection, endpoint, code)
    }

    // MARK: Events

    /// Handles a change of readiness, or (with none) goes on where a limit stopped.
    func upstreamReady(_ token: SlabToken, _ readiness: Readiness) {
        guard let upstream = upstreams[token], upstream.pointee.phase != .closed else { return }
        if readiness.contains(.readable) { upstream.pointee.isReadable = true }
        if readiness.contains(.writable) { upstream.pointee.isWritable = true }
        if !readiness.isDisjoint(with: [.peerClosed, .broken]) {
            upstream.pointee.peerHasClosed = true
            upstream.pointee.isReadable = true
        }
        switch upstream.pointee.phase {
        case .connecting: if !readiness.isEmpty { finishConnecting(upstream) }
        case .handshaking: stepHandshake(upstream)
        case .awaitingHead, .body:
            // Before writing: a pod may answer and close while the request is still on its way.
            if upstream.pointee.isReadable { readResponse(upstream) }
            resumeRequestBody(upstream)
        case .tunnel:
            if readiness.contains(.error) { tunnelBroke(upstream) }
            pumpTunnel(upstream)
        case .pooled:
            // What TLS says by itself (tickets) is nothing of the pod's.
            if upstream.pointee.isReadable, upstream.pointee.tls == nil || !isSilent(upstream) { close(upstream) }
        case .shared: sharedReady(upstream)
        case .closed: break
        }
    }

    private func finishConnecting(_ upstream: Upstream) {
        let code = upstream.pointee.socket.pendingError
        guard code == 0 else { return connectionAttemptFailed(upstream, code) }
        guard upstream.pointee.isWritable else { return }
        timers.cancel(upstream.pointee.timer)
        upstream.pointee.phase = .awaitingHead
        upstreamConnected(upstream)
    }

    /// The transport is there: TLS comes first, if the revision wants it.
    private func upstreamConnected(_ upstream: Upstream) {
        if let security = upstream.pointee.security {
            beginHandshake(upstream, security)
        } else {
            upstreamOpened(upstream)
        }
    }

    /// The connection can take its first request.
    func upstreamOpened(_ upstream: Upstream) {
        if upstream.pointee.isShared { return openSharing(upstream) }
        guard let exchange = exchanges[upstream.pointee.exchange], exchange.pointee.stage == .connecting,
            let connection = downstreams[exchange.pointee.downstream]
        else { return close(upstream) }
        sendRequest(exchange, connection, upstream)
        // A pod may speak, or close, as soon as it accepts: that edge has come already.
        if upstream.pointee.isReadable { queueTurn(upstream) }
    }

    // MARK: Failure and reuse

    /// The connection broke or ended without a (complete) response. A request that nobody can have acted on is sent
    /// once more on a fresh connection; otherwise the client gets 502, or its response is cut.
    func upstreamBroke(_ upstream: Upstream) {
        guard let exchange = exchanges[upstream.pointee.exchange], exchange.pointee.stage != .ended,
            let connection = downstreams[exchange.pointee.downstream]
        else { return close(upstream) }
        guard upstream.pointee.phase != .tunnel else { return tunnelBroke(upstream) }
        // What was answered before the break is read first: a pod may refuse a body it does not want and close. A write
        // may learn of the break before the poller tells that there is something to read.
        if !upstream.pointee.isBeingRead {
            upstream.pointee.outbound.consume(upstream.pointee.outbound.count)
            if hasBytes(upstream) {
                upstream.pointee.isReadable = true
                return readResponse(upstream)
            }
        }
        let wasReused = upstream.pointee.requestsServed > 0
        // The handshake counts as one acknowledged byte.
        let acknowledged = upstream.pointee.socket.acknowledgedBytes() ?? .max
        let nothingAccepted = acknowledged <= upstream.pointee.bytesBeforeRequest + 1
        let isUnanswered = upstream.pointee.phase == .awaitingHead && upstream.pointee.inbound.count == 0
        guard wasReused, isUnanswered, exchange.pointee.mayRetry(nothingAccepted: nothingAccepted),
            let endpoint = exchange.pointee.endpoint
        else { return fail(exchange, .upstreamReset) }
        close(upstream)
        exchange.pointee.upstream = .none
        exchange.pointee.hasRetried = true
        exchange.pointee.rewind(limits: limits.http)
        connect(exchange, connection, to: endpoint, isShared: false)
    }

    /// Drops the pod's connection of an exchange that will not finish.
    func abortUpstream(_ exchange: ExchangePointer) {
        guard let upstream = upstreams[exchange.pointee.upstream] else { return }
        exchange.pointee.upstream = .none
        guard !upstream.pointee.isShared else { return leave(upstream, exchange) }
        close(upstream)
    }

    /// The response is complete: the connection waits for the next request, if it may.
    func retire(_ upstream: Upstream, isClean: Bool) {
        upstream.pointee.requestsServed += 1
        upstream.pointee.exchange = .none
        if upstream.pointee.tls != nil, upstream.pointee.requestsServed == 1 { keepSession(upstream) }
        // The last read may have ended just where the message did; what is behind it would answer the next request.
        if isClean, upstream.pointee.isReadable, isSilent(upstream) { upstream.pointee.isReadable = false }
        guard isClean, upstream.pointee.keepsAlive, !upstream.pointee.peerHasClosed, !upstream.pointee.isReadable,
            upstream.pointee.outbound.count == 0, upstream.pointee.endpoint.state != .retired,
            pool.push(
                upstream.pointee.token, endpoint: upstream.pointee.endpoint.id, limit: limits.upstreamIdleConnections)
        else { return close(upstream) }
        upstream.pointee.phase = .pooled
        upstream.pointee.idleSince = now
        armSweep()
        buffers.release(&upstream.pointee.inbound)
        buffers.release(&upstream.pointee.outbound)
    }

    func closePooled(_ token: SlabToken) {
        if let upstream = upstreams[token], upstream.pointee.phase == .pooled { close(upstream) }
    }

    /// Every few seconds: closes connections that have waited too long.
    func sweepPool() {
        sweepIsArmed = false
        guard pool.count + pool.sharedCount > 0 else { return }
        armSweep()
        sweepShared()
        pool.sweep { token in
            guard let upstream = upstreams[token], upstream.pointee.phase == .pooled else { return false }
            guard now.milliseconds(since: upstream.pointee.idleSince) >= limits.upstreamIdleMilliseconds else {
                return true
            }
            close(upstream)
            return false
        }
    }

    /// Closes the socket at the end of the wake-up and gives everything back.
    func close(_ upstream: Upstream) {
        guard upstream.pointee.phase != .closed else { return }
        if upstream.pointee.isBeingMade || upstream.pointee.timerInstant != .distantFuture {
            timers.cancel(upstream.pointee.timer)
        }
        if upstream.pointee.tls != nil { closeSecure(upstream) }
        if upstream.pointee.isShared { stopSharing(upstream) }
        upstream.pointee.phase = .closed
        buffers.release(&upstream.pointee.inbound)
        buffers.release(&upstream.pointee.outbound)
        closedUpstreams.append(upstream.pointee.token)
        // A connection that ends before the pod has said how many streams it takes.
        if !upstream.pointee.waiting.isEmpty { sharedAttemptFailed(upstream, ECONNRESET) }
    }
}
