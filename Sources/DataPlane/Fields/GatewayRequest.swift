import HTTP
import HTTP1
import HTTP2
import Primitives

/// The head as a gateway sends it on (`ForwardingMode.gateway`; spec/dataplane 5.1, 5.4).
extension Worker {
    /// Fields by which clients would steer Knative's parts, and those that are written anew.
    private static var steering: KnownFieldSet {
        KnownFieldSet(.kProxyRequest) | KnownFieldSet(.kPassthroughLb) | KnownFieldSet(.kKubeletProbe)
            | KnownFieldSet(.knativeServingRevision) | KnownFieldSet(.knativeServingNamespace)
            | KnownFieldSet(.knativeDirectLb) | KnownFieldSet(.xForwardedFor) | KnownFieldSet(.xForwardedProto)
            | KnownFieldSet(.xForwardedHost) | KnownFieldSet(.forwarded) | KnownFieldSet(.http2Settings)
    }

    /// Whether what a client says about who asked is believed: another proxy stands in front, or the request comes from
    /// inside, as one that has passed a gateway already (spec/dataplane 5.5, DomainMapping).
    @inline(__always)
    func isTrusted(_ connection: Downstream) -> Bool {
        options.trustsForwarded || connection.pointee.believesForwarded
    }

    /// Writes the head as HTTP/1.1 into the output list's memory.
    func writeGatewayRequest(
        _ received: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream, _ exchange: ExchangePointer
    ) {
        let rule = amendment(of: exchange)
        let parts = rewritten(received, rule)
        let version = versionAsked(received, fields, rule)
        let excluded = excludedByGateway(parts, connection, rule, version)
        writeRequestLine(parts)
        if parts.hostIsReplaced { HeadWriter.writeField("Host", parts.authority, to: &output.writer) }
        if let rule, rule.pointee.replacesOthers {
            for index in 0..<fields.count where isKept(index, fields, parts.bytes, excluded, rule) {
                let (name, value) = (fields.name(index, in: parts.bytes), fields.value(index, in: parts.bytes))
                HeadWriter.writeField(name, value, to: &output.writer)
            }
        } else {
            HeadWriter.writeFields(fields, of: parts.bytes, excluding: excluded, to: &output.writer)
        }
        writeForwarding(received, fields, connection)
        if needsRequestID(fields, rule) {
            output.writer.append("X-Request-Id: ")
            let id = writeRequestID()
            output.writer.append("\r\n")
            note(requestID: id, exchange)
        }
        if let rule {
            for field in rule.pointee.fields { HeadWriter.writeField(field.name, field.value, to: &output.writer) }
        }
        if !version.isEmpty { HeadWriter.writeField("K-Network-Hash", version, to: &output.writer) }
        writeEnd(parts, fields)
    }

    /// Fills `streamFields` with the head. What is ours stands in the output list's memory, or in the target's, until
    /// it is submitted. False if it is too large.
    func fillGatewayRequest(
        _ received: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream, _ exchange: ExchangePointer
    ) -> Bool {
        let rule = amendment(of: exchange)
        let parts = rewritten(received, rule)
        let version = versionAsked(received, fields, rule)
        let excluded = excludedByGateway(parts, connection, rule, version)
        output.clear()
        let isEncrypted = exchange.pointee.target.upstreamSecurity != nil
        streamFields.beginRequest(
            method: parts.methodBytes, scheme: ByteView(isEncrypted ? "https" : "http"), authority: parts.authority,
            path: writtenPath(parts))
        if let rule, rule.pointee.replacesOthers {
            let without = excluded | KnownFieldSet(.host)
            for index in 0..<fields.count where isKept(index, fields, parts.bytes, without, rule) {
                streamFields.append(fields.name(index, in: parts.bytes), fields.value(index, in: parts.bytes))
            }
        } else {
            streamFields.append(fields, of: parts.bytes, excluding: excluded)
        }
        for field in ForwardingField.allCases {
            let start = output.writer.count
            writeValue(of: field, received, fields, connection)
            streamFields.append(field.lowercaseName, output.writer.written[start..<output.writer.count])
        }
        if needsRequestID(fields, rule) {
            let id = writeRequestID()
            streamFields.append("x-request-id", id, isRepeated: false)
            note(requestID: id, exchange)
        }
        if let rule { for field in rule.pointee.fields { streamFields.append(field.lowercase, field.value) } }
        if !version.isEmpty { streamFields.append("k-network-hash", version) }
        if parts.acceptsTrailers { streamFields.append("te", ByteView("trailers")) }
        return !streamFields.overflowed && !output.writer.overflowed
    }

    /// What the rule of the request's route says; its target keeps it.
    private func amendment(of exchange: ExchangePointer) -> UnsafeMutablePointer<Amendment>? {
        Unmanaged.passUnretained(exchange.pointee.target)._withUnsafeGuaranteedRef { $0.amendment }
    }

    private func rewritten(_ received: RequestParts, _ rule: UnsafeMutablePointer<Amendment>?) -> RequestParts {
        guard let rule, !rule.pointee.host.isEmpty else { return received }
        var parts = received
        parts.authority = rule.pointee.host
        parts.hostIsReplaced = true
        return parts
    }

    /// The version that a prober asks for with `K-Network-Hash: override`; empty: it does not ask. The request goes the
    /// way of all others, and whoever answers the probe tells the version (spec/dataplane 5.4).
    private func versionAsked(
        _ parts: RequestParts, _ fields: borrowing FieldTable, _ rule: UnsafeMutablePointer<Amendment>?
    ) -> ByteView {
        guard fields.present.contains(.kNetworkHash), let rule, !rule.pointee.replaced.contains(.kNetworkHash),
            !fields.repeated.contains(.kNetworkHash), value(of: .kNetworkHash, parts, fields).equals("override")
        else { return .empty }
        return rule.pointee.version
    }

    private func excludedByGateway(
        _ parts: RequestParts, _ connection: Downstream, _ rule: UnsafeMutablePointer<Amendment>?, _ version: ByteView
    ) -> KnownFieldSet {
        var excluded = Self.steering
        // From inside it is what the first gateway has set for a DomainMapping; the queue-proxy restores the host.
        if !connection.pointee.believesForwarded { excluded.insert(.kOriginalHost) }
        if !isTrusted(connection) { excluded = excluded | KnownFieldSet(.xForwardedPort) | KnownFieldSet(.xRealIp) }
        if let rule { excluded = excluded | rule.pointee.replaced }
        if !version.isEmpty { excluded.insert(.kNetworkHash) }
        if parts.hostIsReplaced { excluded.insert(.host) }
        // HTTP/1.0 knows no expectations (RFC 9110 §10.1.1).
        if !parts.expectsContinue { excluded.insert(.expect) }
        return excluded
    }

    private func isKept(
        _ index: Int, _ fields: borrowing FieldTable, _ bytes: ByteView, _ excluded: KnownFieldSet,
        _ rule: UnsafeMutablePointer<Amendment>
    ) -> Bool {
        let line = fields[index]
        guard !line.isHopByHop, !excluded.contains(line.known) else { return false }
        return line.known != .other || !rule.pointee.replaces(bytes[line.nameRange])
    }

    private func needsRequestID(
        _ fields: borrowing FieldTable, _ rule: UnsafeMutablePointer<Amendment>?
    ) -> Bool {
        !fields.present.contains(.xRequestId) && !(rule?.pointee.replaced.contains(.xRequestId) ?? false)
    }
}
