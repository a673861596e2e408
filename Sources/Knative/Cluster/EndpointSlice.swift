/// A part of the addresses behind a service (discovery.k8s.io/v1 `EndpointSlice`): Kubernetes cuts them into slices of
/// 100 to 1,000. Who reads objects merges the slices of a service into its `ClusterEndpoints`.
public struct EndpointSlice: Sendable, Equatable {
    /// Its own name.
    public var name: ObjectName
    /// Whose part it is: label `kubernetes.io/service-name`, in its own namespace.
    public var service: ObjectName
    /// In the order of the object.
    public var addresses: [ClusterEndpoints.Address]

    /// A value with these parts.
    public init(name: ObjectName, service: ObjectName, addresses: [ClusterEndpoints.Address] = []) {
        self.name = name
        self.service = service
        self.addresses = addresses
    }

    /// The endpoints of every service that has a slice, in order of name; the slices of one in order of theirs.
    ///
    /// While Kubernetes moves an endpoint, it may be in two slices: it counts once, as ready if one of them says so.
    public static func merge(_ slices: [EndpointSlice]) -> [ClusterEndpoints] {
        struct Place: Hashable {
            var ip: UInt32
            var ports: [String: UInt16]
        }
        let parts = Dictionary(grouping: slices, by: \.service)
        return parts.sorted { $0.key < $1.key }.map { service, slices in
            var endpoints = ClusterEndpoints(name: service)
            var known: [Place: Int] = [:]
            for slice in slices.sorted(by: { $0.name < $1.name }) {
                for address in slice.addresses {
                    let place = Place(ip: address.ip, ports: address.ports)
                    if let index = known[place] {
                        if address.isReady { endpoints.addresses[index].isReady = true }
                    } else {
                        known[place] = endpoints.addresses.count
                        endpoints.addresses.append(address)
                    }
                }
            }
            return endpoints
        }
    }
}
