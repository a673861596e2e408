import EventLoop
import Primitives
import Testing

@testable import Activator

/// Passive health by answers, over real sockets: pods that end, pods whose application fails, pods that hang.
@Suite struct AnswerHealthTests {
    private static let mark = "X-Envoy-Immediate-Health-Check-Fail: true\r\n"

    /// An activator before two pods that are in use.
    private func withPods(
        _ configure: @Sendable (inout ActivatorConfiguration) -> Void = { _ in },
        _ body: (ActivatorHarness, PlayedPod, PlayedPod) throws -> Void
    ) throws {
        let first = try PlayedPod("first"), second = try PlayedPod("second")
        defer { for pod in [first, second] { pod.stop() } }
        let harness = try ActivatorHarness(configure)
        defer { harness.finish() }
        harness.tell(ActivatorHarness.revision(), ActivatorHarness.pods([first, second]), .synced)
        try untilUsed([first, second], harness)
        try body(harness, first, second)
    }

    /// Asks until all pods have had a request.
    private func untilUsed(_ pods: [PlayedPod], _ harness: ActivatorHarness) throws {
        try ActivatorHarness.wait("all used") {
            _ = try ask(harness)
            return pods.allSatisfy { !$0.requests.isEmpty } ? true : nil
        }
    }

    private func ask(_ harness: ActivatorHarness) throws -> Client.Answer {
        let client = try harness.client()
        try client.ask()
        return try client.hear()
    }

    private func metric(_ harness: ActivatorHarness, _ name: String) throws -> Double {
        let client = try harness.client(2)
        try client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        let lines = try client.hear().body.split(separator: "\n")
        let line = try #require(lines.first { $0.hasPrefix(name + " ") || $0.hasPrefix(name + "{") })
        return Double(line.split(separator: " ").last ?? "") ?? -1
    }

    /// Asks until a pod gets no more of twenty requests in a row.
    private func untilLeft(_ pod: PlayedPod, _ harness: ActivatorHarness) throws {
        try ActivatorHarness.wait("\(pod.name) left") {
            let before = pod.requests.count
            for _ in 0..<20 { _ = try ask(harness) }
            return pod.requests.count == before ? true : nil
        }
    }

    /// A queue-proxy that is ending serves on, marks its answers, and answers its probe with 503: requests go
    /// elsewhere, no client sees the mark, and when it is ready again (a container was restarted, no more) it is used
    /// again.
    @Test func draining() throws {
        try withPods { harness, first, second in
            first.probe(.status(503, "shutting down\n"))
            first.reply(200, Self.mark)
            try ActivatorHarness.wait("asked again") {
                let answer = try ask(harness)
                #expect(answer.status == 200 && !answer.head.lowercased().contains("x-envoy"), "\(answer.head)")
                return first.probes.count >= 2 ? true : nil
            }
            try untilLeft(first, harness)
            #expect(try metric(harness, "martlet_activator_pods_set_aside_total") == 1)
            #expect(try metric(harness, "martlet_activator_pod_doubts_total{reason=\"draining\"}") >= 1)
            let served = second.requests.count
            for _ in 0..<20 { #expect(try ask(harness).body == "second") }
            #expect(second.requests.count == served + 20)
            first.reply(200)
            first.probe(.ready)
            try ActivatorHarness.wait("used again") { try ask(harness).body == "first" ? true : nil }
        }
    }

    /// An application's own 503, to all of its users: the pod is asked, says that it is ready, and stays.
    @Test(arguments: [502, 503, 504]) func applicationFails(status: Int) throws {
        try withPods { harness, first, second in
            first.reply(status)
            try ActivatorHarness.wait("doubted") {
                _ = try ask(harness)
                return first.probes.count >= 2 ? true : nil
            }
            let before = first.requests.count
            for _ in 0..<60 { _ = try ask(harness) }
            #expect(first.requests.count - before >= 10, "it keeps its share")
            #expect(first.probes.count <= 4, "and is not asked without end")
            #expect(try metric(harness, "martlet_activator_pods_set_aside_total") == 0)
            #expect(second.requests.count > 0)
        }
    }

    /// Failures now and then, with good answers between them, cost nothing.
    @Test func seldomFailures() throws {
        try withPods { harness, first, second in
            second.probe(.ready)
            let probes = first.probes.count
            for round in 0..<60 {
                first.reply(round % 3 == 2 ? 200 : 503)
                let before = first.requests.count
                try ActivatorHarness.wait("asked") {
                    _ = try ask(harness)
                    return first.requests.count > before ? true : nil
                }
            }
            #expect(first.probes.count == probes)
        }
    }

    /// A pod whose queue-proxy fails, unmarked (Knative's, whose container is gone): 503 to requests and to the probe.
    @Test func failing() throws {
        try withPods { harness, first, _ in
            first.probe(.status(503, ""))
            first.reply(502)
            try untilLeft(first, harness)
            #expect(try metric(harness, "martlet_activator_pod_doubts_total{reason=\"failures\"}") >= 1)
        }
    }

    /// A pod that is stopped takes connections and answers nothing: requests time out, the probe too, and others go on.
    @Test func hanging() throws {
        let first = try PlayedPod("first"), second = try PlayedPod("second")
        defer { for pod in [first, second] { pod.stop() } }
        let harness = try ActivatorHarness {
            $0.finder.doubtAnswerMilliseconds = 50
            $0.doubtFailures = 1
        }
        defer { harness.finish() }
        harness.tell(
            ActivatorHarness.revision { $0.timeoutSeconds = 1 }, ActivatorHarness.pods([first, second]), .synced)
        try untilUsed([first, second], harness)
        first.probe(.held)
        first.answers(false)
        var statuses: Set<Int> = []
        try ActivatorHarness.wait("set aside") {
            statuses.insert(try ask(harness).status)
            return try metric(harness, "martlet_activator_pods_set_aside_total") == 1 ? true : nil
        }
        #expect(statuses.isSubset(of: [200, 504]) && statuses.contains(504))
        for _ in 0..<20 { #expect(try ask(harness).body == "second") }
        first.answers(true)
        first.probe(.ready)
        try ActivatorHarness.wait("used again") { try ask(harness).body == "first" ? true : nil }
    }

    /// The only pod is never taken away, nor both of two: a pod that ends still serves.
    @Test func neverAll() throws {
        try withPods { harness, first, second in
            for pod in [first, second] {
                pod.probe(.status(503, "shutting down\n"))
                pod.reply(200, Self.mark)
            }
            try ActivatorHarness.wait("both doubted") {
                #expect(try ask(harness).status == 200)
                return try metric(harness, "martlet_activator_pods_spared_total") >= 1 ? true : nil
            }
            #expect(try metric(harness, "martlet_activator_pods_set_aside_total") == 1)
            for _ in 0..<20 { #expect(try ask(harness).status == 200) }
            // The one that was left goes: the other one serves again.
            let isFirstLeft = try ask(harness).body == "first"
            harness.tell(ActivatorHarness.pods([isFirstLeft ? second : first]))
            try ActivatorHarness.wait("the other serves") {
                let answer = try ask(harness)
                #expect(answer.status == 200)
                return answer.body == (isFirstLeft ? "second" : "first") ? true : nil
            }
        }
    }
}
