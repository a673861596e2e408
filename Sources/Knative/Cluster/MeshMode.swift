/// Whether a service mesh may stand between a data plane and its pods (config-network `mesh-compatibility-mode`): then
/// only the mesh reaches a pod, and who connects to its address gets 502 or 503.
public enum MeshMode: String, CaseIterable, Sendable {
    /// Pods are asked at their addresses; if a mesh seems to answer for all of them, their private service is.
    case auto
    /// Pods are never asked at their addresses: only their private service is.
    case enabled
    /// Only pods are asked, and the service's address is never used.
    case disabled
}
