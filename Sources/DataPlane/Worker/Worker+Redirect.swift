import HTTP
import HTTP1
import HTTP2
import Primitives
import Telemetry

/// Listeners that lead to `https` (Knative: httpOption Redirected).
extension Worker {
    /// Answers a request of HTTP/1.1 with 301.
    func redirect(_ connection: Downstream, _ parts: RequestParts) {
        let keepsAlive =
            parts.keepsAlive && parts.framing == .none && !isDraining
            && connection.pointee.requestsBegun < limits.requestsPerConnection
        // Before the reply: it may break the connection, and then the bytes that the line shows have gone.
        if options.accessLog != .off {
            var record = AccessRecord()
            record.status = 301
            writeLog(record, connection, parts)
        }
        output.clear()
        HeadWriter.writeStatusLine(301, reason: nil, to: &output.writer)
        output.writer.append("Location: ")
        writeLocation(host: parts.host, port: connection.pointee.redirectPort, pathAndQuery: parts.path)
        output.writer.append("\r\nContent-Length: 0\r\nDate: ")
        date.append(to: &output.writer)
        output.writer.append(keepsAlive ? "\r\nConnection: keep-alive\r\n\r\n" : "\r\nConnection: close\r\n\r\n")
        output.appendWritten()
        // What was left out would make another head of it.
        guard !output.writer.overflowed, sendOutput(connection) else { return close(connection) }
        afterResponse(connection, consumed: parts.headLength, keepsAlive: keepsAlive)
    }

    /// Answers a request on a stream with 301.
    func redirect(_ connection: Downstream, _ session: HTTP2Session, _ stream: HTTP2Stream, _ parts: RequestParts) {
        if options.accessLog != .off {
            var record = AccessRecord()
            record.status = 301
            writeLog(record, connection, parts)
        }
        output.clear()
        writeLocation(host: parts.host, port: connection.pointee.redirectPort, pathAndQuery: parts.path)
        let location = output.writer.written
        streamFields.beginResponse(status: 301)
        streamFields.append("location", location)
        streamFields.append("content-length", decimal: 0)
        appendDate()
        guard !output.writer.overflowed, session.submitResponse(streamFields, hasBody: false, on: stream) else {
            return session.reset(stream, .internalError)
        }
        session.dropRest(of: stream)
        touch(connection)
    }

    /// Writes `https://HOST[:PORT]/path?query` to the output list's memory: the host and path of a request that was
    /// found valid, without the host's port; 443 is not written. A target without a path (`*`, or none) becomes `/`.
    func writeLocation(host: ByteView, port: UInt16, pathAndQuery: ByteView) {
        output.writer.append("https://")
        output.writer.append(host)
        if port != 443 {
            output.writer.append(ASCII.colon)
            output.writer.append(decimal: UInt64(port))
        }
        if pathAndQuery.isEmpty || pathAndQuery[0] != UInt8(ascii: "/") { output.writer.append(UInt8(ascii: "/")) }
        // A query may follow an empty path (RFC 3986 §3.3); `*` names no resource.
        if !pathAndQuery.equals("*") { output.writer.append(pathAndQuery) }
    }
}
