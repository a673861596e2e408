import Balancing
import DataPlane
import Knative

/// Where the requests for one port of a service go, and in what protocol. A pure function of its Endpoints.
struct ServiceAddresses: Equatable {
    /// Nil: there is no address that would tell.
    var upstreamProtocol: UpstreamProtocol?
    /// Ready ones, each once, in the object's order.
    var addresses: [EndpointAddress] = []

    /// The ready addresses of `endpoints` for `port` of its service.
    ///
    /// A port named `http2` or `h2c` is spoken to in HTTP/2, one named `http` in HTTP/1.1; if there are both, port 81
    /// means the former. Without such names the only port is taken, in HTTP/1.1 (spec/dataplane 0.2, 5.1).
    init(_ endpoints: ClusterEndpoints?, port: UInt16, limit: Int) {
        let ready = (endpoints?.addresses ?? []).lazy.filter(\.isReady)
        let hasHTTP2 = ready.contains { Self.http2($0) != nil }
        let hasHTTP1 = ready.contains { $0.ports["http"] != nil }
        let speaksHTTP2 = hasHTTP2 && (port == 81 || !hasHTTP1)
        var seen: Set<EndpointAddress> = []
        for address in ready where addresses.count < limit {
            let chosen: UInt16? =
                if speaksHTTP2 {
                    Self.http2(address)
                } else if hasHTTP1 {
                    address.ports["http"]
                } else {
                    address.ports.count == 1 ? address.ports.values.first : nil
                }
            guard let chosen, chosen != 0 else { continue }
            let endpoint = EndpointAddress(ipv4: address.ip, port: chosen)
            if seen.insert(endpoint).inserted { addresses.append(endpoint) }
        }
        if !addresses.isEmpty { upstreamProtocol = speaksHTTP2 ? .h2c : .http1 }
    }

    private static func http2(_ address: ClusterEndpoints.Address) -> UInt16? {
        address.ports["http2"] ?? address.ports["h2c"]
    }
}
