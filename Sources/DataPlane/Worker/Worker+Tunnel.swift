import EventLoop
import HTTP
import HTTP1
import Primitives
import Telemetry

/// After 101 Switching Protocols: bytes both ways, uninterpreted, with the same bound on what is held.
///
/// A side that has ended leaves the other to finish, within the limit on silence: most clients that end their side have
/// gone, and must not hold a slot until the revision's limit.
extension Worker {
    /// The pod agreed to switch. `rest` is what it sent behind its head.
    func startTunnel(
        _ head: ByteView, _ rest: ByteView, _ upstream: Upstream, _ exchange: ExchangePointer, _ connection: Downstream
    ) {
        // Only if asked, and only once the request is complete (RFC 9110 §7.8).
        guard exchange.pointee.wantsUpgrade, exchange.pointee.requestIsComplete,
            let upgrade = responseHead.fields.firstIndex(of: .upgrade)
        else { return fail(exchange, .badResponse) }
        HeadWriter.writeStatusLine(101, reason: nil, to: &output.writer)
        HeadWriter.writeFields(responseHead.fields, of: head, excluding: [], to: &output.writer)
        output.writer.append("Connection: Upgrade\r\n")
        HeadWriter.writeField("Upgrade", responseHead.fields.value(upgrade, in: head), to: &output.writer)
        output.writer.append("\r\n")
        guard !output.writer.overflowed else { return fail(exchange, .badResponse) }
        output.appendWritten()
        output.append(rest)
        exchange.pointee.status = 101
        exchange.pointee.responseHasStarted = true
        exchange.pointee.stage = .tunnel
        exchange.pointee.closesDownstream = true
        upstream.pointee.phase = .tunnel
        connection.pointee.phase = .tunnel
        connection.pointee.deadline = .distantFuture
        // The head is not a byte of the new protocol: the limit on the start of the response goes on (spec 1.7,
        // advice).
        if !rest.isEmpty { noteTunnelByte(exchange, rest.count) }
        guard sendOutput(connection) else { return downstreamBroke(connection) }
        output.clear()
        forwardEarlyBytes(upstream, exchange, connection)
        buffers.release(&upstream.pointee.inbound)
        queueTurn(connection)
        queueTurn(upstream)
    }

    /// What the client sent behind its request before it had the answer.
    private func forwardEarlyBytes(_ upstream: Upstream, _ exchange: ExchangePointer, _ connection: Downstream) {
        let inbound = connection.pointee.inbound.bytes
        let early = inbound.dropping(first: min(exchange.pointee.consumed, inbound.count))
        exchange.pointee.bytesReceived += UInt64(early.count)
        if !early.isEmpty { sendTunnel(early, to: upstream, exchange) }
        buffers.release(&connection.pointee.inbound)
    }

    private func noteTunnelByte(_ exchange: ExchangePointer, _ count: Int) {
        if exchange.pointee.firstByteAt == .distantFuture { exchange.pointee.firstByteAt = now }
        exchange.pointee.lastResponseProgress = now
        exchange.pointee.bytesSent += UInt64(count)
    }

    /// Client to pod.
    func pumpTunnel(_ connection: Downstream) {
        guard let exchange = exchanges[connection.pointee.exchange], let upstream = upstreams[exchange.pointee.upstream]
        else { return close(connection) }
        // The client took what waited, so the pod may be read again.
        if upstream.pointee.isReadable, connection.pointee.outbound.count == 0 { pumpTunnel(upstream) }
        for _ in 0..<limits.readsPerWakeup {
            guard connection.pointee.phase == .tunnel, upstream.pointee.phase == .tunnel,
                connection.pointee.isReadable, upstream.pointee.outbound.count == 0, !connection.pointee.hasEnded
            else { return }
            switch receive(connection, into: readPlace) {
            case .bytes(let count):
                exchange.pointee.bytesReceived += UInt64(count)
                sendTunnel(ByteView(UnsafeRawBufferPointer(rebasing: readPlace[..<count])), to: upstream, exchange)
            case .wouldBlock: break
            case .endOfStream:
                connection.pointee.hasEnded = true
                shutdownWrite(upstream)
                setDeadline(connection, now.adding(milliseconds: limits.halfTunnelMilliseconds))
                endTunnelIfDone(upstream, exchange, connection)
            case .failed: downstreamBroke(connection)
            }
        }
        queueTurn(connection)
    }

    /// Pod to client.
    func pumpTunnel(_ upstream: Upstream) {
        guard let exchange = exchanges[upstream.pointee.exchange],
            let connection = downstreams[exchange.pointee.downstream]
        else { return close(upstream) }
        flushTunnel(upstream, connection)
        for _ in 0..<limits.readsPerWakeup {
            guard connection.pointee.phase == .tunnel, upstream.pointee.phase == .tunnel,
                upstream.pointee.isReadable, connection.pointee.outbound.count == 0, !upstream.pointee.hasEnded
            else { return }
            switch receive(upstream, into: readPlace) {
            case .bytes(let count):
                noteTunnelByte(exchange, count)
                output.clear()
                output.append(ByteView(UnsafeRawBufferPointer(rebasing: readPlace[..<count])))
                if !sendOutput(connection) { downstreamBroke(connection) }
            case .wouldBlock: break
            case .endOfStream:
                upstream.pointee.hasEnded = true
                shutdownWrite(connection)
                setDeadline(connection, now.adding(milliseconds: limits.halfTunnelMilliseconds))
                endTunnelIfDone(upstream, exchange, connection)
            case .failed: endTunnel(exchange, connection, flag: .upstreamConnectionTermination)
            }
        }
        queueTurn(upstream)
    }

    private func sendTunnel(_ bytes: ByteView, to upstream: Upstream, _ exchange: ExchangePointer) {
        output.clear()
        output.append(bytes)
        _ = sendOutput(upstream, exchange)
    }

    /// Sends what waits for the pod; then the client may be read again.
    private func flushTunnel(_ upstream: Upstream, _ connection: Downstream) {
        guard upstream.pointee.outbound.count > 0 else { return }
        switch flush(upstream) {
        case .all: if connection.pointee.isReadable { queueTurn(connection) }
        case .some: break
        case .broken: tunnelBroke(upstream)
        }
    }

    /// The pod takes no more bytes, so the client's lead nowhere. What it said before is still passed on.
    func tunnelBroke(_ upstream: Upstream) {
        guard let exchange = exchanges[upstream.pointee.exchange], exchange.pointee.stage == .tunnel,
            let connection = downstreams[exchange.pointee.downstream]
        else { return close(upstream) }
        connection.pointee.hasEnded = true
        buffers.release(&upstream.pointee.outbound)
        if upstream.pointee.hasEnded { return endTunnelIfDone(upstream, exchange, connection) }
        upstream.pointee.isReadable = true
        queueTurn(upstream)
    }

    /// Both sides have said all: an orderly end.
    private func endTunnelIfDone(_ upstream: Upstream, _ exchange: ExchangePointer, _ connection: Downstream) {
        guard connection.pointee.hasEnded, upstream.pointee.hasEnded else { return }
        endTunnel(exchange, connection, flag: nil)
    }

    /// Ends the tunnel; the client still gets what waits for it.
    private func endTunnel(_ exchange: ExchangePointer, _ connection: Downstream, flag: ResponseFlag?) {
        if let flag { exchange.pointee.flags.insert(ResponseFlags(flag)) }
        abortUpstream(exchange)
        end(exchange)
        beginLinger(connection)
    }
}
