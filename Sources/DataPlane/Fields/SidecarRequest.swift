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
        _ received: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream
    ) {
        let parts = restoringHost(received, fields)
        writeRequestLine(parts)
        if parts.hostIsReplaced { HeadWriter.writeField("Host", parts.authority, to: &output.writer) }
        HeadWriter.writeFields(fields, of: parts.bytes, excluding: excludedForContainer(parts), to: &output.writer)
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
        _ received: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream
    ) -> Bool {
        let parts = restoringHost(received, fields)
        output.clear()
        streamFields.beginRequest(
            method: parts.methodBytes, scheme: ByteView("http"), authority: parts.authority, path: writtenPath(parts))
        streamFields.append(fields, of: parts.bytes, excluding: excludedForContainer(parts))
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

    private func excludedForContainer(_ parts: RequestParts) -> KnownFieldSet {
        var excluded = Self.internalFields
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
