import Balancing
import Knative

@testable import Ingress

/// An object of the namespace `default`.
func named(_ name: String) -> ObjectName { ObjectName(namespace: "default", name: name) }

/// A split for a service of the namespace `default`.
func split(
    _ service: String, _ percent: Int = 100, port: UInt16 = 80, fields: [String: String] = [:]
) -> ClusterIngress.Split {
    ClusterIngress.Split(service: named(service), port: port, percent: percent, appendHeaders: fields)
}

/// A path with splits.
func path(
    _ splits: [ClusterIngress.Split], at prefix: String = "", headers: [String: String] = [:],
    append: [String: String] = [:]
) -> ClusterIngress.Path {
    var path = ClusterIngress.Path(splits: splits)
    (path.path, path.headers, path.appendHeaders) = (prefix, headers, append)
    return path
}

/// An Ingress with one rule.
func ingress(
    _ name: String, hosts: [String], _ paths: [ClusterIngress.Path], isClusterLocal: Bool = false,
    createdAt: Int64? = nil
) -> ClusterIngress {
    var made = ClusterIngress(
        name: named(name), rules: [.init(hosts: hosts, isClusterLocal: isClusterLocal, paths: paths)])
    made.createdAt = createdAt
    return made
}

/// The Endpoints of a service: ready addresses with one port.
func endpoints(
    _ service: String, _ addresses: [EndpointAddress], port: String = "http", isReady: Bool = true
) -> ClusterEndpoints {
    ClusterEndpoints(
        name: named(service),
        addresses: addresses.map {
            ClusterEndpoints.Address(ip: $0.ipv4, isReady: isReady, ports: [port: $0.port])
        })
}
