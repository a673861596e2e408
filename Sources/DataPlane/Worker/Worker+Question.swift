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
    let timer: TimerHandle
    /// What the request log will say of it (`ProbeNote`); none if it has no line.
    let note: SlabToken
}

/// Requests that are not for the container: some are answered at once, others by the control thread, while their
/// connection is in the phase `asking` (or their stream waits). Without a desk there are none.
extension Worker {
    // MARK: Asking

    /// Whether the request just parsed is a question. Then it has been answered, or waits.
    func isQuestion(_ connection: Downstream, _ parts: RequestParts, _ desk: QuestionDesk) -> Bool {
        let purpose = connection.pointee.purpose
        switch QuestionRule.judge(parts, requestHead.fields, at: purpose, isDraining: desk.isDraining) {
        case .traffic:
            desk.noteRequest(now)
            return false
        case .reply(let reply):
            let keepsAlive = mayGoOn(connection, parts)
            let bodyBytes = parts.method == .head ? 0 : reply.count
            logProbe(connection, parts, requestHead.fields, status: reply.status, bytes: bodyBytes)
            writeHead(
                reply.status, contentType: reply.count > 0 ? .plain : nil, isError: reply.isError, hash: reply.hash,
                count: reply.count, keepsAlive: keepsAlive)
            if parts.method != .head { writeBody(reply) }
            output.appendWritten()
            finishAnswer(connection, consumed: parts.headLength, keepsAlive: keepsAlive)
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
        switch QuestionRule.judge(parts, fields, at: connection.pointee.purpose, isDraining: desk.isDraining) {
        case .traffic:
            desk.noteRequest(now)
            return false
        case .reply(let reply):
            let bodyBytes = parts.method == .head ? 0 : reply.count
            logProbe(connection, parts, fields, status: reply.status, bytes: bodyBytes)
            output.clear()
            writeBody(reply)
            send(
                reply.status, contentType: reply.count > 0 ? .plain : nil, isError: reply.isError, hash: reply.hash,
                body: output.writer.written, isHead: parts.method == .head, session, stream)
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
        guard let pending = questions[asker.token]?.pointee else { return }
        if let connection = downstreams[pending.connection] {
            logProbe(pending.note, connection, status: answer.status, bytes: pending.isHead ? 0 : answer.body.count)
        }
        remove(asker.token, pending)
        guard let connection = downstreams[pending.connection], connection.pointee.phase != .closed else { return }
        answer.body.withUnsafeBytes { bytes in
            guard pending.stream == .none else {
                guard let session = connection.pointee.session else { return }
                output.clear()
                send(
                    answer.status, contentType: answer.contentType, isError: false, hash: .empty,
                    body: ByteView(bytes), isHead: pending.isHead, session, pending.stream)
                return touch(connection)
            }
            let keepsAlive = pending.keepsAlive && !isDraining
            writeHead(
                answer.status, contentType: answer.contentType, isError: false, hash: .empty,
                count: bytes.count, keepsAlive: keepsAlive)
            output.appendWritten()
            if !pending.isHead { output.append(ByteView(bytes)) }
            finishAnswer(connection, consumed: pending.consumed, keepsAlive: keepsAlive)
        }
    }

    /// Nobody answered in time.
    func questionTimerFired(_ token: SlabToken) {
        guard let pending = questions[token]?.pointee else { return }
        let refusal = Refusal.overloaded
        if let connection = downstreams[pending.connection] {
            let bytes = pending.isHead ? 0 : refusal.text.utf8CodeUnitCount
            logProbe(pending.note, connection, status: refusal.status, bytes: bytes)
        }
        remove(token, pending)
        guard let connection = downstreams[pending.connection], connection.pointee.phase != .closed else { return }
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
    private func send(
        _ status: Int, contentType: Answer.StaticText?, isError: Bool, hash: ByteView, body: ByteView, isHead: Bool,
        _ session: HTTP2Session, _ stream: HTTP2Stream
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
        if hasBody, session.write(body, end: true, on: stream, now: now) != body.count {
            return session.reset(stream, .internalError)
        }
        session.dropRest(of: stream)
    }

    // MARK: Who has gone

    /// The client said something, or goodbye, while it waits.
    func askingReady(_ connection: Downstream) {
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
        questions.remove(token)
        guard let connection = downstreams[pending.connection] else { return }
        if pending.stream == .none {
            connection.pointee.question = .none
        } else {
            connection.pointee.streamQuestions -= 1
        }
    }
}
