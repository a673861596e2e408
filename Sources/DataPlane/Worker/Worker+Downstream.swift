import EventLoop
import Glibc
import HTTP
import HTTP1
import HTTP2
import Primitives
import Telemetry

/// The client's side of a connection: readiness, heads, time limits, closing.
extension Worker {
    typealias Downstream = UnsafeMutablePointer<DownstreamConnection>

    /// Handles a change of readiness, or (with none) goes on where a limit stopped.
    func downstreamReady(_ token: SlabToken, _ readiness: Readiness) {
        guard let connection = downstreams[token], connection.pointee.phase != .closed else { return }
        if readiness.contains(.readable) { connection.pointee.isReadable = true }
        if readiness.contains(.writable) { connection.pointee.isWritable = true }
        if !readiness.isDisjoint(with: [.peerClosed, .broken]) {
            connection.pointee.peerHasClosed = true
            connection.pointee.isReadable = true
        }
        if readiness.contains(.error) { return downstreamBroke(connection) }
        if connection.pointee.outbound.count > 0 {
            if connection.pointee.isWritable { _ = flush(connection) }
            if connection.pointee.closesAfterFlush, connection.pointee.phase != .lingering { return }
        }
        // While the client does not take what waits, its next request is not read; a body or a tunnel flows on, for a
        // client may well send all before it reads anything.
        let isBlocked = connection.pointee.outbound.count > 0
        switch connection.pointee.phase {
        case .handshake: if !isBlocked { handshakeReady(connection, isTurn: readiness.isEmpty) }
        case .idle, .head: if !isBlocked { readHead(connection) }
        case .asking: askingReady(connection)
        case .exchange: exchangeDownstreamReady(connection)
        case .tunnel: pumpTunnel(connection)
        case .session: sessionReady(connection)
        case .lingering: linger(connection)
        case .closed: break
        }
    }

    /// The connection is broken: whatever was under way is cancelled.
    func downstreamBroke(_ connection: Downstream) {
        if connection.pointee.session != nil { return endSession(connection) }
        if let exchange = exchanges[connection.pointee.exchange] { clientGone(exchange) }
        close(connection)
    }

    private func exchangeDownstreamReady(_ connection: Downstream) {
        guard let exchange = exchanges[connection.pointee.exchange] else { return }
        if exchange.pointee.stage == .active {
            if !exchange.pointee.requestIsComplete { pumpRequestBody(connection, exchange) }
            // The client may be ready for more of the response.
            resumeResponse(exchange, connection)
        }
        guard connection.pointee.peerHasClosed || mayHaveEnded(connection, exchange),
            connection.pointee.phase == .exchange, exchange.pointee.stage != .ended
        else { return }
        if hasGone(connection, exchange) {
            clientGone(exchange)
            close(connection)
        }
    }

    /// Goes on with the response where the client had to be waited for.
    func resumeResponse(_ exchange: ExchangePointer, _ connection: Downstream) {
        guard exchange.pointee.stage == .active else { return }
        if exchange.pointee.upstreamStream != .none { return pumpStreamResponse(exchange, connection) }
        guard let upstream = upstreams[exchange.pointee.upstream], upstream.pointee.isReadable else { return }
        readResponse(upstream)
    }

    /// Whether the client, which sends no more, waits for no answer either.
    ///
    /// A client that has sent its whole request and then ends has gone (as Go's server sees it); one that has already
    /// sent its next request has not. With a body that nobody reads yet, the end alone says it: the body will not
    /// become whole, or is whole and ended.
    private func hasGone(_ connection: Downstream, _ exchange: ExchangePointer) -> Bool {
        if !exchange.pointee.requestIsComplete { return exchange.pointee.stage != .active }
        return connection.pointee.inbound.count <= exchange.pointee.consumed
            && isAtEnd(connection)
    }

    // MARK: Heads

    func readHead(_ connection: Downstream) {
        if connection.pointee.inbound.count > 0, parseHead(connection) { return }
        for _ in 0..<limits.readsPerWakeup {
            guard connection.pointee.isReadable else { break }
            guard provideHeadRoom(connection) else { return }
            switch receive(connection, into: connection.pointee.inbound.free) {
            case .bytes(let count):
                connection.pointee.inbound.filled(count)
                if parseHead(connection) { return }
            case .wouldBlock: break
            case .endOfStream, .failed: return close(connection)
            }
        }
        if connection.pointee.inbound.count == 0 { buffers.release(&connection.pointee.inbound) }
        if connection.pointee.isReadable { queueTurn(connection) }
    }

    private func headBegins(_ connection: Downstream) {
        connection.pointee.phase = .head
        connection.pointee.scanned = 0
        connection.pointee.lastProgress = now
        setDeadline(connection, now.adding(milliseconds: limits.headTimeoutMilliseconds))
    }

    /// Makes room to read more of a head. The parser refuses before the largest class is full, if the limit of heads
    /// is not above it.
    private func provideHeadRoom(_ connection: Downstream) -> Bool {
        if connection.pointee.inbound.room > 0 { return true }
        connection.pointee.inbound.compact()
        if connection.pointee.inbound.room > 0 { return true }
        let wanted = max(BufferPool.smallest, connection.pointee.inbound.capacity * 2)
        if buffers.provide(wanted, in: &connection.pointee.inbound) { return true }
        let isTooLarge = wanted > BufferPool.largest
        replyWithoutExchange(
            connection, isTooLarge ? .parseFailure(ParseFailure(.headTooLarge, offset: 0)) : .overloaded)
        return false
    }

    /// Parses the head at the front of the inbound bytes. True if the connection has moved on.
    private func parseHead(_ connection: Downstream) -> Bool {
        if connection.pointee.phase == .idle { headBegins(connection) }
        let bytes = connection.pointee.inbound.bytes
        if connection.pointee.requestsBegun == 0, bytes.base[0] == UInt8(ascii: "P") {
            switch HTTP2Preface.match(bytes) {
            case .yes:
                beginSession(connection)
                return true
            case .needMore: return false
            case .no: break
            }
        }
        headOwner = .none
        do throws(ParseFailure) {
            guard try requestHead.parse(bytes, scanned: &connection.pointee.scanned) else { return false }
        } catch {
            replyWithoutExchange(connection, .parseFailure(error))
            return true
        }
        if asksForSession(connection, bytes), upgradeToSession(connection, bytes) { return true }
        beginExchange(connection, bytes)
        return true
    }

    // MARK: Time

    /// Sets when the connection must have moved on. A timer armed for earlier stays and is armed again when it fires,
    /// so that a deadline pushed back with every request costs a store.
    func setDeadline(_ connection: Downstream, _ deadline: Instant) {
        connection.pointee.deadline = deadline
        guard deadline < connection.pointee.timerInstant else { return }
        if connection.pointee.timerInstant != .distantFuture { timers.cancel(connection.pointee.timer) }
        armTimer(connection, deadline)
    }

    private func armTimer(_ connection: Downstream, _ deadline: Instant) {
        connection.pointee.timerInstant = deadline
        guard deadline != .distantFuture else { return }
        connection.pointee.timer = timers.arm(
            deadline, payload: TaggedToken(.downstream, connection.pointee.token).packed)
    }

    /// The client must take or send a byte within the body limit.
    func armStallTimer(_ connection: Downstream) {
        setDeadline(connection, now.adding(milliseconds: limits.bodyIdleTimeoutMilliseconds))
    }

    func downstreamTimerFired(_ token: SlabToken) {
        guard let connection = downstreams[token], connection.pointee.phase != .closed else { return }
        connection.pointee.timerInstant = .distantFuture
        guard connection.pointee.deadline <= now else {
            return armTimer(connection, connection.pointee.deadline)
        }
        connection.pointee.deadline = .distantFuture
        switch connection.pointee.phase {
        case .idle:
            if connection.pointee.outbound.count > 0 { return stalled(connection) }
            close(connection)
        case .handshake: handshakeFailed(connection)
        case .head: replyWithoutExchange(connection, .headTimeout)
        case .asking: break  // the question has its own limit
        case .exchange, .tunnel: stalled(connection)
        case .session: sessionTimerFired(connection)
        case .lingering: close(connection)
        case .closed: break
        }
    }

    /// The body limit may have passed: if a byte moved since, or it is not the client we wait for, the limit starts
    /// over.
    private func stalled(_ connection: Downstream) {
        guard let exchange = exchanges[connection.pointee.exchange], exchange.pointee.stage != .ended else {
            // The response's last bytes wait for the client.
            guard connection.pointee.outbound.count > 0 else { return }
            let limit = limits.bodyIdleTimeoutMilliseconds
            if !startOver(connection, limit, since: connection.pointee.lastProgress) { close(connection) }
            return
        }
        guard isWaitedFor(connection, exchange) else {
            // Only while there is something to watch; a new transfer arms the timer itself.
            return armStallTimer(connection)
        }
        if exchange.pointee.stage == .tunnel, connection.pointee.outbound.count == 0 {
            let progress = max(connection.pointee.lastProgress, exchange.pointee.lastResponseProgress)
            guard !startOver(connection, limits.halfTunnelMilliseconds, since: progress) else { return }
        } else {
            let progress = connection.pointee.lastProgress
            guard !startOver(connection, limits.bodyIdleTimeoutMilliseconds, since: progress) else { return }
        }
        if exchange.pointee.responseHasStarted || connection.pointee.outbound.count > 0 {
            clientGone(exchange)
            close(connection)
        } else {
            fail(exchange, .bodyTimeout)
        }
    }

    /// Whether it is the client's turn to take or to send; or, in a tunnel of which one side has ended, the other's.
    private func isWaitedFor(_ connection: Downstream, _ exchange: ExchangePointer) -> Bool {
        if connection.pointee.outbound.count > 0 { return true }
        guard let upstream = upstreams[exchange.pointee.upstream] else { return false }
        switch exchange.pointee.stage {
        case .active: return !exchange.pointee.requestIsComplete && requestRoom(exchange, upstream) > 0
        case .tunnel: return connection.pointee.hasEnded || upstream.pointee.hasEnded
        case .waiting, .connecting, .ended: return false
        }
    }

    /// Gives the client the rest of a limit, counted from `progress`. False if nothing of it is left.
    private func startOver(_ connection: Downstream, _ milliseconds: UInt64, since progress: Instant) -> Bool {
        let limit = progress.adding(milliseconds: milliseconds)
        guard limit > now else { return false }
        setDeadline(connection, limit)
        return true
    }

    // MARK: Closing

    /// After the last word: says that we send no more, and reads what still comes for a moment, so that a client in the
    /// middle of sending is not reset before it has read our answer (RFC 9112 §9.6).
    func beginLinger(_ connection: Downstream) {
        guard connection.pointee.outbound.count == 0 else {
            connection.pointee.closesAfterFlush = true
            return
        }
        if connection.pointee.peerHasClosed, isAtEnd(connection) {
            sayGoodbye(connection)
            return close(connection)
        }
        shutdownWrite(connection)
        connection.pointee.phase = .lingering
        buffers.release(&connection.pointee.inbound)
        setDeadline(connection, now.adding(milliseconds: limits.lingerMilliseconds))
        linger(connection)
    }

    private func linger(_ connection: Downstream) {
        while connection.pointee.isReadable {
            switch connection.pointee.socket.receive(into: scratch) {
            case .bytes(let count):
                connection.pointee.lingeredBytes += count
                if connection.pointee.lingeredBytes > limits.lingerBytes { return close(connection) }
            case .wouldBlock: connection.pointee.isReadable = false
            case .endOfStream, .failed: return close(connection)
            }
        }
    }

    /// Closes the socket at the end of the wake-up and gives everything back.
    func close(_ connection: Downstream) {
        guard connection.pointee.phase != .closed else { return }
        if connection.pointee.tls != nil { closeSecure(connection) }
        connection.pointee.phase = .closed
        if connection.pointee.timerInstant != .distantFuture { timers.cancel(connection.pointee.timer) }
        buffers.release(&connection.pointee.inbound)
        buffers.release(&connection.pointee.outbound)
        connection.pointee.session = nil
        forgetQuestions(of: connection)
        uncountAddress(connection.pointee.peer)
        connectionBudget.give()
        closedDownstreams.append(connection.pointee.token)
    }
}
