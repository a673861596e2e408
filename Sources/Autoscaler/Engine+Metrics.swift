import Knative
import Scaling
import Telemetry

extension AutoscalerEngine {
    /// The page of `/metrics`: what Knative's autoscaler tells of each revision, and what became of stats.
    ///
    /// Source: Knative Serving, `pkg/autoscaler/scaling/metrics.go`; spec/autoscaling 3.7. The families `martlet_*` are
    /// ours.
    ///
    /// - Parameter connections: activators that are connected.
    public func metricsPage(connections: Int) -> [UInt8] {
        var page = MetricPage()
        page.histogram(
            "kn_autoscaler_scrape_duration_seconds", help: "The duration of scraping the revision",
            ends: ScrapeCounts.durationBounds, counts: scrapes.durations, nanoseconds: scrapes.durationNanoseconds)
        let rows = revisions.values.sorted { $0.name < $1.name }.map { Row($0, labels: labels(of: $0.name)) }
        for family in Self.families {
            var hasBegun = false
            for row in rows {
                guard let value = family.value(row) else { continue }
                if !hasBegun { page.family(family.name, .gauge, help: family.help) }
                hasBegun = true
                page.sample(family.name, labels: row.labels, value: value)
            }
        }
        writeOwn(connections: connections, to: &page)
        return page.bytes
    }

    /// By ascending names.
    private func writeOwn(connections: Int, to page: inout MetricPage) {
        func one(_ name: String, _ kind: MetricPage.Kind, _ help: String, _ value: Double) {
            page.family(name, kind, help: help)
            page.sample(name, value: value)
        }
        one("martlet_autoscaler_connections", .gauge, "Activators that are connected", Double(connections))
        one("martlet_autoscaler_revisions", .gauge, "Revisions that are scaled", Double(revisions.count))
        one("martlet_autoscaler_revisions_awake", .gauge, "Revisions not at rest at zero", Double(awakeCount))
        one(
            "martlet_autoscaler_scrape_pod_failures_total", .counter, "Questions to pods that gave no statistics",
            Double(scrapes.podFailures))
        page.family("martlet_autoscaler_scrapes_total", .counter, help: "Rounds of asking a revision's pods")
        for (result, count) in [
            ("complete", scrapes.complete), ("failed", scrapes.failed), ("skipped", scrapes.skipped),
        ] {
            page.sample("martlet_autoscaler_scrapes_total", labels: "result=\"\(result)\"", value: Double(count))
        }
        one(
            "martlet_autoscaler_service_scrapes_total", .counter, "Rounds that asked a private service, for a mesh",
            Double(scrapes.overService))
        one(
            "martlet_autoscaler_stat_messages_garbage_total", .counter, "Messages that could not be read to their end",
            Double(collector.counts.garbage))
        one(
            "martlet_autoscaler_stat_messages_total", .counter, "Messages of activators",
            Double(collector.counts.messages))
        page.family("martlet_autoscaler_stats_total", .counter, help: "Stats that activators pushed")
        let counts = collector.counts
        for (result, count) in [
            ("implausible", counts.implausible), ("late", counts.late), ("taken", counts.taken),
            ("unknown", counts.unknown),
        ] {
            page.sample("martlet_autoscaler_stats_total", labels: "result=\"\(result)\"", value: Double(count))
        }
    }

    private func labels(of name: ObjectName) -> String {
        let labels = view.labels[name] ?? ClusterView.Labels()
        return MetricPage.labels([
            ("k8s_namespace_name", name.namespace), ("kn_configuration_name", labels.configuration),
            ("kn_revision_name", name.name), ("kn_service_name", labels.service),
        ])
    }

    /// A revision, with its labels as text.
    private struct Row {
        let core: RevisionAutoscaler
        let labels: String

        init(_ revision: Revision, labels: String) {
            core = revision.core
            self.labels = labels
        }

        var spec: ScalingSpec { core.scaler.spec }
        func averages(_ metric: ScalingMetric) -> MetricAverages? {
            spec.metric == metric ? core.record?.averages : nil
        }
    }

    private struct Family {
        let name: String
        let help: String
        /// Nil: nothing to tell of this revision.
        let value: (Row) -> Double?
    }

    /// By ascending names.
    private static var families: [Family] {
        [
            Family(name: "kn_revision_capacity_excess", help: "Excess burst capacity observed over the stable window") {
                Double($0.core.scaler.excessBurstCapacity)
            },
            Family(
                name: "kn_revision_concurrency_panic",
                help: "Average of request count per observed pod over the panic window"
            ) { $0.averages(.concurrency)?.panic },
            Family(
                name: "kn_revision_concurrency_stable",
                help: "Average of request count per observed pod over the stable window"
            ) { $0.averages(.concurrency)?.stable },
            Family(name: "kn_revision_concurrency_target", help: "The desired concurrency of each pod") {
                $0.spec.metric == .concurrency ? $0.spec.target.value : nil
            },
            Family(name: "kn_revision_panic_mode", help: "If greater than 0 the autoscaler is operating in panic mode")
            {
                $0.core.record?.panicSince == nil ? 0 : 1
            },
            Family(name: "kn_revision_pods_count", help: "Number of pods that are ready") {
                Double($0.core.counts.ready)
            },
            Family(name: "kn_revision_pods_desired", help: "Number of pods the autoscaler wants to allocate") {
                $0.core.scaler.wish < 0 ? nil : Double($0.core.scaler.wish)
            },
            Family(name: "kn_revision_pods_not_ready_count", help: "Number of pods that are not ready") {
                Double($0.core.counts.notReady)
            },
            Family(name: "kn_revision_pods_pending_count", help: "Number of pods that are pending") {
                Double($0.core.counts.pending)
            },
            Family(name: "kn_revision_pods_requested", help: "Number of pods the autoscaler has asked for") {
                Double($0.core.scaler.desired)
            },
            Family(name: "kn_revision_pods_terminating_count", help: "Number of pods that are terminating") {
                Double($0.core.counts.terminating)
            },
            Family(name: "kn_revision_rps_panic", help: "Average requests-per-second over the panic window") {
                $0.averages(.requestsPerSecond)?.panic
            },
            Family(name: "kn_revision_rps_stable", help: "Average requests-per-second over the stable window") {
                $0.averages(.requestsPerSecond)?.stable
            },
            Family(name: "kn_revision_rps_target", help: "The desired requests-per-second of each pod") {
                $0.spec.metric == .requestsPerSecond ? $0.spec.target.value : nil
            },
        ]
    }
}
