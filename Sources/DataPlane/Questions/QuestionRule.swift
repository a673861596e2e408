import HTTP
import Primitives

/// Tells questions from traffic, and answers those that need no state. Pure.
///
/// Knative's parts are known by the beginning of their User-Agent and by `K-Network-Probe`, on any path. The order of
/// the tests is the contract: health, then the ingress's probe, then traffic. Source: spec/dataplane 1.5, 1.3.
enum QuestionRule {
    /// An answer that the request itself holds.
    struct Reply {
        let status: Int
        let text: StaticString
        /// Stands behind the text.
        var detail = ByteView.empty
        /// Whether the body ends with LF and has the fields of Go's `http.Error`.
        var isError = true
        /// The value of `K-Network-Hash`; empty: none.
        var hash = ByteView.empty

        /// Bytes of the body.
        var count: Int { text.utf8CodeUnitCount + detail.count + (isError ? 1 : 0) }
    }

    enum Verdict {
        case traffic
        case reply(Reply)
        case ask(QuestionSubject)
    }

    /// Longest part of a request that is repeated in an answer, in bytes.
    static let echoBytes = 8 << 10

    static func judge(
        _ parts: RequestParts, _ fields: borrowing FieldTable, at purpose: ListenerPurpose, isDraining: Bool
    ) -> Verdict {
        switch purpose {
        case .traffic: judgeTraffic(parts, fields, isDraining: isDraining)
        case .admin: path(of: parts).equals("/wait-for-drain") ? .ask(.drain) : notFound
        case .stat: path(of: parts).equals("/metrics") ? .ask(.stat) : notFound
        case .metrics:
            if !path(of: parts).equals("/metrics") {
                notFound
            } else if parts.method == .get || parts.method == .head {
                .ask(.metrics)
            } else {
                .reply(Reply(status: 405, text: "Method Not Allowed"))
            }
        }
    }

    private static func judgeTraffic(
        _ parts: RequestParts, _ fields: borrowing FieldTable, isDraining: Bool
    ) -> Verdict {
        let probe = value(of: .kNetworkProbe, parts, fields)
        if isHealthCheck(value(of: .userAgent, parts, fields)) {
            if isDraining { return shuttingDown }
            guard probe.equals("queue") else {
                let echo = probe[0..<min(probe.count, echoBytes)]
                return .reply(Reply(status: 400, text: "unexpected probe header value: ", detail: echo))
            }
            return .ask(.readiness)
        }
        guard probe.equals("probe") else { return .traffic }
        if isDraining { return shuttingDown }
        return networkProbe(parts, fields)
    }

    /// The answer to an ingress that asks whether its routes lead here (`K-Network-Probe: probe`).
    static func networkProbe(_ parts: RequestParts, _ fields: borrowing FieldTable) -> Verdict {
        let hash = value(of: .kNetworkHash, parts, fields)
        guard !hash.isEmpty, hash.count <= echoBytes else {
            let text: StaticString = "a probe request must contain a non-empty \"K-Network-Hash\" header"
            return .reply(Reply(status: 400, text: text))
        }
        return .reply(Reply(status: 200, text: "", isError: false, hash: hash))
    }

    private static var shuttingDown: Verdict { .reply(Reply(status: 503, text: "shutting down")) }
    private static var notFound: Verdict { .reply(Reply(status: 404, text: "404 page not found")) }

    /// Whether kubelet, an activator or the autoscaler asks for health.
    static func isHealthCheck(_ userAgent: ByteView) -> Bool {
        guard let first = userAgent.isEmpty ? nil : userAgent[0] else { return false }
        guard first == UInt8(ascii: "k") || first == UInt8(ascii: "K") else { return false }
        return userAgent.hasPrefix("kube-probe/") || userAgent.hasPrefix("Knative-Activator-Probe")
            || userAgent.hasPrefix("Knative-Autoscaling-Probe")
    }

    private static func path(of parts: RequestParts) -> ByteView {
        parts.path[0..<(parts.path.firstIndex(of: UInt8(ascii: "?")) ?? parts.path.count)]
    }

    private static func value(
        of field: KnownField, _ parts: RequestParts, _ fields: borrowing FieldTable
    ) -> ByteView {
        fields.firstIndex(of: field).map { fields.value($0, in: parts.bytes) } ?? .empty
    }
}
