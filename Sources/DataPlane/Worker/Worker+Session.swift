import EventLoop
import HTTP
import HTTP1
import HTTP2
import Primitives

/// A client's connection in HTTP/2: its beginning, its bytes, its time limits, its end. What its streams say is in
/// Worker+Stream.
///
/// Events only submit to sessions; what that brings to be sent leaves at the end of the wake-up, all streams together.
extension Worker {
    // MARK: Beginning

    /// The connection speaks HTTP/2, by ALPN or by its first bytes, which may have been read already.
    func beginSession(_ connection: Downstream) {
        guard let session = HTTP2Session(.server, pool: sessionPool, now: now) else { return close(connection) }
        begin(session, on: connection)
        let inbound = connection.pointee.inbound.bytes
        if !inbound.isEmpty { take(inbound, connection, session) }
        buffers.release(&connection.pointee.inbound)
        readSession(connection)
    }

    private func begin(_ session: HTTP2Session, on connection: Downstream) {
        connection.pointee.session = session
        connection.pointee.phase = .session
        connection.pointee.lastProgress = now
        if isDraining { session.goAway(now: now) }
        touch(connection)
    }

    /// Whether the head just parsed asks to go on in HTTP/2 (RFC 7540 §3.2): only without a body, which would have to
    /// be held until the switch, and never over TLS. Otherwise it is answered as any other, which is allowed.
    func asksForSession(_ connection: Downstream, _ bytes: ByteView) -> Bool {
        guard requestHead.fields.present.contains(.http2Settings), requestHead.fields.present.contains(.upgrade),
            !requestHead.fields.repeated.contains(.http2Settings), requestHead.version == .http11,
            requestHead.framing == .none, connection.pointee.requestsBegun == 0, connection.pointee.tls == nil,
            connection.pointee.outbound.count == 0
        else { return false }
        guard let upgrade = requestHead.fields.firstIndex(of: .upgrade) else { return false }
        return requestHead.fields.value(upgrade, in: bytes).equalsIgnoringCase("h2c")
            && names(.connection, "upgrade", bytes) && names(.connection, "http2-settings", bytes)
    }

    private func names(_ field: KnownField, _ wanted: StaticString, _ bytes: ByteView) -> Bool {
        var next = requestHead.fields.firstIndex(of: field)
        while let index = next {
            var elements = ListElements(requestHead.fields.value(index, in: bytes))
            while let element = elements.next() {
                if element.equalsIgnoringCase(wanted) { return true }
            }
            next = requestHead.fields.nextIndex(of: field, from: index + 1)
        }
        return false
    }

    /// Goes on in HTTP/2 with the request just parsed as stream 1. False if its settings cannot be read: then it is
    /// answered as if it had not asked.
    func upgradeToSession(_ connection: Downstream, _ bytes: ByteView) -> Bool {
        let parts = RequestParts(requestHead, of: bytes)
        output.clear()
        streamFields.beginRequest(
            method: parts.methodBytes, scheme: ByteView("http"), authority: parts.authority, path: writtenPath(parts))
        streamFields.append(requestHead.fields, of: bytes)
        if parts.acceptsTrailers { streamFields.append("te", ByteView("trailers")) }
        guard let session = HTTP2Session(.server, pool: sessionPool, now: now),
            let settings = requestHead.fields.firstIndex(of: .http2Settings),
            session.upgrade(
                settings: requestHead.fields.value(settings, in: bytes), request: streamFields,
                isHead: parts.method == .head)
        else { return false }
        output.clear()
        output.append(ByteView("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"))
        guard sendOutput(connection) else {
            close(connection)
            return true
        }
        connection.pointee.inbound.consume(parts.headLength)
        begin(session, on: connection)
        drain(connection, session)
        takePumps()
        let rest = connection.pointee.inbound.bytes
        if !rest.isEmpty { take(rest, connection, session) }
        buffers.release(&connection.pointee.inbound)
        readSession(connection)
        return true
    }

    // MARK: Bytes in

    func sessionReady(_ connection: Downstream) {
        readSession(connection)
        touch(connection)
    }

    /// Reads even while our bytes wait: what frees us to send may be in there, and what a peer can make us owe is
    /// limited.
    private func readSession(_ connection: Downstream) {
        guard let session = connection.pointee.session else { return }
        for _ in 0..<limits.readsPerWakeup {
            guard connection.pointee.phase == .session, connection.pointee.isReadable else { break }
            switch receive(connection, into: sessionPlace) {
            case .bytes(let count):
                take(ByteView(UnsafeRawBufferPointer(rebasing: sessionPlace[..<count])), connection, session)
            case .wouldBlock: break
            case .endOfStream, .failed: return endSession(connection)
            }
        }
        guard connection.pointee.phase == .session else { return }
        if connection.pointee.isReadable { queueTurn(connection) }
        touch(connection)
    }

    /// Hands `bytes` to the session and acts on all that they mean. They stay where they are meanwhile.
    private func take(_ bytes: ByteView, _ connection: Downstream, _ session: HTTP2Session) {
        var rest = bytes
        while !rest.isEmpty {
            let taken = session.receive(rest, now: now)
            drain(connection, session)
            guard taken > 0 else { return assertionFailure("all events were taken") }
            rest = rest.dropping(first: taken)
        }
        takePumps()
    }

    /// Acts on what the session has to tell.
    private func drain(_ connection: Downstream, _ session: HTTP2Session) {
        while let event = session.nextEvent() {
            switch event {
            case .head(let stream): beginStream(connection, session, stream)
            case .refused(let stream, let reason): refuse(connection, session, stream, reason)
            case .data(let stream, let bytes):
                guard let exchange = exchange(of: stream, session) else {
                    session.consume(bytes.count, on: stream)
                    continue
                }
                takeStreamBody(bytes, exchange, connection, session)
            case .end(let stream):
                guard let exchange = exchange(of: stream, session) else { continue }
                exchange.pointee.requestHasEnded = true
                pumpLater(exchange)
            case .writable(let stream):
                if let exchange = exchange(of: stream, session) { resumeResponse(exchange, connection) }
                if connection.pointee.streamQuestions > 0 { resumeAnswer(of: stream, connection) }
            case .finished(let stream), .reset(let stream, _):
                if let exchange = exchange(of: stream, session) { clientGone(exchange) }
                if connection.pointee.streamQuestions > 0 { forgetQuestion(of: stream, connection) }
            case .trailers, .goAway, .settingsAcknowledged, .pong: break
            }
        }
    }

    /// The exchange of a stream, as long as it is not over.
    func exchange(of stream: HTTP2Stream, _ session: HTTP2Session) -> ExchangePointer? {
        guard let exchange = exchanges[SlabToken(packed: session.context(of: stream))],
            exchange.pointee.stage != .ended
        else { return nil }
        return exchange
    }

    // MARK: Bytes out

    /// Lets the session transmit at the end of the wake-up.
    func touch(_ connection: Downstream) {
        guard !connection.pointee.isTouched else { return }
        connection.pointee.isTouched = true
        touchedSessions.append(TaggedToken(.downstream, connection.pointee.token))
    }

    /// Transmits what all touched sessions have, each once; what that brings is for the next wake-up, which comes at
    /// once.
    func transmitSessions() {
        guard !touchedSessions.isEmpty else { return }
        let count = touchedSessions.count
        for index in 0..<count {
            let tagged = touchedSessions[index]
            if tagged.kind == .downstream, let connection = downstreams[tagged.token] {
                connection.pointee.isTouched = false
                transmit(connection)
            } else if tagged.kind == .upstream, let upstream = upstreams[tagged.token] {
                upstream.pointee.isTouched = false
                transmit(upstream)
            }
            handOutLocalGrants()
        }
        touchedSessions.removeFirst(count)
    }

    /// Most bytes of one session in one wake-up, in pieces of `sessionBytes`.
    static let transmitRounds = 4

    private func transmit(_ connection: Downstream) {
        guard connection.pointee.phase == .session, let session = connection.pointee.session else { return }
        for _ in 0..<Self.transmitRounds {
            guard connection.pointee.outbound.count == 0, session.wantsTransmit else { break }
            var writer = ByteWriter(transmitPlace)
            session.transmit(into: &writer, now: now)
            guard writer.count > 0 else { break }
            guard sendBytes(connection, writer.written) else { return endSession(connection) }
        }
        drain(connection, session)
        guard connection.pointee.phase == .session else { return }
        if session.isFinished { return beginLinger(connection) }
        if connection.pointee.outbound.count == 0, session.wantsTransmit { touch(connection) }
        armSessionTimer(connection, session)
    }

    // MARK: Time

    private func armSessionTimer(_ connection: Downstream, _ session: HTTP2Session) {
        setDeadline(connection, min(session.deadline, silenceLimit(connection, session)))
    }

    /// How long the client may go on saying nothing, or not taking what waits.
    private func silenceLimit(_ connection: Downstream, _ session: HTTP2Session) -> Instant {
        if connection.pointee.outbound.count > 0 {
            return connection.pointee.lastTaken.adding(milliseconds: limits.bodyIdleTimeoutMilliseconds)
        }
        guard connection.pointee.streamExchanges == 0 else { return .distantFuture }
        return connection.pointee.lastProgress.adding(milliseconds: limits.keepAliveIdleMilliseconds)
    }

    func sessionTimerFired(_ connection: Downstream) {
        guard let session = connection.pointee.session else { return }
        if session.deadline <= now {
            session.timeout(now: now)
            drain(connection, session)
        }
        if silenceLimit(connection, session) <= now {
            guard connection.pointee.outbound.count == 0, session.acceptsRequests else { return endSession(connection) }
            session.goAway(now: now)
            // The goodbye has its own time limit, and then the silence its own again.
            connection.pointee.lastProgress = now
        }
        touch(connection)
    }

    // MARK: End

    /// The transport is gone, or of no more use: every stream ends with it.
    func endSession(_ connection: Downstream) {
        guard let session = connection.pointee.session else { return close(connection) }
        session.transportClosed(now: now)
        drain(connection, session)
        close(connection)
    }
}
