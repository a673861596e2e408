import Foundation
import Testing

/// The sidecar as a process: how it starts, what it says, and how it ends.
@Suite struct QueueSidecarTests {
    /// `martlet-test-server` in the container's place.
    private final class Container {
        let process: Martlet
        let port: UInt16

        init() throws {
            process = try Martlet(["PORT=0", Place.server], program: "/usr/bin/env")
            let pattern = /listening on 127\.0\.0\.1:(\d+)/
            _ = process.waitForLog(of: 1) { $0.contains(pattern) }
            guard let match = process.out.firstMatch(of: pattern), let port = UInt16(match.1) else {
                throw Failure("no container:\n\(process.tail)")
            }
            self.port = port
        }

        deinit { process.signal(SIGKILL) }
    }

    private func withContainer(
        _ changes: [String: String?] = [:], _ body: (QueueSidecar) throws -> Void
    ) throws {
        let container = try Container()
        try QueueSidecar.running(userPort: container.port, changes, body)
    }

    // MARK: The start

    @Test func serves() throws {
        try withContainer { sidecar in
            let answer = try sidecar.get("/echo?a=b")
            #expect(answer.status == 200)
            let stat = try sidecar.get("/metrics", at: "stat")
            #expect(stat.status == 200 && stat["Content-Type"] == "application/protobuf")
            #expect(stat.body.starts(with: [0x0A, 13] + Array("app-00001-pod".utf8)))
            let ready = try sidecar.get("/", QueueSidecar.kubelet)
            #expect(ready.status == 200 && ready.text == "queue")
            #expect(try sidecar.get("/", at: "admin").status == 404)
            #expect(sidecar.process.out.isEmpty)
            for line in sidecar.process.log.split(separator: "\n") {
                let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String]
                #expect(object?["logger"] == "queueproxy" && object?["severity"] == "INFO", "\(line)")
                #expect(object?["knative.dev/key"] == "default/app-00001", "\(line)")
                #expect(object?["knative.dev/pod"] == "app-00001-pod", "\(line)")
                #expect(object?["timestamp"]?.hasSuffix("Z") == true && object?["caller"]?.contains(":") == true)
            }
        }
    }

    /// Every listener that cannot be had is named, with the reason.
    @Test func takenPorts() throws {
        let container = try Container()
        let taken = "127.0.0.1:\(container.port)"
        let changes = [
            "MARTLET_ADMIN_LISTEN": taken, "MARTLET_STAT_LISTEN": taken, "MARTLET_QUEUE_LISTEN": "127.0.0.1:0",
        ]
        let sidecar = try QueueSidecar(changes)
        #expect(sidecar.process.waitForEnd() == 1)
        for listener in ["admin", "stat"] {
            let said = sidecar.process.log.split(separator: "\n").contains {
                $0.contains("\"\(listener)\"") && $0.contains(taken) && $0.contains("Address already in use")
            }
            #expect(said, "\(sidecar.process.tail)")
        }
    }

    /// Two of ours on one port would share its connections.
    @Test func onePortTwice() throws {
        let port = try {
            let container = try Container(); return container.port
        }()
        let address = "127.0.0.1:\(port == 65_535 ? port - 1 : port + 1)"
        let sidecar = try QueueSidecar(["MARTLET_QUEUE_LISTEN": address, "MARTLET_ADMIN_LISTEN": address])
        #expect(sidecar.process.waitForEnd() == 1)
        #expect(sidecar.process.log.contains("\"admin\""), "\(sidecar.process.tail)")
    }

    @Test func wrongVariables() throws {
        let sidecar = try QueueSidecar(["USER_PORT": "http", "SERVING_POD": nil, "MARTLET_WORKERS": "0"])
        #expect(sidecar.process.waitForEnd() == 1)
        #expect(sidecar.process.out.isEmpty)
        for name in ["USER_PORT", "SERVING_POD", "MARTLET_WORKERS"] {
            #expect(sidecar.process.log.contains("martlet-queue: error: \(name) "), "\(sidecar.process.tail)")
        }
    }

    /// Several workers share the listeners and the limit.
    @Test func severalWorkers() throws {
        try withContainer(["MARTLET_WORKERS": "3", "CONTAINER_CONCURRENCY": "2"]) { sidecar in
            for _ in 0..<20 {
                let answer = try sidecar.get()
                #expect(answer.status == 200)
            }
        }
    }

    // MARK: TLS

    /// The line of each load, a new pair in use, and a broken one that changes nothing.
    @Test func certificates() throws {
        let scratch = Scratch()
        let certificates = try Certificates(scratch)
        certificates.put("tls", try certificates.pair(["kn-user-default"]))
        let changes = [
            "MARTLET_CERTIFICATE_DIRECTORY": scratch.path + "/certs", "MARTLET_CERTIFICATE_CHECK_MILLISECONDS": "20",
        ]
        let container = try Container()
        try QueueSidecar.running(userPort: container.port, changes) { sidecar in
            let line = "Certificate and/or key have changed on disk and were reloaded."
            let port = try sidecar.port("tls")
            sidecar.process.expectLog(line, count: 1)
            certificates.put("tls", try certificates.pair(["kn-user-default", "second.example"]), renaming: true)
            sidecar.process.expectLog(line, count: 2)
            scratch.write("certs/tls.key", "no key")
            sidecar.process.expectLog("certificate refused")
            let shown = try IntegrationTests.run(
                "/usr/bin/curl",
                [
                    "-sS", "--cacert", certificates.file, "--http1.1", "--connect-to", "::127.0.0.1:\(port)",
                    "-w", "%{http_version} %{http_code}", "-o", "/dev/null", "https://second.example/",
                ], scratch)
            #expect(shown.out == "1.1 200", "\(shown.log)\(sidecar.process.tail)")
        }
    }

    @Test func brokenCertificateAtTheStart() throws {
        let scratch = Scratch()
        scratch.write("certs/tls.crt", "no certificate")
        scratch.write("certs/tls.key", "no key")
        let sidecar = try QueueSidecar(["MARTLET_CERTIFICATE_DIRECTORY": scratch.path + "/certs"])
        #expect(sidecar.process.waitForEnd() == 1)
        #expect(sidecar.process.log.contains("certs/tls.crt"), "\(sidecar.process.tail)")
    }

    // MARK: Readiness

    /// Whoever asks before the container listens is answered when it does; who goes away stops nothing.
    @Test func readyWhenItListens() throws {
        let port = try {
            let container = try Container(); return container.port
        }()
        let probe = "{\"tcpSocket\":{\"port\":\(port),\"host\":\"127.0.0.1\"},\"successThreshold\":1}"
        try QueueSidecar.running(userPort: port, ["SERVING_READINESS_PROBE": probe]) { sidecar in
            let (first, second) = (try sidecar.connect(), try sidecar.connect())
            for client in [first, second] { try client.request("x", fields: QueueSidecar.kubelet) }
            first.finishSending()
            let process = try Martlet(["PORT=\(port)", Place.server], program: "/usr/bin/env")
            defer { process.signal(SIGKILL) }
            let answer = try second.readAnswer()
            #expect(answer.status == 200 && answer.text == "queue")
            sidecar.process.expectLog("the container is ready")
        }
    }

    /// An HTTP probe passes by its status; a redirect that leads nowhere passes as well.
    @Test func probesByStatus() throws {
        let container = try Container()
        func probe(_ path: String) -> [String: String?] {
            let get = "{\"path\":\"\(path)\",\"port\":\(container.port),\"host\":\"127.0.0.1\"}"
            return ["SERVING_READINESS_PROBE": "{\"httpGet\":\(get),\"periodSeconds\":1,\"timeoutSeconds\":5}"]
        }
        for (path, status) in [("/healthz", 200), ("/status/404", 503), ("/status/302", 200)] {
            try QueueSidecar.running(userPort: container.port, probe(path)) { sidecar in
                let answer = try sidecar.get("/", QueueSidecar.kubelet)
                #expect(answer.status == status, "\(path)")
            }
        }
    }

    // MARK: The end

    /// A hook that no signal follows was a restart: unready for a second, then as before. Traffic never notices.
    @Test func hookWithoutSignal() throws {
        try withContainer(["MARTLET_DRAIN_QUIET_MILLISECONDS": "20000"]) { sidecar in
            let hook = try sidecar.connect("admin")
            let start = Date()
            try hook.request("x", "/wait-for-drain")
            sidecar.process.expectLog("draining")
            let draining = try sidecar.get("/", QueueSidecar.kubelet)
            #expect(draining.status == 503 && draining.text == "shutting down\n")
            #expect(try sidecar.get().status == 200)
            let answer = try hook.readAnswer()
            #expect(answer.status == 200 && answer.body.isEmpty)
            #expect(Date().timeIntervalSince(start) >= 0.99)
            #expect(try sidecar.get("/", QueueSidecar.kubelet).status == 200)
            // Ends at the first signal only after the quiet period; the second one ends it at once.
            sidecar.process.signal(SIGTERM)
            sidecar.process.expectLog("draining", count: 2)
            #expect(try sidecar.get().status == 200)
            sidecar.process.signal(SIGTERM)
            #expect(sidecar.process.waitForEnd() == 1)
        }
    }

    /// The usual end: the hook waits for the request under way, which is finished, and then nobody is served.
    @Test func hookAndSignal() throws {
        try withContainer(["MARTLET_DRAIN_QUIET_MILLISECONDS": "200"]) { sidecar in
            let (slow, hook) = (try sidecar.connect(), try sidecar.connect("admin"))
            let port = try sidecar.port()
            try slow.request("x", "/slow?ms=1500")
            try hook.request("x", "/wait-for-drain")
            sidecar.process.expectLog("draining")
            sidecar.process.signal(SIGTERM)
            sidecar.process.expectLog("no longer listening")
            #expect(wait { (try? Client(port: port, seconds: 1)) == nil }, "still takes connections")
            #expect(try slow.readAnswer().status == 200)
            #expect(try hook.readAnswer().status == 200)
            #expect(sidecar.process.waitForEnd() == 0)
        }
    }

    /// An open tunnel is waited for, for so long; the hook does not wait for it.
    @Test func tunnelAtTheEnd() throws {
        try withContainer(["MARTLET_DRAIN_STREAMS_MILLISECONDS": "1500"]) { sidecar in
            let (tunnel, hook) = (try sidecar.connect(), try sidecar.connect("admin"))
            try tunnel.request("x", "/tunnel", fields: ["Connection: Upgrade", "Upgrade: echo"])
            #expect(try tunnel.readHead().status == 101)
            sidecar.process.signal(SIGTERM)
            try hook.request("x", "/wait-for-drain")
            _ = try? hook.readAnswer()
            try tunnel.send("still here")
            #expect(try String(decoding: tunnel.receive(), as: UTF8.self).hasPrefix("still"))
            #expect(sidecar.process.waitForEnd() == 0)
            #expect(sidecar.process.log.contains("streams are still open"), "\(sidecar.process.tail)")
        }
    }
}
