import HTTP
import HTTP2
import Primitives
import Telemetry

/// A client's request on a stream of HTTP/2: its beginning, its body on the way to the pod, answers of our own.
extension Worker {
    // MARK: Beginning

    func beginStream(_ connection: Downstream, _ session: HTTP2Session, _ stream: HTTP2Stream) {
        guard let head = session.head(of: stream) else { return }
        connection.pointee.requestsBegun += 1
        connection.pointee.lastProgress = now
        let parts = RequestParts(head.pointee)
        if let desk, isQuestion(connection, session, stream, parts, head.pointee.fields, desk) { return }
        guard let target = streamTarget(connection, parts, head.pointee.fields) else {
            return replyUnrouted(connection, session, stream, parts, head.pointee.fields)
        }
        if connection.pointee.redirectPort != 0, leadsToHTTPS(target, parts) {
            return redirect(connection, session, stream, parts)
        }
        let isProxied = isSidecar && isFromActivator(parts, head.pointee.fields)
        let traits = RequestTraits(parts)
        guard let exchange = open(connection, stream, traits, consume target, isProxied: isProxied) else {
            return refuse(connection, session, stream, parts, .overloaded)
        }
        session.setContext(exchange.pointee.token.packed, of: stream)
        connection.pointee.streamExchanges += 1
        if options.accessLog != .off { note(exchange, parts, head.pointee.fields) }
        if let telemetry { telemetryBegins(exchange, connection, parts, head.pointee.fields, telemetry) }
        admit(exchange, connection)
    }

    private func streamTarget(
        _ connection: Downstream, _ parts: RequestParts, _ fields: borrowing FieldTable
    ) -> RevisionTarget? {
        if isActivator { return revision(of: parts, fields) }
        return isGateway ? gatewayTarget(connection, parts, fields) : route(host: parts.host)
    }

    func refuse(
        _ connection: Downstream, _ session: HTTP2Session, _ stream: HTTP2Stream, _ parts: RequestParts,
        _ refusal: Refusal
    ) {
        if options.accessLog != .off { writeLog(refusal, connection, parts) }
        reply(session, stream, refusal, isHead: parts.method == .head, isGRPC: parts.isGRPC)
        touch(connection)
    }

    /// A request whose head we do not take.
    func refuse(
        _ connection: Downstream, _ session: HTTP2Session, _ stream: HTTP2Stream, _ reason: ParseFailure.Reason
    ) {
        let refusal = Refusal.parseFailure(ParseFailure(reason, offset: 0))
        if options.accessLog != .off { writeLog(refusal, connection, nil) }
        reply(session, stream, refusal, isHead: false, isGRPC: false)
        touch(connection)
    }

    // MARK: The body

    /// Takes bytes of the body: on to the pod at once, or kept until it takes them. What has not left us is missing in
    /// the client's window, so no more than that is ever kept.
    func takeStreamBody(
        _ bytes: ByteView, _ exchange: ExchangePointer, _ connection: Downstream, _ session: HTTP2Session
    ) {
        connection.pointee.lastProgress = now
        if exchange.pointee.requestDeadline != .distantFuture { expectBody(exchange) }
        var rest = bytes
        if !exchange.pointee.isReplayable, exchange.pointee.requestBody.count == 0,
            bytes.count >= Self.directBytes || exchange.pointee.upstreamStream != .none
        {
            let sent = forwardRequest(rest, exchange)
            guard exchange.pointee.stage != .ended else { return }
            session.consume(sent, on: exchange.pointee.stream)
            rest = rest.dropping(first: sent)
        }
        guard !rest.isEmpty else { return }
        guard keepBody(rest, in: &exchange.pointee.requestBody) else { return fail(exchange, .overloaded) }
        pumpLater(exchange)
    }

    /// Parts of a body from this size on go on at once to a peer of HTTP/1.1; smaller ones wait for the end of what was
    /// read, and go together: each would be a system call.
    static let directBytes = 4096

    /// Sends the bodies of `exchange` on when all that was read has been understood.
    func pumpLater(_ exchange: ExchangePointer) {
        guard !exchange.pointee.isPumped else { return }
        exchange.pointee.isPumped = true
        pumps.append(exchange.pointee.token)
    }

    func takePumps() {
        guard !pumps.isEmpty else { return }
        var index = 0
        while index < pumps.count {
            let token = pumps[index]
            index += 1
            guard let exchange = exchanges[token], exchange.pointee.stage != .ended else { continue }
            exchange.pointee.isPumped = false
            guard let connection = downstreams[exchange.pointee.downstream] else {
                clientGone(exchange)
                continue
            }
            if exchange.pointee.isStream { pumpStreamRequest(exchange, connection) }
            if exchange.pointee.upstreamStream != .none { pumpStreamResponse(exchange, connection) }
        }
        pumps.removeAll(keepingCapacity: true)
    }

    /// The next part of the body may take so long.
    func expectBody(_ exchange: ExchangePointer) {
        let isExpected = !exchange.pointee.requestHasEnded && !exchange.pointee.responseHasStarted
        exchange.pointee.requestDeadline =
            isExpected ? now.adding(milliseconds: limits.bodyIdleTimeoutMilliseconds) : .distantFuture
    }

    /// Whether a body is missing that only its client holds back: what came of it has all gone to the pod.
    func isSilent(_ exchange: ExchangePointer) -> Bool {
        exchange.pointee.stage == .active && !exchange.pointee.requestHasEnded
            && !exchange.pointee.responseHasStarted
            && exchange.pointee.consumed == exchange.pointee.requestBody.count
    }

    /// Sends on what is kept of the body, as much as the pod takes, and its end.
    func pumpStreamRequest(_ exchange: ExchangePointer, _ connection: Downstream) {
        while exchange.pointee.stage == .active, exchange.pointee.consumed < exchange.pointee.requestBody.count {
            let sent = forwardRequest(
                exchange.pointee.requestBody.bytes.dropping(first: exchange.pointee.consumed), exchange)
            guard exchange.pointee.stage != .ended, sent > 0 else { break }
            exchange.pointee.consumed += sent
            connection.pointee.session?.consume(sent, on: exchange.pointee.stream)
        }
        guard exchange.pointee.stage == .active else { return }
        if exchange.pointee.requestBody.count > limits.replayBytes, exchange.pointee.consumed > 0 {
            exchange.pointee.isReplayable = false
        }
        if !exchange.pointee.isReplayable { dropSentBody(exchange) }
        if exchange.pointee.requestHasEnded, exchange.pointee.consumed == exchange.pointee.requestBody.count {
            forwardRequestEnd(exchange, connection)
        }
        touch(connection)  // the window that was given back
    }

    /// Whether so many heads are held that those of requests under way are given up, and with them the second try.
    var headsAreScarce: Bool { sessionPool.weighedHeads > limits.bufferedBytes / BufferPool.smallest / 4 }

    /// The request will not be sent again: gives up what was kept for that.
    func forgetRequest(_ exchange: ExchangePointer, _ connection: Downstream) {
        exchange.pointee.isReplayable = false
        dropSentBody(exchange)
        connection.pointee.session?.releaseHead(of: exchange.pointee.stream)
    }

    /// Drops the part of the kept body that has been sent.
    private func dropSentBody(_ exchange: ExchangePointer) {
        guard !exchange.pointee.requestBody.isNone else { return }
        exchange.pointee.requestBody.consume(exchange.pointee.consumed)
        exchange.pointee.consumed = 0
        if exchange.pointee.requestBody.count == 0 { buffers.release(&exchange.pointee.requestBody) }
    }

    /// Hands bytes of the body to the pod and returns how many it took. The exchange may have ended over it.
    private func forwardRequest(_ bytes: ByteView, _ exchange: ExchangePointer) -> Int {
        guard exchange.pointee.stage == .active, !exchange.pointee.awaitsTunnel,
            let upstream = upstreams[exchange.pointee.upstream]
        else { return 0 }
        let count = min(bytes.count, requestRoom(exchange, upstream))
        guard count > 0 else { return 0 }
        if exchange.pointee.upstreamStream != .none {
            return writeRequest(bytes[0..<count], exchange, upstream)
        }
        output.clear()
        let isChunked = exchange.pointee.sendsChunks
        if isChunked { output.appendChunkHead(count) }
        output.append(bytes[0..<count])
        if isChunked { output.append(ByteView("\r\n")) }
        exchange.pointee.bytesReceived += UInt64(count)
        return sendOutput(upstream, exchange) ? count : 0
    }

    /// The client has said all, and all of it has been handed to the pod.
    private func forwardRequestEnd(_ exchange: ExchangePointer, _ connection: Downstream) {
        guard !exchange.pointee.requestIsComplete, !exchange.pointee.awaitsTunnel,
            let upstream = upstreams[exchange.pointee.upstream]
        else { return }
        let trailers = connection.pointee.session?.trailers(of: exchange.pointee.stream)
        if exchange.pointee.upstreamStream != .none {
            return endRequest(trailers, exchange, upstream)
        }
        // Behind bytes that wait for the pod the end waits as well: `resumeRequest` comes back.
        guard upstream.pointee.outbound.count == 0 else { return }
        exchange.pointee.requestIsComplete = true
        if exchange.pointee.sendsChunks {
            output.clear()
            output.appendChunkedEnd(trailers)
            _ = sendOutput(upstream, exchange)
        } else if exchange.pointee.wantsUpgrade {
            shutdownWrite(upstream)
        }
    }

    // MARK: Answers of our own

    /// Answers on a stream.
    func reply(_ session: HTTP2Session, _ stream: HTTP2Stream, _ refusal: Refusal, isHead: Bool, isGRPC: Bool) {
        output.clear()
        var hasBody = false
        // These answers are for Knative's parts, which look at HTTP's status (spec/dataplane 1.6, 1.7, 3.2).
        if isGRPC, !isBehindIngress {
            streamFields.beginResponse(status: 200)
            streamFields.append("content-type", ByteView("application/grpc"))
            appendStatus(refusal.grpcStatus, refusal)
        } else {
            let isEmpty = refusal.text.utf8CodeUnitCount == 0
            hasBody = !isHead && !isEmpty
            streamFields.beginResponse(status: refusal.status)
            if !isEmpty {
                streamFields.append("content-type", ByteView("text/plain; charset=utf-8"))
                streamFields.append("x-content-type-options", ByteView("nosniff"))
            }
            streamFields.append("content-length", decimal: UInt64(refusal.text.utf8CodeUnitCount))
            if refusal.hasRetryAfter { streamFields.append("retry-after", decimal: limits.retryAfterSeconds) }
        }
        appendDate()
        guard session.submitResponse(streamFields, hasBody: hasBody, on: stream) else {
            return session.reset(stream, .internalError)
        }
        if hasBody, session.write(ByteView(refusal.text), end: true, on: stream, now: now) == nil {
            return session.reset(stream, .internalError)
        }
        session.dropRest(of: stream)
    }

    /// The fields by which gRPC tells an error (gRPC over HTTP/2, "Responses"). The text has no byte that would have
    /// to be escaped but its line end, which is left out.
    private func appendStatus(_ status: Int, _ refusal: Refusal) {
        streamFields.append("grpc-status", decimal: UInt64(status))
        let text = ByteView(refusal.text)
        let hasLineEnd = text.count > 0 && text.base[text.count - 1] == UInt8(ascii: "\n")
        streamFields.append("grpc-message", hasLineEnd ? text[0..<text.count - 1] : text)
    }

    /// `fail`, on a stream: an answer, or after the response has begun what cannot be taken for its end.
    func failStream(_ exchange: ExchangePointer, _ connection: Downstream, _ refusal: Refusal) {
        guard let session = connection.pointee.session else { return end(exchange) }
        let stream = exchange.pointee.stream
        if !exchange.pointee.responseHasStarted {
            exchange.pointee.status = refusal.status
            if exchange.pointee.method != .head, isBehindIngress || !exchange.pointee.isGRPC {
                exchange.pointee.bytesSent = UInt64(refusal.text.utf8CodeUnitCount)
            }
            releaseSlot(exchange)
            reply(session, stream, refusal, isHead: exchange.pointee.method == .head, isGRPC: exchange.pointee.isGRPC)
        } else if exchange.pointee.isGRPC {
            streamFields.removeAll()
            // 4 DEADLINE_EXCEEDED (spec/dataplane 1.7, advice).
            appendStatus(refusal == .responseTimeout || refusal == .activatorTimeout ? 4 : refusal.grpcStatus, refusal)
            if !session.sendTrailers(streamFields, on: stream, now: now) { session.reset(stream, .internalError) }
            session.dropRest(of: stream)
        } else {
            session.reset(stream, .internalError)
        }
        end(exchange)
        touch(connection)
    }

    /// The revision's time limit passed within a response: as in HTTP/1.1 it ends cleanly if nothing was promised about
    /// its length, as Knative does.
    func endStreamLate(_ exchange: ExchangePointer, _ connection: Downstream) {
        guard !exchange.pointee.isGRPC, exchange.pointee.responseIsChunked, let session = connection.pointee.session
        else { return failStream(exchange, connection, .responseTimeout) }
        // Whoever speaks WebSocket takes no text of ours for a body.
        let text = isBehindIngress && !exchange.pointee.asksForTunnel ? ByteView(lateText) : .empty
        exchange.pointee.bytesSent += UInt64(text.count)
        if session.write(text, end: true, on: exchange.pointee.stream, now: now) != text.count {
            session.reset(exchange.pointee.stream, .internalError)
        }
        session.dropRest(of: exchange.pointee.stream)
        end(exchange)
        touch(connection)
    }

    /// Gives back what an exchange with a stream on either side may hold.
    func releaseBodies(_ exchange: ExchangePointer) {
        buffers.release(&exchange.pointee.requestBody)
        buffers.release(&exchange.pointee.responseBody)
        if let trailers = exchange.pointee.responseTrailers {
            exchange.pointee.responseTrailers = nil
            sessionPool.giveHead(trailers)
        }
    }

    /// The client's stream has no exchange any more; its answer may still wait for the client's window, and must not
    /// hold the head.
    func leaveStream(_ exchange: ExchangePointer) {
        guard let connection = downstreams[exchange.pointee.downstream] else { return }
        connection.pointee.streamExchanges -= 1
        if connection.pointee.streamExchanges == 0 { connection.pointee.lastProgress = now }
        connection.pointee.session?.releaseHead(of: exchange.pointee.stream)
    }

    /// Makes room for bytes of a body that have to wait. The last quarter of the memory is left to heads and to what
    /// is on its way, so that bodies keep nobody out.
    func keepBody(_ bytes: ByteView, in buffer: inout Buffer) -> Bool {
        guard buffers.lentBytes <= limits.bufferedBytes / 4 * 3 else { return false }
        return buffers.provide(buffer.count + bytes.count, in: &buffer) && buffer.append(bytes)
    }
}

extension Exchange {
    /// Whether the body goes to a pod of HTTP/1.1 in chunks. What follows an extended CONNECT is no body.
    var sendsChunks: Bool { framing == .chunked && !asksForTunnel }

    /// Whether the pod has yet to agree to a tunnel. Its bytes would be the next request to a pod that does not
    /// (RFC 9110 §7.8).
    var awaitsTunnel: Bool { asksForTunnel && !tunnelIsOpen }
}
