import Knative

/// What the source has told, by revision. Pure: a change in, the revision it concerns out.
struct ClusterView {
    /// What the name of a revision's private endpoints ends with.
    static let privateSuffix = "-private"

    /// Names for a revision's metrics.
    struct Labels: Equatable, Sendable {
        var service = ""
        var configuration = ""
    }

    private(set) var pods: [ObjectName: RevisionPods] = [:]
    private(set) var publicEndpoints: [ObjectName: ClusterEndpoints] = [:]
    private(set) var services: [ObjectName: ServerlessService] = [:]
    private(set) var scales: [ObjectName: Int] = [:]
    private(set) var labels: [ObjectName: Labels] = [:]
    /// Cluster IPs of private services, IPv4 in host order.
    private(set) var clusterIPs: [ObjectName: UInt32] = [:]
    private var podOwners: [ObjectName: ObjectName] = [:]

    /// What of a revision has changed.
    enum Concern: Equatable { case pods, service, scale, nothing }

    /// Takes an object on. PodAutoscalers are not kept here.
    mutating func apply(_ object: ClusterObject) -> (ObjectName, Concern) {
        switch object {
        case .pod(let pod): return (apply(pod), .pods)
        case .endpoints(let endpoints):
            guard let revision = Self.revision(ofPrivate: endpoints.name) else {
                publicEndpoints[endpoints.name] = endpoints
                return (endpoints.name, .nothing)
            }
            pods[revision, default: RevisionPods()].apply(endpoints)
            return (revision, .pods)
        case .serverlessService(let service):
            services[service.name] = service
            return (service.name, .service)
        case .scale(let scale):
            scales[scale.name] = scale.replicas
            return (scale.name, .scale)
        case .revision(let revision):
            labels[revision.name] = Labels(service: revision.service, configuration: revision.configuration)
            return (revision.name, .nothing)
        case .service(let service):
            if let revision = Self.revision(ofPrivate: service.name) { clusterIPs[revision] = service.clusterIP }
            return (service.name, .nothing)
        case .podAutoscaler, .ingress: return (object.name, .nothing)
        }
    }

    /// Forgets an object.
    mutating func remove(_ kind: ObjectKind, _ name: ObjectName) -> (ObjectName, Concern) {
        switch kind {
        case .pod:
            guard let revision = podOwners.removeValue(forKey: name) else { return (name, .nothing) }
            pods[revision]?.remove(pod: name.name)
            forgetIfEmpty(revision)
            return (revision, .pods)
        case .endpoints:
            guard let revision = Self.revision(ofPrivate: name) else {
                publicEndpoints[name] = nil
                return (name, .nothing)
            }
            pods[revision]?.apply(nil)
            forgetIfEmpty(revision)
            return (revision, .pods)
        case .serverlessService:
            services[name] = nil
            return (name, .service)
        case .scale: scales[name] = nil
        case .revision: labels[name] = nil
        case .service: if let revision = Self.revision(ofPrivate: name) { clusterIPs[revision] = nil }
        case .podAutoscaler, .ingress: break
        }
        return (name, .nothing)
    }

    private mutating func apply(_ pod: ClusterPod) -> ObjectName {
        let revision = ObjectName(namespace: pod.name.namespace, name: pod.revision)
        if let former = podOwners[pod.name], former != revision { pods[former]?.remove(pod: pod.name.name) }
        podOwners[pod.name] = revision
        pods[revision, default: RevisionPods()].apply(pod)
        return revision
    }

    private mutating func forgetIfEmpty(_ revision: ObjectName) {
        if pods[revision]?.isEmpty ?? false { pods[revision] = nil }
    }

    private static func revision(ofPrivate name: ObjectName) -> ObjectName? {
        guard name.name.hasSuffix(privateSuffix) else { return nil }
        return ObjectName(namespace: name.namespace, name: String(name.name.dropLast(privateSuffix.count)))
    }
}
