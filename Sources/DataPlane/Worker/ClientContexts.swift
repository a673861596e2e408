import Balancing
import TLS

/// The client's side of TLS to pods, of one worker: a context for each `UpstreamSecurity`, and the last session of each
/// endpoint.
struct ClientContexts: ~Copyable {
    private struct Entry {
        /// Keeps the identifier from being given to another.
        let security: UpstreamSecurity
        let context: TLSClientContext
    }

    private var entries: [ObjectIdentifier: Entry] = [:]
    private var sessions: [Int: TLSSession] = [:]

    /// The context of `security`, made when it is first wanted.
    mutating func context(_ security: UpstreamSecurity) throws(TLSSetupFailure) -> TLSClientContext {
        if let entry = entries[ObjectIdentifier(security)] { return entry.context }
        let context = try TLSClientContext(security.settings, trust: security.trust)
        entries[ObjectIdentifier(security)] = Entry(security: security, context: context)
        return context
    }

    /// Drops the contexts of which the routes know nothing any more; open connections keep theirs.
    mutating func keep(usedBy snapshot: RoutingSnapshot) {
        guard !entries.isEmpty else { return }
        let used = Set(snapshot.targets.compactMap { $0.upstreamSecurity.map(ObjectIdentifier.init) })
        entries = entries.filter { used.contains($0.key) }
    }

    /// What a new connection to `endpoint` may resume. Numbers of endpoints are used again: a session of another pod is
    /// refused by the pod, and one of another rule is not offered at all.
    func session(_ endpoint: Endpoint) -> TLSSession? { sessions[endpoint.id] }

    /// Keeps a session for the next connection.
    mutating func keep(_ session: TLSSession, of endpoint: Endpoint) { sessions[endpoint.id] = session }

    /// The endpoint has gone.
    mutating func forget(_ endpoint: Endpoint) { sessions[endpoint.id] = nil }
}
