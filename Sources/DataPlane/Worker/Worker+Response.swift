import EventLoop
import Glibc
import HTTP
import HTTP1
import Primitives
import Telemetry

/// The response of a pod that speaks HTTP/1.1: read from the pod, written to the client in the same
/// wake-up, never more than one read ahead.
extension Worker {
    /// Reads what the pod has sent, as long as the client takes it.
    func readResponse(_ upstream: Upstream) {
        guard !upstream.pointee.isBeingRead else { return }
        upstream.pointee.isBeingRead = true
        defer { upstream.pointee.isBeingRead = false }
        for _ in 0..<limits.readsPerWakeup {
            guard upstream.pointee.phase == .awaitingHead || upstream.pointee.phase == .body,
                upstream.pointee.isReadable, let exchange = exchanges[upstream.pointee.exchange],
                let connection = downstreams[exchange.pointee.downstream]
            else { return }
            let room = responseRoom(exchange, connection)
            guard room > 0, readOnce(upstream, exchange, connection, room: room) else { return }
        }
        if upstream.pointee.isReadable, upstream.pointee.phase != .pooled { queueTurn(upstream) }
    }

    /// How many more bytes of a response's body its client takes now; 0: it will say when.
    func responseRoom(_ exchange: ExchangePointer, _ connection: Downstream) -> Int {
        guard !exchange.pointee.isStream else {
            return connection.pointee.session?.writableBytes(on: exchange.pointee.stream) ?? 0
        }
        return connection.pointee.outbound.count == 0 ? Self.readBytes : 0
    }

    /// One read and what comes of it. False if there is nothing more to do now.
    private func readOnce(
        _ upstream: Upstream, _ exchange: ExchangePointer, _ connection: Downstream, room: Int
    ) -> Bool {
        let isBuffered = upstream.pointee.inbound.count > 0
        if isBuffered, upstream.pointee.inbound.room == 0 {
            let wanted = max(BufferPool.smallest, upstream.pointee.inbound.capacity * 2)
            guard buffers.provide(wanted, in: &upstream.pointee.inbound) else {
                fail(exchange, .overloaded)
                return false
            }
        }
        let free = isBuffered ? upstream.pointee.inbound.free : readPlace
        let place = UnsafeMutableRawBufferPointer(rebasing: free[..<min(room, free.count)])
        switch receive(upstream, into: place) {
        case .bytes(let count):
            if isBuffered {
                upstream.pointee.inbound.filled(count)
                return take(upstream.pointee.inbound.bytes, upstream, exchange, connection, isBuffered: true)
            }
            let bytes = ByteView(UnsafeRawBufferPointer(rebasing: place[..<count]))
            return take(bytes, upstream, exchange, connection, isBuffered: false)
        case .wouldBlock: return false
        case .endOfStream:
            upstreamEnded(upstream, exchange, connection)
            return false
        case .failed:
            upstreamBroke(upstream)
            return false
        }
    }

    /// Forwards `bytes`: heads first, then the body. False if the connection has moved on or broke.
    private func take(
        _ bytes: ByteView, _ upstream: Upstream, _ exchange: ExchangePointer, _ connection: Downstream, isBuffered: Bool
    ) -> Bool {
        var cursor = 0
        output.clear()
        while upstream.pointee.phase == .awaitingHead {
            let rest = bytes.dropping(first: cursor)
            do throws(ParseFailure) {
                guard
                    try responseHead.parse(
                        rest, scanned: &upstream.pointee.scanned, requestMethod: exchange.pointee.method)
                else { return keep(bytes, from: cursor, upstream, exchange, isBuffered: isBuffered) }
            } catch {
                fail(exchange, .badResponse)
                return false
            }
            upstream.pointee.scanned = 0
            cursor += responseHead.length
            if responseHead.isInterim {
                guard forwardInterim(rest, exchange, connection) else { return false }
            } else if responseHead.isSwitching, exchange.pointee.isStream {
                guard startStreamTunnel(rest, upstream, exchange, connection) else { return false }
            } else if responseHead.isSwitching {
                startTunnel(rest, bytes.dropping(first: cursor), upstream, exchange, connection)
                return false
            } else {
                guard startResponse(rest, upstream, exchange, connection, hasHeadroom: !isBuffered) else {
                    return false
                }
            }
        }
        return forwardBody(bytes, &cursor, upstream, exchange, connection, isBuffered: isBuffered)
    }

    /// A 1xx head: passed on to clients that know them (RFC 9110 §15.2), not to HTTP/1.0.
    private func forwardInterim(_ bytes: ByteView, _ exchange: ExchangePointer, _ connection: Downstream) -> Bool {
        exchange.pointee.interimResponses += 1
        guard exchange.pointee.interimResponses <= limits.interimResponses else {
            fail(exchange, .badResponse)
            return false
        }
        exchange.pointee.lastResponseProgress = now
        return sendInterim(ResponseParts(responseHead, of: bytes), responseHead.fields, exchange, connection)
    }

    /// Passes a 1xx head on. False if the exchange has ended over it.
    func sendInterim(
        _ parts: ResponseParts, _ fields: borrowing FieldTable, _ exchange: ExchangePointer, _ connection: Downstream
    ) -> Bool {
        switch exchange.pointee.clientVersion {
        case .http10: return true
        case .http11: break
        case .http2:
            streamFields.beginResponse(status: parts.status)
            streamFields.append(fields, of: parts.bytes)
            _ = connection.pointee.session?.submitInterim(streamFields, on: exchange.pointee.stream)
            touch(connection)
            return true
        }
        HeadWriter.writeStatusLine(parts.status, reason: parts.reason, to: &output.writer)
        HeadWriter.writeFields(fields, of: parts.bytes, excluding: [], to: &output.writer)
        output.writer.append("\r\n")
        guard !output.writer.overflowed else {
            fail(exchange, .badResponse)
            return false
        }
        output.appendWritten()
        let isSent = sendOutput(connection)
        output.clear()
        if !isSent { downstreamBroke(connection) }
        return isSent
    }

    /// The final head: settles how the body is framed on our side, and lists the head for sending. False if it is too
    /// large to be sent on.
    private func startResponse(
        _ bytes: ByteView, _ upstream: Upstream, _ exchange: ExchangePointer, _ connection: Downstream,
        hasHeadroom: Bool
    ) -> Bool {
        let parts = ResponseParts(responseHead, of: bytes)
        guard prepareResponse(parts, responseHead.fields, exchange, connection) else { return false }
        upstream.pointee.phase = .body
        upstream.pointee.keepsAlive = responseHead.keepsAlive
        upstream.pointee.decoder = BodyDecoder(responseHead.framing, limits: limits.http)
        guard !exchange.pointee.isStream else { return true }
        let head = output.writer.written
        guard hasHeadroom, !exchange.pointee.responseIsChunked, head.count <= responseHead.length + Self.headroom else {
            output.appendWritten()
            return true
        }
        // The new head goes right before the body, where the old one stood: both leave in one piece.
        let place = UnsafeMutablePointer(mutating: bytes.base) + responseHead.length - head.count
        memcpy(place, head.base, head.count)
        output.append(ByteView(base: place, count: head.count))
        return true
    }

    /// Settles how the body is framed on our side and writes the head: into the output list's memory for HTTP/1.1,
    /// onto the stream for HTTP/2. False if it is too large to be sent on; the exchange has failed then.
    func prepareResponse(
        _ parts: ResponseParts, _ fields: borrowing FieldTable, _ exchange: ExchangePointer, _ connection: Downstream
    ) -> Bool {
        if isActivator { judge(parts.status, fields.present, exchange) }
        // A pod of HTTP/2 may end such a stream after its head: that is no body, and no chunks may come of it.
        let isBodyless = parts.isBodyless || exchange.pointee.method == .head
        let hasUnknownLength = !isBodyless && (parts.framing == .chunked || parts.framing == .untilClose)
        exchange.pointee.responseIsChunked = hasUnknownLength && exchange.pointee.clientVersion != .http10
        if hasUnknownLength && !exchange.pointee.responseIsChunked { exchange.pointee.closesDownstream = true }
        if isDraining { exchange.pointee.closesDownstream = true }
        let isWritten =
            exchange.pointee.isStream
            ? submitResponse(parts, fields, exchange, connection) : writeHead(parts, fields, exchange)
        guard isWritten else {
            fail(exchange, .badResponse)
            return false
        }
        exchange.pointee.status = parts.status
        exchange.pointee.firstByteAt = now
        exchange.pointee.responseHasStarted = true
        if exchange.pointee.isStream { forgetRequest(exchange, connection) }
        return true
    }

    private func writeHead(
        _ parts: ResponseParts, _ fields: borrowing FieldTable, _ exchange: ExchangePointer
    ) -> Bool {
        writeResponseHead(parts, fields, exchange)
        return !output.writer.overflowed
    }

    private func forwardBody(
        _ bytes: ByteView, _ cursor: inout Int, _ upstream: Upstream, _ exchange: ExchangePointer,
        _ connection: Downstream, isBuffered: Bool
    ) -> Bool {
        guard !exchange.pointee.isStream else {
            return forwardBodyToStream(bytes, &cursor, upstream, exchange, connection, isBuffered: isBuffered)
        }
        var progress = BodyProgress.needMore
        repeat {
            do throws(ParseFailure) {
                let part = try output.appendBody(
                    &upstream.pointee.decoder, bytes, &cursor, chunked: exchange.pointee.responseIsChunked,
                    trailers: &trailers, limits: limits.http)
                progress = part.0
                exchange.pointee.bytesSent += UInt64(part.bytes)
            } catch {
                fail(exchange, .badResponse)
                return false
            }
            exchange.pointee.lastResponseProgress = now
            guard sendOutput(connection) else {
                downstreamBroke(connection)
                return false
            }
            output.clear()
        } while progress == .listFull
        if progress == .ended {
            finishResponse(upstream, exchange, connection, leftover: bytes.count - cursor)
            return false
        }
        return keep(bytes, from: cursor, upstream, exchange, isBuffered: isBuffered)
    }

    /// Keeps what could not be understood yet: the beginning of a head or of trailers.
    func keep(
        _ bytes: ByteView, from cursor: Int, _ upstream: Upstream, _ exchange: ExchangePointer, isBuffered: Bool
    ) -> Bool {
        if isBuffered {
            upstream.pointee.inbound.consume(cursor)
            if upstream.pointee.inbound.count == 0 { buffers.release(&upstream.pointee.inbound) }
            return true
        }
        let rest = bytes.dropping(first: cursor)
        guard !rest.isEmpty else { return true }
        guard buffers.provide(rest.count, in: &upstream.pointee.inbound), upstream.pointee.inbound.append(rest) else {
            fail(exchange, .overloaded)
            return false
        }
        return true
    }

    /// The pod has closed its side: the end of the message, or a message cut short.
    private func upstreamEnded(_ upstream: Upstream, _ exchange: ExchangePointer, _ connection: Downstream) {
        guard upstream.pointee.phase == .body, upstream.pointee.inbound.count == 0, upstream.pointee.decoder.finish()
        else { return upstreamBroke(upstream) }
        output.clear()
        if exchange.pointee.isStream {
            endStreamResponse(exchange, connection)
        } else if exchange.pointee.responseIsChunked {
            output.append(ByteView("0\r\n\r\n"))
            guard sendOutput(connection) else { return downstreamBroke(connection) }
            output.clear()
        }
        finishResponse(upstream, exchange, connection, leftover: 0)
    }

    /// The response is complete. The pod's slot is free at once; the client may still be taking the last bytes.
    func finishResponse(
        _ upstream: Upstream, _ exchange: ExchangePointer, _ connection: Downstream, leftover: Int
    ) {
        let requestIsComplete = exchange.pointee.hasWholeBody
        // The client's side may go on only if the whole request has been taken from it.
        let keepsAlive = requestIsComplete && !exchange.pointee.closesDownstream
        exchange.pointee.upstream = .none
        // Bytes behind the response would be read as the next one's: never reuse such a connection.
        retire(upstream, isClean: requestIsComplete && leftover == 0)
        let (consumed, isStream) = (exchange.pointee.consumed, exchange.pointee.isStream)
        if isStream, !requestIsComplete { connection.pointee.session?.dropRest(of: exchange.pointee.stream) }
        end(exchange)
        if !isStream { afterResponse(connection, consumed: consumed, keepsAlive: keepsAlive) }
    }
}
