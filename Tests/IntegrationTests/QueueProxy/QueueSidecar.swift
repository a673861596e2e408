import Foundation
import Testing

/// The real `martlet-queue` in a process of its own, with the environment that Knative's controller writes.
final class QueueSidecar: Sendable {
    let process: Martlet

    /// What the controller writes into every pod (spec/dataplane 1.1), and listeners at ports of the kernel's choice.
    /// No certificates, no probes, no limit; a drain is over as soon as nothing is under way.
    static func environment(userPort: UInt16 = 9) -> [String: String] {
        [
            "CONTAINER_CONCURRENCY": "0", "QUEUE_SERVING_PORT": "8012", "QUEUE_SERVING_TLS_PORT": "8112",
            "USER_PORT": "\(userPort)", "REVISION_TIMEOUT_SECONDS": "300", "SERVING_LOGGING_CONFIG": "",
            "SERVING_LOGGING_LEVEL": "", "SERVING_NAMESPACE": "default", "SERVING_SERVICE": "app",
            "SERVING_CONFIGURATION": "app", "SERVING_REVISION": "app-00001", "SERVING_POD": "app-00001-pod",
            "SERVING_POD_IP": "127.0.0.1", "MARTLET_QUEUE_LISTEN": "127.0.0.1:0", "MARTLET_TLS_LISTEN": "127.0.0.1:0",
            "MARTLET_ADMIN_LISTEN": "127.0.0.1:0", "MARTLET_STAT_LISTEN": "127.0.0.1:0",
            "MARTLET_METRICS_LISTEN": "127.0.0.1:0", "MARTLET_CERTIFICATE_DIRECTORY": "/nonexistent",
            "MARTLET_DRAIN_QUIET_MILLISECONDS": "0",
        ]
    }

    /// Starts it. An empty value of `changes` is set, nil takes the variable away.
    init(userPort: UInt16 = 9, _ changes: [String: String?] = [:], scratch: Scratch = Scratch()) throws {
        var all = Self.environment(userPort: userPort)
        for (name, value) in changes { all[name] = value }
        let variables = all.map { "\($0)=\($1)" }.sorted()
        process = try Martlet(
            variables + [Place.products + "/martlet-queue"], scratch: scratch, program: "/usr/bin/env")
    }

    /// Where a listener is (`queue`, `tls`, `admin`, `stat`, `metrics`), as the log tells.
    func port(_ listener: String = "queue") throws -> UInt16 {
        let pattern = try Regex(
            "\"listener\":\"\(listener)\",\"address\":\"[^\"]*:([0-9]+)\"", as: (Substring, Substring).self)
        _ = process.waitForLog { $0.contains(pattern) }
        guard let match = process.log.firstMatch(of: pattern), let port = UInt16(match.1) else {
            throw Failure("no listener \(listener):\n\(process.tail)")
        }
        return port
    }

    /// A connection to a listener.
    func connect(_ listener: String = "queue") throws -> Client { try Client(port: port(listener)) }

    /// One request on a connection of its own.
    func get(_ path: String = "/", _ fields: [String] = [], at listener: String = "queue") throws -> Answer {
        let client = try connect(listener)
        try client.request("app.default.example.com", path, fields: fields)
        return try client.readAnswer()
    }

    /// The fields by which kubelet asks for readiness.
    static let kubelet = ["User-Agent: kube-probe/1.30", "K-Network-Probe: queue"]

    /// Runs one for `body`, then ends it unless it has ended: SIGTERM, exit status 0.
    static func running(
        userPort: UInt16 = 9, _ changes: [String: String?] = [:], location: SourceLocation = #_sourceLocation,
        _ body: (QueueSidecar) throws -> Void
    ) throws {
        let sidecar = try QueueSidecar(userPort: userPort, changes)
        defer { if sidecar.process.waitForEnd(0) == nil { sidecar.process.signal(SIGKILL) } }
        do { try body(sidecar) } catch {
            Issue.record("\(error)\n\(sidecar.process.tail)", sourceLocation: location)
            return
        }
        guard sidecar.process.waitForEnd(0) == nil else { return }
        sidecar.process.signal(SIGTERM)
        let status = sidecar.process.waitForEnd()
        #expect(status == 0, "\(sidecar.process.tail)", sourceLocation: location)
    }
}
