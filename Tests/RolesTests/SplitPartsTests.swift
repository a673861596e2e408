import ClusterLink
import EventLoop
import Knative
import Primitives
import Testing

@testable import Roles

/// The parts of a split run that run nothing.
@Suite struct SplitPartsTests {
    private func service(_ text: String) throws -> ServiceObject {
        let loaded = ManifestLoader.load(sources: [("a.yaml", Array(text.utf8))])
        return try #require(loaded.services.first, "\(loaded.diagnostics)")
    }

    private func revision(_ container: String = "", spec: String = "") throws -> RevisionObject {
        let service = try service(
            """
            apiVersion: serving.knative.dev/v1
            kind: Service
            metadata: {name: app}
            spec:
              template:
                metadata: {annotations: {features.knative.dev/http-full-duplex: Enabled}}
                spec:
                  \(spec.isEmpty ? "timeoutSeconds: 30" : spec)
                  containers: [{image: example.com/app, command: [app]\(container)}]
            """)
        var store = ServiceStore()
        return try #require(store.apply([service], removing: true).createdRevisions.first)
    }

    private func environment(_ revision: RevisionObject) -> [String: String] {
        let list = QueueEnvironment.variables(of: revision, pod: "app-pod-1", address: 0x7F10_0001, userPort: 20_001)
        return Dictionary(list.map { ($0.name, $0.value) }) { _, new in new }
    }

    /// The probe as Knative's controller prepares it.
    @Test(
        arguments: [
            ("", #"{"tcpSocket":{"port":20001,"host":"127.0.0.1"},"successThreshold":1}"#),
            (
                ", readinessProbe: {httpGet: {path: /ok, port: 8080, httpHeaders: [{name: A, value: b}]}}",
                #"{"httpGet":{"path":"/ok","port":20001,"host":"127.0.0.1","scheme":"HTTP","httpHeaders":"#
                    + #"[{"name":"A","value":"b"}]},"successThreshold":1}"#
            ),
            (
                ", readinessProbe: {tcpSocket: {port: 9999}, periodSeconds: 3}",
                #"{"tcpSocket":{"port":9999,"host":"127.0.0.1"},"timeoutSeconds":1,"periodSeconds":3,"#
                    + #""successThreshold":1,"failureThreshold":3}"#
            ),
            (
                ", readinessProbe: {exec: {command: [check]}}",
                #"{"tcpSocket":{"port":20001,"host":"127.0.0.1"},"successThreshold":1}"#
            ),
            (
                ", readinessProbe: {grpc: {service: s}}",
                #"{"grpc":{"port":20001,"service":"s"},"successThreshold":1}"#
            ),
        ])
    func readinessProbes(container: String, json: String) throws {
        #expect(try environment(revision(container))["SERVING_READINESS_PROBE"] == json)
    }

    @Test func environmentOfASidecar() throws {
        let plain = try environment(revision(spec: "containerConcurrency: 5"))
        #expect(plain["CONTAINER_CONCURRENCY"] == "5" && plain["REVISION_TIMEOUT_SECONDS"] == "300")
        #expect(plain["QUEUE_SERVING_PORT"] == "8012" && plain["MARTLET_QUEUE_LISTEN"] == "127.16.0.1:8012")
        #expect(plain["USER_PORT"] == "20001" && plain["SERVING_POD_IP"] == "127.16.0.1")
        #expect(plain["SERVING_REVISION"] == "app-00001" && plain["SERVING_SERVICE"] == "app")
        #expect(plain["ENABLE_HTTP_FULL_DUPLEX"] == "true" && plain["MARTLET_STAT_LISTEN"] == "127.16.0.1:9090")
        let h2c = try environment(revision(", ports: [{name: h2c, containerPort: 8080}]"))
        #expect(h2c["QUEUE_SERVING_PORT"] == "8013" && h2c["MARTLET_QUEUE_LISTEN"] == "127.16.0.1:8013")
    }

    /// Two runs never meet, though they begin at the same place; addresses rest before they are used again.
    @Test func rangesOfTwoRuns() throws {
        let first = try LoopbackRange(seed: 1)
        let second = try LoopbackRange(seed: 1)
        #expect(first.base != second.base && first.base >> 24 == 127 && second.base >> 24 == 127)
        let one = try first.takePod(), two = try first.takePod()
        #expect(one != two && one & 0xFFFF_0000 == first.base)
        first.give(one)
        #expect(try first.takePod() != one)
        // A port that somebody has makes an address unfit.
        let next = try first.takePod()
        let busy = try Listener(SocketAddress(ipv4: next + 1, port: 8022), sharesPort: false)
        #expect(try first.takePod() != next + 1)
        _ = busy.fd
        #expect(first.takeRole() != first.takeRole())
    }

    @Test func activatorsOfARevision() {
        let all = (1...5).map { index in
            ClusterEndpoints.Address(
                ip: UInt32(index), isReady: index != 5, ports: ["http": 8012, "http2": 8013, "https": 8112])
        }
        func choose(_ count: Int, _ name: String, from list: [ClusterEndpoints.Address]) -> [UInt32] {
            let chosen = SplitObjects.choose(
                count, of: list, for: ObjectName(namespace: "default", name: name), containerProtocol: .http1)
            #expect(chosen.allSatisfy { $0.ports == ["http": 8012] })
            return chosen.map(\.ip)
        }
        #expect(choose(0, "a", from: all) == [1, 2, 3, 4] && choose(9, "a", from: all) == [1, 2, 3, 4])
        #expect(
            choose(2, "a", from: all).count == 2 && choose(2, "a", from: all.reversed()) == choose(2, "a", from: all))
        // Each one is chosen by some, and one that goes moves only those that had it.
        var counts: [UInt32: Int] = [:]
        for index in 0..<200 {
            let before = Set(choose(2, "r\(index)", from: all))
            for ip in before { counts[ip, default: 0] += 1 }
            let after = Set(choose(2, "r\(index)", from: Array(all.dropFirst())))
            #expect(before.contains(1) || before == after)
        }
        #expect(counts.count == 4 && counts.values.allSatisfy { $0 > 50 }, "\(counts)")
    }

    @Test func ingressOfAService() throws {
        let service = try service(
            """
            apiVersion: serving.knative.dev/v1
            kind: Service
            metadata: {name: app}
            spec:
              template: {metadata: {name: app-one}, spec: {containers: [{image: example.com/app, command: [app]}]}}
              traffic: [{percent: 100, latestRevision: true}, {percent: 0, revisionName: app-one, tag: old}]
            """)
        var store = ServiceStore()
        _ = store.apply([service], removing: true)
        let resolution = store.resolveTraffic(
            of: service.serviceName, isReady: { _ in true }, isFailed: { _ in false }, now: Instant(nanoseconds: 1))
        let ingress = SplitObjects.ingress(service, resolution, domain: "localhost") { _ in true }
        #expect(
            ingress.rules.map(\.hosts) == [
                ["app.default", "app.default.svc", "app.default.svc.cluster.local"], ["app.default.localhost"],
                ["old-app.default", "old-app.default.svc", "old-app.default.svc.cluster.local"],
                ["old-app.default.localhost"],
            ])
        #expect(ingress.rules.map(\.isClusterLocal) == [true, false, true, false])
        let split = ClusterIngress.Split(
            service: ObjectName(namespace: "default", name: "app-one"), port: 81, percent: 100,
            appendHeaders: ["Knative-Serving-Revision": "app-one", "Knative-Serving-Namespace": "default"])
        #expect(ingress.rules.allSatisfy { $0.paths == [.init(splits: [split])] })
    }

    @Test func explanations() {
        var store = ObjectStore()
        #expect(Explanation.answer("", in: store) == .lines(["no revision has been scaled yet"]))
        let name = ObjectName(namespace: "default", name: "app-00001")
        var scale = ClusterScale(name: name, replicas: 3)
        scale.explanation = "3 pods (stable): 4.2 in the window."
        var autoscaler = PodAutoscaler(name: name)
        autoscaler.annotations = ["autoscaling.knative.dev/target": "2"]
        _ = store.apply(.scale(scale))
        _ = store.apply(.podAutoscaler(autoscaler))
        guard case .lines(let lines) = Explanation.answer("app-00001", in: store) else {
            Issue.record("a known revision is refused")
            return
        }
        #expect(
            lines.first == "default/app-00001" && lines.contains("  because    3 pods (stable): 4.2 in the window."))
        #expect(lines.contains("  scale      3") && lines.contains("  settings   autoscaling.knative.dev/target=2"))
        let unknown = "no revision default/app-00002; did you mean default/app-00001?\nknown: default/app-00001"
        #expect(Explanation.answer("default/app-00002", in: store) == .refused(unknown))
    }
}
