import Foundation
import Testing

/// What the autoscaler reads on 9090 (spec/dataplane 2.1 to 2.3; easy mistakes 6 to 8).
@Suite struct ContractStatTests {
    /// Runs `body` with a reader, and again when the reader missed a second.
    private static func reading(
        _ changes: [String: String] = [:], _ body: (ContractPod, StatReader) throws -> Void,
        check: ([PodStat]) -> Void
    ) throws {
        for _ in 0..<4 {
            var windows: [PodStat]?
            try ContractPod.running(changes) { pod throws in
                let reader = try StatReader(pod)
                try body(pod, reader)
                windows = try reader.stop()
            }
            if let windows { return check(windows) }
        }
        Issue.record("a second was missed in each of four runs")
    }

    private static func sum(_ windows: [PodStat], _ value: (PodStat) -> Double) -> Double {
        windows.map(value).reduce(0, +)
    }

    // MARK: The message

    static let messages: [Rule<ContractPod>] = [
        Rule("exactly this type, whatever is accepted, in any method") { pod throws in
            for fields in [
                [], ["Accept: text/plain"], ["Accept: application/openmetrics-text, */*"], ["Accept-Encoding: gzip"],
            ] {
                let answer = try pod.get("/metrics", fields, at: .stat)
                try demandEqual(answer.status, 200)
                try demandEqual(
                    answer.fields.filter { $0.name.lowercased() == "content-type" }.map(\.value),
                    ["application/protobuf"])
                try demandEqual(answer["Content-Encoding"], nil)
            }
            for method in ["POST", "PUT", "OPTIONS"] {
                let answer = try pod.get("/metrics", ["Content-Length: 0"], method: method, at: .stat)
                try demandEqual(answer["Content-Type"], "application/protobuf", method)
            }
        },
        Rule("other paths: 404") { pod throws in
            for path in ["/", "/metrics/", "/wait-for-drain"] {
                try demandEqual(try pod.get(path, at: .stat).status, 404, path)
            }
        },
        Rule("a scraper that keeps its connection") { pod throws in
            let client = try pod.connect(.stat)
            for _ in 0..<50 {
                try client.request("pod", "/metrics")
                try demandEqual(PodStat(try client.readAnswer().body).podName, pod.podName)
            }
        },
        Rule("a probe on that port is no probe") { pod throws in
            let answer = try pod.get("/metrics", ["User-Agent: kube-probe/1", "K-Network-Probe: queue"], at: .stat)
            try demandEqual(answer["Content-Type"], "application/protobuf")
        },
        Rule("uptime is that of the process") { pod throws in
            try demand(wait { try PodStat(try pod.get("/metrics", at: .stat).body).uptime > 0 }, "no second came")
            let stat = try PodStat(pod.get("/metrics", at: .stat).body)
            let age = Date().timeIntervalSince(pod.startedAt)
            try demand(stat.uptime <= age + 0.1 && stat.uptime > age - 4, "\(stat.uptime) s of \(age) s")
            try demandEqual(stat.timestamp, 0)
        },
    ]

    @Test func message() throws {
        let name = String(repeating: "p", count: 253)
        try ContractPod.running(["SERVING_POD": name], .none(ContractPod.freePort())) { pod throws in
            let first = try pod.get("/metrics", at: .stat)
            // Before the first second there is the name alone.
            if Date().timeIntervalSince(pod.startedAt) < 0.9 {
                #expect(first.body == [0x0A, 0xFD, 0x01] + Array(name.utf8))
            }
            let reader = try StatReader(pod)
            let client = try pod.connect()
            for _ in 0..<3 {
                try client.request(ContractPod.host, fields: ["K-Proxy-Request: activator"])
                #expect(try client.readAnswer().status == 502)
            }
            #expect(reader.waitFor { $0.contains { $0.countProxied > 0 } })
            _ = try reader.stop()
            for stat in reader.soFar { #expect(stat.podName == name) }
            #expect(try pod.get("/metrics", at: .stat).body.count <= 336)
            show(Self.messages, on: pod)
        }
    }

    /// 2.2: as long as it may ever be.
    @Test func longestMessage() throws {
        let container = try PlayedContainer()
        try ContractPod.running(
            ["SERVING_POD": String(repeating: "p", count: 253)], .played(container)
        ) { pod throws in
            let reader = try StatReader(pod)
            let client = try pod.connect()
            try client.request(ContractPod.host, fields: ["K-Proxy-Request: activator"])
            let held = try container.next()
            var longest = 0
            let isFull = try wait {
                let body = try pod.get("/metrics", at: .stat).body
                longest = max(longest, body.count)
                return try PodStat(body).present == [1, 2, 3, 4, 5, 6]
            }
            #expect(isFull && longest <= 336, "\(longest) bytes, \(reader.soFar.map(\.present))")
            try held.answer()
            _ = try reader.stop()
        }
    }

    // MARK: The figures

    /// 2.3: what is in a pod for a whole second counts one, proxied ones in both pairs; waiting ones too.
    @Test func averages() throws {
        let container = try PlayedContainer()
        try ContractPod.running(["CONTAINER_CONCURRENCY": "2"], .played(container)) { pod throws in
            let reader = try StatReader(pod)
            let clients = try (0..<3).map { _ in try pod.connect() }
            for (number, client) in clients.enumerated() {
                let fields = number == 2 ? ["K-Proxy-Request: activator"] : []
                try client.request(ContractPod.host, "/\(number)", fields: fields)
            }
            let held = try (0..<2).map { _ in try container.next() }
            func isWhole(_ stat: PodStat) -> Bool {
                abs(stat.average - 3) < 1e-6 && abs(stat.averageProxied - 1) < 1e-6 && stat.count == 0
            }
            #expect(reader.waitFor { $0.contains(where: isWhole) }, "\(reader.soFar)")
            for one in held { try one.answer() }
            try container.next().answer()
            #expect(reader.waitForRest())
            if let windows = try reader.stop() {
                #expect(Self.sum(windows, \.count) == 3 && Self.sum(windows, \.countProxied) == 1, "\(windows)")
            }
        }
    }

    /// 2.3: the counts of all seconds are the requests sent, neither more nor less, of every kind; probes
    /// count nowhere.
    @Test func everyRequestCountsOnce() throws {
        let proxied = 60, plain = 140, probes = 50
        try Self.reading(["CONTAINER_CONCURRENCY": "1"]) { pod, reader throws in
            for number in 0..<(proxied + plain) {
                let fields = number % 10 < 3 ? ["K-Proxy-Request: activator"] : []
                _ = try pod.get(number % 7 == 0 ? "/status/500" : "/bytes/1", fields)
                if number % 4 == 0 { _ = try pod.probe() }
                // Only `activator` says that a request came through it.
                if number % 50 == 0 { _ = try pod.get("/bytes/1", ["K-Proxy-Request: other"]) }
            }
            #expect(reader.waitForRest())
        } check: { windows in
            #expect(Self.sum(windows, \.count) == Double(proxied + plain + 4), "\(windows), \(probes) probes")
            #expect(Self.sum(windows, \.countProxied) == Double(proxied), "\(windows)")
            #expect(windows.allSatisfy { $0.average >= $0.averageProxied && $0.count >= $0.countProxied })
            #expect(windows.last?.average == 0)
        }
    }

    /// 1.6: those that were refused count too.
    @Test func refusedOnesCount() throws {
        let container = try PlayedContainer()
        try ContractPod.running(["CONTAINER_CONCURRENCY": "1"], .played(container)) { pod throws in
            let reader = try StatReader(pod)
            let clients = try (0..<15).map { _ in try pod.connect() }
            for client in clients { try client.request(ContractPod.host) }
            for _ in 0..<11 { try container.next().answer() }
            let statuses = try clients.map { try $0.readAnswer().status }
            #expect(statuses.count { $0 == 503 } == 4)
            #expect(reader.waitForRest())
            if let windows = try reader.stop() { #expect(Self.sum(windows, \.count) == 15) }
        }
    }

    /// 1.6: a WebSocket is in the pod until it ends.
    @Test func webSocketsCount() throws {
        try Self.reading { pod, reader throws in
            let client = try pod.connect()
            try client.openWebSocket()
            #expect(reader.waitFor { $0.count { $0.average == 1 && $0.count == 0 } >= 1 }, "\(reader.soFar)")
            client.abort()
            #expect(reader.waitForRest())
        } check: { windows in
            #expect(Self.sum(windows, \.count) == 1)
        }
    }

    /// 2.2: 9090 answers with 200 in every condition of the pod, never 502 or 503.
    @Test func alwaysAnswers() throws {
        let environment = [
            "MARTLET_DRAIN_QUIET_MILLISECONDS": "600000", "CONTAINER_CONCURRENCY": "1",
            "SERVING_READINESS_PROBE": #"{"tcpSocket":{"port":1,"host":"127.0.0.1"}}"#,
        ]
        try ContractPod.running(environment, .none(ContractPod.freePort()), ends: false) { pod throws in
            #expect(try pod.get("/metrics", at: .stat).status == 200, "the container is dead")
            pod.sidecar.signal(SIGTERM)
            #expect(try wait { try pod.probe().status == 503 })
            #expect(try pod.get("/metrics", at: .stat).status == 200, "while draining")
            pod.sidecar.signal(SIGTERM)
            #expect(pod.sidecar.waitForEnd() == 1)
        }
    }
}
