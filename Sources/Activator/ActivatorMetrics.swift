import Primitives

/// The page for Prometheus: an activator's own figures under Knative's names (spec/dataplane 2.4), and ours.
extension Activator {
    /// Longest page, in bytes; revisions that do not fit are left out.
    static let pageBytes = 8 << 20

    func metricsPage() -> [UInt8] {
        var page = MetricsPage(limit: Self.pageBytes)
        let sorted = throttlers.sorted { $0.key < $1.key }.map(\.value)
        let peer = "{peer=\"autoscaler\"}"
        page.family("kn_activator_stats_conn_errors_total", "counter", "Stats that could not be sent.")
        page.sample("kn_activator_stats_conn_errors_total", peer, Double(stats.dropped))
        page.family("kn_activator_stats_conn_reachable", "gauge", "Whether the autoscaler is connected.")
        page.sample("kn_activator_stats_conn_reachable", peer, sink.isConnected ? 1 : 0)
        page.family("kn_revision_request_active", "gauge", "Requests that pods have.")
        for throttler in sorted {
            page.sample("kn_revision_request_active", throttler.labels, Double(throttler.active))
        }
        page.family("kn_revision_request_concurrency", "gauge", "Average concurrency of the last second.")
        for throttler in sorted {
            page.sample("kn_revision_request_concurrency", throttler.labels, throttler.lastAverage)
        }
        page.family("kn_revision_request_queued", "gauge", "Requests that wait for a pod.")
        for throttler in sorted {
            page.sample("kn_revision_request_queued", throttler.labels, Double(throttler.queued))
        }
        page.family(
            "martlet_activator_dispatch_seconds_total", "counter", "From the slot to the request on its socket.")
        page.sample("martlet_activator_dispatch_seconds_total", "", Double(stats.sendNanoseconds) / 1e9)
        writeDoubts(to: &page)
        page.family("martlet_activator_wait_seconds_total", "counter", "Time that requests waited for a slot.")
        page.sample("martlet_activator_wait_seconds_total", "", Double(stats.waitedNanoseconds) / 1e9)
        page.family("martlet_activator_waited_total", "counter", "Requests that waited for a slot and got one.")
        page.sample("martlet_activator_waited_total", "", Double(stats.waited))
        return page.bytes + requestMetrics()
    }

    private func writeDoubts(to page: inout MetricsPage) {
        let counts = context.counts
        page.family("martlet_activator_pod_doubts_total", "counter", "Pods asked because of what they answered.")
        for (reason, count) in [("draining", counts.marked), ("failures", counts.failed)] {
            page.sample("martlet_activator_pod_doubts_total", "{reason=\"\(reason)\"}", Double(count))
        }
        page.family("martlet_activator_pods_set_aside_total", "counter", "Pods set aside for their answer.")
        page.sample("martlet_activator_pods_set_aside_total", "", Double(counts.setAside))
        page.family("martlet_activator_pods_spared_total", "counter", "Pods used on, as too few others are left.")
        page.sample("martlet_activator_pods_spared_total", "", Double(counts.spared))
    }
}

extension RevisionThrottler {
    fileprivate var active: Int { gate.inFlight }
    fileprivate var queued: Int { gate.waiting }

    fileprivate var labels: String {
        let pairs = [
            ("k8s_namespace_name", revision.name.namespace), ("kn_configuration_name", revision.configuration),
            ("kn_revision_name", revision.name.name), ("kn_service_name", revision.service),
        ]
        return "{" + pairs.map { "\($0)=\"\(MetricsPage.escaped($1))\"" }.joined(separator: ",") + "}"
    }
}

/// A page of Prometheus's text format 0.0.4.
struct MetricsPage {
    let limit: Int
    private(set) var bytes: [UInt8] = []

    init(limit: Int) { self.limit = limit }

    /// Begins a family of series.
    mutating func family(_ name: String, _ kind: String, _ help: String) {
        add("# HELP \(name) \(help)\n# TYPE \(name) \(kind)\n")
    }

    mutating func sample(_ name: String, _ labels: String, _ value: Double) {
        let text = value == value.rounded() && value.magnitude < 1e15 ? "\(Int64(value))" : "\(value)"
        add("\(name)\(labels) \(text)\n")
    }

    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            case "\n": result += "\\n"
            case _: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private mutating func add(_ text: String) {
        if bytes.count + text.utf8.count <= limit { bytes += text.utf8 }
    }
}
