import EventLoop
import Knative
import Primitives
import Scaling
import Simulation
import Testing

@testable import Autoscaler

/// What is made of objects: counts of pods, who can be asked, and since when activators are in the path.
@Suite struct ViewTests {
    private static let revision = ObjectName(namespace: "ns", name: "rev")

    private func pod(_ name: String, ready: Bool = true, running: Bool = true, ending: Bool = false, ip: UInt32? = 7)
        -> ClusterPod
    {
        var pod = ClusterPod(name: ObjectName(namespace: "ns", name: name), revision: "rev")
        (pod.isReady, pod.isRunning, pod.isTerminating, pod.ip) = (ready, running, ending, ip)
        return pod
    }

    @Test func podsByState() {
        var view = ClusterView()
        for pod in [
            pod("a"), pod("b", ip: nil), pod("c", ready: false), pod("d", ready: false, running: false),
            pod("e", ending: true), pod("f", ready: false, ending: true),
        ] {
            let concern = view.apply(.pod(pod))
            #expect(concern == (Self.revision, .pods))
        }
        var counts = PodCounts()
        (counts.ready, counts.notReady, counts.pending, counts.terminating) = (2, 2, 1, 2)
        #expect(view.pods[Self.revision]?.counts == counts && counts.existing == 4)
        // Only a ready one with an address that is not ending can be asked.
        #expect(view.pods[Self.revision]?.scraped == [ScrapedPod(ip: 7, startedAt: nil)])
        for name in ["a", "b", "c", "d", "e", "f"] {
            _ = view.remove(.pod, ObjectName(namespace: "ns", name: name))
        }
        #expect(view.pods.isEmpty, "nothing is kept of what has gone")
        let again = view.remove(.pod, ObjectName(namespace: "ns", name: "a"))
        #expect(again.1 == .nothing)
    }

    @Test func aPodMayChangeItsRevision() {
        var view = ClusterView()
        _ = view.apply(.pod(pod("a")))
        var moved = pod("a")
        moved.revision = "other"
        _ = view.apply(.pod(moved))
        #expect(view.pods[Self.revision]?.counts.ready ?? 0 == 0)
        #expect(view.pods[ObjectName(namespace: "ns", name: "other")]?.counts.ready == 1)
    }

    @Test func privateEndpointsStandInForPods() {
        var view = ClusterView()
        let addresses = [true, false, true].enumerated().map {
            ClusterEndpoints.Address(ip: UInt32($0.offset), isReady: $0.element, ports: ["http": 8012])
        }
        let endpoints = ClusterEndpoints(name: Self.revision.with(suffix: "-private"), addresses: addresses)
        let concern = view.apply(.endpoints(endpoints))
        #expect(concern == (Self.revision, .pods))
        #expect(view.pods[Self.revision]?.counts.ready == 2 && view.pods[Self.revision]?.counts.existing == 3)
        #expect(view.pods[Self.revision]?.scraped.map(\.ip) == [0, 2])
        _ = view.apply(.pod(pod("a", ready: false)))
        #expect(view.pods[Self.revision]?.counts.ready == 0, "pods say more than endpoints")
        // The public ones are no pods.
        let other = view.apply(.endpoints(ClusterEndpoints(name: Self.revision)))
        #expect(other == (Self.revision, .nothing))
        #expect(view.publicEndpoints[Self.revision] != nil)
    }

    private func core(_ change: (inout PodAutoscaler) -> Void = { _ in }) -> RevisionAutoscaler {
        var object = PodAutoscaler(name: Self.revision)
        change(&object)
        var counts = PodCounts()
        counts.ready = 1
        return RevisionAutoscaler(
            object, annotations: ScalingAnnotations(), config: ScalingConfig(), counts: counts, scale: nil,
            now: EventClock.start)
    }

    /// The wall clock is read once, when the time comes: its jumps afterwards change nothing. A time that cannot be is
    /// now.
    @Test func sinceWhenActivatorsAreInThePath() {
        let now = EventClock.start
        for (since, age) in [
            (1_000, 0.0), (990, 10), (1_010, 0), (Int64.min, 0), (Int64.max, 0), (-5_000_000_000_000, 1_000),
        ] {
            var core = core {
                $0.status.desiredScale = 1
                $0.status.active = "False"
            }
            var service = ServerlessService(name: Self.revision)
            service.proxySince = since
            core.update(service, now: now, unixSeconds: 1_000)
            // The same time told again under another wall clock is not read again.
            service.activatorCount = 5
            core.update(service, now: now.adding(seconds: 1), unixSeconds: 99_999_999)
            _ = core.record(RequestStat(), at: now)
            var wishes = core.decide(.tick, now: now)
            #expect(wishes.asksActivator == (age >= 30), "\(since)")
            guard age < 30 else { continue }
            #expect(wishes.recheckAt == now.adding(seconds: 30 - age), "\(since)")
            wishes = core.decide(.reconcile, now: now.adding(seconds: 30.001 - age))
            #expect(wishes.asksActivator, "\(since)")
        }
    }

    @Test func anAnswerCountsForASecond() {
        var probe = ActivatorProbe()
        let at = { (seconds: Double) in EventClock.start.adding(seconds: seconds) }
        func need(_ seconds: Double) -> Bool { probe.need(now: at(seconds)) }
        func report(_ isAnswered: Bool, _ seconds: Double) -> Bool {
            probe.report(isAnswered: isAnswered, now: at(seconds))
        }
        #expect(need(0) && !need(0.5), "one question at a time")
        #expect(!report(true, 0.6))
        #expect(probe.isAnswered(now: at(1.6)) && !probe.isAnswered(now: at(1.601)))
        #expect(need(2))
        var complaints = 0
        for second in 2..<100 {
            if report(false, Double(second) + 0.1) { complaints += 1 }
            #expect(!need(Double(second) + 0.9) && need(Double(second) + 1))
        }
        #expect(complaints == 2, "after 45 s and 90 s")
        probe.giveUp()
        #expect(!report(true, 101) && probe.state == .idle, "an answer too late is none")
    }

    @Test func metricsOfARevision() {
        let world = World()
        world.load = { _ in 150 }
        world.start()
        var labels = ClusterRevision(name: World.name)
        (labels.service, labels.configuration) = ("hello", "hello")
        world.source.tell(.applied(.revision(labels)))
        world.run(to: 100)
        let page = String(decoding: world.engine?.metricsPage(connections: 2) ?? [], as: UTF8.self)
        let names =
            "k8s_namespace_name=\"default\",kn_configuration_name=\"hello\",kn_revision_name=\"hello-00001\","
            + "kn_service_name=\"hello\""
        for (name, value) in [
            ("pods_desired", "3"), ("pods_requested", "3"), ("pods_count", "3"), ("pods_not_ready_count", "0"),
            ("concurrency_stable", "150"), ("concurrency_panic", "150"), ("concurrency_target", "70"),
            ("capacity_excess", "-61"), ("panic_mode", "0"),
        ] { #expect(page.contains("\nkn_revision_\(name){\(names)} \(value)\n"), "\(name):\n\(page)") }
        #expect(!page.contains("kn_revision_rps"), "only what the revision is measured by")
        #expect(page.contains("\nmartlet_autoscaler_connections 2\n"))
        #expect(page.contains("kn_autoscaler_scrape_duration_seconds_bucket{le=\"0.005\"}"))
        let families = page.split(separator: "\n").filter { $0.hasPrefix("# TYPE") }.map { $0.split(separator: " ")[2] }
        #expect(families == families.sorted() && Set(families).count == families.count, "\(families)")
    }
}
