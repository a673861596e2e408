import EventLoop
import Fetching
import Knative

/// Asks the public endpoints of a revision who answers for it, as Knative's autoscaler asks its public service: `GET
/// /healthz` with `K-Network-Probe: activator`. An activator answers with 200 and its name, a queue-proxy with 400.
///
/// Knative asks one address, which the service picks. Here all are asked (at most `addressLimit`): an activator must
/// answer and nobody else; who does not answer at all gets no requests either.
/// Source: Knative Serving, `pkg/reconciler/autoscaling/kpa/scaler.go`; spec/autoscaling 5.2.
public final class PublicServiceProbe: ActivatorPathProbe {
    /// Most addresses of one revision that are asked.
    public static let addressLimit = 16

    private let client: FetchClient

    /// A probe on `loop`.
    public init(loop: Loop) { client = FetchClient(loop: loop) }

    /// Asks at the first `addressLimit` of `addresses`.
    public func ask(
        _ revision: ObjectName, at addresses: [SocketAddress], _ report: @escaping (Bool) -> Void
    ) {
        let asked = addresses.prefix(Self.addressLimit)
        guard !asked.isEmpty else { return report(false) }
        let head =
            "GET /healthz HTTP/1.1\r\nHost: \(revision.name).\(revision.namespace).svc.cluster.local\r\n"
            + "User-Agent: Knative-Autoscaling-Probe\r\nK-Network-Probe: activator\r\nConnection: close\r\n\r\n"
        var left = asked.count, activators = 0, others = 0
        for address in asked {
            client.send(Array(head.utf8), at: address, keeps: false) { result in
                switch result {
                case .success(let reply):
                    if Self.isActivator(reply) { activators += 1 } else { others += 1 }
                case .failure(.malformed): others += 1
                case .failure(.unreachable), .failure(.timedOut), .failure(.tooBusy): break
                }
                left -= 1
                if left == 0 { report(activators > 0 && others == 0) }
            }
        }
    }

    /// Closes all connections; nothing under way is reported.
    public func close() { client.close() }

    /// Knative: 200 and the body `activator`, exactly.
    static func isActivator(_ reply: FetchReply) -> Bool {
        reply.status == 200 && reply.body == Array("activator".utf8)
    }
}
