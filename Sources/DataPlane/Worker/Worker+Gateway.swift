import HTTP
import Primitives
import Routing

/// What only a gateway does with a request: its route by path and fields, and the short wait for an endpoint.
extension Worker {
    /// The target of a request; nil if no rule has it, or not at this listener.
    func gatewayTarget(
        _ connection: Downstream, _ parts: RequestParts, _ fields: borrowing FieldTable
    ) -> RevisionTarget? {
        // An absolute form may leave the path out; then only the query stands there.
        let path = parts.pathPrefix.utf8CodeUnitCount > 0 ? ByteView(parts.pathPrefix) : parts.path
        guard let target = snapshot.target(of: parts.host, path: path, fields, in: parts.bytes) else { return nil }
        let isLocal = target.amendment?.pointee.isClusterLocal ?? false
        return isLocal && !connection.pointee.servesClusterLocal ? nil : target
    }

    /// Whether a request that came to a listener with a `redirectPort` is answered with a redirect. Whoever is to prove
    /// by a certificate's challenge that the host is theirs has none yet.
    func leadsToHTTPS(_ target: RevisionTarget, _ parts: RequestParts) -> Bool {
        guard isGateway else { return true }
        guard let rule = target.amendment, rule.pointee.leadsToHTTPS else { return false }
        return !parts.path.hasPrefix("/.well-known/acme-challenge/")
    }

    /// No endpoint is there, or none that takes connections: one may come soon.
    func expectEndpoint(_ exchange: ExchangePointer) {
        exchange.pointee.requestDeadline = min(
            exchange.pointee.requestDeadline, now.adding(milliseconds: limits.endpointWaitMilliseconds))
        armDeadline(exchange)
    }

    /// An endpoint came: from now on only the client's own limits count.
    func endpointCame(_ exchange: ExchangePointer) {
        exchange.pointee.requestDeadline = .distantFuture
        let hasBody = exchange.pointee.isStream && !exchange.pointee.isGRPC && !exchange.pointee.wantsUpgrade
        guard hasBody else { return }
        expectBody(exchange)
        armDeadline(exchange)
    }
}

extension RoutingSnapshot {
    /// Where the next request for `host` goes that asks for `path`, its query with it; nil if no rule has it.
    ///
    /// - Parameter bytes: what `fields` refers to.
    func target(
        of host: ByteView, path: ByteView, _ fields: borrowing FieldTable, in bytes: ByteView
    ) -> RevisionTarget? {
        guard let route = table.match(host: host), let index = table.pick(route, path: path, fields, in: bytes) else {
            return nil
        }
        return targets[index]
    }
}
