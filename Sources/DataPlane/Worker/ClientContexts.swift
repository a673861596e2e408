import Balancing
import TLS

/// The client's side of TLS to pods, of one worker: a context for each `UpstreamSecurity` and protocol, and the last
/// session of each endpoint.
struct ClientContexts: ~Copyable {
    private struct Entry {
        /// Keeps the identifier from being given to another.
        let security: UpstreamSecurity
        var http1: TLSClientContext?
        var http2: TLSClientContext?
    }

    private var entries: [ObjectIdentifier: Entry] = [:]
    private var sessions: [Int: TLSSession] = [:]

    /// The context of `security` for HTTP/2 (`isShared`) or HTTP/1.1, made when it is first wanted.
    mutating func context(_ security: UpstreamSecurity, isShared: Bool) throws(TLSSetupFailure) -> TLSClientContext {
        var entry = entries[ObjectIdentifier(security)] ?? Entry(security: security)
        if let made = isShared ? entry.http2 : entry.http1 { return made }
        let context = try security.makeContext(isShared ? .http2 : .http1)
        if isShared { entry.http2 = context } else { entry.http1 = context }
        entries[ObjectIdentifier(security)] = entry
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
