import Foundation
import Testing

/// The real `martlet ingress` over a folder of objects, and the programs that play the pods behind it.
final class IngressStage: @unchecked Sendable {  // constants, and processes that lock for themselves
    let scratch = Scratch()
    private(set) var ingress: Martlet!  // set before anybody gets the stage
    private var pods: [Martlet] = []

    static let host = "app.default.example.com"

    var objects: String { scratch.path + "/objects" }

    /// Starts a program that listens at `PORT`, and returns its port.
    func start(_ words: [String], _ environment: [String: String] = [:], port: UInt16 = 0) throws -> UInt16 {
        let variables = environment.map { "\($0)=\($1)" } + ["PORT=\(port)"]
        let pod = try Martlet(variables + words, scratch: scratch, program: "/usr/bin/env")
        pods.append(pod)
        return try pod.announcedPort()
    }

    /// Starts the test server, which says `revision` in `X-Revision`.
    func server(_ revision: String) throws -> UInt16 { try start([Place.server], ["K_REVISION": revision]) }

    /// Writes the Endpoints of `service`: loopback with these ports.
    func endpoints(_ service: String, _ ports: [UInt16], name: String = "http") {
        let subsets = ports.map { port in
            "- addresses: [{ip: 127.0.0.1}]\n  ports: [{name: \(name), port: \(port)}]"
        }
        scratch.replace(
            "objects/endpoints-\(service).yaml",
            """
            apiVersion: v1
            kind: Endpoints
            metadata: {name: \(service), namespace: default}
            subsets: \(subsets.isEmpty ? "[]" : "\n" + subsets.joined(separator: "\n"))

            """)
    }

    /// One split as YAML of the flow style.
    static func split(_ service: String, _ percent: Int = 100, _ fields: [String: String] = [:]) -> String {
        let appended = fields.map { "\($0): \"\($1)\"" }.joined(separator: ", ")
        return "{serviceName: \(service), serviceNamespace: default, servicePort: 80, percent: \(percent), "
            + "appendHeaders: {\(appended)}}"
    }

    /// One path as YAML of the flow style; `more` stands before the splits.
    static func path(_ splits: [String], _ more: String = "") -> String {
        "{\(more.isEmpty ? "" : more + ", ")splits: [\(splits.joined(separator: ", "))]}"
    }

    /// Writes an Ingress with one rule.
    func rules(
        _ paths: [String], of name: String = "app", hosts: [String] = [host], visibility: String = "ExternalIP",
        httpOption: String? = nil
    ) {
        let option = httpOption.map { "\n  httpOption: \($0)" } ?? ""
        scratch.replace(
            "objects/ingress-\(name).yaml",
            """
            apiVersion: networking.internal.knative.dev/v1alpha1
            kind: Ingress
            metadata: {name: \(name), namespace: default}
            spec:\(option)
              rules:
              - hosts: [\(hosts.joined(separator: ", "))]
                visibility: \(visibility)
                http:
                  paths:
            \(paths.map { "      - \($0)" }.joined(separator: "\n"))

            """)
    }

    /// The port of a listener by its scheme, as the log tells.
    func port(_ scheme: String) throws -> UInt16 {
        let pattern = try Regex(
            "listening address=[^ ]*:([0-9]+) scheme=\(scheme)", as: (Substring, Substring).self)
        _ = ingress.waitForLog { $0.contains(pattern) }
        guard let match = ingress.log.firstMatch(of: pattern), let port = UInt16(match.1) else {
            throw Failure("no listener \(scheme):\n\(ingress.tail)")
        }
        return port
    }

    /// One request at a listener.
    func get(
        _ path: String = "/", _ fields: [String] = [], host: String = IngressStage.host, at scheme: String = "http"
    ) throws -> Answer {
        let client = try Client(port: port(scheme))
        try client.request(host, path, fields: fields + ["Connection: close"])
        return try client.readAnswer()
    }

    /// Waits until the ingress has published `generation` times.
    func published(_ generation: Int) {
        ingress.expectLog("routes published generation=\(generation) ")
    }

    /// Prepares objects and pods, starts the ingress and runs `body`; then SIGTERM, exit status 0.
    static func running(
        _ arguments: [String] = [], ends: Bool = true, location: SourceLocation = #_sourceLocation,
        prepare: (IngressStage) throws -> Void, _ body: (IngressStage) throws -> Void
    ) throws {
        let stage = IngressStage()
        defer { for process in stage.scratch.processes { kill(process.pid, SIGKILL) } }
        stage.scratch.write("objects/readme.txt", "not an object")
        try prepare(stage)
        let address = arguments.contains("--http") ? [] : ["--http", "127.0.0.1:0"]
        let all = ["ingress", "--cluster", stage.objects] + address + arguments
        stage.ingress = try Martlet(all, scratch: stage.scratch)
        do {
            _ = try stage.ingress.port()
            try body(stage)
        } catch {
            Issue.record("\(error)\n\(stage.ingress.tail)", sourceLocation: location)
        }
        guard ends else { return }
        stage.ingress.signal(SIGTERM)
        let status = stage.ingress.waitForEnd()
        #expect(status == 0, "\(stage.ingress.tail)", sourceLocation: location)
    }
}
