/// The kinds of objects that roles read and write: those of Kubernetes and Knative, cut down to the fields that a data
/// plane and an autoscaler look at.
public enum ObjectKind: String, CaseIterable, Sendable {
    /// serving.knative.dev/v1.
    case revision = "Revision"
    /// v1. `REVISION-private`: the pods. `REVISION`: whom the ingress sends to (pods or activators).
    /// `activator-service` in the system namespace: the activators.
    case endpoints = "Endpoints"
    /// v1; only the private service's cluster IP.
    case service = "Service"
    /// v1.
    case pod = "Pod"
    /// networking.internal.knative.dev/v1alpha1.
    case ingress = "Ingress"
    /// autoscaling.internal.knative.dev/v1alpha1.
    case podAutoscaler = "PodAutoscaler"
    /// networking.internal.knative.dev/v1alpha1.
    case serverlessService = "ServerlessService"
    /// autoscaling/v1: the subresource of a Deployment, named like the revision.
    case scale = "Scale"
}

/// One object.
public enum ClusterObject: Sendable, Equatable {
    case revision(ClusterRevision)
    case endpoints(ClusterEndpoints)
    case service(ClusterService)
    case pod(ClusterPod)
    case ingress(ClusterIngress)
    case podAutoscaler(PodAutoscaler)
    case serverlessService(ServerlessService)
    case scale(ClusterScale)

    /// What it is.
    public var kind: ObjectKind {
        switch self {
        case .revision: .revision
        case .endpoints: .endpoints
        case .service: .service
        case .pod: .pod
        case .ingress: .ingress
        case .podAutoscaler: .podAutoscaler
        case .serverlessService: .serverlessService
        case .scale: .scale
        }
    }

    /// Its name.
    public var name: ObjectName {
        switch self {
        case .revision(let object): object.name
        case .endpoints(let object): object.name
        case .service(let object): object.name
        case .pod(let object): object.name
        case .ingress(let object): object.name
        case .podAutoscaler(let object): object.name
        case .serverlessService(let object): object.name
        case .scale(let object): object.name
        }
    }
}

/// What a source of objects tells, in order.
public enum ClusterChange: Sendable, Equatable {
    /// An object is new or has changed.
    case applied(ClusterObject)
    /// An object has gone.
    case removed(ObjectKind, ObjectName)
    /// Everything that was there at the beginning has been told. After a lost connection: everything that is there now
    /// has been told again, and what has gone meanwhile was told as removed before this.
    case synced
}
