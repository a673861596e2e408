import Foundation
import Synchronization
import Testing

/// How the sidecar finds out whether the container is ready (spec/dataplane 1.9; easy mistakes 14 and 15).
@Suite struct ContractReadinessTests {
    /// A container whose health the test decides. Without words of its own it answers 200.
    final class Health: Sendable {
        private let answers = Mutex<[(status: Int, fields: [String])]>([])
        private let seen = Mutex<[(line: String, fields: [String])]>([])

        /// From now on this; the last one stays.
        func say(_ statuses: Int..., fields: [String] = []) {
            answers.withLock { $0 = statuses.map { ($0, fields) } }
        }

        /// Requests so far.
        var requests: [(line: String, fields: [String])] { seen.withLock { $0 } }

        func serve(_ request: PlayedContainer.Received) throws {
            seen.withLock { $0.append((request.line, request.fields.map { "\($0.name): \($0.value)" })) }
            let next = answers.withLock { list in
                list.count > 1 ? list.removeFirst() : list.first ?? (200, [])
            }
            try request.answer(next.status, "", fields: next.fields)
        }
    }

    /// The environment of a readiness probe, as the controller prepares it.
    static func probing(_ handler: String, _ timing: String = #""periodSeconds":1,"timeoutSeconds":1"#) -> [String:
        String]
    {
        ["SERVING_READINESS_PROBE": "{\(handler),\(timing.isEmpty ? "" : timing + ",")\"successThreshold\":1}"]
    }

    static func httpGet(_ port: UInt16, _ path: String = "/healthz", more: String = "") -> String {
        #""httpGet":{"path":"\#(path)","port":\#(port),"host":"127.0.0.1","scheme":"HTTP"\#(more)}"#
    }

    static func tcp(_ port: UInt16) -> String { #""tcpSocket":{"port":\#(port),"host":"127.0.0.1"}"# }

    private static func demandReady(_ pod: ContractPod, _ isReady: Bool, _ text: String = "", line: UInt = #line) throws
    {
        let answer = try pod.probe()
        try demandEqual(answer.status, isReady ? 200 : 503, text, line: line)
        try demandEqual(answer.text, isReady ? "queue" : "", text, line: line)
    }

    // MARK: One try decides

    static let single: [Rule<Void>] = [
        Rule("no probe: always ready, without a container too") { _ in
            try ContractPod.running([:], .none(ContractPod.freePort())) { try demandReady($0, true) }
            try ContractPod.running(["SERVING_READINESS_PROBE": ""], .none(ContractPod.freePort())) {
                try demandReady($0, true)
            }
        },
        Rule("tcpSocket: connect and close; nothing is remembered") { _ in
            let container = try PlayedContainer(listens: false), other = try PlayedContainer(listens: false)
            defer { other.stop() }
            try ContractPod.running(probing(tcp(container.port)), .played(container)) { pod throws in
                try demandReady(pod, false, "before it listens")
                container.listen()
                for _ in 0..<3 { try demandReady(pod, true) }
                container.stop()
                try demandReady(pod, false, "after it stopped")
            }
        },
        Rule("httpGet: path, query, Host, agent and configured fields; a connection each; another port than the user's")
        { _ in
            let health = Health(), container = try PlayedContainer(health.serve)
            defer { container.stop() }
            let more = #","httpHeaders":[{"name":"X-Probe","value":"yes please"},{"name":"X-Other","value":"1"}]"#
            let environment = probing(httpGet(container.port, "/ready/now?a=b&c=%20", more: more))
            try ContractPod.running(environment, .none(ContractPod.freePort())) { pod throws in
                for _ in 0..<3 { try demandReady(pod, true) }
                try demandEqual(
                    health.requests.map(\.line), Array(repeating: "GET /ready/now?a=b&c=%20 HTTP/1.1", count: 3))
                let fields = health.requests[0].fields.map { $0.lowercased() }
                for wanted in [
                    "x-probe: yes please", "x-other: 1", "user-agent: kube-probe//",
                    "host: 127.0.0.1:\(container.port)",
                ] {
                    try demand(fields.contains(wanted), "no \(wanted) in \(fields)")
                }
                try demandEqual(container.accepted, 3, "connections")
            }
        },
        Rule("httpGet: 200 to 399 is ready, all else is not") { _ in
            let health = Health(), container = try PlayedContainer(health.serve)
            try ContractPod.running(probing(httpGet(container.port)), .played(container)) { pod throws in
                for (status, isReady) in [
                    (200, true), (204, true), (299, true), (304, true), (399, true), (400, false), (401, false),
                    (404, false), (429, false), (500, false), (503, false),
                ] {
                    health.say(status)
                    try demandReady(pod, isReady, "\(status)")
                }
            }
        },
        Rule("httpGet: redirects are followed, ten of them") { _ in
            let health = Health(), container = try PlayedContainer(health.serve)
            try ContractPod.running(probing(httpGet(container.port, "/start")), .played(container)) { pod throws in
                health.say(302, 200, fields: ["Location: /next?x=1"])
                try demandReady(pod, true)
                try demandEqual(health.requests.last?.line, "GET /next?x=1 HTTP/1.1")
                health.say(302, 500, fields: ["Location: /next"])
                try demandReady(pod, false, "the target decides")
                health.say(302, fields: ["Location: /round"])
                let before = health.requests.count
                try demandReady(pod, false, "a circle")
                try demand(
                    (5...12).contains(health.requests.count - before), "\(health.requests.count - before) requests")
            }
        },
        Rule("httpGet in HTTPS: the certificate is verified") { _ in
            let certificates = try ForeignCertificates(), port = try ContractPod.freePort(), scratch = Scratch()
            let pair = ["-cert", certificates.folder + "/tls.crt", "-key", certificates.folder + "/tls.key"]
            let server = try Martlet(
                ["s_server", "-accept", "127.0.0.1:\(port)", "-www"] + pair, scratch: scratch, program: "openssl")
            defer { server.signal(SIGKILL) }
            try demand(wait { (try? Client(port: port)) != nil }, "s_server does not listen")
            let handler = #""httpGet":{"path":"/","port":\#(port),"host":"127.0.0.1","scheme":"HTTPS"}"#
            try ContractPod.running(probing(handler), .none(port)) { try demandReady($0, false) }
        },
        Rule("grpc: SERVING is ready") { _ in
            try ContractPod.running([:], .grpc) { outer throws in
                let handler = #""grpc":{"port":\#(outer.userPort),"service":"a.Service"}"#
                try ContractPod.running(probing(handler), .none(outer.userPort)) { try demandReady($0, true) }
            }
        },
        Rule("grpc: a container that does not speak it is not ready") { _ in
            let health = Health(), container = try PlayedContainer(health.serve)
            try ContractPod.running(probing(#""grpc":{"port":\#(container.port)}"#), .played(container)) {
                try demandReady($0, false)
            }
        },
        Rule("exec: an error") { _ in
            try ContractPod.running(probing(#""exec":{"command":["true"]}"#), .server) { try demandReady($0, false) }
        },
        Rule("one try with timeoutSeconds") { _ in
            let container = try PlayedContainer()
            try ContractPod.running(probing(httpGet(container.port)), .played(container)) { pod throws in
                let (seconds, _) = try timed { try demandReady(pod, false) }
                try demand(seconds >= 0.95 && seconds < 5, "\(seconds) s")
            }
        },
    ]

    @Test func oneTryDecides() { show(Self.single, on: (), atOnce: true) }

    // MARK: Several containers

    static let several: [Rule<Void>] = [
        Rule("all of an array must pass; null is passed over") { _ in
            let one = Health(), two = Health()
            let first = try PlayedContainer(one.serve), second = try PlayedContainer(two.serve)
            defer { second.stop() }
            let timing = #""periodSeconds":1,"timeoutSeconds":1"#
            let array = "[null,{\(httpGet(first.port)),\(timing)},{\(httpGet(second.port, "/two")),\(timing)}]"
            let environment = ["ENABLE_MULTI_CONTAINER_PROBES": "true", "SERVING_READINESS_PROBE": array]
            try ContractPod.running(environment, .played(first)) { pod throws in
                try demandReady(pod, true)
                two.say(500)
                try demandReady(pod, false, "the second fails")
                one.say(500)
                two.say(200)
                try demandReady(pod, false, "the first fails")
                one.say(200)
                try demandReady(pod, true, "both are well again")
            }
        },
        Rule("an array of nothing but null is ready") { _ in
            let environment = ["ENABLE_MULTI_CONTAINER_PROBES": "1", "SERVING_READINESS_PROBE": "[null]"]
            try ContractPod.running(environment, .server) { try demandReady($0, true) }
        },
        Rule("probes of different types (TestMultiContainerReadinessDifferentProbeTypes)") { _ in
            let health = Health(), container = try PlayedContainer(health.serve),
                other = try PlayedContainer(listens: false)
            defer { other.stop() }
            let array = #"[{\#(httpGet(container.port)),"periodSeconds":1},{\#(tcp(other.port)),"periodSeconds":1}]"#
            let environment = ["ENABLE_MULTI_CONTAINER_PROBES": "true", "SERVING_READINESS_PROBE": array]
            try ContractPod.running(environment, .played(container)) { pod throws in
                try demandReady(pod, false)
                other.listen()
                try demandReady(pod, true)
                health.say(500)
                try demandReady(pod, false, "it begins to fail after it was ready")
            }
        },
    ]

    @Test func severalContainers() { show(Self.several, on: (), atOnce: true) }

    // MARK: Aggressive: a period of 0

    static let aggressive: [Rule<Void>] = [
        Rule("the run goes on after its asker left, and the next one joins it") { _ in
            let container = try PlayedContainer(listens: false)
            try ContractPod.running(probing(tcp(container.port), ""), .played(container)) { pod throws in
                let gone = try pod.connect()
                let probe = ["User-Agent: Knative-Activator-Probe", "K-Network-Probe: queue"]
                try gone.request(ContractPod.host, fields: probe)
                try demand(gone.isSilent(milliseconds: 300), "answered before the container was there")
                gone.abort()
                let second = try pod.connect(), third = try pod.connect()
                for client in [second, third] { try client.request(ContractPod.host, fields: probe) }
                try demand(second.isSilent(milliseconds: 200) && third.isSilent(milliseconds: 1), "answered too soon")
                let ready = DispatchTime.now().uptimeNanoseconds
                container.listen()
                try demandEqual(try second.readAnswer().text, "queue")
                let milliseconds = Double(DispatchTime.now().uptimeNanoseconds - ready) / 1e6
                try demandEqual(try third.readAnswer().text, "queue")
                note("ready to answered: \(milliseconds) ms")
                try demand(milliseconds < 1_000, "\(milliseconds) ms")
            }
        },
        Rule("concurrent askers share one run: tries come no faster") { _ in
            let health = Health(), container = try PlayedContainer(health.serve)
            health.say(503)
            try ContractPod.running(probing(httpGet(container.port), ""), .played(container)) { pod throws in
                let askers = try (0..<20).map { _ in try pod.connect() }
                for client in askers {
                    try client.request(
                        ContractPod.host, fields: ["User-Agent: kube-probe/1", "K-Network-Probe: queue"])
                }
                try demand(wait(5) { health.requests.count >= 3 }, "no tries")
                poll(nil, 0, 1_000)
                let tries = health.requests.count
                // Knative's 20 a second, and a few more while the pauses are still short; 20 runs would be 400.
                try demand(tries >= 8 && tries <= 60, "\(tries) tries in a second")
                health.say(200)
                for client in askers { try demandEqual(try client.readAnswer().text, "queue") }
            }
        },
        Rule("a try that hangs is given up after 100 ms") { _ in
            let count = Counter()
            let container = try PlayedContainer { request in
                if count.next() == 0 { poll(nil, 0, 3_000) }
                try request.answer()
            }
            try ContractPod.running(probing(httpGet(container.port), ""), .played(container)) { pod throws in
                let (seconds, _) = try timed { try demandReady(pod, true) }
                try demand(seconds >= 0.095 && seconds < 2, "\(seconds) s")
            }
        },
        Rule("successThreshold counts passes in a row; after the first success one more is enough") { _ in
            let health = Health(), container = try PlayedContainer(health.serve)
            var environment = probing(httpGet(container.port), "")
            environment["SERVING_READINESS_PROBE"] = "{\(httpGet(container.port)),\"successThreshold\":3}"
            try ContractPod.running(environment, .played(container)) { pod throws in
                health.say(200, 200, 503, 200)
                try demandReady(pod, true)
                try demandEqual(health.requests.count, 6, "two passes, a failure, three passes")
                try demandReady(pod, true)
                try demandEqual(health.requests.count, 7)
            }
        },
        Rule("the whole run ends after ten seconds with 503") { _ in
            let container = try PlayedContainer(listens: false)
            try ContractPod.running(probing(tcp(container.port), ""), .played(container)) { pod throws in
                let (seconds, _) = try timed { try demandReady(pod, false) }
                try demand(seconds >= 9.5 && seconds < 15, "\(seconds) s")
            }
        },
        Rule("failing after it was ready: the probe waits, the container that recovers is ready") { _ in
            let health = Health(), container = try PlayedContainer(health.serve)
            try ContractPod.running(probing(httpGet(container.port), ""), .played(container)) { pod throws in
                try demandReady(pod, true)
                health.say(503)
                let client = try pod.connect()
                try client.request(ContractPod.host, fields: ["User-Agent: kube-probe/1", "K-Network-Probe: queue"])
                try demand(client.isSilent(milliseconds: 300), "a run was expected")
                health.say(200)
                try demandEqual(try client.readAnswer().text, "queue")
            }
        },
        Rule("a drain answers those who wait for the container") { _ in
            let container = try PlayedContainer(listens: false)
            let environment = probing(tcp(container.port), "").merging(["MARTLET_DRAIN_QUIET_MILLISECONDS": "0"]) { $1 }
            try ContractPod.running(environment, .played(container)) { pod throws in
                let client = try pod.connect()
                try client.request(ContractPod.host, fields: ["User-Agent: kube-probe/1", "K-Network-Probe: queue"])
                try demand(client.isSilent(milliseconds: 100), "answered too soon")
                pod.sidecar.signal(SIGTERM)
                try demandEqual(pod.sidecar.waitForEnd(20), 0, "the end of the sidecar")
            }
        },
    ]

    @Test func aggressiveRuns() { show(Self.aggressive, on: (), atOnce: true) }

    /// 1.9 with ENABLE_HTTP2_AUTO_DETECTION: h2c first; what speaks HTTP/1.1 only is found ready too.
    @Test func detection() throws {
        let on = ["ENABLE_HTTP2_AUTO_DETECTION": "true"]
        try ContractPod.running([:], .reporter) { outer throws in
            let environment = Self.probing(Self.httpGet(outer.userPort, "/status/200")).merging(on) { $1 }
            try ContractPod.running(environment, .none(outer.userPort)) { pod throws in
                try Self.demandReady(pod, true)
                #expect(try outer.counts()["HTTP/2"] ?? 0 >= 1, "no HTTP/2 was tried")
            }
            let failing = Self.probing(Self.httpGet(outer.userPort, "/status/500")).merging(on) { $1 }
            try ContractPod.running(failing, .none(outer.userPort)) { try Self.demandReady($0, false) }
        }
        let health = Health(), container = try PlayedContainer(health.serve)
        let environment = Self.probing(Self.httpGet(container.port)).merging(on) { $1 }
        try ContractPod.running(environment, .played(container)) { pod in try Self.demandReady(pod, true) }
    }

    /// Counts from 0.
    final class Counter: Sendable {
        private let value = Mutex(0)
        func next() -> Int {
            value.withLock { count in
                defer { count += 1 }
                return count
            }
        }
    }
}

/// A figure for who reads the output of the tests.
func note(_ text: String) { FileHandle.standardOutput.write(Data("measured: \(text)\n".utf8)) }
