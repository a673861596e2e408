import EventLoop
import Knative
import Primitives
import Testing

@testable import Activator

/// The activator as the cluster, the autoscaler, pods and clients meet it (spec/dataplane 3.1 to 3.10).
@Suite struct ActivatorContractTests {
    private func withActivator(
        isConnected: Bool = true, _ configure: @Sendable (inout ActivatorConfiguration) -> Void = { _ in },
        _ body: (ActivatorHarness) throws -> Void
    ) throws {
        let harness = try ActivatorHarness(isConnected: isConnected, configure)
        defer { harness.finish() }
        try body(harness)
    }

    private static func healthy(_ harness: ActivatorHarness) throws -> Client.Answer {
        let client = try harness.client()
        try client.send("GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: kube-probe/1.30\r\n\r\n")
        return try client.hear()
    }

    // MARK: Cold start

    /// From zero: the stat at once, the probe held until ready, the request released at once.
    @Test func coldStart() throws {
        let pod = try PlayedPod("pod-1", probe: .held)
        defer { pod.stop() }
        try withActivator { harness in
            harness.tell(ActivatorHarness.revision(), .synced)
            let client = try harness.client()
            let asked = MonotonicClock.now()
            try client.ask()
            let first = try harness.untilTold("announced") { !$0.isEmpty }[0]
            #expect(first.name == "hello-00001" && first.average == 1 && first.count == 1)
            // The budget is 1 ms; a busy test machine gets some more.
            #expect(first.at.milliseconds(since: asked) < 200)
            // The pod is listed before it is ready, and asked once.
            harness.tell(ActivatorHarness.pods([], notReady: [pod]))
            try ActivatorHarness.wait("probed") { pod.probes.isEmpty ? nil : true }
            #expect(pod.requests.isEmpty)
            let ready = MonotonicClock.now()
            pod.probe(.ready)
            let answer = try client.hear()
            #expect(answer.status == 200 && answer.body == "pod-1")
            #expect(pod.probes.count == 1, "the question was held, not repeated")
            let sent = try #require(pod.requests.first)
            #expect(sent.at.milliseconds(since: ready) < 200)
            #expect(sent.head.contains("\r\nHost: \(pod.address)\r\n"))
            #expect(sent.head.contains("\r\nK-Original-Host: hello.example.com\r\n"))
            #expect(sent.head.contains("\r\nK-Proxy-Request: activator\r\n"))
        }
    }

    /// A queue-proxy that says "not yet" is asked again within milliseconds; one that is not there as well.
    @Test(arguments: [503, 0]) func impatience(status: Int) throws {
        let spare = try PlayedPod("spare")
        let port = spare.address.port
        if status == 0 { spare.stop() }
        try withActivator { harness in
            harness.tell(ActivatorHarness.revision(), .synced)
            let client = try harness.client()
            try client.ask()
            spare.probe(.status(503, ""))
            harness.tell(ActivatorHarness.pods([], notReady: [spare]))
            _ = try harness.untilTold("announced") { !$0.isEmpty }
            let pod: PlayedPod
            if status == 0 {
                pod = try ActivatorHarness.wait("port free") { try? PlayedPod("spare", port: port) }
            } else {
                try ActivatorHarness.wait("asked again") { spare.probes.count >= 5 ? true : nil }
                let pauses = zip(spare.probes, spare.probes.dropFirst()).map { $1.milliseconds(since: $0) }
                #expect(pauses.prefix(3).allSatisfy { $0 < 100 }, "\(pauses)")
                pod = spare
                pod.probe(.ready)
            }
            defer { pod.stop() }
            #expect(try client.hear().body == "spare")
        }
    }

    /// A body that is not `queue` is no readiness; nor is a pod that must not be used early.
    @Test func notReady() throws {
        let pod = try PlayedPod("pod", probe: .status(200, "queue\n"))
        defer { pod.stop() }
        try withActivator { harness in
            harness.tell(ActivatorHarness.revision { $0.allowsEarlyPods = false }, .synced)
            let client = try harness.client()
            try client.ask()
            harness.tell(ActivatorHarness.pods([], notReady: [pod]))
            _ = try harness.untilTold("announced") { !$0.isEmpty }
            harness.tell(ActivatorHarness.pods([pod]))
            try ActivatorHarness.wait("probed") { pod.probes.count >= 2 ? true : nil }
            #expect(pod.requests.isEmpty)
            pod.probe(.ready)
            #expect(try client.hear().status == 200)
        }
    }

    // MARK: Stats

    /// One frame a second for all revisions; the first window leaves the announcement out; zero once, then silence;
    /// then an announcement again.
    @Test func windows() throws {
        let pod = try PlayedPod("pod")
        defer { pod.stop() }
        let second = ObjectName(namespace: "other", name: "world-00002")
        try withActivator { harness in
            harness.tell(
                ActivatorHarness.revision(), ActivatorHarness.revision(second), ActivatorHarness.pods([pod]),
                ActivatorHarness.pods([pod], of: second), .synced)
            pod.answers(false)
            let client = try harness.client(), other = try harness.client()
            try client.ask()
            try other.ask(second)
            let told = try harness.untilTold("three windows") { $0.count >= 8 }
            let ours = told.filter { $0.name == "hello-00001" }
            #expect(ours[0].average == 1 && ours[0].count == 1)
            #expect(ours[1].average < 0.01 && ours[1].count == 0, "\(ours)")
            for window in ours[2...] { #expect(abs(window.average - 1) < 0.05 && window.count == 0, "\(ours)") }
            let later = told.filter { $0.message > 2 }
            for message in Set(later.map(\.message)) {
                #expect(Set(later.filter { $0.message == message }.map(\.name)).count == 2, "one frame for all")
            }
            pod.answers(true)
            #expect(try client.hear().status == 200)
            #expect(try other.hear().status == 200)
            try harness.untilTold("zero") { $0.last?.average == 0 }
            let messages = harness.messages
            try client.ask()
            #expect(try client.hear().status == 200)
            let again = try harness.untilTold("announced again") { told in
                told.contains { $0.message > messages && $0.average == 1 && $0.count == 1 }
            }
            let zeros = again.filter { $0.name == "hello-00001" && $0.message <= messages && $0.average == 0 }
            #expect(zeros.count <= 3, "zero is told once: \(zeros)")
        }
    }

    /// Without the autoscaler: health says so, traffic goes on; when it comes, who waits is announced.
    @Test func withoutAutoscaler() throws {
        let pod = try PlayedPod("pod")
        defer { pod.stop() }
        try withActivator(isConnected: false) { harness in
            harness.tell(ActivatorHarness.revision(), .synced)
            let bad = try Self.healthy(harness)
            #expect(bad.status == 500 && bad.body == "connection has not yet been established\n")
            let client = try harness.client()
            try client.ask()
            let marker = try harness.client()
            try marker.ask(ObjectName(namespace: "n", name: "nobody"))
            #expect(try marker.hear().status == 404)
            #expect(harness.told.isEmpty)
            harness.connect(true)
            let told = try harness.untilTold("announced") { !$0.isEmpty }
            #expect(told[0].average == 1 && told[0].count == 1)
            #expect(try Self.healthy(harness).status == 200)
            harness.connect(false)
            harness.tell(ActivatorHarness.pods([pod]))
            #expect(try client.hear().body == "pod", "traffic does not stop for it")
            #expect(try Self.healthy(harness).status == 500)
        }
    }

    // MARK: Pods

    /// Removed from the endpoints: not used any more, whatever is under way finishes.
    @Test func delisted() throws {
        let old = try PlayedPod("old"), new = try PlayedPod("new")
        defer { for pod in [old, new] { pod.stop() } }
        try withActivator { harness in
            harness.tell(ActivatorHarness.revision(), ActivatorHarness.pods([old]), .synced)
            old.answers(false)
            let slow = try harness.client()
            try slow.ask()
            try ActivatorHarness.wait("sent") { old.requests.isEmpty ? nil : true }
            harness.tell(ActivatorHarness.pods([new]))
            try ActivatorHarness.wait("probed") { new.probes.isEmpty ? nil : true }
            let client = try harness.client()
            for _ in 0..<20 {
                try client.ask()
                #expect(try client.hear().body == "new")
            }
            #expect(old.requests.count == 1)
            old.answers(true)
            #expect(try slow.hear().body == "old")
        }
    }

    /// A pod that dies while it is listed: nobody notices, it is asked again, and used when it is back.
    @Test func passiveHealth() throws {
        let first = try PlayedPod("first"), second = try PlayedPod("second")
        defer { second.stop() }
        let port = first.address.port
        try withActivator { harness in
            harness.tell(ActivatorHarness.revision(), ActivatorHarness.pods([first, second]), .synced)
            try ActivatorHarness.wait("probed") { first.probes.isEmpty || second.probes.isEmpty ? nil : true }
            first.stop()
            for _ in 0..<30 {
                // Each on its own connection: none that was kept is there to break.
                let client = try harness.client()
                try client.ask()
                #expect(try client.hear().body == "second")
            }
            let back = try ActivatorHarness.wait("port free") { try? PlayedPod("back", port: port) }
            defer { back.stop() }
            try ActivatorHarness.wait("used again") {
                let client = try harness.client()
                try client.ask()
                return try client.hear().body == "back" ? true : nil
            }
        }
    }

    /// `containerConcurrency: 1`: never two requests on one pod, and nobody waits beside a free one.
    @Test func hardLimit() throws {
        let pods = try (0..<3).map { try PlayedPod("pod-\($0)") }
        defer { for pod in pods { pod.stop() } }
        try withActivator { harness in
            harness.tell(
                ActivatorHarness.revision { $0.containerConcurrency = 1 }, ActivatorHarness.pods(pods), .synced)
            for pod in pods { pod.answers(false) }
            let clients = try (0..<6).map { _ in try harness.client() }
            for client in clients { try client.ask() }
            try ActivatorHarness.wait("all busy") { pods.allSatisfy { $0.requests.count == 1 } ? true : nil }
            for pod in pods { pod.answers(true) }
            for client in clients { #expect(try client.hear().status == 200) }
            #expect(pods.allSatisfy { $0.mostAtOnce == 1 })
        }
    }

    /// Two activators share the pods by the order of their addresses; when the other one goes, all are ours.
    @Test func slices() throws {
        let pods = try (0..<4).map { try PlayedPod("pod-\($0)", ip: 0x7F00_0101 + UInt32($0), port: 0) }
        defer { for pod in pods { pod.stop() } }
        func activators(_ ips: [UInt32]) -> ClusterChange {
            let addresses = ips.map {
                ClusterEndpoints.Address(ip: $0, isReady: true, ports: ["http": 8012, "http2": 8013])
            }
            return .applied(.endpoints(ClusterEndpoints(name: ActivatorHarness.revision, addresses: addresses)))
        }
        func seen(_ harness: ActivatorHarness) throws -> Set<String> {
            var names: Set<String> = []
            let clients = try (0..<4).map { _ in try harness.client() }
            for pod in pods { pod.answers(false) }
            for client in clients { try client.ask() }
            for pod in pods { pod.answers(true) }
            for client in clients { names.insert(try client.hear().body) }
            return names
        }
        try withActivator({ $0.podIP = 0x0A00_0002 }) { harness in
            harness.tell(
                ActivatorHarness.revision { $0.containerConcurrency = 1 }, activators([0x0A00_0001, 0x0A00_0002]),
                ActivatorHarness.pods(pods), .synced)
            // Those that are ready are shared, and each becomes so in its own time.
            try ActivatorHarness.wait("shared") { try seen(harness) == ["pod-2", "pod-3"] ? true : nil }
            for _ in 0..<5 { #expect(try seen(harness).isSubset(of: ["pod-2", "pod-3"])) }
            harness.tell(activators([0x0A00_0009]))
            for _ in 0..<5 { #expect(try seen(harness).isSubset(of: ["pod-2", "pod-3"]), "not among them: no change") }
            harness.tell(activators([0x0A00_0002]))
            try ActivatorHarness.wait("all pods") {
                for pod in pods { pod.answers(false) }
                let clients = try (0..<4).map { _ in try harness.client() }
                for client in clients { try client.ask() }
                let deadline = MonotonicClock.now().adding(milliseconds: 500)
                while MonotonicClock.now() < deadline, !pods.allSatisfy({ $0.heldNow == 1 }) {}
                let isAll = pods.allSatisfy { $0.heldNow == 1 }
                for pod in pods { pod.answers(true) }
                for client in clients { _ = try client.hear() }
                return isAll ? true : nil
            }
        }
    }

    // MARK: Revisions

    @Test func revisionsComeAndGo() throws {
        let pod = try PlayedPod("pod")
        defer { pod.stop() }
        try withActivator { harness in
            harness.tell(.synced)
            let client = try harness.client()
            try client.ask()
            let unknown = try client.hear()
            #expect(unknown.status == 404)
            #expect(
                unknown.body
                    == "Error getting active endpoint: revision.serving.knative.dev \"hello-00001\" not found\n")
            // Endpoints may be told before their revision.
            harness.tell(ActivatorHarness.pods([pod]), ActivatorHarness.revision())
            try ActivatorHarness.wait("served") {
                try client.ask()
                return try client.hear().status == 200 ? true : nil
            }
            pod.answers(false)
            try client.ask()
            try ActivatorHarness.wait("held") { pod.heldNow == 1 ? true : nil }
            harness.tell(ActivatorHarness.pods([]))
            let waiting = try Self.waiting(harness, beside: pod)
            harness.tell(.removed(.revision, ActivatorHarness.revision))
            #expect(try waiting.hear().status == 500)
            pod.answers(true)
            #expect(try client.hear().status == 200, "what is under way goes on")
            try ActivatorHarness.wait("unknown again") {
                try client.ask()
                return try client.hear().status == 404 ? true : nil
            }
        }
    }

    /// A client whose request waits in the activator: the first that does not reach `pod`, which answers nobody.
    private static func waiting(_ harness: ActivatorHarness, beside pod: PlayedPod) throws -> Client {
        var clients: [Client] = []
        return try ActivatorHarness.wait("one waits") {
            let held = pod.heldNow
            clients.append(try harness.client())
            try clients[clients.count - 1].ask()
            let isWaiting = try ActivatorHarness.wait("arrived") { try pod.heldNow > held ? false : queued(harness) }
            return isWaiting ? clients.last : nil
        }
    }

    /// True if a request waits; nil if none does.
    private static func queued(_ harness: ActivatorHarness) throws -> Bool? {
        let page = try harness.client(2)
        try page.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        return try page.hear().body.contains(/kn_revision_request_queued\{[^}]*hello-00001[^}]*\} 1\n/) ? true : nil
    }

    /// It tells the cluster where it is.
    @Test func registration() throws {
        try withActivator({ $0.podIP = 0x7F00_0001 }) { harness in
            harness.tell(.synced)
            _ = try Self.healthy(harness)
            guard case .endpoints(let own)? = harness.applied.first else {
                throw HarnessFailure(description: "nothing")
            }
            #expect("\(own.name)" == "knative-serving/activator-service")
            #expect(own.addresses.count == 1 && own.addresses[0].isReady && own.addresses[0].ip == 0x7F00_0001)
            #expect(own.addresses[0].ports["http"] == harness.addresses[0].port)
            #expect(own.addresses[0].ports["http2"] == harness.addresses[1].port)
        }
    }

    // MARK: The page, and the end

    @Test func metrics() throws {
        try withActivator { harness in
            harness.tell(ActivatorHarness.revision { ($0.service, $0.configuration) = ("s", "c\"") }, .synced)
            let waiting = try harness.client()
            try waiting.ask()
            _ = try harness.untilTold("announced") { !$0.isEmpty }
            let client = try harness.client(2)
            try client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            let page = try client.hear()
            #expect(page.status == 200)
            let labels =
                "{k8s_namespace_name=\"default\",kn_configuration_name=\"c\\\"\","
                + "kn_revision_name=\"hello-00001\",kn_service_name=\"s\"}"
            #expect(page.body.contains("kn_revision_request_queued\(labels) 1\n"), "\(page.body)")
            #expect(page.body.contains("kn_activator_stats_conn_reachable{peer=\"autoscaler\"} 1\n"))
        }
    }

    /// SIGTERM: health at once, traffic as before, then goodbye and the end, when the last request is answered.
    @Test func drain() throws {
        let pod = try PlayedPod("pod")
        defer { pod.stop() }
        let harness = try ActivatorHarness { $0.drainMilliseconds = 300 }
        defer { harness.finish() }
        harness.tell(ActivatorHarness.revision(), ActivatorHarness.pods([pod]), .synced)
        let client = try harness.client(), slow = try harness.client()
        try client.ask()
        #expect(try client.hear().status == 200)
        let began = MonotonicClock.now()
        harness.signal()
        try ActivatorHarness.wait("unhealthy") {
            let answer = try Self.healthy(harness)
            return answer.status == 500 && answer.body == "received SIGTERM from kubelet\n" ? true : nil
        }
        harness.connect(false)
        harness.connect(true)
        #expect(try Self.healthy(harness).status == 500, "the connection does not make it healthy again")
        if MonotonicClock.now().milliseconds(since: began) < 200 {
            try client.ask()
            #expect(try client.hear().status == 200)
        }
        pod.answers(false)
        try slow.ask()
        try ActivatorHarness.wait("sent") { pod.heldNow == 1 ? true : nil }
        // Each worker closes its own listener.
        try ActivatorHarness.wait("refused") { (try? harness.client()) == nil ? true : nil }
        #expect(harness.exitStatus == nil && MonotonicClock.now().milliseconds(since: began) >= 300)
        pod.answers(true)
        let answer = try slow.hear()
        #expect(answer.status == 200 && answer.head.contains("Connection: close"))
        #expect(try client.hearsEnd(), "connections without a request are closed")
        #expect(try harness.waitForEnd() == 0)
        guard case .endpoints(let own)? = harness.applied.last else { throw HarnessFailure(description: "nothing") }
        #expect(own.addresses.allSatisfy { !$0.isReady })
    }

    /// What is under way is waited for up to a limit.
    @Test func drainLimit() throws {
        let pod = try PlayedPod("pod")
        defer { pod.stop() }
        let harness = try ActivatorHarness {
            $0.drainMilliseconds = 10
            $0.drainLimitMilliseconds = 200
        }
        defer { harness.finish() }
        harness.tell(ActivatorHarness.revision(), ActivatorHarness.pods([pod]), .synced)
        pod.answers(false)
        let client = try harness.client()
        try client.ask()
        try ActivatorHarness.wait("sent") { pod.requests.isEmpty ? nil : true }
        harness.signal()
        #expect(try harness.waitForEnd() == 0)
    }
}
