import Balancing
import HTTP
import HTTP1
import HTTP2
import Primitives
import Telemetry

/// A request to a pod that speaks HTTP/2, and its response, to a client of either version.
extension Worker {
    // MARK: The request

    /// Opens the stream: the head, and as much of the body as is there.
    func openStream(
        _ exchange: ExchangePointer, _ connection: Downstream, _ upstream: Upstream, _ session: HTTP2Session
    ) {
        exchange.pointee.stage = .active
        exchange.pointee.upstream = upstream.pointee.token
        guard fillRequest(exchange, connection) else { return fail(exchange, .overloaded) }
        guard
            let stream = session.submitRequest(
                streamFields, hasBody: !exchange.pointee.requestIsComplete, context: exchange.pointee.token.packed,
                now: now)
        else { return fail(exchange, .overloaded) }
        exchange.pointee.upstreamStream = stream
        exchange.pointee.log.endpoint = upstream.pointee.endpoint.address
        upstream.pointee.requestsServed += 1
        touch(upstream)
        if exchange.pointee.waited { tellDispatched(exchange) }
        guard !exchange.pointee.requestIsComplete else {
            if exchange.pointee.isStream, headsAreScarce { forgetRequest(exchange, connection) }
            if connection.pointee.phase == .exchange, connection.pointee.peerHasClosed { queueTurn(connection) }
            return
        }
        if exchange.pointee.isStream {
            if headsAreScarce { forgetRequest(exchange, connection) }
            return pumpStreamRequest(exchange, connection)
        }
        forwardBuffered(connection, exchange, upstream)
        if exchange.pointee.stage == .active { pumpRequestBody(connection, exchange) }
    }

    private func fillRequest(_ exchange: ExchangePointer, _ connection: Downstream) -> Bool {
        if exchange.pointee.isStream {
            guard let head = connection.pointee.session?.head(of: exchange.pointee.stream) else { return false }
            return fillRequest(RequestParts(head.pointee), head.pointee.fields, connection, exchange)
        }
        guard parseAgain(exchange, connection) else { return false }
        let parts = RequestParts(requestHead, of: connection.pointee.inbound.bytes)
        return fillRequest(parts, requestHead.fields, connection, exchange)
    }

    /// Writes bytes of a body; no more than the stream takes. The exchange may have ended over it.
    func writeRequest(_ bytes: ByteView, _ exchange: ExchangePointer, _ upstream: Upstream) -> Int {
        guard let session = upstream.pointee.session,
            let taken = session.write(bytes, end: false, on: exchange.pointee.upstreamStream, now: now)
        else {
            fail(exchange, .overloaded)
            return 0
        }
        exchange.pointee.bytesReceived += UInt64(taken)
        touch(upstream)
        return taken
    }

    /// Ends the request, with trailers if there are any.
    func endRequest(_ trailers: UnsafePointer<HTTP2Head>?, _ exchange: ExchangePointer, _ upstream: Upstream) {
        streamFields.removeAll()
        if let trailers { streamFields.append(trailers.pointee.fields, of: trailers.pointee.bytes) }
        endRequest(exchange, upstream)
    }

    /// Ends the request with the trailers in `streamFields`, if there are any.
    private func endRequest(_ exchange: ExchangePointer, _ upstream: Upstream) {
        exchange.pointee.requestIsComplete = true
        guard let session = upstream.pointee.session else { return }
        touch(upstream)
        let stream = exchange.pointee.upstreamStream
        guard streamFields.count > 0 else {
            _ = session.write(.empty, end: true, on: stream, now: now)
            return
        }
        if !session.sendTrailers(streamFields, on: stream, now: now) { fail(exchange, .overloaded) }
    }

    /// Forwards the part of an HTTP/1.1 body that stands in the inbound buffer, as much as the stream takes.
    func forwardBufferedToStream(_ connection: Downstream, _ exchange: ExchangePointer, _ upstream: Upstream) {
        let room = requestRoom(exchange, upstream)
        guard room > 0 else { return }
        let inbound = connection.pointee.inbound.bytes
        var cursor = exchange.pointee.consumed
        _ = forwardToStream(inbound[0..<min(inbound.count, cursor + room)], &cursor, exchange, upstream)
        exchange.pointee.consumed = cursor
    }

    /// Decodes HTTP/1.1's body in `bytes`, which are no more than the stream takes, and writes it. False if the
    /// exchange has ended over it.
    func forwardToStream(
        _ bytes: ByteView, _ cursor: inout Int, _ exchange: ExchangePointer, _ upstream: Upstream
    ) -> Bool {
        streamFields.removeAll()
        while exchange.pointee.stage == .active {
            let step: BodyStep
            do throws(ParseFailure) {
                step = try exchange.pointee.decoder.next(bytes, &cursor)
                if case .trailers(let range) = step {
                    try parseTrailers(bytes[range], into: &trailers, limits: limits.http)
                    streamFields.append(trailers, of: bytes[range])
                }
            } catch {
                fail(exchange, .parseFailure(error))
                return false
            }
            switch step {
            case .body(let range): _ = writeRequest(bytes[range], exchange, upstream)
            case .trailers: break
            case .needMore: return true
            case .end:
                endRequest(exchange, upstream)
                return exchange.pointee.stage == .active
            }
        }
        return false
    }

    /// The exchange needs its stream no more, or its place among those who wait.
    func leave(_ upstream: Upstream, _ exchange: ExchangePointer) {
        guard exchange.pointee.upstreamStream != .none else { return }
        upstream.pointee.session?.reset(exchange.pointee.upstreamStream, .cancel)
        touch(upstream)
    }

    // MARK: The response

    /// Acts on what the session of a pod has to tell.
    func drain(_ upstream: Upstream, _ session: HTTP2Session) {
        while let event = session.nextEvent() {
            switch event {
            case .head(let stream):
                withExchange(of: stream, session) { takeHead(session, $0, $1) }
                session.releaseHead(of: stream)
            case .data(let stream, let bytes):
                withExchange(of: stream, session) { takeResponse(bytes, session, $0, $1) }
            case .trailers(let stream):
                withExchange(of: stream, session) { exchange, _ in
                    exchange.pointee.responseTrailers = session.takeTrailers(of: stream)
                }
            case .end(let stream):
                withExchange(of: stream, session) { exchange, connection in
                    exchange.pointee.responseHasEnded = true
                    if exchange.pointee.isStream {
                        pumpStreamResponse(exchange, connection)
                    } else {
                        pumpLater(exchange)
                    }
                }
            case .writable(let stream): withExchange(of: stream, session) { resumeRequest($0, $1) }
            case .reset(let stream, let code):
                withExchange(of: stream, session) { streamBroke($0, $1, upstream, code) }
            case .goAway: stopSharing(upstream)
            case .refused, .finished, .settingsAcknowledged, .pong: break
            }
        }
    }

    private func withExchange(
        of stream: HTTP2Stream, _ session: HTTP2Session, _ body: (ExchangePointer, Downstream) -> Void
    ) {
        guard let exchange = exchange(of: stream, session), exchange.pointee.upstreamStream == stream else { return }
        guard let connection = downstreams[exchange.pointee.downstream] else { return clientGone(exchange) }
        body(exchange, connection)
    }

    private func takeHead(_ session: HTTP2Session, _ exchange: ExchangePointer, _ connection: Downstream) {
        guard let head = session.head(of: exchange.pointee.upstreamStream) else { return }
        let parts = ResponseParts(head.pointee)
        output.clear()
        guard !head.pointee.isInterim else {
            exchange.pointee.interimResponses += 1
            guard exchange.pointee.interimResponses <= limits.interimResponses else {
                return fail(exchange, .badResponse)
            }
            exchange.pointee.lastResponseProgress = now
            _ = sendInterim(parts, head.pointee.fields, exchange, connection)
            return
        }
        exchange.pointee.lastResponseProgress = now
        guard prepareResponse(parts, head.pointee.fields, exchange, connection) else { return }
        guard !exchange.pointee.isStream else { return }
        output.appendWritten()
        if !sendOutput(connection) { downstreamBroke(connection) }
    }

    /// Takes bytes of the body: on to the client at once, or kept until it takes them. What has not left us is missing
    /// in the pod's window, so no more than that is ever kept.
    private func takeResponse(
        _ bytes: ByteView, _ session: HTTP2Session, _ exchange: ExchangePointer, _ connection: Downstream
    ) {
        var rest = bytes
        if exchange.pointee.responseBody.count == 0, bytes.count >= Self.directBytes || exchange.pointee.isStream {
            let sent = forwardResponse(rest, exchange, connection)
            guard exchange.pointee.stage != .ended else { return }
            session.consume(sent, on: exchange.pointee.upstreamStream)
            rest = rest.dropping(first: sent)
        }
        guard !rest.isEmpty else { return }
        guard keepBody(rest, in: &exchange.pointee.responseBody) else { return fail(exchange, .overloaded) }
        pumpLater(exchange)
    }

    /// Sends on what is kept of the body, as much as the client takes, and its end.
    func pumpStreamResponse(_ exchange: ExchangePointer, _ connection: Downstream) {
        let upstream = upstreams[exchange.pointee.upstream]
        while exchange.pointee.stage == .active, exchange.pointee.responseBody.count > 0 {
            let sent = forwardResponse(exchange.pointee.responseBody.bytes, exchange, connection)
            guard exchange.pointee.stage == .active, sent > 0 else { return }
            exchange.pointee.responseBody.consume(sent)
            upstream?.pointee.session?.consume(sent, on: exchange.pointee.upstreamStream)
            if let upstream { touch(upstream) }
        }
        guard exchange.pointee.stage == .active else { return }
        buffers.release(&exchange.pointee.responseBody)
        if exchange.pointee.responseHasEnded { finishSharedResponse(exchange, connection) }
    }

    /// Hands bytes of the body to the client and returns how many it took. The exchange may have ended over it.
    private func forwardResponse(_ bytes: ByteView, _ exchange: ExchangePointer, _ connection: Downstream) -> Int {
        let count = min(bytes.count, responseRoom(exchange, connection))
        guard count > 0 else { return 0 }
        exchange.pointee.bytesSent += UInt64(count)
        exchange.pointee.lastResponseProgress = now
        if exchange.pointee.isStream {
            touch(connection)
            guard let session = connection.pointee.session,
                session.write(bytes[0..<count], end: false, on: exchange.pointee.stream, now: now) == count
            else {
                fail(exchange, .overloaded)
                return 0
            }
            return count
        }
        output.clear()
        let isChunked = exchange.pointee.responseIsChunked
        if isChunked { output.appendChunkHead(count) }
        output.append(bytes[0..<count])
        if isChunked { output.append(ByteView("\r\n")) }
        guard sendOutput(connection) else {
            downstreamBroke(connection)
            return 0
        }
        return count
    }

    /// All of the response has been handed to the client.
    private func finishSharedResponse(_ exchange: ExchangePointer, _ connection: Downstream) {
        if exchange.pointee.isStream {
            endStreamResponse(withTrailersOf: exchange, connection)
        } else if exchange.pointee.responseIsChunked {
            output.clear()
            output.appendChunkedEnd(exchange.pointee.responseTrailers.map { UnsafePointer($0) })
            guard sendOutput(connection) else { return downstreamBroke(connection) }
        }
        let requestIsComplete = exchange.pointee.requestIsComplete
        // Nobody waits for the rest of the request.
        if !requestIsComplete, let upstream = upstreams[exchange.pointee.upstream] { leave(upstream, exchange) }
        exchange.pointee.upstream = .none
        let (consumed, isStream) = (exchange.pointee.consumed, exchange.pointee.isStream)
        let keepsAlive = requestIsComplete && !exchange.pointee.closesDownstream
        if isStream, !exchange.pointee.hasWholeBody {
            connection.pointee.session?.dropRest(of: exchange.pointee.stream)
        }
        end(exchange)
        if !isStream { afterResponse(connection, consumed: consumed, keepsAlive: keepsAlive) }
    }

    private func endStreamResponse(withTrailersOf exchange: ExchangePointer, _ connection: Downstream) {
        guard let trailers = exchange.pointee.responseTrailers, let session = connection.pointee.session,
            !exchange.pointee.responseIsEnded
        else { return endStreamResponse(exchange, connection) }
        streamFields.removeAll()
        streamFields.append(trailers.pointee.fields, of: trailers.pointee.bytes)
        exchange.pointee.responseIsEnded = true
        touch(connection)
        if !session.sendTrailers(streamFields, on: exchange.pointee.stream, now: now) {
            session.reset(exchange.pointee.stream, .internalError)
        }
    }

    /// The stream ended before its response did. A request that nobody can have acted on is sent once more on another
    /// connection; otherwise the client gets 502, or its response is cut.
    private func streamBroke(
        _ exchange: ExchangePointer, _ connection: Downstream, _ upstream: Upstream, _ code: HTTP2ErrorCode
    ) {
        // All of the response is here, and only waits for the client.
        guard !exchange.pointee.responseHasEnded else { return }
        let isUntouched = code == .refusedStream
        let isStale = upstream.pointee.isLost && upstream.pointee.requestsServed > 1
        let isNotHTTP2 = upstream.pointee.session?.failure == .protocolError
        exchange.pointee.upstream = .none
        exchange.pointee.upstreamStream = .none
        guard !isNotHTTP2, isUntouched || isStale, exchange.pointee.mayRetry(nothingAccepted: isUntouched),
            let endpoint = exchange.pointee.endpoint
        else { return fail(exchange, isNotHTTP2 ? .badResponse : .upstreamReset) }
        exchange.pointee.hasRetried = true
        exchange.pointee.rewind(limits: limits.http)
        // A peer that refuses streams is given no more of them here, and the connection goes with its last one.
        if isUntouched {
            stopSharing(upstream)
            retireShared(upstream.pointee.token)
        }
        dispatchStream(exchange, connection, to: endpoint)
    }
}
