import HTTP
import HTTP1
import HTTP2
import Primitives

/// What is forwarded of a response besides its fields, whatever version it came in.
struct ResponseParts {
    /// What the head's table of fields refers to.
    let bytes: ByteView
    let status: Int
    /// The phrase of HTTP/1.1; nil for the registry's.
    let reason: ByteView?
    let framing: BodyFraming

    init(_ head: borrowing ResponseHead, of bytes: ByteView) {
        self.bytes = bytes
        status = head.status
        reason = bytes[head.reason]
        framing = head.framing
    }

    init(_ head: borrowing HTTP2Head) {
        bytes = head.bytes
        status = head.status
        reason = nil
        framing = head.framing
    }

    /// Whether no response with this status has a body (RFC 9110 §6.4.1).
    var isBodyless: Bool { status < 200 || status == 204 || status == 304 }
}

/// The head as the client receives it: what may pass of the pod's, and the framing and persistence of our side.
extension Worker {
    /// Writes the head as HTTP/1.1 into the output list's memory. `fields` are those of `parts`.
    func writeResponseHead(_ parts: ResponseParts, _ fields: borrowing FieldTable, _ exchange: ExchangePointer) {
        HeadWriter.writeStatusLine(parts.status, reason: parts.reason, to: &output.writer)
        HeadWriter.writeFields(fields, of: parts.bytes, excluding: Self.keptFromClients, to: &output.writer)
        if marksEnding(exchange) { output.writer.append("X-Envoy-Immediate-Health-Check-Fail: true\r\n") }
        if exchange.pointee.responseIsChunked {
            output.writer.append("Transfer-Encoding: chunked\r\n")
        } else if parts.reason == nil, parts.framing == .none, !parts.isBodyless, exchange.pointee.method != .head,
            !fields.present.contains(.contentLength)
        {
            // HTTP/2 says by the end of the stream what HTTP/1.1 must say by a length.
            output.writer.append("Content-Length: 0\r\n")
        }
        if !fields.present.contains(.date) {
            // RFC 9110 §6.6.1: who forwards a response without a date adds it.
            output.writer.append("Date: ")
            date.append(to: &output.writer)
            output.writer.append("\r\n")
        }
        if exchange.pointee.closesDownstream {
            output.writer.append("Connection: close\r\n")
        } else if exchange.pointee.clientVersion == .http10 {
            output.writer.append("Connection: keep-alive\r\n")
        }
        output.writer.append("\r\n")
    }

    /// Fills `streamFields` with the head for a client of HTTP/2. Uses the output list's memory.
    func fillResponse(_ parts: ResponseParts, _ fields: borrowing FieldTable, _ exchange: ExchangePointer) {
        streamFields.beginResponse(status: parts.status)
        streamFields.append(fields, of: parts.bytes, excluding: Self.keptFromClients)
        if marksEnding(exchange) { streamFields.append("x-envoy-immediate-health-check-fail", ByteView("true")) }
        if !fields.present.contains(.date) { appendDate() }
    }

    /// Appends the field to `streamFields`, its text in the output list's memory.
    func appendDate() {
        let start = output.writer.count
        date.append(to: &output.writer)
        streamFields.append("date", output.writer.written[start..<output.writer.count])
    }

    /// Fills `streamFields` with the 200 that a WebSocket over HTTP/2 gets for the pod's 101 (RFC 8441 §5): all but
    /// what belongs to HTTP/1.1's handshake.
    func fillWebSocketResponse(_ parts: ResponseParts, _ fields: borrowing FieldTable) {
        streamFields.beginResponse(status: 200)
        for index in 0..<fields.count {
            let line = fields[index]
            let name = fields.name(index, in: parts.bytes)
            if line.isHopByHop || line.known == .contentLength || name.equalsIgnoringCase("sec-websocket-accept") {
                continue
            }
            streamFields.append(name, fields.value(index, in: parts.bytes))
        }
        if !fields.present.contains(.date) { appendDate() }
    }
}
