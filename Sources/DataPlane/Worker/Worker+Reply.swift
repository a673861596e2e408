import HTTP
import HTTP1
import Primitives
import Telemetry

/// Answers of our own.
extension Worker {
    /// Answers a connection that has no exchange: the head was bad, late, or led nowhere.
    func replyWithoutExchange(_ connection: Downstream, _ refusal: Refusal) {
        var keepsAlive = false
        var withBody = true
        var consumed = 0
        if refusal == .noRoute {
            // The head was good: if it has no body, the connection may go on.
            keepsAlive =
                requestHead.keepsAlive && requestHead.framing == .none && !isDraining
                && connection.pointee.requestsBegun < limits.requestsPerConnection
            withBody = requestHead.method != .head
            consumed = requestHead.length
        }
        if case .headTimeout = refusal, connection.pointee.inbound.count == 0 { return close(connection) }
        // Before the reply: it may break the connection, and then the bytes that the line shows have gone.
        if options.accessLog != .off {
            let parts = refusal == .noRoute ? RequestParts(requestHead, of: connection.pointee.inbound.bytes) : nil
            writeLog(refusal, connection, parts)
        }
        reply(connection, refusal, keepsAlive: keepsAlive, withBody: withBody)
        afterResponse(connection, consumed: consumed, keepsAlive: keepsAlive)
    }

    /// Writes a whole response.
    func reply(_ connection: Downstream, _ refusal: Refusal, keepsAlive: Bool, withBody: Bool) {
        output.clear()
        HeadWriter.writeStatusLine(refusal.status, reason: nil, to: &output.writer)
        if refusal.text.utf8CodeUnitCount > 0 {
            output.writer.append("Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n")
        }
        output.writer.append("Content-Length: ")
        output.writer.append(decimal: UInt64(refusal.text.utf8CodeUnitCount))
        if refusal.hasRetryAfter {
            output.writer.append("\r\nRetry-After: ")
            output.writer.append(decimal: limits.retryAfterSeconds)
        }
        output.writer.append("\r\nDate: ")
        date.append(to: &output.writer)
        // Said in both cases: clients of HTTP/1.0 that asked for it expect to be told.
        output.writer.append(keepsAlive ? "\r\nConnection: keep-alive" : "\r\nConnection: close")
        output.writer.append("\r\n\r\n")
        if withBody { output.writer.append(refusal.text) }
        output.appendWritten()
        if !sendOutput(connection) { close(connection) }
    }
}
