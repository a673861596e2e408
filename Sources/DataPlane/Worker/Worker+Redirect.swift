import HTTP
import HTTP1
import Primitives
import Telemetry

/// Listeners that lead to `https` (Knative: httpOption Redirected).
extension Worker {
    /// Answers the request whose head was just parsed from `bytes` with 301.
    func redirect(_ connection: Downstream, _ bytes: ByteView) {
        let keepsAlive =
            requestHead.keepsAlive && requestHead.framing == .none && !isDraining
            && connection.pointee.requestsBegun < limits.requestsPerConnection
        let consumed = requestHead.length
        // Before the reply: it may break the connection, and then the bytes that the line shows have gone.
        if options.accessLog != .off {
            var record = AccessRecord()
            record.status = 301
            writeLog(record, connection, showsHead: true)
        }
        output.clear()
        HeadWriter.writeStatusLine(301, reason: nil, to: &output.writer)
        output.writer.append("Location: ")
        writeLocation(
            host: bytes[requestHead.host], port: connection.pointee.redirectPort,
            pathAndQuery: bytes[requestHead.pathAndQuery])
        output.writer.append("\r\nContent-Length: 0\r\nDate: ")
        date.append(to: &output.writer)
        output.writer.append(keepsAlive ? "\r\nConnection: keep-alive\r\n\r\n" : "\r\nConnection: close\r\n\r\n")
        output.appendWritten()
        // What was left out would make another head of it.
        guard !output.writer.overflowed, sendOutput(connection) else { return close(connection) }
        afterResponse(connection, consumed: consumed, keepsAlive: keepsAlive)
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
