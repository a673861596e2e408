import Foundation
import Testing

/// `martlet autoscaler` as a process, with an activator and a queue-proxy that are Python's.
@Suite struct AutoscalerProcessTests {
    private static let revision = "hello-00001"

    private func podAutoscaler(status: String) -> String {
        """
        apiVersion: autoscaling.internal.knative.dev/v1alpha1
        kind: PodAutoscaler
        metadata:
          name: \(Self.revision)
          namespace: default
          annotations:
            autoscaling.knative.dev/window: 6s
        spec:
          containerConcurrency: 0
          protocolType: http1
          reachability: Reachable
        \(status)
        """
    }

    private static let atZero = """
        status:
          desiredScale: 0
          actualScale: 0
          conditions:
          - {type: Active, status: "False", reason: NoTraffic}
          - {type: ScaleTargetInitialized, status: "True"}
        """

    private static let pod = """
        apiVersion: v1
        kind: Pod
        metadata:
          name: hello-00001-1
          namespace: default
          labels:
            serving.knative.dev/revision: \(revision)
        status:
          phase: Running
          podIP: 127.0.0.1
          conditions:
          - {type: Ready, status: "True"}
        """

    private struct Setting {
        let scratch = Scratch()
        let autoscaler: Martlet
        let queue: Martlet
        var port: UInt16 = 0
        var metricsPort: UInt16 = 0

        /// With `meshMode` the pods stand behind a mesh that answers for them at their addresses.
        init(_ object: String, meshMode: String? = nil) throws {
            scratch.write("objects/pa.yaml", object)
            mkdir(scratch.path + "/decisions", 0o700)
            let python = Foreign.python("queue_stats.py")
            queue = try Martlet(
                Array(python.dropFirst()) + ["127.0.0.1", "300"]
                    + (meshMode == nil ? [] : ["\(AutoscalerProcessTests.revision)-private.default"]),
                scratch: scratch, program: python[0])
            let queuePort = try Self.number(in: queue, stream: 1, /port (\d+)/)
            autoscaler = try Martlet(
                [
                    "autoscaler", "--cluster", "objects", "--output", "decisions", "--listen", "127.0.0.1:0",
                    "--metrics", "127.0.0.1:0", "--pod-metrics-port", "\(queuePort)",
                ] + (meshMode.map { ["--mesh-mode", $0] } ?? []), scratch: scratch)
            port = try Self.number(in: autoscaler, stream: 2, /listening.*address[^ ,]*:(\d+).*activators/)
            metricsPort = try Self.number(in: autoscaler, stream: 2, /listening.*address[^ ,]*:(\d+).*metrics/)
        }

        private static func number(
            in process: Martlet, stream: Int32, _ pattern: Regex<(Substring, Substring)>
        ) throws -> UInt16 {
            _ = process.waitForLog(of: stream) { $0.contains(pattern) }
            let text = stream == 1 ? process.out : process.log
            guard let match = text.firstMatch(of: pattern), let number = UInt16(match.1) else {
                throw Failure("it does not listen:\n\(process.tail)")
            }
            return number
        }

        func pusher(_ concurrency: Double) throws -> Martlet {
            let python = Foreign.python("stat_pusher.py")
            let arguments = ["\(port)", "default", AutoscalerProcessTests.revision, "\(concurrency)"]
            return try Martlet(Array(python.dropFirst()) + arguments, scratch: scratch, program: python[0])
        }

        /// What was written of a kind.
        func written(_ kind: String) -> String {
            let file = "\(scratch.path)/decisions/\(kind).default.\(AutoscalerProcessTests.revision).json"
            return FileManager.default.contents(atPath: file).map { String(decoding: $0, as: UTF8.self) } ?? ""
        }

        func replicas() -> Int? {
            guard let data = written("Scale").data(using: .utf8),
                let object = try? JSONSerialization.jsonObject(with: data) as? [String: Any]
            else { return nil }
            return (object["spec"] as? [String: Any])?["replicas"] as? Int
        }
    }

    @Test func fromZeroByAStatThenByAskingPods() throws {
        let setting = try Setting(podAutoscaler(status: Self.atZero))
        defer { setting.queue.signal(SIGKILL) }
        #expect(setting.replicas() == nil, "at rest nothing is written")
        let pusher = try setting.pusher(1)
        #expect(wait { setting.replicas() == 1 }, "\(setting.autoscaler.tail)")
        // Its pod is ready and says that 300 requests are in flight: with the activator's share 301, over 70 each.
        setting.scratch.write("objects/pod.yaml", Self.pod)
        #expect(wait { setting.replicas() == 5 }, "\(setting.autoscaler.tail)")
        #expect(wait { setting.written("PodAutoscaler").contains("True") }, "\(setting.written("PodAutoscaler"))")
        #expect(setting.written("ServerlessService").contains("Proxy"))

        let page = try Foreign.run(
            "/usr/bin/curl", ["-sS", "http://127.0.0.1:\(setting.metricsPort)/metrics"], scratch: setting.scratch)
        #expect(page.out.contains("kn_revision_pods_requested{"), "\(page)")
        #expect(page.out.contains("martlet_autoscaler_stat_messages_garbage_total 1\n"), "\(page.out.suffix(2_000))")
        let connections = setting.queue.out.ranges(of: "connection").count
        #expect(connections == 1, "asked each second over \(connections) connections")

        setting.autoscaler.signal(SIGTERM)
        #expect(setting.autoscaler.waitForEnd() == 0, "\(setting.autoscaler.tail)")
        #expect(pusher.waitForLog(of: 1) { $0.contains("closed 1012 Restarting") }, "\(pusher.tail)")
    }

    /// Pods that only a mesh reaches are asked through their private service, at its address.
    @Test(arguments: ["auto", "enabled"]) func throughTheService(mode: String) throws {
        let setting = try Setting(podAutoscaler(status: Self.atZero), meshMode: mode)
        defer { setting.queue.signal(SIGKILL) }
        setting.scratch.write(
            "objects/service.yaml",
            """
            apiVersion: v1
            kind: Service
            metadata: {name: \(Self.revision)-private, namespace: default}
            spec: {clusterIP: 127.0.0.1, ports: [{name: http, port: 80}]}
            """)
        let pusher = try setting.pusher(1)
        #expect(wait { setting.replicas() == 1 }, "\(setting.autoscaler.tail)")
        setting.scratch.write("objects/pod.yaml", Self.pod)
        #expect(wait { setting.replicas() == 5 }, "\(setting.autoscaler.tail)")
        #expect(setting.autoscaler.log.contains("a mesh answers for pods") == (mode == "auto"))
        setting.autoscaler.signal(SIGTERM)
        #expect(setting.autoscaler.waitForEnd() == 0, "\(setting.autoscaler.tail)")
        pusher.signal(SIGKILL)
    }

    @Test func wrongSettingsAreAllTold() throws {
        let scratch = Scratch()
        scratch.write(
            "config.yaml", "data:\n  _example: x\n  stable-window: 2s\n  panic-windows-percentage: '10'\n")
        let ended = try Foreign.run(
            Place.martlet,
            [
                "autoscaler", "--cluster", ".", "--listen", "nowhere", "--config", "config.yaml",
                "--config-autoscaler", "max-scale-up-rate=0",
            ], scratch: scratch)
        #expect(ended.status == 64)
        for wanted in [
            "--listen nowhere", "config.yaml:4:3: unknown key panic-windows-percentage", "stable-window",
            "max-scale-up-rate",
        ] { #expect(ended.log.contains(wanted), "\(wanted) in \(ended.log)") }
    }
}
