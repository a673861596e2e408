import HTTP
import HTTP1
import HTTP2
import Primitives
import Telemetry

/// The response to a client of HTTP/2, from a pod that speaks HTTP/1.1.
extension Worker {
    /// Writes the head onto the stream. False if it is too large.
    func submitResponse(
        _ parts: ResponseParts, _ fields: borrowing FieldTable, _ exchange: ExchangePointer, _ connection: Downstream
    ) -> Bool {
        output.clear()
        fillResponse(parts, fields, exchange)
        // The stream of a pod that has not ended yet is waited for, whatever length it told: ours ends with it.
        let isEmpty = exchange.pointee.upstreamStream == .none && parts.framing == .length(0)
        return submitHead(hasBody: parts.framing != .none && !isEmpty, exchange, connection)
    }

    private func submitHead(hasBody: Bool, _ exchange: ExchangePointer, _ connection: Downstream) -> Bool {
        guard let session = connection.pointee.session else { return false }
        exchange.pointee.responseIsEnded = !hasBody
        touch(connection)
        return session.submitResponse(streamFields, hasBody: hasBody, on: exchange.pointee.stream)
    }

    /// The pod agreed to speak WebSocket: to the client that is a 200, after which bytes flow both ways as bodies
    /// without a length (RFC 8441 §5). False if it was not asked.
    func startStreamTunnel(
        _ bytes: ByteView, _ upstream: Upstream, _ exchange: ExchangePointer, _ connection: Downstream
    ) -> Bool {
        guard exchange.pointee.wantsUpgrade else {
            fail(exchange, .badResponse)
            return false
        }
        output.clear()
        fillWebSocketResponse(ResponseParts(responseHead, of: bytes), responseHead.fields)
        guard submitHead(hasBody: true, exchange, connection) else {
            fail(exchange, .badResponse)
            return false
        }
        upstream.pointee.phase = .body
        upstream.pointee.keepsAlive = false
        upstream.pointee.decoder = BodyDecoder(.untilClose, limits: limits.http)
        exchange.pointee.status = 200
        exchange.pointee.responseHasStarted = true
        exchange.pointee.responseIsChunked = true
        exchange.pointee.tunnelIsOpen = true
        forgetRequest(exchange, connection)
        pumpStreamRequest(exchange, connection)
        return exchange.pointee.stage == .active
    }

    /// Writes the body in `bytes` onto the stream; the reader has asked for no more than it takes. False if there is
    /// nothing more to do now.
    func forwardBodyToStream(
        _ bytes: ByteView, _ cursor: inout Int, _ upstream: Upstream, _ exchange: ExchangePointer,
        _ connection: Downstream, isBuffered: Bool
    ) -> Bool {
        guard let session = connection.pointee.session else { return false }
        touch(connection)
        exchange.pointee.lastResponseProgress = now
        while true {
            let step: BodyStep
            do throws(ParseFailure) { step = try upstream.pointee.decoder.next(bytes, &cursor) } catch {
                fail(exchange, .badResponse)
                return false
            }
            switch step {
            case .body(let range):
                let isLast = upstream.pointee.decoder.isComplete
                exchange.pointee.bytesSent += UInt64(range.count)
                if exchange.pointee.firstByteAt == .distantFuture { exchange.pointee.firstByteAt = now }
                guard session.write(bytes[range], end: isLast, on: exchange.pointee.stream, now: now) == range.count
                else {
                    fail(exchange, .overloaded)
                    return false
                }
                if isLast { exchange.pointee.responseIsEnded = true }
            case .trailers(let range):
                guard sendTrailers(bytes[range], session, exchange) else {
                    fail(exchange, .badResponse)
                    return false
                }
            case .needMore: return keep(bytes, from: cursor, upstream, exchange, isBuffered: isBuffered)
            case .end:
                endStreamResponse(exchange, connection)
                finishResponse(upstream, exchange, connection, leftover: bytes.count - cursor)
                return false
            }
        }
    }

    private func sendTrailers(_ block: ByteView, _ session: HTTP2Session, _ exchange: ExchangePointer) -> Bool {
        guard (try? parseTrailers(block, into: &trailers, limits: limits.http)) != nil else { return false }
        streamFields.removeAll()
        streamFields.append(trailers, of: block)
        exchange.pointee.responseIsEnded = true
        return session.sendTrailers(streamFields, on: exchange.pointee.stream, now: now)
    }

    /// Ends the response on the stream, if the last byte or the trailers have not.
    func endStreamResponse(_ exchange: ExchangePointer, _ connection: Downstream) {
        guard !exchange.pointee.responseIsEnded, let session = connection.pointee.session else { return }
        exchange.pointee.responseIsEnded = true
        _ = session.write(.empty, end: true, on: exchange.pointee.stream, now: now)
        touch(connection)
    }
}
