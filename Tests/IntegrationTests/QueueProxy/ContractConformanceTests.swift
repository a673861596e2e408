import Foundation
import Testing

/// Knative's own conformance and end-to-end tests that concern the queue-proxy, against processes (spec/dataplane 6.2
/// and 6.4). What another file shows by itself is not repeated: load, drains, readiness by path, port and type.
@Suite struct ContractConformanceTests {
    struct Case: Sendable {
        let name: String
        /// Seconds of the three limits.
        let total: Int, start: Int, idle: Int
        /// Milliseconds before the head, and before the rest of the body.
        let head: Int32, body: Int32
        let status: Int

        var environment: [String: String] {
            [
                "REVISION_TIMEOUT_SECONDS": "\(total)", "REVISION_RESPONSE_START_TIMEOUT_SECONDS": "\(start)",
                "REVISION_IDLE_TIMEOUT_SECONDS": "\(idle)",
            ]
        }
    }

    /// Knative's cases with a second where it takes seven to twenty.
    static let timeouts = [
        Case(name: "API: within the limit", total: 2, start: 0, idle: 0, head: 400, body: 0, status: 200),
        Case(name: "API: beyond the limit", total: 1, start: 0, idle: 0, head: 1_800, body: 0, status: 504),
        Case(
            name: "API: first byte before the limit, the rest beyond", total: 1, start: 0, idle: 0, head: 0,
            body: 1_800, status: 200),
        Case(name: "e2e: total not exceeded", total: 2, start: 0, idle: 0, head: 200, body: 200, status: 200),
        Case(name: "e2e: total exceeded", total: 1, start: 0, idle: 0, head: 1_500, body: 0, status: 504),
        Case(name: "e2e: start not exceeded", total: 9, start: 1, idle: 0, head: 200, body: 1_300, status: 200),
        Case(name: "e2e: start exceeded", total: 9, start: 1, idle: 0, head: 1_600, body: 0, status: 504),
        Case(name: "e2e: idle not exceeded", total: 9, start: 0, idle: 1, head: 200, body: 200, status: 200),
        Case(name: "e2e: idle exceeded", total: 9, start: 0, idle: 1, head: 1_600, body: 0, status: 504),
    ]

    @Test func revisionTimeout() {
        concurrently(Self.timeouts, name: { "TestRevisionTimeout, \($0.name)" }) { one in
            let container = try PlayedContainer { request in
                poll(nil, 0, one.head)
                try request.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                poll(nil, 0, one.body)
                try request.peer.send("4\r\nrest\r\n0\r\n\r\n")
            }
            try ContractPod.running(one.environment, .played(container)) { pod throws in
                let answer = try pod.get()
                try demandEqual(answer.status, one.status)
                if one.status == 504 {
                    try demandEqual(answer.text, "request timeout")
                } else {
                    try demand(answer.text.hasPrefix("first"), answer.text)
                }
            }
        }
    }

    /// TestWebSocketWithTimeout: an echo that is later than any of the limits is an error, one in time is none.
    @Test func webSocketWithTimeout() {
        let limits = [(1, 0, 0), (9, 1, 0), (9, 0, 1)]
        let cases = limits.flatMap { total, start, idle in
            [(Int32(200), 200), (1_900, 504)].map { delay, status in
                Case(
                    name: "\(total), \(start), \(idle) s and \(delay) ms", total: total, start: start, idle: idle,
                    head: delay, body: 0, status: status)
            }
        }
        concurrently(cases, name: { "TestWebSocketWithTimeout, \($0.name)" }) { one in
            let container = try PlayedContainer { request in
                try request.peer.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
                _ = try request.peer.take(8)
                poll(nil, 0, one.head)
                try request.peer.send([0x81, 2, 0x68, 0x69])
                while try !request.peer.receive().isEmpty {}
                throw Failure("over")
            }
            try ContractPod.running(one.environment, .played(container)) { pod throws in
                let client = try pod.connect()
                try client.openWebSocket()
                try client.send([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69])
                let echo = try? client.take(4)
                try demandEqual(echo == [0x81, 2, 0x68, 0x69], one.status == 200, "\(String(describing: echo))")
            }
        }
    }

    /// TestMustHaveHeadersSet, TestShouldHaveHeadersSet, TestProtocols: as a request comes from the gateway.
    @Test func headersAndProtocols() throws {
        try ContractPod.running([:], .reporter) { pod throws in
            let wire = try Wire(pod.scratch)
            let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            let fields = [
                ("X-Forwarded-For", "10.1.2.3, 10.4.5.6"), ("X-Forwarded-Proto", "http"), ("traceparent", trace),
                ("X-Forwarded-Host", "app.example.com"), ("User-Agent", "knative.dev/test"), ("X-User", "yes"),
            ]
            for way in [Wire.Way.h1, .h2c] {
                let found = try ContractFieldTests.Report(
                    wire.perform(Wire.Request("/report", fields: fields), way, pod))
                #expect(found.host == [ContractPod.host])
                let forwarded = try #require(found.values("forwarded").first)
                #expect(
                    forwarded.wholeMatch(of: /for=[0-9.]+(;(host|proto)=[a-z.]+)*(, for=[0-9.]+)*/) != nil,
                    "\(forwarded)")
                #expect(found.values("x-forwarded-proto") == ["http"])
                #expect(found.values("x-forwarded-for") == ["10.1.2.3, 10.4.5.6, 127.0.0.1"])
                #expect(found.values("traceparent").first?.contains("0af7651916cd43dd8448eb211c80319c") == true)
                #expect(found.values("x-user") == ["yes"] && found.values("user-agent") == ["knative.dev/test"])
                #expect(found.protocol == (way == .h1 ? "HTTP/1.1" : "HTTP/2"))
            }
        }
    }

    /// TestProbeRuntime: three kinds of probe, a period of 0 and of 1, a slow start:
    /// the first request after Ready is 200.
    @Test func probeRuntime() {
        let kinds = ["httpGet", "tcpSocket", "exec as tcpSocket"].flatMap { kind in [0, 1].map { (kind, $0) } }
        concurrently(kinds, name: { "TestProbeRuntime, \($0.0), period \($0.1)" }) { kind, period in
            let port = try ContractPod.freePort(), scratch = Scratch()
            let words = ["PORT=\(port)", "START_DELAY_MS=700", Place.server]
            let server = try Martlet(words, scratch: scratch, program: "/usr/bin/env")
            defer { for process in scratch.processes { kill(process.pid, SIGKILL) } }
            let handler =
                kind == "httpGet" ? ContractReadinessTests.httpGet(port) : ContractReadinessTests.tcp(port)
            let timing = period == 0 ? "" : #""periodSeconds":1,"timeoutSeconds":1"#
            try ContractPod.running(ContractReadinessTests.probing(handler, timing), .none(port)) { pod throws in
                // Kubelet asks again and again; an activator gives up after 300 ms and asks again.
                let isReady = try wait {
                    let client = try pod.connect()
                    let agent = "User-Agent: Knative-Activator-Probe"
                    try client.request(ContractPod.host, fields: [agent, "K-Network-Probe: queue"])
                    return try !client.isSilent(milliseconds: 300) && client.readAnswer().text == "queue"
                }
                try demand(isReady, "never ready:\n\(server.tail)")
                try demandEqual(try pod.get("/bytes/1").status, 200)
            }
        }
    }

    /// TestProbeRuntimeAfterStartup: a probe that begins to fail later makes the pod unready.
    @Test func probeRuntimeAfterStartup() throws {
        try ContractPod.running { outer throws in
            let handler = ContractReadinessTests.httpGet(outer.userPort)
            try ContractPod.running(ContractReadinessTests.probing(handler), .none(outer.userPort)) { pod throws in
                #expect(try pod.probe().status == 200)
                _ = try pod.get("/health?ok=0")
                #expect(try pod.probe().status == 503)
                #expect(try pod.get("/bytes/1").status == 200, "who asks all the same is served")
                _ = try pod.get("/health?ok=1")
                #expect(try pod.probe().status == 200)
            }
        }
    }

    /// TestLivenessWithFail: kubelet runs the hook, kills the container and starts it anew, without SIGTERM for us.
    @Test func livenessWithFail() throws {
        let port = try ContractPod.freePort(), scratch = Scratch()
        func start() throws -> Martlet {
            let process = try Martlet(["PORT=\(port)", Place.server], scratch: scratch, program: "/usr/bin/env")
            _ = try process.announcedPort()
            return process
        }
        let first = try start()
        defer { for process in scratch.processes { kill(process.pid, SIGKILL) } }
        let probe = ContractReadinessTests.probing(ContractReadinessTests.tcp(port), "")
        let quiet = ["MARTLET_DRAIN_QUIET_MILLISECONDS": "60000"]
        try ContractPod.running(probe.merging(quiet) { $1 }, .none(port), ends: false) { pod throws in
            #expect(try pod.probe().text == "queue")
            let (seconds, answer) = try timed { try pod.get("/wait-for-drain", at: .admin) }
            #expect(answer.status == 200 && seconds < 5, "the hook took \(seconds) s")
            first.signal(SIGTERM)
            _ = first.waitForEnd()
            _ = try start()
            #expect(try pod.probe().text == "queue")
            #expect(try pod.get("/bytes/1").status == 200)
            pod.sidecar.signal(SIGKILL)
        }
    }

    /// TestHelloHTTP2WithEmptyPortName: a container that knows HTTP/2 only is spoken to in HTTP/1.1 when the gateway
    /// comes in it; what it answers is what the client gets.
    @Test func emptyPortName() throws {
        let container = try PlayedContainer {
            try $0.answer(426, "HTTP/2 only", fields: ["Upgrade: h2c"], closes: true)
        }
        try ContractPod.running([:], .played(container)) { pod throws in
            let answer = try pod.get()
            #expect(answer.status == 426 && answer.text == "HTTP/2 only")
        }
    }

    /// TestTLSCertificateRotation: two such lines in the log, and the new certificate is served; a broken pair is said
    /// and the old one stays.
    @Test func certificateRotation() throws {
        let line = "Certificate and/or key have changed on disk and were reloaded."
        let scratch = Scratch()
        let certificates = try Certificates(scratch)
        let folder = [
            "MARTLET_CERTIFICATE_DIRECTORY": scratch.path + "/certs", "MARTLET_CERTIFICATE_CHECK_MILLISECONDS": "50",
        ]
        func put(_ name: String, renaming: Bool = true) throws {
            let names = ["kn-user-default", name, "data-plane.knative.dev"]
            certificates.put("tls", try certificates.pair(names), renaming: renaming)
        }
        func served(_ pod: ContractPod) throws -> String {
            let connecting = ["s_client", "-connect", "127.0.0.1:\(try pod.port(.tls))", "-showcerts"]
            let handshake = try run(
                "/usr/bin/openssl", connecting + ["-servername", "data-plane.knative.dev"], scratch)
            let show = ["x509", "-noout", "-ext", "subjectAltName"]
            return try run("/usr/bin/openssl", show, scratch, input: handshake.out).out
        }
        try put("first.example", renaming: false)
        try ContractPod.running(folder) { pod throws in
            #expect(try served(pod).contains("first.example"))
            pod.sidecar.expectLog(line)
            try put("second.example")
            pod.sidecar.expectLog(line, count: 2)
            #expect(try served(pod).contains("second.example"))
            let lines = pod.sidecar.log.split(separator: "\n").count
            scratch.replace("certs/tls.crt", "this is no certificate\n")
            #expect(
                pod.sidecar.waitForLog { $0.split(separator: "\n").count > lines },
                "a broken pair is passed over in silence")
            #expect(try served(pod).contains("second.example"))
            #expect(pod.sidecar.log.ranges(of: line).count == 2, "\(pod.tail)")
            try put("third.example")
            pod.sidecar.expectLog(line, count: 3)
            #expect(try served(pod).contains("third.example"))
        }
    }

    /// TestGracefulShutdownWithTLS: a request over TLS is finished after SIGTERM, in either protocol.
    @Test func gracefulShutdownWithTLS() throws {
        let certificates = try ForeignCertificates()
        let quiet = ["MARTLET_DRAIN_QUIET_MILLISECONDS": "200"]
        try ContractPod.running(quiet, .reporter, certificates: certificates, ends: false) { pod throws in
            let wire = try Wire(pod.scratch)
            _ = try pod.port(.tls)
            let answers = [Wire.Way.tls1, .h1].map { way in
                Later { try wire.perform(Wire.Request("/wait?ms=1500"), way, pod) }
            }
            #expect(try wait { try pod.counts()["in_flight"] == 2 })
            pod.sidecar.signal(SIGTERM)
            for answer in answers { #expect(try answer.value().body == "waited\n") }
            #expect(pod.sidecar.waitForEnd() == 0)
        }
    }
}
