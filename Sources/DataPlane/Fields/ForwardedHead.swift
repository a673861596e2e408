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

    /// Writes the head that was parsed from `bytes` into the output list's memory.
    func writeRequestHead(_ bytes: ByteView, _ connection: Downstream, _ exchange: ExchangePointer) {
        var excluded = Self.ours.union(KnownFieldSet(.http2Settings))
        if !options.trustsForwarded { excluded.formUnion(Self.spoofable) }
        let hostIsReplaced = !requestHead.targetPrefix.isEmptyLiteral || requestHead.target != requestHead.pathAndQuery
        if hostIsReplaced { excluded.formUnion(KnownFieldSet(.host)) }
        // HTTP/1.0 knows no expectations (RFC 9110 §10.1.1).
        if !requestHead.expectsContinue { excluded.formUnion(KnownFieldSet(.expect)) }

        HeadWriter.writeRequestLine(requestHead, of: bytes, to: &output.writer)
        if hostIsReplaced { HeadWriter.writeField("Host", bytes[requestHead.authority], to: &output.writer) }
        HeadWriter.writeFields(requestHead.fields, of: bytes, excluding: excluded, to: &output.writer)
        writeForwarding(bytes, connection)
        if !requestHead.fields.present.contains(.xRequestId) { writeRequestID(exchange) }
        if requestHead.framing == .chunked { output.writer.append("Transfer-Encoding: chunked\r\n") }
        if requestHead.wantsUpgrade, let upgrade = requestHead.fields.firstIndex(of: .upgrade) {
            output.writer.append("Connection: Upgrade\r\n")
            HeadWriter.writeField("Upgrade", requestHead.fields.value(upgrade, in: bytes), to: &output.writer)
        } else if requestHead.acceptsTrailers {
            output.writer.append("TE: trailers\r\nConnection: TE\r\n")
        }
        output.writer.append("\r\n")
    }

    private func writeForwarding(_ bytes: ByteView, _ connection: Downstream) {
        guard !options.trustsForwarded else { return writeTrustedForwarding(bytes, connection) }
        let host = bytes[requestHead.authority]
        connection.pointee.withPeerText { peer in
            output.writer.append("X-Forwarded-For: ")
            output.writer.append(peer)
            output.writer.append("\r\nX-Forwarded-Proto: ")
            output.writer.append(connection.pointee.scheme)
            output.writer.append("\r\nX-Forwarded-Host: ")
            output.writer.append(host)
            output.writer.append("\r\nForwarded: ")
            Forwarded.write(for: peer, host: host, proto: ByteView(connection.pointee.scheme), to: &output.writer)
            output.writer.append("\r\n")
        }
    }

    /// Another proxy stands in front: its fields are kept, and the client we see (that proxy) is added.
    private func writeTrustedForwarding(_ bytes: ByteView, _ connection: Downstream) {
        let list = value(of: .xForwardedFor, bytes)
        let proto = value(of: .xForwardedProto, bytes)
        let host = value(of: .xForwardedHost, bytes)
        output.writer.append("X-Forwarded-For: ")
        var index = requestHead.fields.firstIndex(of: .xForwardedFor)
        while let line = index {
            output.writer.append(requestHead.fields.value(line, in: bytes))
            output.writer.append(", ")
            index = requestHead.fields.nextIndex(of: .xForwardedFor, from: line + 1)
        }
        connection.pointee.appendPeer(to: &output.writer)
        output.writer.append("\r\n")
        HeadWriter.writeField(
            "X-Forwarded-Proto", proto.isEmpty ? ByteView(connection.pointee.scheme) : proto, to: &output.writer)
        HeadWriter.writeField(
            "X-Forwarded-Host", host.isEmpty ? bytes[requestHead.authority] : host, to: &output.writer)
        output.writer.append("Forwarded: ")
        let forwarded = value(of: .forwarded, bytes)
        if !forwarded.isEmpty {
            output.writer.append(forwarded)
        } else if list.isEmpty {
            connection.pointee.withPeerText { peer in
                Forwarded.write(for: peer, host: host, proto: proto, to: &output.writer)
            }
        } else {
            Forwarded.write(for: list, host: host, proto: proto, to: &output.writer)
        }
        output.writer.append("\r\n")
    }

    private func value(of field: KnownField, _ bytes: ByteView) -> ByteView {
        requestHead.fields.firstIndex(of: field).map { requestHead.fields.value($0, in: bytes) } ?? .empty
    }

    /// A random (version 4) UUID, as Envoy makes it.
    private func writeRequestID(_ exchange: ExchangePointer) {
        let high = random.next() & 0xFFFF_FFFF_FFFF_0FFF | 0x4000
        let low = random.next() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        let first = ByteWriter.hexDigits(UInt32(truncatingIfNeeded: high >> 32))
        let second = ByteWriter.hexDigits(UInt32(truncatingIfNeeded: high))
        let third = ByteWriter.hexDigits(UInt32(truncatingIfNeeded: low >> 32))
        let fourth = ByteWriter.hexDigits(UInt32(truncatingIfNeeded: low))
        output.writer.append("X-Request-Id: ********-****-****-****-************\r\n")
        guard !output.writer.overflowed else { return }
        // Over the stars just written; the text ends 38 bytes after the digits begin.
        let digits = UnsafeMutableRawPointer(output.writer.base + output.writer.count - 38)
        digits.storeBytes(of: first, as: UInt64.self)
        digits.storeBytes(of: UInt32(truncatingIfNeeded: second), toByteOffset: 9, as: UInt32.self)
        digits.storeBytes(of: UInt32(truncatingIfNeeded: second >> 32), toByteOffset: 14, as: UInt32.self)
        digits.storeBytes(of: UInt32(truncatingIfNeeded: third), toByteOffset: 19, as: UInt32.self)
        digits.storeBytes(of: UInt32(truncatingIfNeeded: third >> 32), toByteOffset: 24, as: UInt32.self)
        digits.storeBytes(of: fourth, toByteOffset: 28, as: UInt64.self)
        note(requestID: ByteView(UnsafeRawBufferPointer(start: digits, count: 36)), exchange)
    }

    /// The head as the client receives it: what may pass of the pod's, and the framing and persistence of our side.
    func writeResponseHead(_ bytes: ByteView, _ exchange: ExchangePointer) {
        HeadWriter.writeStatusLine(responseHead.status, reason: bytes[responseHead.reason], to: &output.writer)
        HeadWriter.writeFields(responseHead.fields, of: bytes, excluding: [], to: &output.writer)
        if exchange.pointee.responseIsChunked { output.writer.append("Transfer-Encoding: chunked\r\n") }
        if !responseHead.fields.present.contains(.date) {
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
}

extension StaticString {
    fileprivate var isEmptyLiteral: Bool { utf8CodeUnitCount == 0 }
}
