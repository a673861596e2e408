import HTTP
import HTTP2
import Primitives

/// The head as a pod receives it that speaks HTTP/2.
extension Worker {
    /// Fills `streamFields` with a request. What is ours stands in the output list's memory until it is submitted.
    /// False if it is too large.
    func fillRequest(
        _ parts: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream, _ exchange: ExchangePointer
    ) -> Bool {
        if isSidecar { return fillContainerRequest(parts, fields, connection, exchange) }
        if isActivator { return fillActivatedRequest(parts, fields, connection, exchange) }
        if isGateway { return fillGatewayRequest(parts, fields, connection, exchange) }
        output.clear()
        let isEncrypted = exchange.pointee.target.upstreamSecurity != nil
        streamFields.beginRequest(
            method: parts.methodBytes, scheme: ByteView(isEncrypted ? "https" : "http"), authority: parts.authority,
            path: writtenPath(parts))
        streamFields.append(fields, of: parts.bytes, excluding: excluded(of: parts))
        for field in ForwardingField.allCases {
            let start = output.writer.count
            writeValue(of: field, parts, fields, connection)
            streamFields.append(field.lowercaseName, output.writer.written[start..<output.writer.count])
        }
        if !fields.present.contains(.xRequestId) {
            let id = writeRequestID()
            streamFields.append("x-request-id", id, isRepeated: false)
            note(requestID: id, exchange)
        }
        if parts.acceptsTrailers { streamFields.append("te", ByteView("trailers")) }
        return !streamFields.overflowed && !output.writer.overflowed
    }

    /// Path and query with what an absolute form left out before them.
    func writtenPath(_ parts: RequestParts) -> ByteView {
        guard parts.pathPrefix.utf8CodeUnitCount > 0 else { return parts.path }
        let start = output.writer.count
        output.writer.append(parts.pathPrefix)
        output.writer.append(parts.path)
        return output.writer.written[start..<output.writer.count]
    }
}
