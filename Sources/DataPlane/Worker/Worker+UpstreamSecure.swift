import EventLoop
import Glibc
import HTTP
import Primitives
import TLS

/// TLS under a connection to a pod: the handshake, and what `Worker+Transport` does for plain ones.
extension Worker {
    // MARK: The handshake

    /// The transport is there. Whoever waits for the connection goes on waiting.
    func beginHandshake(_ upstream: Upstream, _ security: UpstreamSecurity) {
        guard let context = try? clientContexts.context(security, isShared: upstream.pointee.isShared),
            let tls = try? TLSConnection(
                connecting: context, to: security.identity,
                resuming: clientContexts.session(upstream.pointee.endpoint))
        else { return refuse(upstream, .ours) }
        upstream.pointee.phase = .handshaking
        upstream.pointee.timer = timers.arm(
            now.adding(milliseconds: limits.upstreamHandshakeMilliseconds),
            payload: TaggedToken(.upstream, upstream.pointee.token).packed)
        let secure = Secure.make(tls, isServer: false)
        upstream.pointee.tls = secure
        var flight = ByteWriter(cipherScratch.outgoing)
        secure.pointee.tls.transmit(into: &flight)
        guard sendWire(upstream, flight.written) == .taken else {
            return connectionAttemptFailed(upstream, ECONNRESET)
        }
        if upstream.pointee.isReadable { stepHandshake(upstream) }
    }

    /// Something can be read or written.
    func stepHandshake(_ upstream: Upstream) {
        guard let tls = upstream.pointee.tls else { return close(upstream) }
        switch flush(upstream) {
        case .all: break
        case .some: return
        case .broken: return connectionAttemptFailed(upstream, ECONNRESET)
        }
        let nowhere = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        while upstream.pointee.isReadable {
            switch readRecords(upstream, tls, into: nowhere) {
            case .again: break
            case .wouldBlock: upstream.pointee.isReadable = false
            case .opened:
                timers.cancel(upstream.pointee.timer)
                upstream.pointee.phase = .awaitingHead
                return upstreamOpened(upstream)
            case .end: return handshakeFailed(upstream, tls, ECONNRESET)
            case .failed(let code): return handshakeFailed(upstream, tls, code)
            case .bytes, .plainHTTP: return handshakeFailed(upstream, tls, EPROTO)
            }
        }
    }

    /// A pod that cannot prove who it is gets no request, and no other is asked: the client is told (502, as Go's proxy
    /// does). A connection that broke is one that was refused.
    private func handshakeFailed(_ upstream: Upstream, _ tls: Secure, _ code: Int32) {
        guard let failure = tls.pointee.failure else { return connectionAttemptFailed(upstream, code) }
        refuse(upstream, failure.kind)
    }

    private func refuse(_ upstream: Upstream, _ kind: TLSFailure.Kind) {
        if upstream.pointee.isShared { return sharedAttemptRefused(upstream, .upstreamTLS(kind)) }
        let exchange = exchanges[upstream.pointee.exchange]
        close(upstream)
        guard let exchange, exchange.pointee.stage == .connecting else { return }
        exchange.pointee.upstream = .none
        fail(exchange, .upstreamTLS(kind))
    }

    /// When tickets have come, with the first response: the next connection may resume the session.
    func keepSession(_ upstream: Upstream) {
        guard let session = upstream.pointee.tls?.pointee.tls.session() else { return }
        clientContexts.keep(session, of: upstream.pointee.endpoint)
    }

    // MARK: In

    /// Reads until there is plaintext, the end, or nothing more in the socket.
    ///
    /// An end without close_notify breaks a response under way: if its end is that of the connection, it may have been
    /// cut off on the way.
    func receive(
        _ upstream: Upstream, through tls: Secure, into place: UnsafeMutableRawBufferPointer
    ) -> TransferResult {
        while true {
            switch readRecords(upstream, tls, into: place) {
            case .bytes(let count):
                if tls.pointee.hasEnded { upstream.pointee.peerHasClosed = true }
                return .bytes(count)
            case .again, .opened:
                if !upstream.pointee.isReadable { return .wouldBlock }
            case .wouldBlock:
                upstream.pointee.isReadable = false
                return .wouldBlock
            case .end:
                upstream.pointee.peerHasClosed = true
                return upstream.pointee.phase == .body && tls.pointee.isTruncated ? .failed(ECONNRESET) : .endOfStream
            case .failed(let code):
                upstream.pointee.isReadable = false
                return .failed(code)
            case .plainHTTP:
                assertionFailure("only on the server's side")
                return .failed(EPROTO)
            }
        }
    }

    /// One step: reads, decrypts, sends what TLS itself has to say, and remembers whether there may be more.
    private func readRecords(
        _ upstream: Upstream, _ tls: Secure, into place: UnsafeMutableRawBufferPointer
    ) -> SecureTransport.Step {
        var replies = ByteWriter(cipherScratch.outgoing)
        var isDrained = false
        let step = tls.pointee.read(
            from: upstream.pointee.socket, through: cipherScratch.incoming, into: place, replies: &replies,
            buffers: &buffers, isDrained: &isDrained)
        // The next edge tells of more; but after a close, read on to the end.
        if isDrained, !upstream.pointee.peerHasClosed, !tls.pointee.hasMore { upstream.pointee.isReadable = false }
        guard replies.count == 0 || sendWire(upstream, replies.written) == .taken else { return .failed(EPIPE) }
        return step
    }

    /// Whether bytes wait on a connection that takes no more: it is then read to its end, which comes.
    func hasBytes(_ upstream: Upstream, through tls: Secure) -> Bool {
        upstream.pointee.peerHasClosed = true
        if tls.pointee.holdsBytes { return true }
        return if case .bytes = upstream.pointee.socket.peek() { true } else { false }
    }

    /// Whether nothing of the pod waits to be read: no bytes, no end. What TLS itself says is taken in.
    func isSilent(_ upstream: Upstream, through tls: Secure) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { place in
            receive(upstream, through: tls, into: place) == .wouldBlock
        }
    }

    // MARK: Out

    /// Encrypts the output list and sends it; ciphertext that the kernel does not take is kept.
    func sendOutput(_ upstream: Upstream, through tls: Secure) -> SendOutcome {
        var outcome = SendOutcome.taken
        var records = RecordWriter(cipherScratch, now: now)
        for index in 0..<output.count {
            guard records.append(output.piece(index), tls, { deliver($0, upstream, &outcome) }) else {
                return outcome == .taken ? .broken : outcome
            }
        }
        guard records.finish(tls, { deliver($0, upstream, &outcome) }) else {
            return outcome == .taken ? .broken : outcome
        }
        return .taken
    }

    /// Encrypts `bytes` and sends them; ciphertext that the kernel does not take is kept.
    func sendBytes(_ upstream: Upstream, through tls: Secure, _ bytes: ByteView) -> SendOutcome {
        var outcome = SendOutcome.taken
        var records = RecordWriter(cipherScratch, now: now)
        guard records.append(bytes, tls, { deliver($0, upstream, &outcome) }),
            records.finish(tls, { deliver($0, upstream, &outcome) })
        else { return outcome == .taken ? .broken : outcome }
        return .taken
    }

    private func deliver(_ bytes: ByteView, _ upstream: Upstream, _ outcome: inout SendOutcome) -> Bool {
        outcome = sendWire(upstream, bytes)
        return outcome == .taken
    }

    // MARK: The end

    /// Says that we send no more (close_notify), on a TLS connection that has not.
    func sayGoodbye(_ upstream: Upstream) {
        guard let tls = upstream.pointee.tls else { return }
        var replies = ByteWriter(cipherScratch.outgoing)
        tls.pointee.tls.closeNotify(into: &replies)
        // If it cannot be sent, the socket's end says it.
        if replies.count > 0 { _ = sendWire(upstream, replies.written) }
    }

    /// What closing a TLS connection takes besides: one that rests, and one whose messages say where they end, ends in
    /// an orderly way.
    func closeSecure(_ upstream: Upstream) {
        switch upstream.pointee.phase {
        case .pooled: sayGoodbye(upstream)
        case .shared:
            keepSession(upstream)
            sayGoodbye(upstream)
        case .connecting, .handshaking, .awaitingHead, .body, .tunnel, .closed: break
        }
        upstream.pointee.tls?.pointee.release(to: &buffers)
    }
}
