import EventLoop
import Glibc
import HTTP
import Primitives
import TLS

/// TLS under a client's connection: what `Worker+Transport` does for plain ones, by way of `SecureTransport`.
extension Worker {
    // MARK: In

    /// Reads until there is plaintext, the end, or nothing more in the socket. Bounded: the core takes no more than
    /// `TLSSettings.controlBytesLimit` without a byte of data.
    func receive(
        _ connection: Downstream, through tls: Secure, into place: UnsafeMutableRawBufferPointer
    ) -> TransferResult {
        while true {
            switch readRecords(connection, tls, into: place) {
            case .bytes(let count):
                connection.pointee.lastProgress = now
                if tls.pointee.hasEnded { connection.pointee.peerHasClosed = true }
                return .bytes(count)
            case .again, .opened:
                if !connection.pointee.isReadable { return .wouldBlock }
            case .wouldBlock:
                connection.pointee.isReadable = false
                return .wouldBlock
            case .end:
                connection.pointee.peerHasClosed = true
                return .endOfStream
            case .failed(let code):
                connection.pointee.peerHasClosed = true
                return .failed(code)
            case .plainHTTP:
                assertionFailure("only in a handshake")
                return .failed(EPROTO)
            }
        }
    }

    /// One step: reads, decrypts, sends what TLS itself has to say, and remembers whether there may be more.
    func readRecords(
        _ connection: Downstream, _ tls: Secure, into place: UnsafeMutableRawBufferPointer
    ) -> SecureTransport.Step {
        var replies = ByteWriter(cipherScratch.outgoing)
        var isDrained = false
        let step = tls.pointee.read(
            from: connection.pointee.socket, through: cipherScratch.incoming, into: place, replies: &replies,
            buffers: &buffers, isDrained: &isDrained)
        // The next edge tells of more; but after a close, read on to the end.
        if isDrained, !connection.pointee.peerHasClosed, !tls.pointee.hasMore { connection.pointee.isReadable = false }
        guard replies.count == 0 || step == .plainHTTP || sendWire(connection, replies.written) else {
            return .failed(EPIPE)
        }
        return step
    }

    /// Decrypts what waits into the inbound buffer, behind what is there, as far as a small piece of room goes. Only
    /// between requests or behind a whole one: what comes is the beginning of the next.
    private func lookAhead(_ connection: Downstream) -> TransferResult {
        if connection.pointee.inbound.room == 0 {
            let wanted = connection.pointee.inbound.count + BufferPool.smallest
            guard buffers.provide(wanted, in: &connection.pointee.inbound) else { return .wouldBlock }
            connection.pointee.inbound.compact()
        }
        let result = receive(connection, into: connection.pointee.inbound.free)
        if case .bytes(let count) = result { connection.pointee.inbound.filled(count) }
        if connection.pointee.inbound.count == 0 { buffers.release(&connection.pointee.inbound) }
        return result
    }

    /// Whether the client has ended its side and everything before the end was read.
    func isAtEndSecurely(_ connection: Downstream) -> Bool {
        switch lookAhead(connection) {
        case .endOfStream, .failed: true
        case .bytes, .wouldBlock: false
        }
    }

    /// Whether bytes of an idle client wait to be read: those of TLS itself (tickets, close_notify) are no request.
    func hasBytesSecurely(_ connection: Downstream) -> Bool {
        guard case .bytes = lookAhead(connection) else { return false }
        queueTurn(connection)
        return true
    }

    /// Whether something came behind the whole request: close_notify ends a client's side without ending its socket's.
    func mayHaveEnded(_ connection: Downstream, _ exchange: ExchangePointer) -> Bool {
        connection.pointee.tls != nil && connection.pointee.isReadable && exchange.pointee.requestIsComplete
    }

    // MARK: Out

    /// Encrypts the output list and sends it; ciphertext that the kernel does not take is kept. False if it broke.
    func sendOutput(_ connection: Downstream, through tls: Secure) -> Bool {
        var records = RecordWriter(cipherScratch, now: now)
        for index in 0..<output.count {
            guard records.append(output.piece(index), tls, { sendWire(connection, $0) }) else { return false }
        }
        return finish(records, connection, tls)
    }

    /// Encrypts `bytes` and sends them; ciphertext that the kernel does not take is kept. False if it broke.
    func sendBytes(_ connection: Downstream, through tls: Secure, _ bytes: ByteView) -> Bool {
        var records = RecordWriter(cipherScratch, now: now)
        guard records.append(bytes, tls, { sendWire(connection, $0) }) else { return false }
        return finish(records, connection, tls)
    }

    private func finish(_ records: consuming RecordWriter, _ connection: Downstream, _ tls: Secure) -> Bool {
        guard records.finish(tls, { sendWire(connection, $0) }) else { return false }
        if connection.pointee.outbound.count > 0 { armStallTimer(connection) }
        return true
    }

    // MARK: The end

    /// Says that we send no more (close_notify), on a TLS connection that has not.
    func sayGoodbye(_ connection: Downstream) {
        guard let tls = connection.pointee.tls else { return }
        var replies = ByteWriter(cipherScratch.outgoing)
        tls.pointee.tls.closeNotify(into: &replies)
        // If it cannot be sent, the socket's end says it.
        if replies.count > 0 { _ = sendWire(connection, replies.written) }
    }

    /// What closing a TLS connection takes besides. One that rests, or whose messages say where they end (HTTP/2), ends
    /// in an orderly way; one that is cut must not, or a response without its end could be taken for whole.
    func closeSecure(_ connection: Downstream) {
        switch connection.pointee.phase {
        case .handshake:
            handshakes -= 1
            failedHandshakes += 1
        case .idle, .session: if connection.pointee.outbound.count == 0 { sayGoodbye(connection) }
        case .head, .asking, .exchange, .tunnel, .lingering, .closed: break
        }
        connection.pointee.tls?.pointee.release(to: &buffers)
    }
}
