import HTTP
import HTTP1
import HTTP2
import Primitives

/// A request that waits for an answer of the control thread's.
struct PendingQuestion {
    let connection: SlabToken
    /// The client's stream; none in HTTP/1.1.
    let stream: HTTP2Stream
    let isHead: Bool
    let keepsAlive: Bool
    /// Bytes of the head in the client's inbound buffer.
    let consumed: Int
    var timer: TimerHandle
    /// What the request log will say of it (`ProbeNote`); none if it has no line.
    let note: SlabToken
    /// A long body that is being sent, and how much of it has been.
    var body: [UInt8] = []
    var sent = 0
}

/// Requests that are not for the container: some are answered at once, others by the control thread, while their
/// connection is in the phase `asking` (or their stream waits). Without a desk there are none.
extension Worker {
    // MARK: Asking

    /// Whether the request just parsed is a question. Then it has been answered, or waits.
    func isQuestion(_ connection: Downstream, _ parts: RequestParts, _ desk: QuestionDesk) -> Bool {
        switch judge(parts, requestHead.fields, at: connection.pointee.purpose, desk) {
        case .traffic:
            desk.noteRequest(now)
            return false
        case .reply(let reply):
            let bodyBytes = parts.method == .head ? 0 : reply.count
            logProbe(connection, parts, requestHead.fields, status: reply.status, bytes: bodyBytes)
            send(reply, connection, parts)
        case .ask(let subject):
            guard
                let token = ask(
                    subject, connection, .none, isHead: parts.method == .head, keepsAlive: mayGoOn(connection, parts),
                    consumed: parts.headLength, note: noteProbe(connection, parts, requestHead.fields))
            else {
                replyWithoutExchange(connection, .overloaded)
                return true
            }
            connection.pointee.phase = .asking
            connection.pointee.question = token
            connection.pointee.deadline = .distantFuture
            // A client that has gone already is noticed now; later its close is an edge of its own.
            if connection.pointee.peerHasClosed { askingReady(connection) }
        }
        return true
    }

    /// The same for a request on a stream.
    func isQuestion(
        _ connection: Downstream, _ session: HTTP2Session, _ stream: HTTP2Stream, _ parts: RequestParts,
        _ fields: borrowing FieldTable, _ desk: QuestionDesk
    ) -> Bool {
        switch judge(parts, fields, at: connection.pointee.purpose, desk) {
        case .traffic:
            desk.noteRequest(now)
            return false
        case .reply(let reply):
            let bodyBytes = parts.method == .head ? 0 : reply.count
            logProbe(connection, parts, fields, status: reply.status, bytes: bodyBytes)
            send(reply, session, stream, isHead: parts.method == .head)
        case .ask(let subject):
            let isHead = parts.method == .head
            let note = noteProbe(connection, parts, fields)
            if ask(subject, connection, stream, isHead: isHead, keepsAlive: true, consumed: 0, note: note) != nil {
                connection.pointee.streamQuestions += 1
            } else {
                reply(session, stream, .overloaded, isHead: isHead, isGRPC: false)
            }
        }
        touch(connection)
        return true
    }

    private func judge(
        _ parts: RequestParts, _ fields: borrowing FieldTable, at purpose: ListenerPurpose, _ desk: QuestionDesk
    ) -> QuestionRule.Verdict {
        guard isActivator, purpose == .traffic else {
            return QuestionRule.judge(parts, fields, at: purpose, isDraining: desk.isDraining)
        }
        return ActivatorRule.judge(parts, fields, health: desk.health, scratch: readPlace)
    }

    /// Answers a request of HTTP/1.1 that has no exchange.
    func send(_ reply: QuestionRule.Reply, _ connection: Downstream, _ parts: RequestParts) {
        let keepsAlive = mayGoOn(connection, parts)
        writeHead(
            reply.status, contentType: reply.count > 0 ? .plain : nil, isError: reply.isError, hash: reply.hash,
            count: reply.count, keepsAlive: keepsAlive)
        if parts.method != .head { writeBody(reply) }
        output.appendWritten()
        finishAnswer(connection, consumed: parts.headLength, keepsAlive: keepsAlive)
    }

    /// The same on a stream.
    func send(_ reply: QuestionRule.Reply, _ session: HTTP2Session, _ stream: HTTP2Stream, isHead: Bool) {
        output.clear()
        writeBody(reply)
        send(
            reply.status, contentType: reply.count > 0 ? .plain : nil, isError: reply.isError, hash: reply.hash,
            body: output.writer.written, isHead: isHead, session, stream)
    }

    private func mayGoOn(_ connection: Downstream, _ parts: RequestParts) -> Bool {
        parts.keepsAlive && parts.framing.isEmpty && !isDraining
            && connection.pointee.requestsBegun < limits.requestsPerConnection
    }

    private func ask(
        _ subject: QuestionSubject, _ connection: Downstream, _ stream: HTTP2Stream, isHead: Bool, keepsAlive: Bool,
        consumed: Int, note: SlabToken
    ) -> SlabToken? {
        guard let token = questions.vacancy() else {
            forgetProbe(note)
            return nil
        }
        let timer = timers.arm(
            now.adding(milliseconds: limits.questionMilliseconds), payload: TaggedToken(.question, token).packed)
        questions.insert(
            PendingQuestion(
                connection: connection.pointee.token, stream: stream, isHead: isHead, keepsAlive: keepsAlive,
                consumed: consumed, timer: timer, note: note),
            at: token)
        events.post(.question(Question(subject: subject, asker: Asker(worker: options.index, token: token))))
        return token
    }

    // MARK: Answering

    /// The control thread has answered. Nothing happens if the asker has gone.
    func answered(_ asker: Asker, _ answer: Answer) {
        guard let pending = questions[asker.token]?.pointee, pending.body.isEmpty else { return }
        guard let connection = downstreams[pending.connection], connection.pointee.phase != .closed else {
            return remove(asker.token, pending)
        }
        let isLong = answer.body.count > Answer.pieceBytes && !pending.isHead
        if isLong, longAnswers >= limits.longAnswers { return refuse(asker.token, pending, connection) }
        logProbe(pending.note, connection, status: answer.status, bytes: pending.isHead ? 0 : answer.body.count)
        if isLong { keep(answer.body, at: asker.token) } else { remove(asker.token, pending) }
        if pending.stream == .none {
            let keepsAlive = pending.keepsAlive && !isDraining
            writeHead(
                answer.status, contentType: answer.contentType, isError: false, hash: .empty,
                count: answer.body.count, keepsAlive: keepsAlive)
            output.appendWritten()
            if isLong { return sendOutput(connection) ? sendPieces(asker.token, connection) : close(connection) }
            answer.body.withUnsafeBytes { bytes in
                if !pending.isHead { output.append(ByteView(bytes)) }
                finishAnswer(connection, consumed: pending.consumed, keepsAlive: keepsAlive)
            }
        } else if let session = connection.pointee.session {
            output.clear()
            answer.body.withUnsafeBytes { bytes in
                send(
                    answer.status, contentType: answer.contentType, isError: false, hash: .empty, body: ByteView(bytes),
                    isWhole: !isLong, isHead: pending.isHead, session, pending.stream)
            }
            if isLong { sendPieces(asker.token, session) }
            touch(connection)
        }
    }

    // MARK: Long answers

    private func keep(_ body: [UInt8], at token: SlabToken) {
        longAnswers += 1
        questions[token]?.pointee.body = body
        moveTimer(token)
    }

    /// The client took something: it has time for the next piece.
    private func moveTimer(_ token: SlabToken) {
        guard let pending = questions[token] else { return }
        timers.cancel(pending.pointee.timer)
        pending.pointee.timer = timers.arm(
            now.adding(milliseconds: limits.longAnswerMilliseconds), payload: TaggedToken(.question, token).packed)
    }

    /// Sends what a client of HTTP/1.1 takes; the rest when it has taken that.
    private func sendPieces(_ token: SlabToken, _ connection: Downstream) {
        guard let pending = questions[token] else { return }
        var isBroken = false
        pending.pointee.body.withUnsafeBytes { bytes in
            while connection.pointee.outbound.count == 0, pending.pointee.sent < bytes.count, !isBroken {
                let end = min(bytes.count, pending.pointee.sent + Answer.pieceBytes)
                let piece = UnsafeRawBufferPointer(rebasing: bytes[pending.pointee.sent..<end])
                pending.pointee.sent = end
                isBroken = !sendBytes(connection, ByteView(piece))
            }
        }
        guard !isBroken else { return close(connection) }
        guard pending.pointee.sent == pending.pointee.body.count else { return moveTimer(token) }
        let (consumed, keepsAlive) = (pending.pointee.consumed, pending.pointee.keepsAlive && !isDraining)
        remove(token, pending.pointee)
        afterResponse(connection, consumed: consumed, keepsAlive: keepsAlive)
    }

    /// Sends what a stream takes. `.writable` follows when it takes more.
    private func sendPieces(_ token: SlabToken, _ session: HTTP2Session) {
        guard let pending = questions[token] else { return }
        let stream = pending.pointee.stream
        var isBroken = false
        pending.pointee.body.withUnsafeBytes { bytes in
            while pending.pointee.sent < bytes.count, !isBroken {
                let room = min(session.writableBytes(on: stream), bytes.count - pending.pointee.sent)
                guard room > 0 else { return }
                let end = pending.pointee.sent + room
                let piece = UnsafeRawBufferPointer(rebasing: bytes[pending.pointee.sent..<end])
                let taken = session.write(ByteView(piece), end: end == bytes.count, on: stream, now: now)
                isBroken = taken != room
                pending.pointee.sent = end
            }
        }
        if isBroken { session.reset(stream, .internalError) }
        guard isBroken || pending.pointee.sent == pending.pointee.body.count else { return moveTimer(token) }
        if !isBroken { session.dropRest(of: stream) }
        remove(token, pending.pointee)
    }

    /// The stream takes more.
    func resumeAnswer(of stream: HTTP2Stream, _ connection: Downstream) {
        guard let session = connection.pointee.session else { return }
        for token in questions.tokens() {
            guard let pending = questions[token], pending.pointee.connection == connection.pointee.token,
                pending.pointee.stream == stream, !pending.pointee.body.isEmpty
            else { continue }
            sendPieces(token, session)
            return touch(connection)
        }
    }

    // MARK: No answer

    /// Nobody answered in time, or the client does not take a long answer.
    func questionTimerFired(_ token: SlabToken) {
        guard let pending = questions[token]?.pointee else { return }
        guard let connection = downstreams[pending.connection], connection.pointee.phase != .closed else {
            return remove(token, pending)
        }
        guard !pending.body.isEmpty else { return refuse(token, pending, connection) }
        remove(token, pending)
        guard pending.stream != .none else { return cut(connection) }
        connection.pointee.session?.reset(pending.stream, .cancel)
        touch(connection)
    }

    private func refuse(_ token: SlabToken, _ pending: PendingQuestion, _ connection: Downstream) {
        let refusal = Refusal.overloaded
        let bytes = pending.isHead ? 0 : refusal.text.utf8CodeUnitCount
        logProbe(pending.note, connection, status: refusal.status, bytes: bytes)
        remove(token, pending)
        guard pending.stream == .none else {
            guard let session = connection.pointee.session else { return }
            reply(session, pending.stream, .overloaded, isHead: pending.isHead, isGRPC: false)
            return touch(connection)
        }
        reply(connection, .overloaded, keepsAlive: false, withBody: !pending.isHead)
        afterResponse(connection, consumed: pending.consumed, keepsAlive: false)
    }

    private func finishAnswer(_ connection: Downstream, consumed: Int, keepsAlive: Bool) {
        // What does not fit the list is a head that a client made too long for us.
        guard !output.writer.overflowed, sendOutput(connection) else { return close(connection) }
        afterResponse(connection, consumed: consumed, keepsAlive: keepsAlive)
    }

    /// Writes a head of HTTP/1.1 into the output list's memory.
    private func writeHead(
        _ status: Int, contentType: Answer.StaticText?, isError: Bool, hash: ByteView, count: Int, keepsAlive: Bool
    ) {
        output.clear()
        HeadWriter.writeStatusLine(status, reason: nil, to: &output.writer)
        if let contentType { HeadWriter.writeField("Content-Type", ByteView(contentType.text), to: &output.writer) }
        if isError { output.writer.append("X-Content-Type-Options: nosniff\r\n") }
        if !hash.isEmpty { HeadWriter.writeField("K-Network-Hash", hash, to: &output.writer) }
        output.writer.append("Content-Length: ")
        output.writer.append(decimal: UInt64(count))
        output.writer.append("\r\nDate: ")
        date.append(to: &output.writer)
        output.writer.append(keepsAlive ? "\r\nConnection: keep-alive\r\n\r\n" : "\r\nConnection: close\r\n\r\n")
    }

    private func writeBody(_ reply: QuestionRule.Reply) {
        output.writer.append(reply.text)
        output.writer.append(reply.detail)
        if reply.isError { output.writer.append(ASCII.lf) }
    }

    /// Answers on a stream; the date goes into the output list's memory, behind what is there.
    ///
    /// - Parameter isWhole: whether the body goes now; otherwise only its length is told.
    private func send(
        _ status: Int, contentType: Answer.StaticText?, isError: Bool, hash: ByteView, body: ByteView,
        isWhole: Bool = true, isHead: Bool, _ session: HTTP2Session, _ stream: HTTP2Stream
    ) {
        streamFields.beginResponse(status: status)
        if let contentType { streamFields.append("content-type", ByteView(contentType.text)) }
        if isError { streamFields.append("x-content-type-options", ByteView("nosniff")) }
        if !hash.isEmpty { streamFields.append("k-network-hash", hash) }
        streamFields.append("content-length", decimal: UInt64(body.count))
        appendDate()
        let hasBody = !body.isEmpty && !isHead
        guard !output.writer.overflowed, session.submitResponse(streamFields, hasBody: hasBody, on: stream) else {
            return session.reset(stream, .internalError)
        }
        guard isWhole else { return }
        if hasBody, session.write(body, end: true, on: stream, now: now) != body.count {
            return session.reset(stream, .internalError)
        }
        session.dropRest(of: stream)
    }

    // MARK: Who has gone

    /// The client said something, or goodbye, while it waits.
    func askingReady(_ connection: Downstream) {
        if questions[connection.pointee.question]?.pointee.body.isEmpty == false {
            return sendPieces(connection.pointee.question, connection)
        }
        guard connection.pointee.peerHasClosed, let pending = questions[connection.pointee.question]?.pointee,
            connection.pointee.inbound.count <= pending.consumed, isAtEnd(connection)
        else { return }
        close(connection)
    }

    /// Forgets what a connection that closes has asked.
    func forgetQuestions(of connection: Downstream) {
        if let pending = questions[connection.pointee.question]?.pointee {
            remove(connection.pointee.question, pending)
        }
        guard connection.pointee.streamQuestions > 0 else { return }
        for token in questions.tokens() { forget(token, of: connection, nil) }
    }

    /// Forgets what a stream that was reset has asked.
    func forgetQuestion(of stream: HTTP2Stream, _ connection: Downstream) {
        for token in questions.tokens() { forget(token, of: connection, stream) }
    }

    private func forget(_ token: SlabToken, of connection: Downstream, _ stream: HTTP2Stream?) {
        guard let pending = questions[token]?.pointee, pending.connection == connection.pointee.token,
            stream == nil || pending.stream == stream
        else { return }
        remove(token, pending)
    }

    private func remove(_ token: SlabToken, _ pending: PendingQuestion) {
        timers.cancel(pending.timer)
        forgetProbe(pending.note)
        if !pending.body.isEmpty { longAnswers -= 1 }
        questions.remove(token)
        guard let connection = downstreams[pending.connection] else { return }
        if pending.stream == .none {
            connection.pointee.question = .none
        } else {
            connection.pointee.streamQuestions -= 1
        }
    }
}
