import HTTP
import HTTP1
import Primitives

/// The head as the pod receives it: the request line and the fields that may pass, then ours.
extension Worker {
    /// Fields from outside that a client has no business to set: they steer Knative's components, or are ours to say.
    private static let ours: KnownFieldSet = KnownFieldSet(
        .kProxyRequest, .kOriginalHost, .kPassthroughLb, .kKubeletProbe, .knativeServingRevision,
        .knativeServingNamespace, .knativeDirectLb, .xForwardedFor, .xForwardedProto, .xForwardedHost, .forwarded)
    /// Replaced as well when nobody in front of us is trusted.
    private static let spoofable = KnownFieldSet(.xForwardedPort, .xRealIp)

    /// What is left out of a request's fields when it is sent on.
    func excluded(of parts: RequestParts) -> KnownFieldSet {
        var excluded = Self.ours.union(KnownFieldSet(.http2Settings))
        if !options.trustsForwarded { excluded.formUnion(Self.spoofable) }
        if parts.hostIsReplaced { excluded.formUnion(KnownFieldSet(.host)) }
        // HTTP/1.0 knows no expectations (RFC 9110 §10.1.1).
        if !parts.expectsContinue { excluded.formUnion(KnownFieldSet(.expect)) }
        return excluded
    }

    /// Writes the head as HTTP/1.1 into the output list's memory. `fields` are those of `parts`.
    func writeRequestHead(
        _ parts: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream, _ exchange: ExchangePointer
    ) {
        if isSidecar { return writeContainerRequest(parts, fields, connection, exchange) }
        if isActivator { return writeActivatedRequest(parts, fields, connection, exchange) }
        if isGateway { return writeGatewayRequest(parts, fields, connection, exchange) }
        writeRequestLine(parts)
        if parts.hostIsReplaced { HeadWriter.writeField("Host", parts.authority, to: &output.writer) }
        HeadWriter.writeFields(fields, of: parts.bytes, excluding: excluded(of: parts), to: &output.writer)
        writeForwarding(parts, fields, connection)
        if !fields.present.contains(.xRequestId) {
            output.writer.append("X-Request-Id: ")
            let id = writeRequestID()
            output.writer.append("\r\n")
            note(requestID: id, exchange)
        }
        writeEnd(parts, fields)
    }

    func writeRequestLine(_ parts: RequestParts) {
        output.writer.append(parts.methodBytes)
        output.writer.append(ASCII.space)
        if parts.pathPrefix.utf8CodeUnitCount > 0 { output.writer.append(parts.pathPrefix) }
        output.writer.append(parts.path)
        output.writer.append(" HTTP/1.1\r\n")
    }

    /// Writes what belongs to the connection, and the empty line.
    func writeEnd(_ parts: RequestParts, _ fields: borrowing FieldTable) {
        writeFraming(parts, fields)
        if parts.wantsUpgrade {
            writeUpgrade(parts, fields)
        } else if parts.acceptsTrailers {
            output.writer.append("TE: trailers\r\nConnection: TE\r\n")
        }
        output.writer.append("\r\n")
    }

    private func writeFraming(_ parts: RequestParts, _ fields: borrowing FieldTable) {
        if parts.framing == .chunked {
            // An extended CONNECT has no length because it has no end, not because it has a body.
            if !(parts.wantsUpgrade && parts.version == .http2) {
                output.writer.append("Transfer-Encoding: chunked\r\n")
            }
        } else if parts.version == .http2, parts.framing == .none, parts.method.usuallyHasContent,
            !fields.present.contains(.contentLength)
        {
            // HTTP/2 says by the end of the stream what HTTP/1.1 should say by a length (RFC 9110 §8.6).
            output.writer.append("Content-Length: 0\r\n")
        }
    }

    private func writeUpgrade(_ parts: RequestParts, _ fields: borrowing FieldTable) {
        output.writer.append("Connection: Upgrade\r\n")
        if parts.version == .http2 {
            // RFC 8441 §5: the key of HTTP/1.1's handshake has no meaning in HTTP/2, so it is ours.
            output.writer.append("Upgrade: websocket\r\nSec-WebSocket-Key: ")
            WebSocketKey(random.next(), random.next()).append(to: &output.writer)
            output.writer.append("\r\n")
        } else if let upgrade = fields.firstIndex(of: .upgrade) {
            HeadWriter.writeField("Upgrade", fields.value(upgrade, in: parts.bytes), to: &output.writer)
        }
    }

    func writeForwarding(_ parts: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream) {
        guard !isTrusted(connection) else { return writeTrustedForwarding(parts, fields, connection) }
        let (scheme, isEncrypted) = (connection.pointee.scheme, connection.pointee.tls != nil)
        connection.pointee.withPeerText { peer in
            output.writer.append("X-Forwarded-For: ")
            output.writer.append(peer)
            if isEncrypted {
                output.writer.append("\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: ")
            } else {
                output.writer.append("\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: ")
            }
            output.writer.append(parts.authority)
            output.writer.append("\r\nForwarded: ")
            Forwarded.write(node: peer, host: parts.authority, proto: ByteView(scheme), to: &output.writer)
            output.writer.append("\r\n")
        }
    }

    private func writeTrustedForwarding(
        _ parts: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream
    ) {
        for field in ForwardingField.allCases {
            output.writer.append(field.name)
            output.writer.append(": ")
            writeValue(of: field, parts, fields, connection)
            output.writer.append("\r\n")
        }
    }

    /// Writes the value of one of the fields that say who asked, into the output list's memory.
    ///
    /// When another proxy stands in front, its fields are kept, and the client we see (that proxy) is added.
    func writeValue(
        of field: ForwardingField, _ parts: RequestParts, _ fields: borrowing FieldTable, _ connection: Downstream
    ) {
        let isTrusted = self.isTrusted(connection)
        let list = isTrusted ? value(of: .xForwardedFor, parts, fields) : .empty
        let proto = isTrusted ? value(of: .xForwardedProto, parts, fields) : .empty
        let host = isTrusted ? value(of: .xForwardedHost, parts, fields) : .empty
        let scheme = proto.isEmpty ? ByteView(connection.pointee.scheme) : proto
        switch field {
        case .xForwardedFor:
            if isTrusted { writeForwardedFor(parts, fields) }
            connection.pointee.appendPeer(to: &output.writer)
        case .xForwardedProto: output.writer.append(scheme)
        case .xForwardedHost: output.writer.append(host.isEmpty ? parts.authority : host)
        case .forwarded:
            let forwarded = isTrusted ? value(of: .forwarded, parts, fields) : .empty
            if !forwarded.isEmpty { return output.writer.append(forwarded) }
            let named = isTrusted ? host : parts.authority
            let told = isTrusted ? proto : scheme
            guard list.isEmpty else { return Forwarded.write(for: list, host: named, proto: told, to: &output.writer) }
            connection.pointee.withPeerText { peer in
                Forwarded.write(for: peer, host: named, proto: told, to: &output.writer)
            }
        }
    }

    func writeForwardedFor(_ parts: RequestParts, _ fields: borrowing FieldTable) {
        var index = fields.firstIndex(of: .xForwardedFor)
        while let line = index {
            output.writer.append(fields.value(line, in: parts.bytes))
            output.writer.append(", ")
            index = fields.nextIndex(of: .xForwardedFor, from: line + 1)
        }
    }

    func value(of field: KnownField, _ parts: RequestParts, _ fields: borrowing FieldTable) -> ByteView {
        fields.firstIndex(of: field).map { fields.value($0, in: parts.bytes) } ?? .empty
    }

    /// Writes a random (version 4) UUID, as Envoy makes it, into the output list's memory, and shows it there.
    func writeRequestID() -> ByteView {
        let high = random.next() & 0xFFFF_FFFF_FFFF_0FFF | 0x4000
        let low = random.next() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        let first = ByteWriter.hexDigits(UInt32(truncatingIfNeeded: high >> 32))
        let second = ByteWriter.hexDigits(UInt32(truncatingIfNeeded: high))
        let third = ByteWriter.hexDigits(UInt32(truncatingIfNeeded: low >> 32))
        let fourth = ByteWriter.hexDigits(UInt32(truncatingIfNeeded: low))
        output.writer.append("********-****-****-****-************")
        guard !output.writer.overflowed else { return .empty }
        // Over the stars just written.
        let digits = UnsafeMutableRawPointer(output.writer.base + output.writer.count - 36)
        digits.storeBytes(of: first, as: UInt64.self)
        digits.storeBytes(of: UInt32(truncatingIfNeeded: second), toByteOffset: 9, as: UInt32.self)
        digits.storeBytes(of: UInt32(truncatingIfNeeded: second >> 32), toByteOffset: 14, as: UInt32.self)
        digits.storeBytes(of: UInt32(truncatingIfNeeded: third), toByteOffset: 19, as: UInt32.self)
        digits.storeBytes(of: UInt32(truncatingIfNeeded: third >> 32), toByteOffset: 24, as: UInt32.self)
        digits.storeBytes(of: fourth, toByteOffset: 28, as: UInt64.self)
        return ByteView(UnsafeRawBufferPointer(start: digits, count: 36))
    }
}

/// A field that tells the pod who asked, and how.
enum ForwardingField: CaseIterable {
    case xForwardedFor, xForwardedProto, xForwardedHost, forwarded

    var name: StaticString {
        switch self {
        case .xForwardedFor: "X-Forwarded-For"
        case .xForwardedProto: "X-Forwarded-Proto"
        case .xForwardedHost: "X-Forwarded-Host"
        case .forwarded: "Forwarded"
        }
    }

    /// The name as HTTP/2 has it.
    var lowercaseName: StaticString {
        switch self {
        case .xForwardedFor: "x-forwarded-for"
        case .xForwardedProto: "x-forwarded-proto"
        case .xForwardedHost: "x-forwarded-host"
        case .forwarded: "forwarded"
        }
    }
}
