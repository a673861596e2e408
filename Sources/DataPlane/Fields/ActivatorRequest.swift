import Balancing
import HTTP
import HTTP1
import HTTP2
import Primitives

/// The head as a pod's queue-proxy receives it from its activator (`ForwardingMode.activator`; spec/dataplane 3.4).
extension Worker {
    /// What is ours to say, and what was said to us alone.
    private static var replacedFields: KnownFieldSet {
        KnownFieldSet(.kProxyRequest) | KnownFieldSet(.kNetworkHash) | KnownFieldSet(.knativeServingRevision)
            | KnownFieldSet(.knativeServingNamespace) | KnownFieldSet(.xForwardedFor) | KnownFieldSet(.http2Settings)
            | KnownFieldSet(.host)
    }

    /// Writes the head as HTTP/1.1 into the output list's memory.
    func writeActivatedRequest(
        _ parts: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream, _ exchange: ExchangePointer
    ) {
        let trace = traced(exchange)
        let needsHost = value(of: .kOriginalHost, parts, fields).isEmpty
        writeRequestLine(parts)
        output.writer.append("Host: ")
        writePodAddress(of: exchange)
        output.writer.append("\r\n")
        HeadWriter.writeFields(
            fields, of: parts.bytes, excluding: excludedForPod(parts, trace, needsHost: needsHost), to: &output.writer)
        if let trace {
            output.writer.append("traceparent: ")
            trace.note.pointee.client.write(to: &output.writer)
            output.writer.append("\r\n")
        }
        if needsHost { HeadWriter.writeField("K-Original-Host", parts.authority, to: &output.writer) }
        output.writer.append("K-Proxy-Request: activator\r\nX-Forwarded-For: ")
        writeForwardedFor(parts, fields)
        connection.pointee.appendPeer(to: &output.writer)
        output.writer.append("\r\n")
        writeEnd(parts, fields)
    }

    /// Fills `streamFields` with the head. What is ours stands in the output list's memory until it is submitted. False
    /// if it is too large.
    func fillActivatedRequest(
        _ parts: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream, _ exchange: ExchangePointer
    ) -> Bool {
        let trace = traced(exchange)
        let needsHost = value(of: .kOriginalHost, parts, fields).isEmpty
        let isEncrypted = exchange.pointee.target.upstreamSecurity != nil
        output.clear()
        writePodAddress(of: exchange)
        let authority = output.writer.written
        streamFields.beginRequest(
            method: parts.methodBytes, scheme: ByteView(isEncrypted ? "https" : "http"), authority: authority,
            path: writtenPath(parts))
        streamFields.append(fields, of: parts.bytes, excluding: excludedForPod(parts, trace, needsHost: needsHost))
        if let trace {
            let start = output.writer.count
            trace.note.pointee.client.write(to: &output.writer)
            let context = output.writer.written[start..<output.writer.count]
            streamFields.append("traceparent", context, isRepeated: false)
        }
        if needsHost { streamFields.append("k-original-host", parts.authority) }
        streamFields.append("k-proxy-request", ByteView("activator"))
        let start = output.writer.count
        writeForwardedFor(parts, fields)
        connection.pointee.appendPeer(to: &output.writer)
        streamFields.append("x-forwarded-for", output.writer.written[start..<output.writer.count])
        if parts.acceptsTrailers { streamFields.append("te", ByteView("trailers")) }
        return !streamFields.overflowed && !output.writer.overflowed
    }

    /// Writes `10.1.2.3:8012`.
    private func writePodAddress(of exchange: ExchangePointer) {
        guard let address = exchange.pointee.endpoint?.address else { return assertionFailure("sent without a slot") }
        var shift: UInt32 = 24
        while shift > 0 {
            output.writer.append(decimal: UInt64(address.ipv4 >> shift & 0xFF))
            output.writer.append(UInt8(ascii: "."))
            shift -= 8
        }
        output.writer.append(decimal: UInt64(address.ipv4 & 0xFF))
        output.writer.append(ASCII.colon)
        output.writer.append(decimal: UInt64(address.port))
    }

    private func excludedForPod(_ parts: RequestParts, _ trace: NotePointer?, needsHost: Bool) -> KnownFieldSet {
        var excluded = Self.replacedFields
        if needsHost { excluded.insert(.kOriginalHost) }
        if let trace {
            excluded.insert(.traceparent)
            // The state belongs to a context that is not passed on (W3C Trace Context §3.3).
            if trace.note.pointee.beginsTrace { excluded.insert(.tracestate) }
        }
        // HTTP/1.0 knows no expectations (RFC 9110 §10.1.1).
        if !parts.expectsContinue { excluded.insert(.expect) }
        return excluded
    }
}
