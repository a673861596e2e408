import Knative

/// How many pods a revision has, by state, as Knative's metrics tell them.
struct PodCounts: Equatable, Sendable {
    /// They take requests.
    var ready = 0
    /// They are there to stay but not ready, pending ones included.
    var notReady = 0
    /// Of those not ready: not running yet.
    var pending = 0
    /// They are being deleted.
    var terminating = 0

    /// Ready and starting pods.
    var existing: Int { ready + notReady }
}

/// A pod that can be asked for its statistics.
struct ScrapedPod: Equatable, Sendable {
    /// IPv4, host order.
    var ip: UInt32
    /// When it started, unix seconds; nil: unknown, which counts as long ago.
    var startedAt: Int64?
}

/// The pods of one revision, from `Pod` objects, or from the private `Endpoints` where a source has no pods of it.
struct RevisionPods: Sendable {
    private var pods: [String: ClusterPod] = [:]
    private(set) var endpoints: ClusterEndpoints?

    /// Whether nothing is known.
    var isEmpty: Bool { pods.isEmpty && endpoints == nil }

    mutating func apply(_ pod: ClusterPod) { pods[pod.name.name] = pod }
    mutating func remove(pod name: String) { pods[name] = nil }
    mutating func apply(_ endpoints: ClusterEndpoints?) { self.endpoints = endpoints }

    /// The pods by state.
    var counts: PodCounts {
        var counts = PodCounts()
        guard !pods.isEmpty else {
            for address in endpoints?.addresses ?? [] {
                if address.isReady { counts.ready += 1 } else { counts.notReady += 1 }
            }
            return counts
        }
        for pod in pods.values {
            if pod.isTerminating {
                counts.terminating += 1
            } else if pod.isReady {
                // A pod whose condition is Ready runs, whatever its phase says.
                counts.ready += 1
            } else {
                counts.notReady += 1
                if !pod.isRunning { counts.pending += 1 }
            }
        }
        return counts
    }

    /// Those that can be asked: ready and not being deleted, in a fixed order.
    var scraped: [ScrapedPod] {
        guard !pods.isEmpty else {
            return (endpoints?.addresses ?? []).filter(\.isReady).map { ScrapedPod(ip: $0.ip, startedAt: nil) }
        }
        return pods.values.compactMap { pod in
            guard pod.isReady, !pod.isTerminating, let ip = pod.ip else { return nil }
            return ScrapedPod(ip: ip, startedAt: pod.startedAt)
        }.sorted { $0.ip < $1.ip }
    }
}
