import HTTP
import Primitives

/// Tells questions to an activator from traffic, and answers them. Pure.
///
/// The order of the tests is the contract: kubelet, then the ingress's probe, then the autoscaler's. Source:
/// spec/dataplane 3.2; the texts are those of Go's `fmt` and `html`.
enum ActivatorRule {
    /// Longest value that is repeated in an answer, in bytes; what is behind is left out.
    static let echoBytes = 1 << 10

    /// `scratch` holds what is repeated until the answer has been written; at least 8 KiB.
    static func judge(
        _ parts: RequestParts, _ fields: borrowing FieldTable, health: QuestionDesk.Health,
        scratch: UnsafeMutableRawBufferPointer
    ) -> QuestionRule.Verdict {
        if isKubelet(parts, fields) {
            guard health != .good else { return .reply(.init(status: 200, text: "", isError: false)) }
            return .reply(.init(status: 500, text: health.text))
        }
        guard fields.present.contains(.kNetworkProbe) else { return .traffic }
        let probe = value(of: .kNetworkProbe, parts, fields)
        if probe.isEmpty { return .traffic }
        if probe.equals("probe") { return QuestionRule.networkProbe(parts, fields) }
        if probe.equals("activator") { return .reply(.init(status: 200, text: "activator", isError: false)) }
        var writer = ByteWriter(scratch)
        writer.append(goQuoted: probe[0..<min(probe.count, echoBytes)], isEscapedForHTML: true)
        return .reply(.init(status: 400, text: "unexpected probe header value: ", detail: writer.written))
    }

    /// The answer to a request for a revision that there is none of.
    static func unknownRevision(_ name: ByteView, scratch: UnsafeMutableRawBufferPointer) -> QuestionRule.Reply {
        var writer = ByteWriter(scratch)
        writer.append(goQuoted: name[0..<min(name.count, echoBytes)], isEscapedForHTML: false)
        writer.append(" not found")
        return .init(
            status: 404, text: "Error getting active endpoint: revision.serving.knative.dev ", detail: writer.written)
    }

    private static func isKubelet(_ parts: RequestParts, _ fields: borrowing FieldTable) -> Bool {
        if !value(of: .kKubeletProbe, parts, fields).isEmpty { return true }
        return value(of: .userAgent, parts, fields).hasPrefix("kube-probe/")
    }

    private static func value(
        of field: KnownField, _ parts: RequestParts, _ fields: borrowing FieldTable
    ) -> ByteView {
        fields.firstIndex(of: field).map { fields.value($0, in: parts.bytes) } ?? .empty
    }
}

extension ByteWriter {
    /// Appends text as Go's `%q`, which sees it behind `html.EscapeString` if that is asked for.
    ///
    /// What is not printable ASCII is written byte by byte, as `%q` does with bytes that are no UTF-8; characters
    /// beyond ASCII, which Go would leave as they are, do not stand in the names and words that are repeated.
    fileprivate mutating func append(goQuoted text: ByteView, isEscapedForHTML: Bool) {
        append(UInt8(ascii: "\""))
        for index in 0..<text.count { append(goQuoted: text[index], isEscapedForHTML) }
        append(UInt8(ascii: "\""))
    }

    private mutating func append(goQuoted byte: UInt8, _ isEscapedForHTML: Bool) {
        switch byte {
        case UInt8(ascii: "&") where isEscapedForHTML: append("&amp;")
        case UInt8(ascii: "<") where isEscapedForHTML: append("&lt;")
        case UInt8(ascii: ">") where isEscapedForHTML: append("&gt;")
        case UInt8(ascii: "'") where isEscapedForHTML: append("&#39;")
        case UInt8(ascii: "\"") where isEscapedForHTML: append("&#34;")
        case UInt8(ascii: "\""): append("\\\"")
        case UInt8(ascii: "\\"): append("\\\\")
        case UInt8(ascii: "\t"): append("\\t")
        case 0x20..<0x7F: append(byte)
        default:
            append("\\x")
            append(Self.digit(byte >> 4))
            append(Self.digit(byte & 15))
        }
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }
}
