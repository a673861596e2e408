import Foundation
import Testing

/// How probes are answered, over every protocol and on any path (spec/dataplane 1.5; the list of easy mistakes 1 to 5).
@Suite struct ContractProbeTests {
    /// Whether the pod drains, and whether its container is ready.
    enum Condition: CaseIterable, Sendable {
        case ready, notReady, draining
    }

    struct Row: Sendable {
        let rule: String
        var condition = Condition.ready
        let fields: [(String, String)]
        let status: Int
        let body: String
        /// Fields the answer must have; an empty value: must not have.
        var answer: [String: String] = [:]
    }

    /// What Go's `http.Error` adds.
    static let errorFields = ["Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"]
    static let agents = ["kube-probe/1.30", "kube-probe/", "Knative-Activator-Probe", "Knative-Autoscaling-Probe/x"]
    static let noHash = "a probe request must contain a non-empty \"K-Network-Hash\" header\n"

    static let rows: [Row] =
        agents.flatMap { agent in
            [
                Row(
                    rule: "\(agent), draining: 503", condition: .draining,
                    fields: [("User-Agent", agent), ("K-Network-Probe", "queue")], status: 503,
                    body: "shutting down\n", answer: errorFields),
                Row(
                    rule: "\(agent), draining, no probe header: 503", condition: .draining,
                    fields: [("User-Agent", agent)], status: 503, body: "shutting down\n", answer: errorFields),
                Row(
                    rule: "\(agent), no probe header: 400", fields: [("User-Agent", agent)], status: 400,
                    body: "unexpected probe header value: \n", answer: errorFields),
                Row(
                    rule: "\(agent), probe header activator: 400, the activator is not in the path",
                    fields: [("User-Agent", agent), ("K-Network-Probe", "activator")], status: 400,
                    body: "unexpected probe header value: activator\n", answer: errorFields),
                Row(
                    rule: "\(agent), probe header probe: 400",
                    fields: [("User-Agent", agent), ("K-Network-Probe", "probe"), ("K-Network-Hash", "h")],
                    status: 400, body: "unexpected probe header value: probe\n", answer: errorFields),
                Row(
                    rule: "\(agent), container not ready: 503 without a body", condition: .notReady,
                    fields: [("User-Agent", agent), ("K-Network-Probe", "queue")], status: 503, body: ""),
                Row(
                    rule: "\(agent), container ready: 200 queue, no LF",
                    fields: [("User-Agent", agent), ("K-Network-Probe", "queue")], status: 200, body: "queue"),
            ]
        } + [
            Row(
                rule: "ingress prober, draining: 503", condition: .draining,
                fields: [
                    ("User-Agent", "Knative-Ingress-Probe"), ("K-Network-Probe", "probe"), ("K-Network-Hash", "h"),
                ],
                status: 503, body: "shutting down\n", answer: errorFields),
            Row(
                rule: "ingress prober without a hash: 400",
                fields: [("User-Agent", "Knative-Ingress-Probe"), ("K-Network-Probe", "probe")], status: 400,
                body: noHash, answer: errorFields),
            Row(
                rule: "ingress prober with an empty hash: 400",
                fields: [("User-Agent", "x"), ("K-Network-Probe", "probe"), ("K-Network-Hash", "")], status: 400,
                body: noHash, answer: errorFields),
            Row(
                rule: "ingress prober with a hash: 200, the same hash back",
                fields: [
                    ("User-Agent", "Knative-Ingress-Probe"), ("K-Network-Probe", "probe"), ("K-Network-Hash", "1f0a"),
                ],
                status: 200, body: "", answer: ["K-Network-Hash": "1f0a"]),
            Row(
                rule: "ingress prober with a hash, container not ready: 200 all the same", condition: .notReady,
                fields: [("K-Network-Probe", "probe"), ("K-Network-Hash", "override")], status: 200, body: "",
                answer: ["K-Network-Hash": "override"]),
            Row(
                rule: "probe header queue from an ordinary client is traffic",
                fields: [("User-Agent", "curl/8"), ("K-Network-Probe", "queue")], status: 200, body: "Hello probes!\n"),
            Row(
                rule: "traffic is served while draining", condition: .draining,
                fields: [("User-Agent", "curl/8")], status: 200, body: "Hello probes!\n"),
            Row(
                rule: "the agent is compared from its beginning, with regard to case",
                fields: [("User-Agent", "my kube-probe/1.30"), ("K-Network-Probe", "queue")], status: 200,
                body: "Hello probes!\n"),
        ]

    /// The environment of a pod in a condition. A period above 0 makes one try of the readiness probe decide.
    static func environment(_ condition: Condition, deadPort: UInt16) -> [String: String] {
        switch condition {
        case .ready: [:]
        case .notReady:
            [
                "QUEUE_SERVING_PORT": "8013",
                "SERVING_READINESS_PROBE":
                    #"{"tcpSocket":{"port":\#(deadPort),"host":"127.0.0.1"},"periodSeconds":1,"timeoutSeconds":1}"#,
            ]
        case .draining: ["MARTLET_DRAIN_QUIET_MILLISECONDS": "600000"]
        }
    }

    /// Every row in every protocol; the port's number, 8012 or 8013, says nothing about it.
    @Test(arguments: Condition.allCases) func everyRow(condition: Condition) throws {
        let certificates = try ForeignCertificates()
        let environment = Self.environment(condition, deadPort: try ContractPod.freePort())
        let hello = try PlayedContainer { try $0.answer(200, "Hello probes!\n") }
        try ContractPod.running(
            environment, .played(hello), certificates: certificates, ends: condition != .draining
        ) { pod throws in
            let wire = try Wire(pod.scratch)
            _ = try pod.port(.tls)
            if condition == .draining {
                pod.sidecar.signal(SIGTERM)
                #expect(try wait { try pod.probe().status == 503 })
            }
            // The played container knows HTTP/1.1 only: what is traffic is asked in that.
            let rows = Self.rows.filter { $0.condition == condition }
            let ways: [Wire.Way] = [.h1, .h2c, .tls1, .tls2, .bare2]
            let all = rows.flatMap { row in ways.map { (row, $0) } }.filter { row, way in
                !row.body.hasPrefix("Hello") || !way.isHTTP2
            }
            // Every row meets every path too, one with each protocol.
            let paths = ["/", "/healthz", "/any/where?x=1"]
            concurrently(all.enumerated().map { $0 }, name: { "\($0.1.0.rule) [\($0.1.1)]" }) { number, one in
                try Self.check(one.0, one.1, paths[number % paths.count], wire, pod)
            }
            if condition == .draining {
                pod.sidecar.signal(SIGTERM)
                #expect(pod.sidecar.waitForEnd() == 1, "the second signal")
            }
        }
    }

    private static func check(_ row: Row, _ way: Wire.Way, _ path: String, _ wire: Wire, _ pod: ContractPod) throws {
        let reply = try wire.perform(Wire.Request(path, fields: row.fields), way, pod)
        try demand(reply.error == nil && reply.ended == true, "\(path): \(reply)")
        try demandEqual(reply.status, row.status, "\(path): \(reply)")
        try demandEqual(reply.body, row.body, path)
        for (name, value) in row.answer { try demandEqual(reply.values(name), [value], "\(name), \(path)") }
        if way.isEncrypted { try demandEqual(reply.tls, "TLSv1.3") }
    }

    /// Knative's port numbers themselves, without any variable of our own, in a network that nothing else is in.
    @Test(arguments: ["8012", "8013"]) func knativePorts(port: String) throws {
        let scratch = Scratch()
        var environment = ContractPod.environment(userPort: 8080, ["QUEUE_SERVING_PORT": port])
        for name in environment.keys where name.hasPrefix("MARTLET_") { environment[name] = nil }
        let words = environment.map { "\($0)=\($1)" }.sorted()
        let unshare = ["-rn", "--kill-child", "/usr/bin/env"] + words + Foreign.python("queue_ports.py")
        let ended = try Foreign.run("/usr/bin/unshare", unshare + [Place.queue, port], scratch: scratch)
        if ended.log.contains("unshare failed") { return }  // not allowed on this machine
        #expect(ended.status == 0, "\(ended.out)\n\(ended.log)")
        #expect(ended.out.contains("all listeners answer"), "\(ended.out)\n\(ended.log)")
    }

    /// Probes on one connection, between requests, change nothing for either.
    @Test func amongRequests() throws {
        try ContractPod.running { pod throws in
            let client = try pod.connect()
            for _ in 0..<20 {
                try client.request(ContractPod.host, "/bytes/10")
                #expect(try client.readAnswer().body.count == 10)
                try client.request(
                    ContractPod.host, "/", fields: ["User-Agent: kube-probe/1", "K-Network-Probe: queue"])
                #expect(try client.readAnswer().text == "queue")
            }
            try client.request(ContractPod.host, "/", method: "HEAD", fields: ["User-Agent: kube-probe/1"])
            #expect(try client.readAnswer(toHead: true).status == 400)
            try client.request(ContractPod.host, "/bytes/3")
            #expect(try client.readAnswer().body.count == 3)
            // Any method; an answer before the body may end the connection, if it says so.
            let probe = ["User-Agent: kube-probe/1", "K-Network-Probe: queue", "Content-Length: 3"]
            try client.request(ContractPod.host, "/", method: "POST", fields: probe)
            try client.send("abc")
            #expect(try client.readAnswer().text == "queue")
        }
    }
}
