import Knative

/// Where a role reads objects from and writes what it decides to: a watched folder, the socket of `martlet run`, or the
/// Kubernetes API.
///
/// Owned by the control thread, which makes all calls and gets all calls back.
public protocol ClusterSource: AnyObject {
    /// Begins to tell the objects of `kinds` in `namespace`s of all names. `observer` is never called from inside this
    /// call. First everything that is there, then `synced`, then changes as they happen. A source that loses its
    /// connection says nothing, tries again, and tells the difference.
    func watch(_ kinds: Set<ObjectKind>, _ observer: @escaping (ClusterChange) -> Void)
    /// Writes an object, replacing the one of this name: `Scale`, `ServerlessService`, the status of a `PodAutoscaler`
    /// or an `Ingress`, or an activator's own `Endpoints`. What cannot be written now is written when it can be; only
    /// the newest of a name.
    func apply(_ object: ClusterObject)
}
