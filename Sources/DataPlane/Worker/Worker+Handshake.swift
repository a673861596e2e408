import EventLoop
import HTTP
import Primitives
import TLS

/// TLS handshakes of clients. One step may cost a millisecond, so few are made in one wake-up, in order of arrival, and
/// behind the connections that are open.
extension Worker {
    /// A new connection to a TLS listener.
    func beginHandshake(_ connection: Downstream, _ context: TLSServerContext) {
        guard let tls = try? TLSConnection(accepting: context) else {
            failedHandshakes += 1
            return close(connection)
        }
        connection.pointee.tls = Secure.make(tls, isServer: true)
        connection.pointee.phase = .handshake
        handshakes += 1
        setDeadline(connection, now.adding(milliseconds: limits.handshakeTimeoutMilliseconds))
    }

    /// Goes on with a handshake, but only in its turn.
    func handshakeReady(_ connection: Downstream, isTurn: Bool) {
        guard connection.pointee.isReadable else { return }
        guard isTurn, handshakeSteps < limits.handshakesPerWakeup else { return queueTurn(connection) }
        handshakeSteps += 1
        stepHandshake(connection)
    }

    private func stepHandshake(_ connection: Downstream) {
        guard let tls = connection.pointee.tls else { return handshakeFailed(connection) }
        let nowhere = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        switch readRecords(connection, tls, into: nowhere) {
        case .opened: handshakeDone(connection, tls)
        case .again: if connection.pointee.isReadable { queueTurn(connection) }
        case .wouldBlock: connection.pointee.isReadable = false
        case .plainHTTP: refusePlainHTTP(connection, tls)
        case .bytes, .end, .failed: handshakeFailed(connection)
        }
    }

    private func handshakeDone(_ connection: Downstream, _ tls: Secure) {
        endHandshake(connection)
        connection.pointee.applicationProtocol = tls.pointee.tls.applicationProtocol
        expectFirstRequest(connection)
        if connection.pointee.applicationProtocol == .http2 { return beginSession(connection) }
        // The first request may have come along.
        downstreamReady(connection.pointee.token, [])
    }

    private func endHandshake(_ connection: Downstream) {
        connection.pointee.phase = .idle
        handshakes -= 1
    }

    /// Says why, if TLS found a reason (its alert is on the way), and closes.
    func handshakeFailed(_ connection: Downstream) {
        guard let tls = connection.pointee.tls, tls.pointee.failure != nil, !tls.pointee.hasEnded else {
            return close(connection)
        }
        failedHandshakes += 1
        endHandshake(connection)
        // The client may still be sending; a reset would take the alert from it.
        beginLinger(connection)
    }

    /// Somebody forgot the s of https: told so in words that every client shows.
    private func refusePlainHTTP(_ connection: Downstream, _ tls: Secure) {
        failedHandshakes += 1
        endHandshake(connection)
        connection.pointee.phase = .head
        connection.pointee.tls = nil
        tls.destroy()
        replyWithoutExchange(connection, .plainHTTP)
    }
}
