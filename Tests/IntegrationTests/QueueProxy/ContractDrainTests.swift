import Foundation
import Testing

/// How a pod ends (spec/dataplane 1.10; easy mistakes 16 to 18). The quiet period is short here: by default it
/// is Knative's 30 s.
@Suite struct ContractDrainTests {
    private static func quiet(_ milliseconds: Int) -> [String: String] {
        ["MARTLET_DRAIN_QUIET_MILLISECONDS": "\(milliseconds)"]
    }

    /// Kubelet's hook: it blocks until the drain is over.
    private static func hook(_ pod: ContractPod) -> Later<(seconds: Double, answer: Answer)> {
        Later {
            let (seconds, answer) = try timed { try pod.get("/wait-for-drain", at: .admin) }
            return (seconds, answer)
        }
    }

    private static func demandDraining(_ pod: ContractPod, line: UInt = #line) throws {
        let answer = try pod.probe()
        try demand(answer.status == 503 && answer.text == "shutting down\n", "\(answer)", line: line)
    }

    private static func demandReady(_ pod: ContractPod, line: UInt = #line) throws {
        let answer = try pod.probe()
        try demand(answer.status == 200 && answer.text == "queue", "\(answer)", line: line)
    }

    private static func demandRefused(_ pod: ContractPod, line: UInt = #line) throws {
        for listener in [ContractPod.Listener.queue, .admin, .stat] {
            try demand((try? pod.connect(listener)) == nil, "\(listener) still takes connections", line: line)
        }
    }

    static let rules: [Rule<Void>] = [
        Rule("a hook without SIGTERM is a restart: after a second all is as before (#13229)") { _ in
            try ContractPod.running(quiet(600_000), ends: false) { pod throws in
                let hooks = [hook(pod), hook(pod)]
                try demand(wait { try pod.probe().status == 503 }, "the drain did not begin")
                try demandDraining(pod)
                try demandEqual(try pod.get("/bytes/3").body.count, 3)
                for one in hooks {
                    let (seconds, answer) = try one.value()
                    try demand(answer.status == 200 && answer.body.isEmpty, "\(answer)")
                    try demand(seconds >= 0.9 && seconds < 5, "\(seconds) s")
                }
                try demand(wait(2) { try pod.probe().status == 200 }, "it is not ready again")
                // And once more.
                let again = hook(pod)
                try demand(wait { try pod.probe().status == 503 }, "no second drain")
                try demandEqual(try again.value().answer.status, 200)
                try demandReady(pod)
                pod.sidecar.signal(SIGKILL)
            }
        },
        Rule("a hook and SIGTERM: the hook returns when no request came for the quiet period, each one prolongs it") {
            _ in
            try ContractPod.running(quiet(1_500), ends: false) { pod throws in
                let waiting = hook(pod)
                try demand(wait { try pod.probe().status == 503 }, "the drain did not begin")
                pod.sidecar.signal(SIGTERM)
                var last: UInt64 = 0
                for _ in 0..<4 {
                    poll(nil, 0, 600)
                    try demand(!waiting.isOver, "it did not wait")
                    last = DispatchTime.now().uptimeNanoseconds
                    try demandEqual(try pod.get("/bytes/3").body.count, 3, "traffic while draining")
                    try demandDraining(pod)  // a probe prolongs nothing
                }
                let (_, answer) = try waiting.value()
                let since = Double(DispatchTime.now().uptimeNanoseconds - last) / 1e9
                try demandEqual(answer.status, 200)
                try demand(answer.body.isEmpty && since >= 1.4 && since < 6, "\(since) s after the last request")
                try demandEqual(pod.sidecar.waitForEnd(), 0)
            }
        },
        Rule("answers to activators are marked while it drains, and no others (docs/activator.md)") { _ in
            let (mark, activator) = ("x-envoy-immediate-health-check-fail", "K-Proxy-Request: activator")
            try ContractPod.running(quiet(600_000), ends: false) { pod throws in
                try demandEqual(try pod.get("/bytes/3", [activator])[mark], nil)
                pod.sidecar.signal(SIGTERM)
                try demand(wait { try pod.probe().status == 503 }, "the drain did not begin")
                try demandEqual(try pod.get("/bytes/3", [activator])[mark], "true")
                try demandEqual(try pod.get("/bytes/3")[mark], nil)
                pod.sidecar.signal(SIGKILL)
            }
        },
        Rule("SIGTERM alone: quiet period, then exit 0; listeners are gone") { _ in
            try ContractPod.running(quiet(700), ends: false) { pod throws in
                let idle = try pod.connect()
                try idle.request(ContractPod.host, "/bytes/1")
                _ = try idle.readAnswer()
                for listener in [ContractPod.Listener.queue, .admin, .stat] { _ = try pod.port(listener) }
                let (seconds, status) = timed {
                    pod.sidecar.signal(SIGTERM)
                    return pod.sidecar.waitForEnd()
                }
                try demandEqual(status, 0)
                try demand(seconds >= 0.65 && seconds < 6, "\(seconds) s")
                try demandRefused(pod)
                try demand(try idle.receive().isEmpty, "a kept connection ends")
            }
        },
        Rule("a request under way is finished, however long it takes (TestDestroyPodInflight)") { _ in
            try ContractPod.running(quiet(100), ends: false) { pod throws in
                let (client, other) = (try pod.connect(), try pod.connect())
                try client.request(ContractPod.host, "/slow?ms=2500")
                try other.request(ContractPod.host, "/chunked/200?chunk=10&ms=100")
                try demandEqual(try other.readHead().status, 200)
                pod.sidecar.signal(SIGTERM)
                try demand(wait { (try? pod.connect()) == nil }, "it still listens")
                try demandEqual(try client.readAnswer().text, "slow\n")
                var count = 0
                while let chunk = try other.readChunk() { count += chunk.count }
                try demandEqual(count, 200)
                try demandEqual(pod.sidecar.waitForEnd(), 0)
            }
        },
        Rule("the hook waits for requests under way too: kubelet stops the container after it") { _ in
            try ContractPod.running(quiet(100), ends: false) { pod throws in
                let client = try pod.connect()
                try client.request(ContractPod.host, "/slow?ms=2000")
                try demand(wait { try pod.counts()["in_flight"] == 2 }, "the request is not there")
                let waiting = hook(pod)
                try demand(wait { try pod.probe().status == 503 }, "the drain did not begin")
                pod.sidecar.signal(SIGTERM)
                try demandEqual(try client.readAnswer().text, "slow\n")
                let (seconds, answer) = try waiting.value()
                try demand(answer.status == 200 && seconds >= 1, "\(answer) after \(seconds) s")
                try demandEqual(pod.sidecar.waitForEnd(), 0)
            }
        },
        Rule("a WebSocket: the container's close frame passes, 1000 (TestWebSocketGracefulShutdown)") { _ in
            let container = try PlayedContainer()
            try ContractPod.running(quiet(100), .played(container), ends: false) { pod throws in
                let client = try pod.connect()
                try client.send(
                    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
                let peer = try container.next()
                try peer.peer.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
                try demandEqual(try client.readHead().status, 101)
                pod.sidecar.signal(SIGTERM)
                try demand(wait { (try? pod.connect()) == nil }, "it still listens")
                try demand(client.isSilent(milliseconds: 1_000), "it was cut")
                try peer.peer.send([0x88, 0x02, 0x03, 0xE8])
                try demandEqual(try client.take(4), [0x88, 0x02, 0x03, 0xE8])
                try client.send([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8])
                try demandEqual(try peer.peer.take(8), [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8])
                peer.peer.finishSending()
                try demand(try client.receive().isEmpty, "the container ended, the client does not hear of it")
                client.finishSending()
                try demand(try peer.peer.receive().isEmpty, "the client ended, the container does not hear of it")
                try demandEqual(pod.sidecar.waitForEnd(), 0)
            }
        },
        Rule("WebSockets and streams that do not end are waited for so long, then it is over: exit 0") { _ in
            let settings = quiet(0).merging(["MARTLET_DRAIN_STREAMS_MILLISECONDS": "900"]) { $1 }
            try ContractPod.running(settings, ends: false) { pod throws in
                let client = try pod.connect()
                try client.openWebSocket()
                let (seconds, status) = timed {
                    pod.sidecar.signal(SIGTERM)
                    return pod.sidecar.waitForEnd()
                }
                try demandEqual(status, 0)
                try demand(seconds >= 0.85 && seconds < 6, "\(seconds) s")
                try demand((try? client.receive().isEmpty) ?? true, "bytes out of nothing")
            }
        },
        Rule("the second signal: exit 1 at once, whatever is under way") { _ in
            for second in [SIGTERM, SIGINT] {
                try ContractPod.running(quiet(600_000), ends: false) { pod throws in
                    let client = try pod.connect()
                    try client.request(ContractPod.host, "/hang")
                    pod.sidecar.signal(SIGTERM)
                    try demand(wait { try pod.probe().status == 503 }, "the drain did not begin")
                    pod.sidecar.signal(second)
                    try demandEqual(pod.sidecar.waitForEnd(10), 1)
                }
            }
        },
        Rule("SIGINT is a signal like SIGTERM") { _ in
            try ContractPod.running(quiet(0), ends: false) { pod throws in
                try demandReady(pod)
                pod.sidecar.signal(SIGINT)
                try demandEqual(pod.sidecar.waitForEnd(), 0)
            }
        },
        Rule("the admin port is plain HTTP with TLS on, other paths are 404 (#16162)") { _ in
            let certificates = try ForeignCertificates()
            try ContractPod.running(quiet(0), certificates: certificates) { pod throws in
                _ = try pod.port(.tls)
                for path in ["/", "/wait-for-drain/", "/metrics", "/healthz"] {
                    try demandEqual(try pod.get(path, at: .admin).status, 404, path)
                }
                try demandEqual(try pod.get("/wait-for-drain?x=1", at: .admin).status, 200)
            }
        },
        Rule("a hook whose asker leaves changes nothing for the drain") { _ in
            try ContractPod.running(quiet(1_200), ends: false) { pod throws in
                let gone = try pod.connect(.admin)
                try gone.request(ContractPod.host, "/wait-for-drain")
                try demand(wait { try pod.probe().status == 503 }, "the drain did not begin")
                gone.abort()
                pod.sidecar.signal(SIGTERM)
                try demandDraining(pod)
                try demandEqual(try pod.get("/bytes/1").status, 200)
                try demandEqual(pod.sidecar.waitForEnd(), 0)
            }
        },
        Rule("HTTP/2: GOAWAY, the streams under way end properly") { _ in
            for kind in ["h2c", "tls"] {
                let certificates = try ForeignCertificates()
                try ContractPod.running(quiet(300), .reporter, certificates: certificates, ends: false) { pod throws in
                    try ContractProxyTests.expectCases(
                        "queue_client.py", pod, ["drain"], at: kind == "tls" ? .tls : .queue, certificates)
                    try demandEqual(pod.sidecar.waitForEnd(), 0)
                }
            }
        },
        Rule("gRPC: a stream under way goes on to its end") { _ in
            try ContractPod.running(quiet(200), .grpc, ends: false) { pod throws in
                try ContractProxyTests.expectCases("grpc_client.py", pod, ["drain"])
                try demandEqual(pod.sidecar.waitForEnd(), 0)
            }
        },
    ]

    @Test func everyRule() { show(Self.rules, on: (), atOnce: true) }

    /// The default is Knative's 30 seconds.
    @Test func quietPeriodByDefault() throws {
        var environment = ContractPod.environment(userPort: 8080, [:])
        environment["MARTLET_DRAIN_QUIET_MILLISECONDS"] = nil
        let words = environment.map { "\($0)=\($1)" } + [Place.queue, "--check"]
        let ended = try Foreign.run("/usr/bin/env", words)
        #expect(ended.status == 0 && ended.out.contains("MARTLET_DRAIN_QUIET_MILLISECONDS=30000"), "\(ended)")
    }

    /// TestDestroyPodWithRequests: requests that began one after the other all end well, new ones come in meanwhile.
    @Test func loadWhileDraining() throws {
        try ContractPod.running(Self.quiet(400), ends: false) { pod throws in
            let answers = (0..<6).map { number in
                Later {
                    poll(nil, 0, Int32(number) * 100)
                    return try pod.get("/slow?ms=1200").text
                }
            }
            poll(nil, 0, 300)
            pod.sidecar.signal(SIGTERM)
            for answer in answers { #expect(try answer.value() == "slow\n") }
            #expect(pod.sidecar.waitForEnd() == 0)
        }
    }
}
