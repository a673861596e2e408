import EventLoop
import Knative
import Primitives
import Testing

@testable import Activator

/// The service's own address in place of pods, over real sockets (spec/dataplane 3.6).
@Suite struct MeshTests {
    private static let privateName = ActivatorHarness.revision.with(suffix: "-private")

    /// The private service, whose address is played by `pod`.
    private static func service(_ pod: PlayedPod) -> ClusterChange {
        let ip = ActivatorConfiguration.ipv4(pod.address.host) ?? 0
        let ports = ["http": pod.address.port, "http2": pod.address.port]
        return .applied(.service(ClusterService(name: privateName, clusterIP: ip, ports: ports)))
    }

    private func ask(_ harness: ActivatorHarness) throws -> String {
        let client = try harness.client()
        try client.ask()
        let answer = try client.hear()
        return answer.status == 200 ? answer.body : "\(answer.status)"
    }

    /// Pods that a mesh hides (refused, 503): the service serves; when a pod can be reached, pods do.
    @Test(arguments: [503, 0]) func fallBackAndReturn(status: Int) throws {
        let pod = try PlayedPod("pod", ip: 0x7F00_0201, probe: .status(status, ""))
        let address = pod.address
        if status == 0 { pod.stop() }
        let cluster = try PlayedPod("cluster", ip: 0x7F00_0202)
        defer { for one in [pod, cluster] { one.stop() } }
        let harness = try ActivatorHarness { $0.finder.returnPauseMilliseconds = 100 }
        defer { harness.finish() }
        harness.tell(ActivatorHarness.revision(), Self.service(cluster), ActivatorHarness.pods([pod]), .synced)
        for _ in 0..<5 { #expect(try ask(harness) == "cluster") }
        #expect(pod.requests.isEmpty)
        let sent = try #require(cluster.requests.first)
        #expect(sent.head.contains("\r\nHost: \(cluster.address)\r\n"), "\(sent.head)")
        #expect(sent.head.contains("\r\nK-Proxy-Request: activator\r\n"))
        var back: PlayedPod?
        defer { back?.stop() }
        if status == 0 {
            back = try ActivatorHarness.wait("port free") {
                try? PlayedPod("pod", ip: 0x7F00_0201, port: address.port)
            }
        } else {
            pod.probe(.ready)
        }
        try ActivatorHarness.wait("pods again") { try ask(harness) == "pod" ? true : nil }
        let served = cluster.requests.count
        for _ in 0..<5 { #expect(try ask(harness) == "pod") }
        #expect(cluster.requests.count == served)
    }

    /// An answer that no mesh gives: the pod itself is not ready, and nobody goes around it.
    @Test func noFallBack() throws {
        let pod = try PlayedPod("pod", probe: .status(404, "")), cluster = try PlayedPod("cluster", ip: 0x7F00_0203)
        defer { for one in [pod, cluster] { one.stop() } }
        let harness = try ActivatorHarness()
        defer { harness.finish() }
        harness.tell(ActivatorHarness.revision(), Self.service(cluster), ActivatorHarness.pods([pod]), .synced)
        let client = try harness.client()
        try client.ask()
        try ActivatorHarness.wait("asked again") { pod.probes.count >= 3 ? true : nil }
        #expect(cluster.probes.isEmpty && cluster.requests.isEmpty)
        pod.probe(.ready)
        #expect(try client.hear().body == "pod")
    }

    /// With a mesh only the service is asked, and when nobody is ready behind it requests wait.
    @Test func enabled() throws {
        let pod = try PlayedPod("pod"), cluster = try PlayedPod("cluster", ip: 0x7F00_0204)
        defer { for one in [pod, cluster] { one.stop() } }
        let harness = try ActivatorHarness { $0.finder.mesh = .enabled }
        defer { harness.finish() }
        harness.tell(
            ActivatorHarness.revision(), Self.service(cluster), ActivatorHarness.pods([], notReady: [pod]), .synced)
        let client = try harness.client()
        try client.ask()
        _ = try harness.untilTold("announced") { !$0.isEmpty }
        #expect(cluster.requests.isEmpty)
        harness.tell(ActivatorHarness.pods([pod]))
        #expect(try client.hear().body == "cluster")
        #expect(pod.probes.isEmpty && pod.requests.isEmpty)
    }

    /// Without a mesh ready pods are used unasked, and the service never.
    @Test func disabled() throws {
        let pod = try PlayedPod("pod", probe: .status(500, "")), cluster = try PlayedPod("cluster", ip: 0x7F00_0205)
        defer { for one in [pod, cluster] { one.stop() } }
        let harness = try ActivatorHarness { $0.finder.mesh = .disabled }
        defer { harness.finish() }
        harness.tell(ActivatorHarness.revision(), Self.service(cluster), ActivatorHarness.pods([pod]), .synced)
        for _ in 0..<5 { #expect(try ask(harness) == "pod") }
        #expect(pod.probes.isEmpty && cluster.probes.isEmpty)
    }
}
