import Knative
import LocalPlatform
import Primitives

/// The environment of a pod's `martlet-queue`: what Knative's controller writes (spec/dataplane 1.1), and the listeners
/// at the pod's own address.
enum QueueEnvironment {
    /// How long no new request must have come before a pod that is to go may go, in milliseconds. Knative waits 30 s
    /// for the news to spread through a cluster; here it spreads within a millisecond, over the socket of the run.
    static let drainQuietMilliseconds = 500

    static func variables(
        of revision: RevisionObject, pod: String, address: UInt32, userPort: UInt16
    ) -> [PodSpec.Variable] {
        let template = revision.template, container = template.container
        let host = IPv4.text(address)
        let probe = container.readinessProbe.queueProxyJSON(
            userPort: Int(userPort), containerPort: container.port.containerPort)
        let isFullDuplex = template.annotations["features.knative.dev/http-full-duplex"]?.lowercased() == "enabled"
        let serving: UInt16 = container.port.isH2C ? 8013 : 8012
        let pairs: [(String, String)] = [
            ("CONTAINER_CONCURRENCY", "\(template.containerConcurrency)"), ("QUEUE_SERVING_PORT", "\(serving)"),
            ("QUEUE_SERVING_TLS_PORT", "8112"), ("USER_PORT", "\(userPort)"),
            ("REVISION_TIMEOUT_SECONDS", "\(template.timeoutSeconds)"),
            ("REVISION_RESPONSE_START_TIMEOUT_SECONDS", "\(template.responseStartTimeoutSeconds ?? 0)"),
            ("REVISION_IDLE_TIMEOUT_SECONDS", "\(template.idleTimeoutSeconds ?? 0)"),
            ("SERVING_READINESS_PROBE", probe), ("ENABLE_HTTP_FULL_DUPLEX", "\(isFullDuplex)"),
            ("SERVING_LOGGING_CONFIG", ""), ("SERVING_LOGGING_LEVEL", "warn"),
            ("SERVING_NAMESPACE", revision.namespace), ("SERVING_SERVICE", revision.service),
            ("SERVING_CONFIGURATION", revision.configuration), ("SERVING_REVISION", revision.name),
            ("SERVING_POD", pod), ("POD_NAME", pod), ("SERVING_POD_IP", host), ("HOST_IP", "127.0.0.1"),
            ("SYSTEM_NAMESPACE", "knative-serving"), ("MARTLET_QUEUE_LISTEN", "\(host):\(serving)"),
            ("MARTLET_ADMIN_LISTEN", "\(host):8022"), ("MARTLET_STAT_LISTEN", "\(host):9090"),
            ("MARTLET_METRICS_LISTEN", "\(host):9091"), ("MARTLET_CERTIFICATE_DIRECTORY", "/nonexistent"),
            ("MARTLET_DRAIN_QUIET_MILLISECONDS", "\(drainQuietMilliseconds)"),
            (
                "OBSERVABILITY_CONFIG",
                #"{"requestMetrics":{"protocol":"prometheus"},"tracing":{"protocol":"none"}}"#
            ),
        ]
        return pairs.map { PodSpec.Variable(name: $0.0, value: $0.1) }
    }
}
