import Admission
import Balancing
import DataPlane
import Primitives

/// One port of a service as requests reach it: a gate without a limit over its endpoints.
///
/// Owned by the control thread.
final class Backend {
    let service: ServiceKey
    let upstreamProtocol: UpstreamProtocol
    let gate: RevisionGate
    /// By address, listed ones.
    private(set) var endpoints: [EndpointAddress: Endpoint] = [:]
    /// By address, those that have left and still serve.
    private(set) var finishing: [EndpointAddress: Endpoint] = [:]
    private(set) var isClosed = false

    init(_ service: ServiceKey, _ upstreamProtocol: UpstreamProtocol, queueLimit: Int, budget: WaitBudget) {
        self.service = service
        self.upstreamProtocol = upstreamProtocol
        gate = RevisionGate(concurrency: 0, queueLimit: queueLimit, budget: budget)
    }

    /// What a new list of addresses led to.
    struct Change {
        /// Waiting requests that found an endpoint.
        var grants: [Grant] = []
        /// Endpoints that have left and serve nothing.
        var gone: [Endpoint] = []
        /// Waiting requests that will find none.
        var refused: [Waiter] = []
    }

    /// Replaces the endpoints by those at `addresses`. One that comes back is the one that left: its connections are
    /// still good.
    ///
    /// - Parameter number: gives a new endpoint its number.
    func set(_ addresses: [EndpointAddress], number: () -> Int) -> Change {
        guard !isClosed else { return Change() }
        var next: [EndpointAddress: Endpoint] = [:]
        var list: [Endpoint] = []
        for address in addresses where next[address] == nil {
            let endpoint =
                endpoints[address] ?? finishing[address] ?? Endpoint(id: number(), address: address, concurrency: 0)
            next[address] = endpoint
            list.append(endpoint)
        }
        let left = endpoints.filter { next[$0.key] == nil }
        endpoints = next
        finishing = finishing.filter { next[$0.key] == nil }.merging(left) { old, _ in old }
        let change = gate.setEndpoints(list)
        for endpoint in change.idle { finishing[endpoint.address] = nil }
        return Change(grants: change.grants, gone: change.idle)
    }

    /// Takes note that an endpoint has answered its last request; false if it is not one that has left.
    func finished(_ endpoint: Endpoint) -> Bool {
        guard finishing[endpoint.address] === endpoint, endpoint.state == .retired, endpoint.inFlight == 0 else {
            return false
        }
        finishing[endpoint.address] = nil
        return true
    }

    /// No route leads here any more: requests under way finish, waiting ones are refused.
    func close() -> Change {
        var change = set([]) { 0 }
        isClosed = true
        change.refused = gate.close()
        return change
    }
}
