import Primitives

/// The `Forwarded` field (RFC 7239) built from the X-Forwarded-* fields as Knative's queue-proxy builds it.
enum Forwarded {
    /// Appends the value: `for=A;host=H;proto=P, for=B, …`. A and B are the parts of `xForwardedFor`; a part with a
    /// colon (IPv6) is quoted in brackets. Empty views count as absent; so does an empty first part, later ones do
    /// not.
    static func write(for xForwardedFor: ByteView, host: ByteView, proto: ByteView, to writer: inout ByteWriter) {
        let mark = writer.count
        var isFirst = true
        var start = 0
        while start <= xForwardedFor.count {
            let end = xForwardedFor.firstIndex(of: ASCII.comma, from: start) ?? xForwardedFor.count
            let node = xForwardedFor[start..<end].trimmingWhitespace()
            if isFirst {
                write(node: node, host: host, proto: proto, to: &writer)
            } else {
                writer.append(writer.count > mark ? ", for=" : "for=")
                writeNode(node, to: &writer)
            }
            isFirst = false
            start = end + 1
        }
    }

    /// Appends the value for one `node`, which is no list.
    static func write(node: ByteView, host: ByteView, proto: ByteView, to writer: inout ByteWriter) {
        if !node.isEmpty {
            writer.append("for=")
            writeNode(node, to: &writer)
        }
        if !host.isEmpty {
            if !node.isEmpty { writer.append(UInt8(ascii: ";")) }
            writer.append("host=")
            writer.append(host)
        }
        if !proto.isEmpty {
            if !node.isEmpty || !host.isEmpty { writer.append(UInt8(ascii: ";")) }
            writer.append("proto=")
            writer.append(proto)
        }
    }

    private static func writeNode(_ node: ByteView, to writer: inout ByteWriter) {
        guard node.firstIndex(of: ASCII.colon) != nil else { return writer.append(node) }
        writer.append("\"[")
        writer.append(node)
        writer.append("]\"")
    }
}
