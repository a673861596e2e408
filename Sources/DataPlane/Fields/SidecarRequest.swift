import HTTP
import HTTP1
import HTTP2
import Primitives

/// The head as the container receives it from its sidecar (`ForwardingMode.sidecar`; spec/dataplane 1.8).
extension Worker {
    /// Between Knative's parts only: a container that passed them on would disturb another service. And
    /// `X-Forwarded-For`, which is written anew.
    private static var internalFields: KnownFieldSet {
        KnownFieldSet(.kProxyRequest) | KnownFieldSet(.kOriginalHost) | KnownFieldSet(.kPassthroughLb)
            | KnownFieldSet(.knativeServingRevision) | KnownFieldSet(.knativeServingNamespace)
            | KnownFieldSet(.xForwardedFor) | KnownFieldSet(.http2Settings)
    }

    /// Whether an activator sent the request on, and counts it too.
    func isFromActivator(_ parts: RequestParts, _ fields: borrowing FieldTable) -> Bool {
        guard let index = fields.firstIndex(of: .kProxyRequest) else { return false }
        return fields.value(index, in: parts.bytes).equals("activator")
    }

    /// Writes the head as HTTP/1.1 into the output list's memory.
    func writeContainerRequest(
        _ received: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream,
        _ exchange: ExchangePointer
    ) {
        let parts = restoringHost(received, fields)
        let trace = traced(exchange)
        writeRequestLine(parts)
        if parts.hostIsReplaced { HeadWriter.writeField("Host", parts.authority, to: &output.writer) }
        let excluded = excludedForContainer(parts, trace)
        HeadWriter.writeFields(fields, of: parts.bytes, excluding: excluded, to: &output.writer)
        if let trace {
            output.writer.append("traceparent: ")
            trace.note.pointee.client.write(to: &output.writer)
            output.writer.append("\r\n")
        }
        output.writer.append("X-Forwarded-For: ")
        writeForwardedFor(parts, fields)
        connection.pointee.appendPeer(to: &output.writer)
        output.writer.append("\r\n")
        if needsForwarded(parts, fields) {
            output.writer.append("Forwarded: ")
            writeForwarded(parts, fields)
            output.writer.append("\r\n")
        }
        writeEnd(parts, fields)
    }

    /// Fills `streamFields` with the head. What is ours stands in the output list's memory until it is submitted. False
    /// if it is too large.
    func fillContainerRequest(
        _ received: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream,
        _ exchange: ExchangePointer
    ) -> Bool {
        let parts = restoringHost(received, fields)
        let trace = traced(exchange)
        output.clear()
        streamFields.beginRequest(
            method: parts.methodBytes, scheme: ByteView("http"), authority: parts.authority, path: writtenPath(parts))
        streamFields.append(fields, of: parts.bytes, excluding: excludedForContainer(parts, trace))
        if let trace {
            let start = output.writer.count
            trace.note.pointee.client.write(to: &output.writer)
            let context = output.writer.written[start..<output.writer.count]
            streamFields.append("traceparent", context, isRepeated: false)
        }
        let start = output.writer.count
        writeForwardedFor(parts, fields)
        connection.pointee.appendPeer(to: &output.writer)
        streamFields.append("x-forwarded-for", output.writer.written[start..<output.writer.count])
        if needsForwarded(parts, fields) {
            let start = output.writer.count
            writeForwarded(parts, fields)
            streamFields.append("forwarded", output.writer.written[start..<output.writer.count])
        }
        if parts.acceptsTrailers { streamFields.append("te", ByteView("trailers")) }
        return !streamFields.overflowed && !output.writer.overflowed
    }

    /// The request for the host that the client asked for, if an activator has put the pod's address in its place. What
    /// is no host is ignored: the request would not be one.
    private func restoringHost(_ received: RequestParts, _ fields: borrowing FieldTable) -> RequestParts {
        let original = value(of: .kOriginalHost, received, fields)
        guard !original.isEmpty, (try? Authority.host(original, at: 0..<original.count)) != nil else {
            return received
        }
        var parts = received
        parts.authority = original
        parts.hostIsReplaced = true
        return parts
    }

    /// `trace`: whose context takes the place of the one that came; nil: that is passed on.
    private func excludedForContainer(_ parts: RequestParts, _ trace: NotePointer?) -> KnownFieldSet {
        var excluded = Self.internalFields
        if let trace {
            excluded.insert(.traceparent)
            // The state belongs to a context that is not passed on (W3C Trace Context §3.3).
            if trace.note.pointee.beginsTrace { excluded.insert(.tracestate) }
        }
        if parts.hostIsReplaced { excluded.insert(.host) }
        // HTTP/1.0 knows no expectations (RFC 9110 §10.1.1).
        if !parts.expectsContinue { excluded.insert(.expect) }
        return excluded
    }

    /// Whether `Forwarded` is missing and there is something to build it from.
    private func needsForwarded(_ parts: RequestParts, _ fields: borrowing FieldTable) -> Bool {
        guard !fields.present.contains(.forwarded) else { return false }
        return !value(of: .xForwardedFor, parts, fields).isEmpty
            || !value(of: .xForwardedProto, parts, fields).isEmpty
            || !value(of: .xForwardedHost, parts, fields).isEmpty
    }

    /// Writes its value, from the first line of each field as it came: without the peer.
    private func writeForwarded(_ parts: RequestParts, _ fields: borrowing FieldTable) {
        Forwarded.write(
            for: value(of: .xForwardedFor, parts, fields), host: value(of: .xForwardedHost, parts, fields),
            proto: value(of: .xForwardedProto, parts, fields), to: &output.writer)
    }
}
