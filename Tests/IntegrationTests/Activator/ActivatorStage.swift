import Foundation
import Testing

/// The real `martlet activator` over a folder of objects, and pods of real queue-proxies beside real applications.
final class ActivatorStage: @unchecked Sendable {  // constants, and processes that lock for themselves
    /// One pod: its sidecar, and where that listens.
    struct Pod {
        let sidecar: Martlet
        let queue: UInt16
        /// Of its listener with TLS, if it has certificates.
        let tls: UInt16?
    }

    let scratch = Scratch()
    private(set) var activator: Martlet!  // set before anybody gets the stage

    static let host = "app.default.example.com"
    /// What a gateway says of the revision.
    static let names = ["Knative-Serving-Namespace: default", "Knative-Serving-Revision: app-00001"]

    // MARK: Objects

    /// Writes a revision.
    func revision(_ name: String = "app-00001", timeoutSeconds: Int = 300) {
        scratch.replace(
            "objects/revision-\(name).yaml",
            """
            apiVersion: serving.knative.dev/v1
            kind: Revision
            metadata:
              name: \(name)
              namespace: default
              labels: {serving.knative.dev/service: app, serving.knative.dev/configuration: app}
            spec: {timeoutSeconds: \(timeoutSeconds), containers: [{image: x}]}

            """)
    }

    /// Writes the private endpoints of a revision: these pods, ready.
    func pods(_ pods: [Pod], of name: String = "app-00001") {
        let subsets = pods.map { pod in
            let secure = pod.tls.map { ", {name: https, port: \($0)}" } ?? ""
            let ports = "[{name: http, port: \(pod.queue)}, {name: http2, port: \(pod.queue)}\(secure)]"
            return "- addresses: [{ip: 127.0.0.1}]\n  ports: \(ports)"
        }
        scratch.replace(
            "objects/pods-\(name).yaml",
            """
            apiVersion: v1
            kind: Endpoints
            metadata: {name: \(name)-private, namespace: default}
            subsets: \(subsets.isEmpty ? "[]" : "\n" + subsets.joined(separator: "\n"))

            """)
    }

    // MARK: Processes

    /// Starts a pod: `command` listens at `PORT`, a queue-proxy before it.
    func pod(_ command: [String] = [Place.server], _ changes: [String: String] = [:]) throws -> Pod {
        let container = try Martlet(
            ["PORT=\(try ContractPod.freePort())"] + command, scratch: scratch, program: "/usr/bin/env")
        let environment = ContractPod.environment(userPort: try container.announcedPort(), changes)
        let sidecar = try ContractPod.start(environment, scratch: scratch)
        let hasTLS = changes["MARTLET_CERTIFICATE_DIRECTORY"] != nil
        return Pod(
            sidecar: sidecar, queue: try Self.port("queue", of: sidecar),
            tls: hasTLS ? try Self.port("tls", of: sidecar) : nil)
    }

    private static func port(_ listener: String, of sidecar: Martlet) throws -> UInt16 {
        let key = "\"listener\":\"\(listener)\",\"address\":\"127.0.0.1:"
        _ = sidecar.waitForLog { $0.contains(key) }
        guard let place = sidecar.log.firstRange(of: key),
            let port = UInt16(sidecar.log[place.upperBound...].prefix(while: \.isNumber))
        else { throw Failure("no listener \(listener):\n\(sidecar.tail)") }
        return port
    }

    /// The port of a listener of the activator's: http, http2, metrics, https.
    func port(_ listener: String = "http") throws -> UInt16 {
        let pattern = try Regex(
            "listening address=[^ ]*:([0-9]+) listener=\(listener)(?:\n|$)", as: (Substring, Substring).self)
        _ = activator.waitForLog { $0.contains(pattern) }
        guard let match = activator.log.firstMatch(of: pattern), let port = UInt16(match.1) else {
            throw Failure("no listener \(listener):\n\(activator.tail)")
        }
        return port
    }

    /// One request on a connection of its own.
    func get(_ path: String = "/", _ fields: [String] = ActivatorStage.names, at listener: String = "http") throws
        -> Answer
    {
        let client = try Client(port: port(listener))
        try client.request(Self.host, path, fields: fields + ["Connection: close"])
        return try client.readAnswer()
    }

    /// curl at the listener with TLS, which is to be `kn-routing` whoever that is; nothing is retried.
    func curl(_ arguments: [String], path: String = "/bytes/3") throws -> Martlet.Ended {
        let port = try port("https")
        let fixed = ["-sS", "--max-time", "\(Int(patience))", "--cacert", scratch.path + "/ca.pem"]
        let names = Self.names.flatMap { ["-H", $0] } + ["--resolve", "kn-routing:\(port):127.0.0.1"]
        return try run("/usr/bin/curl", fixed + names + arguments + ["https://kn-routing:\(port)\(path)"], scratch)
    }

    /// Prepares objects and pods, starts the activator and runs `body`; then SIGTERM, exit status 0.
    static func running(
        _ variables: [String: String] = [:], ends: Bool = true, location: SourceLocation = #_sourceLocation,
        prepare: (ActivatorStage) throws -> Void, _ body: (ActivatorStage) throws -> Void
    ) throws {
        let stage = ActivatorStage()
        defer { for process in stage.scratch.processes { kill(process.pid, SIGKILL) } }
        stage.scratch.write("objects/readme.txt", "not an object")
        stage.revision()
        try prepare(stage)
        let all = ["POD_NAME": "activator-1", "POD_IP": "127.0.0.1", "MARTLET_DRAIN_MILLISECONDS": "10"]
            .merging(variables) { $1 }
        let listeners = ["--http", "--http2", "--tls", "--metrics"].flatMap { [$0, "127.0.0.1:0"] }
        stage.activator = try Martlet(
            all.map { "\($0)=\($1)" }.sorted() + [Place.martlet, "activator", "--cluster", "objects", "--workers", "2"]
                + listeners, scratch: stage.scratch, program: "/usr/bin/env")
        do {
            stage.activator.expectLog("serving", location)
            try body(stage)
        } catch {
            Issue.record("\(error)\n\(stage.activator.tail)", sourceLocation: location)
            return
        }
        guard ends else { return }
        stage.activator.signal(SIGTERM)
        #expect(stage.activator.waitForEnd() == 0, "\(stage.activator.tail)", sourceLocation: location)
    }
}
