import EventLoop
import Glibc
import Primitives
import Testing

@testable import LocalPlatform
@testable import Probing

/// Probes of real servers.
@Suite struct ProbeTests {
    /// A port is found within milliseconds of its opening, at the port the pod was told.
    @Test func slowServerBecomesReady() throws {
        let harness = try Harness()
        let preamble = "sys.stdout.write('listening soon\\n'); sys.stdout.flush()"
        let id = harness.platform.start(PythonServer.spec(delaySeconds: 0.3, preamble: preamble))
        let port = harness.waitReady(id)
        #expect(port != nil && port == harness.platform.port(of: id))
        #expect((20_000...32_767).contains(port ?? 0))
        #expect(harness.lines.contains { $0.text == "listening soon" })
        let spawned = harness.wait { if case .spawned(id, _, let at) = $0 { at } else { nil } }
        let ready = harness.wait { if case .ready(id, _, let at) = $0 { at } else { nil } }
        #expect(try #require(ready).milliseconds(since: try #require(spawned)) >= 300)
        #expect(harness.finish())
    }

    @Test func httpProbeAsksAndJudges() throws {
        let harness = try Harness()
        var spec = PythonServer.spec(status: "200 if count > 3 else 503")
        spec.containerPort = 9_999
        var probe = ProbeSpec(
            .http(
                path: "/health?deep=1", port: 9_999, headers: [.init(name: "X-Probe", value: "yes")], scheme: "HTTP"))
        probe.timeoutSeconds = 5
        spec.readinessProbe = probe
        let id = harness.platform.start(spec)
        let port = try #require(harness.waitReady(id))
        let got = harness.lines.map(\.text)
        for wanted in [
            "got GET /health?deep=1 HTTP/1.1", "got User-Agent: kube-probe/", "got X-Probe: yes",
            "got Host: 127.0.0.1:\(port)", "got Connection: close",
        ] { #expect(got.contains(wanted), "\(wanted) in \(got)") }
        #expect(got.count { $0.hasPrefix("got GET") } >= 4)
        #expect(!got.contains { $0.hasPrefix("error") }, "the server could not finish its answer")
        #expect(harness.finish())
    }

    @Test func commandProbeRunsInThePodsEnvironment() throws {
        let harness = try Harness()
        var spec = Harness.shell("sleep 0.1; echo $PORT > up; exec sleep 100")
        spec.workingDirectory = harness.directory
        spec.readinessProbe = ProbeSpec(.exec(command: ["sh", "-c", "test \"$(cat up)\" = \"$PORT\""]))
        let id = harness.platform.start(spec)
        #expect(harness.waitReady(id) != nil)
        #expect(harness.finish())
    }

    /// A command that hangs is killed, with what it started, and counts as failed.
    @Test func hangingCommandIsKilled() throws {
        let harness = try Harness()
        var spec = Harness.shell("exec sleep 100")
        spec.workingDirectory = harness.directory
        var probe = ProbeSpec(.exec(command: ["sh", "-c", "sleep 1000 & echo $! >> pids; wait"]))
        probe.timeoutSeconds = 1
        spec.readinessProbe = probe
        let id = harness.platform.start(spec)
        let pids = { () -> [Int32] in
            let text = SystemFile.read("\(harness.directory)/pids", atMost: 4_096) ?? ""
            return text.split(separator: "\n").compactMap { Int32($0) }
        }
        #expect(harness.run { pids().count >= 2 }, "the probe was not repeated")
        #expect(Harness.waitGone([pids()[0]]))
        #expect(!harness.events.contains { if case .ready(id, _, _) = $0 { true } else { false } })
        #expect(harness.finish())
        #expect(Harness.waitGone(pids()))
    }

    @Test func unsupportedProbesAreRefusedAtOnce() throws {
        let harness = try Harness()
        var spec = Harness.shell("exec sleep 100")
        spec.readinessProbe = ProbeSpec(.grpc(port: nil, service: String(repeating: "s", count: 1_025)))
        spec.livenessProbe = ProbeSpec(.http(path: "/", port: nil, headers: [], scheme: "HTTPS"))
        spec.startupProbe = ProbeSpec(
            .http(path: "/a b", port: nil, headers: [.init(name: "A", value: "b\r\nC: d")], scheme: "http"))
        let id = harness.platform.start(spec)
        let error = harness.wait { if case .failedToStart(id, let error, nil) = $0 { error } else { nil } }
        #expect(
            error == """
                readinessProbe.grpc.service: longer than 1024 bytes; \
                livenessProbe.httpGet.scheme: HTTPS is not supported for local processes; use HTTP or tcpSocket; \
                startupProbe.httpGet.path: holds a space or control byte; encode it as %XX; \
                startupProbe.httpGet.httpHeaders: A: not a legal header field
                """)
        #expect(harness.platform.pid(of: id) == nil)
        #expect(harness.finish())
    }

    /// Passive health: a pod that still answers is confirmed, one that was stopped listening is found out, and comes
    /// back.
    @Test func recheckTellsTheTruth() throws {
        let harness = try Harness()
        let spec = PythonServer.closable()
        let id = harness.platform.start(spec)
        #expect(harness.waitReady(id) != nil)
        let count = { harness.events.count { if case .ready(id, _, _) = $0 { true } else { false } } }
        harness.platform.recheck(id)
        #expect(harness.run { count() == 2 }, "not confirmed")
        kill(try #require(harness.platform.pid(of: id)), SIGUSR1)
        #expect(harness.waitForLine { $0 == "shut" } != nil)
        #expect(
            harness.run {
                harness.platform.recheck(id)
                return harness.events.contains { if case .unready(id, _) = $0 { true } else { false } }
            })
        let reason = harness.wait { if case .unready(id, let reason) = $0 { reason } else { nil } }
        #expect(reason == "readiness probe failed: connection refused")
        let before = count()
        #expect(harness.run { count() > before }, "did not come back by itself")
        #expect(harness.finish())
    }

    @Test func livenessFailureRestarts() throws {
        let harness = try Harness { $0.restartPolicy.firstMilliseconds = 1 }
        var spec = PythonServer.spec(status: "500")
        var probe = ProbeSpec(.http(path: "/live", port: nil, headers: [], scheme: "http"))
        probe.periodSeconds = 1
        probe.failureThreshold = 1
        spec.livenessProbe = probe
        let id = harness.platform.start(spec)
        let pids = { harness.events.compactMap { if case .spawned(id, let pid, _) = $0 { pid } else { nil } } }
        #expect(harness.run { pids().count == 2 })
        let order = harness.events.filter { $0.id == id }.compactMap { event -> String? in
            switch event {
            case .spawned: "spawned"
            case .ready: "ready"
            case .unready(_, let reason): "unready: \(reason)"
            case .exited(_, let status, _, _): "exited: \(status)"
            case .failedToStart, .stopped: "unexpected"
            }
        }
        let reason = "liveness probe failed: HTTP status 500"
        #expect(
            order.prefix(5) == [
                "spawned", "ready", "unready: \(reason)", "exited: killed by SIGTERM, after \(reason)", "spawned",
            ])
        #expect(Harness.waitGone([pids()[0]]))
        #expect(harness.finish())
    }

    /// The startup probe holds the readiness probe back although the port is open.
    @Test func startupProbeComesFirst() throws {
        let harness = try Harness()
        var spec = PythonServer.spec()
        spec.workingDirectory = harness.directory
        spec.startupProbe = ProbeSpec(.exec(command: ["test", "-e", "started"]))
        let id = harness.platform.start(spec)
        #expect(harness.waitForLine { $0 == "listening" } != nil)
        _ = harness.run(patience: 200) { false }
        #expect(!harness.events.contains { if case .ready = $0 { true } else { false } })
        try Harness.write("", to: "\(harness.directory)/started")
        #expect(harness.waitReady(id) != nil)
        #expect(harness.finish())
    }

    @Test func statusLines() {
        let table: [(StaticString, Int?)] = [
            ("HTTP/1.1 200 OK\r\n", 200), ("HTTP/1.0 404\r\n", 404), ("HTTP/1.1 503 ", 503), ("HTTP/1.1 2000", nil),
            ("HTTP/2 200 OK", nil), ("HTTP/1.1  200", nil), ("SSH-2.0-OpenSSH", nil), ("", nil), ("HTTP/1.1 20x", nil),
        ]
        for (line, status) in table { #expect(HTTP1Dialogue.status(of: ByteView(line)) == status) }
    }

    @Test func requestsOfHTTPProbes() {
        let bytes = HTTP1Dialogue.request(
            path: "x", port: 80,
            headers: [.init(name: "host", value: "a.example"), .init(name: "Connection", value: "k")],
            userAgent: ProbeSpec.userAgent)
        #expect(
            String(decoding: bytes, as: UTF8.self)
                == "GET /x HTTP/1.1\r\nUser-Agent: kube-probe/\r\nAccept: */*\r\n"
                + "host: a.example\r\nConnection: close\r\n\r\n"
        )
    }
}
