/// Whom a worker stands in for. Chosen once; it decides where requests go, what the pod is told, and how errors read.
public enum ForwardingMode: Sendable, Equatable {
    /// Hosts choose the revision; clients are strangers, so what they say about who asked is overwritten or, with
    /// `WorkerOptions.trustsForwarded`, completed; a pod that refuses a connection is suspended and another one tried.
    case ingress
    /// Knative's front ingress: hosts, paths and fields choose a service's endpoints and what is set on the request
    /// (`GatewayRule`). Clients are strangers but at listeners with `believesForwarded`. There is no time limit but for
    /// the wait for an endpoint (`DataPlaneLimits.endpointWaitMilliseconds`). Source: spec/dataplane 5.1, 5.4.
    case gateway
    /// Knative's queue-proxy: every request goes to the first target of the snapshot, which must have one endpoint,
    /// whatever its host. What came in `X-Forwarded-*` and `Forwarded` is believed, the peer is added, the host that an
    /// activator has replaced is restored, and nothing else is made up. A container that refuses a connection is a 502.
    /// Source: spec/dataplane 1.6 to 1.8.
    case sidecar
    /// Knative's activator: the fields that an ingress adds, or the host of a revision's own service, name the revision
    /// (`RoutingSnapshot.revisions`); its pods are told the host that was asked for, and that an activator counts the
    /// request. Source: spec/dataplane 3.2 to 3.4.
    case activator
}
