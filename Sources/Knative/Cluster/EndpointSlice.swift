/// A part of the addresses behind a service (discovery.k8s.io/v1 `EndpointSlice`): Kubernetes cuts them into slices of
/// 100 to 1,000. Who reads objects makes a service's slices into its `ClusterEndpoints` (`EndpointBook`).
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

    /// The endpoints of every service that has a slice, in order of name.
    public static func merge(_ slices: [EndpointSlice]) -> [ClusterEndpoints] {
        let parts = Dictionary(grouping: slices, by: \.service)
        return parts.sorted { $0.key < $1.key }.map { endpoints(of: $0.key, $0.value) }
    }

    /// The endpoints of one service, its slices in order of name.
    ///
    /// While Kubernetes moves an endpoint, or gives it other ports, it may be in two slices: it counts once, ready if
    /// one of them says so, with the ports of both. The same pod is the same address with the same name, or with the
    /// same ports: an address that a new pod has got may still be listed for the pod before.
    static func endpoints(of service: ObjectName, _ slices: [EndpointSlice]) -> ClusterEndpoints {
        var endpoints = ClusterEndpoints(name: service)
        var known: [UInt32: [Int]] = [:]
        for slice in slices.sorted(by: { $0.name < $1.name }) {
            for address in slice.addresses {
                let places = known[address.ip] ?? []
                if let place = places.first(where: { endpoints.addresses[$0].isSame(as: address) }) {
                    endpoints.addresses[place].merge(address)
                } else {
                    known[address.ip, default: []].append(endpoints.addresses.count)
                    endpoints.addresses.append(address)
                }
            }
        }
        return endpoints
    }
}

extension ClusterEndpoints.Address {
    fileprivate func isSame(as other: ClusterEndpoints.Address) -> Bool {
        ip == other.ip && (ports == other.ports || (!podName.isEmpty && podName == other.podName))
    }

    fileprivate mutating func merge(_ other: ClusterEndpoints.Address) {
        isReady = isReady || other.isReady
        if podName.isEmpty { podName = other.podName }
        ports.merge(other.ports) { first, _ in first }
    }
}

/// The endpoints of all services, from `Endpoints` objects and slices that come and go one by one. Pure.
///
/// Clusters have both for one service: then its slices count, since an `Endpoints` object is cut short at 1,000
/// addresses.
public struct EndpointBook: Sendable {
    private var objects: [ObjectName: ClusterEndpoints] = [:]
    private var slices: [ObjectName: EndpointSlice] = [:]
    /// The names of a service's slices.
    private var parts: [ObjectName: Set<ObjectName>] = [:]

    /// Knows nothing.
    public init() {}

    /// How many slices there are.
    public var sliceCount: Int { slices.count }
    /// The names of all slices.
    public var sliceNames: some Sequence<ObjectName> { slices.keys }
    /// The services that have an `Endpoints` object.
    public var objectNames: some Sequence<ObjectName> { objects.keys }

    /// What is behind a service; nil if nothing tells of it.
    public subscript(service: ObjectName) -> ClusterEndpoints? {
        guard let names = parts[service] else { return objects[service] }
        return EndpointSlice.endpoints(of: service, names.compactMap { slices[$0] })
    }

    /// Takes on an `Endpoints` object; nil: it has gone.
    public mutating func set(_ object: ClusterEndpoints?, of service: ObjectName) { objects[service] = object }

    /// Whether a slice of this name is there.
    public func has(slice name: ObjectName) -> Bool { slices[name] != nil }

    /// Takes on a slice, new or changed. Returns the services whose endpoints it may have changed: two if the slice was
    /// another service's before.
    public mutating func apply(_ slice: EndpointSlice) -> [ObjectName] {
        let former = remove(slice: slice.name)
        slices[slice.name] = slice
        parts[slice.service, default: []].insert(slice.name)
        return former.map { $0 == slice.service ? [$0] : [$0, slice.service] } ?? [slice.service]
    }

    /// Forgets a slice. Returns its service; nil if there was no such slice.
    @discardableResult
    public mutating func remove(slice name: ObjectName) -> ObjectName? {
        guard let service = slices.removeValue(forKey: name)?.service else { return nil }
        parts[service]?.remove(name)
        if parts[service]?.isEmpty ?? false { parts[service] = nil }
        return service
    }
}
