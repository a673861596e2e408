import Foundation
import Testing

/// `martlet ingress` as people run it: objects in a folder, requests over real sockets.
@Suite struct IngressProcessTests {
    typealias Stage = IngressStage

    /// Shares are exact; 0 % gets nothing (conformance: dispatch/percentage).
    @Test func percentages() throws {
        let shares = [1, 2, 4, 8, 16, 32, 37, 0]
        try Stage.running { stage throws in
            for index in shares.indices { stage.endpoints("s\(index)", [try stage.server("s\(index)")]) }
            stage.rules([Stage.path(shares.enumerated().map { Stage.split("s\($0)", $1) })])
        } _: { stage throws in
            let load = try Load(stage.ingress, Stage.host, clients: 10, requests: 100, mark: "X-Revision")
            let tally = load.finish()
            #expect(tally.isPerfect && tally.count == 1_000, "\(tally.summary)")
            let expected = shares.indices.dropLast().map { ("s\($0)", shares[$0] * 10) }
            #expect(tally.marks == Dictionary(uniqueKeysWithValues: expected))
        }
    }

    /// Paths, tags, what is set and what a client may not say.
    @Test func routesAndFields() throws {
        let revision = ["Knative-Serving-Revision": "one-00001", "Knative-Serving-Namespace": "default"]
        try Stage.running { stage throws in
            for name in ["one", "two", "three"] { stage.endpoints(name, [try stage.server(name)]) }
            stage.rules([
                Stage.path([Stage.split("two")], "headers: {Knative-Serving-Tag: {exact: blue}}"),
                Stage.path([Stage.split("three")], "path: /headers/deep"),
                Stage.path(
                    [Stage.split("one", 100, revision)], "appendHeaders: {Knative-Serving-Default-Route: \"true\"}"),
            ])
        } _: { stage throws in
            let plain = try stage.get("/headers", ["Knative-Serving-Revision: other", "X-Own: 1"])
            #expect(plain["X-Revision"] == "one")
            for line in [
                "Knative-Serving-Revision: one-00001", "Knative-Serving-Namespace: default", "X-Own: 1",
                "Knative-Serving-Default-Route: true", "X-Forwarded-Proto: http", "X-Forwarded-For: 127.0.0.1",
            ] {
                #expect(plain.text.contains(line), "\(line) in \(plain.text)")
            }
            #expect(!plain.text.contains("other"))
            #expect(try stage.get("/", ["Knative-Serving-Tag: blue"])["X-Revision"] == "two")
            for value in ["green", "", "Blue"] {
                #expect(try stage.get("/", ["Knative-Serving-Tag: \(value)"])["X-Revision"] == "one")
            }
            #expect(try stage.get("/headers/deeper?x")["X-Revision"] == "three")
            #expect(try stage.get(host: "nobody.example.com").status == 404)
            let probe = try stage.get("/headers", ["K-Network-Probe: probe", "K-Network-Hash: override"])
            #expect(probe.text.contains(/K-Network-Hash: [0-9a-f]{64}/), "\(probe.text)")
            let other = try stage.get("/headers", ["K-Network-Hash: mine"])
            #expect(other.text.contains("K-Network-Hash: mine"))
        }
    }

    /// Cluster-local hosts are served at --local alone if there is one, else on loopback.
    @Test func visibility() throws {
        let local = "app.default.svc.cluster.local"
        func prepare(_ stage: Stage) throws {
            stage.endpoints("one", [try stage.server("one")])
            stage.rules([Stage.path([Stage.split("one")])], hosts: [local], visibility: "ClusterLocal")
        }
        try Stage.running(["--local", "127.0.0.1:0"], prepare: prepare) { stage throws in
            for host in [local, "app.default.svc", "app.default"] {
                #expect(try stage.get(host: host).status == 404)
                #expect(try stage.get(host: host, at: "local").status == 200)
            }
        }
        try Stage.running(prepare: prepare) { stage throws in #expect(try stage.get(host: local).status == 200) }
        try Stage.running(["--http", "0.0.0.0:0"], prepare: prepare) { stage throws in
            #expect(try stage.get(host: local).status == 404)
        }
    }

    /// A new route every time the last one was seen, while clients ask all the time: none sees an error, none sees the
    /// old route after the new one is told to be there (conformance: update).
    @Test func updatesUnderLoad() throws {
        func paths(_ number: Int) -> [String] {
            [Stage.path([Stage.split("s\(number % 2)", 100, ["X-Version": "v\(number)"])])]
        }
        try Stage.running { stage throws in
            for index in 0..<2 { stage.endpoints("s\(index)", [try stage.server("s\(index)")]) }
            stage.rules(paths(0))
        } _: { stage throws in
            let load = try Load(stage.ingress, Stage.host, clients: 8)
            for number in 1...20 {
                stage.rules(paths(number))
                stage.published(number + 1)
                #expect(wait { (try? stage.get("/headers"))?.text.contains("X-Version: v\(number)") ?? false })
            }
            let tally = load.stop()
            #expect(tally.isPerfect, "\(tally.summary)")
        }
    }

    /// Pods, activators, pods again under wrk: not one error.
    @Test func swapsUnderLoad() throws {
        var ports: [UInt16] = []
        try Stage.running(["--access-log", "off"]) { stage throws in
            ports = [try stage.server("pod"), try stage.server("activator")]
            stage.endpoints("one", [ports[0]])
            stage.rules([Stage.path([Stage.split("one")])])
        } _: { stage throws in
            let script = stage.scratch.write("host.lua", "wrk.headers[\"Host\"] = \"\(Stage.host)\"\n")
            let arguments = ["-t1", "-c32", "-d4s", "-s", script, "http://127.0.0.1:\(try stage.port("http"))/"]
            let wrk = try Martlet(arguments, scratch: stage.scratch, program: "/usr/bin/wrk")
            var swaps = 0
            while wrk.waitForEnd(0.1) == nil, swaps < 300 {
                swaps += 1
                stage.endpoints("one", [ports[swaps % 2]])
            }
            #expect(wrk.waitForEnd() == 0 && swaps >= 10, "\(wrk.tail)")
            #expect(wrk.out.contains("requests in"), "\(wrk.tail)")
            #expect(!wrk.out.contains("Non-2xx") && !wrk.out.contains("Socket errors"), "\(wrk.out)")
        }
    }

    /// Without an endpoint: 503 after the wait, and none of it when one comes in time.
    @Test func noEndpoints() throws {
        var port: UInt16 = 0
        try Stage.running { stage throws in
            port = try stage.server("one")
            stage.rules([Stage.path([Stage.split("one")])])
        } _: { stage throws in
            let answer = try stage.get()
            #expect(answer.status == 503 && answer.text == "no healthy upstream")
            let client = try stage.ingress.connect()
            try client.request(Stage.host)
            stage.endpoints("one", [port])
            #expect(try client.readAnswer().status == 200)
            _ = stage.ingress.waitForLog(of: 1) { $0.contains(" 503 UH ") }
            #expect(stage.ingress.out.contains(" 503 UH "), "\(stage.ingress.out)")
        }
    }

    /// grpcio through the ingress, to a port named http2.
    @Test func grpc() throws {
        try Stage.running { stage throws in
            let port = try stage.start(Foreign.python("grpc_app.py"), port: try ContractPod.freePort())
            stage.endpoints("one", [port], name: "http2")
            stage.rules([Stage.path([Stage.split("one", 100, ["Knative-Serving-Revision": "one-00001"])])])
        } _: { stage throws in
            try stage.ingress.expectCases("grpc_client.py", host: Stage.host)
        }
    }

    /// WebSockets through the ingress, over HTTP/1.1 and on streams of HTTP/2.
    @Test func webSockets() throws {
        try Stage.running { stage throws in
            let port = try stage.start(Foreign.python("ws_app.py"), port: try ContractPod.freePort())
            stage.endpoints("one", [port])
            stage.rules([Stage.path([Stage.split("one")])])
        } _: { stage throws in
            try stage.ingress.expectCases("ws_client.py", host: Stage.host)
            try stage.ingress.expectCases("h2_client.py", ["websocket"], host: Stage.host)
        }
    }

    /// TLS by the folder of certificates; who is redirected and who is not.
    @Test func redirects() throws {
        let certificates = try ForeignCertificates()
        func prepare(_ stage: Stage) throws {
            stage.endpoints("one", [try stage.server("one")])
            stage.rules([Stage.path([Stage.split("one")])], of: "plain", hosts: ["plain.default.localhost"])
            stage.rules(
                [Stage.path([Stage.split("one")])], of: "led", hosts: ["led.default.localhost"],
                httpOption: "Redirected")
        }
        try Stage.running(certificates.flags, prepare: prepare) { stage throws in
            let secure = try stage.port("https")
            let answer = try stage.get("/x?y", host: "led.default.localhost")
            #expect(answer.status == 301 && answer["Location"] == "https://led.default.localhost:\(secure)/x?y")
            #expect(try stage.get(host: "plain.default.localhost").status == 200)
            let challenge = "/.well-known/acme-challenge/token"
            #expect(try stage.get(challenge, host: "led.default.localhost").status == 404, "the pod's own 404")
            for host in ["led", "plain"] {
                let name = "\(host).default.localhost"
                let body = try Foreign.output(
                    "curl",
                    [
                        "-sS", "--cacert", certificates.authority, "--resolve", "\(name):\(secure):127.0.0.1", "-o",
                        "/dev/null", "-w", "%{http_code} %{http_version}", "https://\(name):\(secure)/",
                    ])
                #expect(body == "200 2")
            }
        }
        try Stage.running(certificates.flags + ["--redirect-https"], prepare: prepare) { stage throws in
            #expect(try stage.get(host: "plain.default.localhost").status == 301)
        }
    }

    /// What is under way at SIGTERM is answered.
    @Test func drain() throws {
        try Stage.running(ends: false) { stage throws in
            stage.endpoints("one", [try stage.server("one")])
            stage.rules([Stage.path([Stage.split("one")])])
        } _: { stage throws in
            let client = try stage.ingress.connect()
            try client.request(Stage.host, "/slow?ms=1500")
            _ = wait { (try? stage.get())?.status == 200 }
            stage.ingress.signal(SIGTERM)
            #expect(try client.readAnswer().status == 200)
            #expect(stage.ingress.waitForEnd() == 0, "\(stage.ingress.tail)")
        }
    }

    static let misuses: [([String], String)] = [
        (["--cluster", ""], "--cluster"), ([], "--cluster"),
        (["--cluster", "x", "--http", "nowhere"], "--http nowhere: no address"),
        (["--cluster", "x", "--https", ":8443"], "--https: certificates are missing"),
        (["--cluster", "x", "--redirect-https"], "--redirect-https: there is no place to redirect to"),
        (["--cluster", "x", "--no-session-tickets"], "--no-session-tickets: nothing uses it"),
        (["--cluster", "x", "--local", "127.0.0.1:8080"], "--local 127.0.0.1:8080: the same as --http"),
    ]

    @Test(arguments: misuses) func misuse(arguments: [String], text: String) throws {
        let ended = try Martlet.command(["ingress"] + arguments)
        #expect(ended.status == 64 && ended.log.contains(text), "\(ended)")
    }
}
