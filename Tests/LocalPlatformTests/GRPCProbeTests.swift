import EventLoop
import Glibc
import HTTP2
import Primitives
import Testing

@testable import LocalPlatform
@testable import Probing

/// Probes over HTTP/2 of real servers.
@Suite struct GRPCProbeTests {
    /// The outcome of one probe of a port.
    private func ask(
        _ harness: Harness, _ handler: ProbeSpec.Handler, port: UInt16, speaksHTTP2: Bool = true,
        milliseconds: UInt64 = Harness.patience
    ) -> ProbeOutcome? {
        let attempt = ProbeAttempt(
            loop: harness.loop, commands: .init(started: { _ in }, ended: { _ in }),
            context: ProbeContext(loop: harness.loop, userAgent: ProbeSpec.userAgent))
        let target = ProbeAttempt.Target(port: port, speaksHTTP2: speaksHTTP2, environment: [], searchPath: "")
        var outcome: ProbeOutcome?
        attempt.begin(handler, target, timeoutMilliseconds: milliseconds) { outcome = $0 }
        #expect(harness.run { outcome != nil }, "no outcome")
        return outcome
    }

    @Test func healthOfServices() throws {
        let harness = try Harness()
        let id = harness.platform.start(GRPCServer.spec())
        let port = try #require(harness.waitReady(id))
        let table: [(String?, ProbeOutcome)] = [
            (nil, .passed), ("", .passed), ("up", .passed), ("down", .failed("gRPC: health status NOT_SERVING")),
            (
                "other",
                .failed(
                    "gRPC status 5 NOT_FOUND: the health service does not know the service asked for: no service other")
            ),
        ]
        for (service, outcome) in table {
            #expect(ask(harness, .grpc(port: nil, service: service), port: port) == outcome)
        }
        #expect(ask(harness, .grpc(port: port, service: ""), port: 1) == .passed, "another port than the pod's own")
        let line = harness.waitForLine { $0.hasPrefix("check all kube-probe/") }
        #expect(line != nil, "\(harness.lines)")
        // The server hears of the deadline, and so either end may be the first to give up.
        let slow = ask(harness, .grpc(port: nil, service: "slow"), port: port, milliseconds: 200)
        #expect(
            slow == .timedOut || slow?.reason.hasPrefix("gRPC status 4 DEADLINE_EXCEEDED") == true, "\(slow as Any)")
        #expect(harness.finish())
    }

    @Test func theHealthServiceIsMissing() throws {
        let harness = try Harness()
        let id = harness.platform.start(GRPCServer.spec(hasHealth: false))
        let port = try #require(harness.waitReady(id))
        let outcome = ask(harness, .grpc(port: nil, service: nil), port: port)
        #expect(
            outcome?.reason.hasPrefix(
                "gRPC status 12 UNIMPLEMENTED: the health service grpc.health.v1.Health is not registered") == true,
            "\(outcome as Any)")
        #expect(harness.finish())
    }

    @Test func portsWithoutGRPC() throws {
        let harness = try Harness()
        let id = harness.platform.start(PythonServer.spec())
        let port = try #require(harness.waitReady(id))
        let health = ProbeSpec.Handler.grpc(port: nil, service: nil)
        #expect(ask(harness, health, port: port) == .notHTTP2("the port speaks HTTP/1.1, not HTTP/2"))
        harness.platform.stop(id)
        #expect(harness.waitEmpty())
        #expect(ask(harness, health, port: port) == .refused)
        // A listener that never accepts.
        let listener = try Listener(.loopback(port: 0), sharesPort: false)
        let silent = try #require(listener.address?.port)
        #expect(ask(harness, health, port: silent, milliseconds: 50) == .timedOut)
        #expect(
            ask(harness, .http(path: "/", port: nil, headers: [], scheme: "http"), port: silent, milliseconds: 50)
                == .timedOut)
        let stillOpen = listener.fd
        #expect(stillOpen >= 0)
    }

    /// Ready when it serves, and not ready when it says so; the container port means the pod's own.
    @Test func readinessFollowsHealth() throws {
        let harness = try Harness()
        try Harness.write("2", to: "\(harness.directory)/status")
        var spec = GRPCServer.spec()
        spec.workingDirectory = harness.directory
        spec.containerPort = 9_999
        spec.readinessProbe = ProbeSpec(.grpc(port: 9_999, service: nil))
        let id = harness.platform.start(spec)
        #expect(harness.waitForLine { $0.hasPrefix("check all") } != nil)
        let count = { harness.events.count { if case .ready(id, _, _) = $0 { true } else { false } } }
        #expect(count() == 0)
        try Harness.write("1", to: "\(harness.directory)/status")
        #expect(harness.waitReady(id) != nil)
        try Harness.write("2", to: "\(harness.directory)/status")
        harness.platform.recheck(id)
        let reason = harness.wait { if case .unready(id, let reason) = $0 { reason } else { nil } }
        #expect(reason == "readiness probe failed: gRPC: health status NOT_SERVING")
        try Harness.write("1", to: "\(harness.directory)/status")
        #expect(harness.run { count() == 2 }, "did not come back by itself")
        #expect(harness.finish())
    }

    @Test func livenessRestarts() throws {
        let harness = try Harness { $0.restartPolicy.firstMilliseconds = 1 }
        var spec = GRPCServer.spec()
        var probe = ProbeSpec(.grpc(port: nil, service: "down"))
        (probe.periodSeconds, probe.failureThreshold, probe.timeoutSeconds) = (1, 1, 10)
        spec.livenessProbe = probe
        let id = harness.platform.start(spec)
        let status = harness.wait { if case .exited(id, let status, _, _) = $0 { status } else { nil } }
        #expect(
            status?.hasSuffix("after liveness probe failed: gRPC: health status NOT_SERVING") == true,
            "\(status as Any)")
        #expect(harness.finish())
    }

    // MARK: GET

    /// nghttpd speaks HTTP/2 and nothing else.
    @Test func getOverHTTP2() throws {
        let harness = try Harness()
        try Harness.write("up\n", to: "\(harness.directory)/up")
        var spec = PodSpec(
            revision: "nghttpd-00001",
            command: [
                "nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", harness.directory, PodSpec.portPlaceholder,
            ])
        spec.environment = [.init(name: "PATH", value: "/usr/sbin:/usr/bin:/bin")]
        spec.speaksHTTP2 = true
        spec.readinessProbe = ProbeSpec(.http(path: "/up", port: nil, headers: [], scheme: "HTTP"))
        let id = harness.platform.start(spec)
        let port = try #require(harness.waitReady(id))
        let missing = ProbeSpec.Handler.http(path: "/missing", port: nil, headers: [], scheme: "http")
        #expect(ask(harness, missing, port: port) == .failed("HTTP status 404"))
        // Another port of the pod is asked over HTTP/1.1, and so is this one when it does not carry the name.
        let present = ProbeSpec.Handler.http(path: "/up", port: port, headers: [], scheme: "http")
        #expect(ask(harness, present, port: 1) == .failed("not an HTTP/1.1 answer"))
        let own = ProbeSpec.Handler.http(path: "/up", port: nil, headers: [], scheme: "http")
        #expect(ask(harness, own, port: port, speaksHTTP2: false) == .failed("not an HTTP/1.1 answer"))
        #expect(harness.finish())
    }

    /// A port named h2c that speaks HTTP/1.1 after all: its answer counts.
    @Test func getFallsBack() throws {
        let harness = try Harness()
        var spec = PythonServer.spec()
        spec.speaksHTTP2 = true
        var probe = ProbeSpec(.http(path: "/up", port: nil, headers: [], scheme: "HTTP"))
        probe.timeoutSeconds = 10
        spec.readinessProbe = probe
        let id = harness.platform.start(spec)
        #expect(harness.waitReady(id) != nil)
        let got = harness.lines.map(\.text).filter { $0.hasPrefix("got PRI") || $0.hasPrefix("got GET") }
        #expect(got.suffix(2) == ["got PRI * HTTP/2.0", "got GET /up HTTP/1.1"], "\(got)")
        #expect(harness.finish())
    }

    /// One that waits for the rest of what it takes for a request is asked again at half of the time.
    @Test func getFallsBackFromSilence() throws {
        let harness = try Harness()
        let program = """
            import os, socket
            listener = socket.socket()
            listener.bind(("127.0.0.1", int(os.environ["PORT"])))
            listener.listen(16)
            while True:
                peer, _ = listener.accept()
                data = peer.recv(4096)
                print("got", data[:3].decode(), flush=True)
                if data.startswith(b"GET"):
                    peer.sendall(b"HTTP/1.1 204 X\\r\\n\\r\\n")
                while data: data = peer.recv(4096)
                peer.close()
            """
        var spec = PodSpec(revision: "python-00003", command: ["/usr/bin/python3", "-S", "-c", program])
        spec.speaksHTTP2 = true
        var probe = ProbeSpec(.http(path: "/up", port: nil, headers: [], scheme: "HTTP"))
        probe.timeoutSeconds = 2
        spec.readinessProbe = probe
        let id = harness.platform.start(spec)
        #expect(harness.waitReady(id) != nil)
        #expect(harness.lines.map(\.text).prefix(2) == ["got PRI", "got GET"])
        #expect(harness.finish())
    }
}
