import EventLoop
import HTTP
import HTTP1
import Primitives
import Telemetry

/// The request to a pod that speaks HTTP/1.1: its head written, its body read from the client and sent in the same
/// wake-up, never more than one read ahead.
extension Worker {
    /// Writes the head and as much of the body as has been read, in one go.
    func sendRequest(_ exchange: ExchangePointer, _ connection: Downstream, _ upstream: Upstream) {
        exchange.pointee.stage = .active
        output.clear()
        if exchange.pointee.isStream {
            guard let head = connection.pointee.session?.head(of: exchange.pointee.stream) else { return }
            writeRequestHead(RequestParts(head.pointee), head.pointee.fields, connection, exchange)
        } else {
            guard parseAgain(exchange, connection) else { return fail(exchange, .overloaded) }
            let parts = RequestParts(requestHead, of: connection.pointee.inbound.bytes)
            writeRequestHead(parts, requestHead.fields, connection, exchange)
        }
        exchange.pointee.log.endpoint = upstream.pointee.endpoint.address
        output.appendWritten()
        guard !output.writer.overflowed else { return fail(exchange, .overloaded) }
        upstream.pointee.bytesBeforeRequest = upstream.pointee.bytesSent
        if exchange.pointee.waited { tellDispatched(exchange) }
        guard !exchange.pointee.isStream else {
            guard sendOutput(upstream, exchange) else { return }
            // On a new connection nothing is sent again.
            if upstream.pointee.requestsServed == 0 || headsAreScarce { forgetRequest(exchange, connection) }
            return pumpStreamRequest(exchange, connection)
        }
        if exchange.pointee.requestIsComplete {
            _ = sendOutput(upstream, exchange)
            if connection.pointee.phase == .exchange, connection.pointee.peerHasClosed { queueTurn(connection) }
        } else {
            forwardBuffered(connection, exchange, upstream)
            if exchange.pointee.stage == .active { pumpRequestBody(connection, exchange) }
        }
    }

    /// Makes `requestHead` describe the head of `exchange` again: while it waited, others may have been parsed. It was
    /// good then, so it is good now.
    func parseAgain(_ exchange: ExchangePointer, _ connection: Downstream) -> Bool {
        guard headOwner != exchange.pointee.token else { return true }
        var scanned = 0
        headOwner = exchange.pointee.token
        return (try? requestHead.parse(connection.pointee.inbound.bytes, scanned: &scanned)) == true
    }

    func tellDispatched(_ exchange: ExchangePointer) {
        exchange.pointee.waited = false
        events.post(
            .dispatched(
                exchange.pointee.target, arrived: exchange.pointee.arrivedAt, granted: exchange.pointee.grantedAt,
                sent: MonotonicClock.now()))
    }

    /// Forwards the part of the body that stands in the inbound buffer, behind what the output list holds already.
    func forwardBuffered(_ connection: Downstream, _ exchange: ExchangePointer, _ upstream: Upstream) {
        guard exchange.pointee.upstreamStream == .none else {
            return forwardBufferedToStream(connection, exchange, upstream)
        }
        while true {
            let bytes = connection.pointee.inbound.bytes
            var cursor = exchange.pointee.consumed
            let progress: BodyProgress
            do throws(ParseFailure) {
                let part = try output.appendBody(
                    &exchange.pointee.decoder, bytes, &cursor, chunked: exchange.pointee.framing == .chunked,
                    trailers: &trailers, limits: limits.http)
                progress = part.0
                exchange.pointee.bytesReceived += UInt64(part.bytes)
            } catch {
                return fail(exchange, .parseFailure(error))
            }
            exchange.pointee.consumed = cursor
            if progress == .ended { exchange.pointee.requestIsComplete = true }
            guard sendOutput(upstream, exchange), progress == .listFull else { return }
            output.clear()
        }
    }

    /// Reads the body from the client and forwards it, as long as the pod takes it.
    func pumpRequestBody(_ connection: Downstream, _ exchange: ExchangePointer) {
        for _ in 0..<limits.readsPerWakeup {
            guard exchange.pointee.stage == .active, !exchange.pointee.requestIsComplete,
                let upstream = upstreams[exchange.pointee.upstream]
            else { return }
            let room = requestRoom(exchange, upstream)
            guard room > 0 else { return }
            guard connection.pointee.isReadable else { return armStallTimerIfUnset(connection) }
            output.clear()
            let goesOn =
                connection.pointee.inbound.count > exchange.pointee.consumed
                ? readBehindBuffered(connection, exchange, upstream)
                : readThrough(connection, exchange, upstream, room: room)
            guard goesOn else { return }
        }
        if connection.pointee.isReadable { queueTurn(connection) }
    }

    /// The buffer ends in a trailer section that is not complete: what comes is put behind it.
    private func readBehindBuffered(
        _ connection: Downstream, _ exchange: ExchangePointer, _ upstream: Upstream
    ) -> Bool {
        if connection.pointee.inbound.room == 0 {
            connection.pointee.inbound.compact()
            let wanted = connection.pointee.inbound.capacity + BufferPool.smallest
            guard buffers.provide(wanted, in: &connection.pointee.inbound) else {
                fail(exchange, .overloaded)
                return false
            }
        }
        guard let count = readBody(connection, connection.pointee.inbound.free) else {
            return bodyReadEnded(connection, exchange)
        }
        connection.pointee.inbound.filled(count)
        forwardBuffered(connection, exchange, upstream)
        return true
    }

    /// Everything read so far is forwarded: from here the body goes through the scratch memory, and the request
    /// cannot be sent again.
    private func readThrough(
        _ connection: Downstream, _ exchange: ExchangePointer, _ upstream: Upstream, room: Int
    ) -> Bool {
        let place = UnsafeMutableRawBufferPointer(rebasing: readPlace[..<min(room, readPlace.count)])
        guard let count = readBody(connection, place) else { return bodyReadEnded(connection, exchange) }
        exchange.pointee.isReplayable = false
        buffers.release(&connection.pointee.inbound)
        exchange.pointee.consumed = 0
        let bytes = ByteView(UnsafeRawBufferPointer(rebasing: readPlace[..<count]))
        var cursor = 0
        var progress = BodyProgress.needMore
        guard exchange.pointee.upstreamStream == .none else {
            guard forwardToStream(bytes, &cursor, exchange, upstream) else { return false }
            return keep(bytes.dropping(first: cursor), connection, exchange)
        }
        repeat {
            do throws(ParseFailure) {
                let part = try output.appendBody(
                    &exchange.pointee.decoder, bytes, &cursor, chunked: exchange.pointee.framing == .chunked,
                    trailers: &trailers, limits: limits.http)
                progress = part.0
                exchange.pointee.bytesReceived += UInt64(part.bytes)
            } catch {
                fail(exchange, .parseFailure(error))
                return false
            }
            if progress == .ended { exchange.pointee.requestIsComplete = true }
            guard sendOutput(upstream, exchange) else { return false }
            output.clear()
        } while progress == .listFull
        // The beginning of trailers, or of the next request.
        return keep(bytes.dropping(first: cursor), connection, exchange)
    }

    private func keep(_ rest: ByteView, _ connection: Downstream, _ exchange: ExchangePointer) -> Bool {
        guard !rest.isEmpty else { return true }
        guard buffers.provide(rest.count, in: &connection.pointee.inbound), connection.pointee.inbound.append(rest)
        else {
            fail(exchange, .overloaded)
            return false
        }
        return true
    }

    /// Reads once; nil if there is nothing, then `bodyReadEnded` says what that means.
    private func readBody(_ connection: Downstream, _ place: UnsafeMutableRawBufferPointer) -> Int? {
        if case .bytes(let count) = receive(connection, into: place) { return count }
        return nil
    }

    private func armStallTimerIfUnset(_ connection: Downstream) {
        if connection.pointee.deadline == .distantFuture { armStallTimer(connection) }
    }

    /// No bytes: either later (true: go on and see), or the client left in the middle of its request.
    private func bodyReadEnded(_ connection: Downstream, _ exchange: ExchangePointer) -> Bool {
        guard connection.pointee.peerHasClosed else { return true }
        clientGone(exchange)
        close(connection)
        return false
    }

    /// The pod takes more: what waits goes first, then the client is read again.
    func resumeRequestBody(_ upstream: Upstream) {
        guard upstream.pointee.phase == .awaitingHead || upstream.pointee.phase == .body,
            let exchange = exchanges[upstream.pointee.exchange], exchange.pointee.stage == .active,
            let connection = downstreams[exchange.pointee.downstream]
        else { return }
        switch flush(upstream) {
        case .all: break
        case .some: return
        case .broken: return upstreamBroke(upstream)
        }
        resumeRequest(exchange, connection)
    }

    /// Goes on with the request where the pod had to be waited for.
    func resumeRequest(_ exchange: ExchangePointer, _ connection: Downstream) {
        guard exchange.pointee.stage == .active, !exchange.pointee.requestIsComplete else { return }
        if exchange.pointee.isStream {
            pumpStreamRequest(exchange, connection)
        } else {
            pumpRequestBody(connection, exchange)
        }
    }

    /// How many more bytes of a request's body its pod takes now; 0: it will say when.
    func requestRoom(_ exchange: ExchangePointer, _ upstream: Upstream) -> Int {
        guard exchange.pointee.upstreamStream == .none else {
            return upstream.pointee.session?.writableBytes(on: exchange.pointee.upstreamStream) ?? 0
        }
        return upstream.pointee.outbound.count == 0 ? Self.readBytes : 0
    }

    /// Sends the output list to the pod. False if the exchange has ended over it.
    func sendOutput(_ upstream: Upstream, _ exchange: ExchangePointer) -> Bool {
        switch sendOutput(upstream) {
        case .taken: return true
        case .broken: upstreamBroke(upstream)
        case .noMemory: fail(exchange, .overloaded)
        }
        return false
    }
}
