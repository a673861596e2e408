/// How the kinds are named on the wire.
extension ObjectKind {
    /// `apiVersion` of its objects.
    public var apiVersion: String {
        switch self {
        case .revision: "serving.knative.dev/v1"
        case .endpoints, .service, .pod: "v1"
        case .ingress, .serverlessService: "networking.internal.knative.dev/v1alpha1"
        case .podAutoscaler: "autoscaling.internal.knative.dev/v1alpha1"
        case .scale: "autoscaling/v1"
        }
    }

    /// The part of `apiVersion` before the slash; empty for the core group.
    var group: Substring {
        let parts = apiVersion.split(separator: "/")
        return parts.count > 1 ? parts[0] : ""
    }
}

/// Labels and annotations with a meaning here.
enum WellKnown {
    static let service = "serving.knative.dev/service"
    static let configuration = "serving.knative.dev/configuration"
    static let sliceService = "kubernetes.io/service-name"
    static let revision = "serving.knative.dev/revision"
    /// Why a scale was chosen; ours.
    static let explanation = "martlet.dev/explanation"
    static let activatorEndpoints = "ActivatorEndpointsPopulated"
}
