import Foundation
import Testing

/// Proxying: targets, versions, tunnels, errors (spec/dataplane 1.3, 1.8).
@Suite struct ContractProxyTests {
    /// 1.8: the target passes as it came; an HTTP/1.0 request becomes 1.1.
    @Test func targets() throws {
        let container = try PlayedContainer {
            try $0.answer(200, "\($0.line)|\($0.values("Host").joined(separator: ","))")
        }
        try ContractPod.running([:], .played(container)) { pod throws in
            let rows: [(String, String)] = [
                ("/a%2Fb//c/../d;p=1?x=%20&y=a+b&empty=", "/a%2Fb//c/../d;p=1?x=%20&y=a+b&empty="),
                ("/%E2%98%83", "/%E2%98%83"), ("/a?b?c", "/a?b?c"), ("//double", "//double"), ("/?", "/?"),
                ("/x?next=http://y/z", "/x?next=http://y/z"),
            ]
            for (sent, seen) in rows {
                #expect(try pod.get(sent).text == "GET \(seen) HTTP/1.1|\(ContractPod.host)", "\(sent)")
            }
            let absolute = try pod.get("http://\(ContractPod.host)/p?q=1").text
            #expect(absolute == "GET /p?q=1 HTTP/1.1|\(ContractPod.host)")
            let old = try pod.connect()
            try old.send("GET /old HTTP/1.0\r\nHost: \(ContractPod.host)\r\n\r\n")
            #expect(try old.readAnswer().text == "GET /old HTTP/1.1|\(ContractPod.host)")
            #expect(try old.receive().isEmpty, "HTTP/1.0 without keep-alive: the connection ends")
        }
    }

    /// 1.3: heads of up to 1 MiB pass, as Go's server takes them; beyond is 431.
    @Test func largeHeads() throws {
        try ContractPod.running { pod throws in
            func answer(_ bytes: Int) throws -> Answer {
                let client = try pod.connect()
                let fields = (0..<bytes / 30_000).map { "X-Large-\($0): " + String(repeating: "x", count: 29_980) }
                // The answer may come, and the connection end, before all is sent.
                _ = try? client.request(ContractPod.host, "/headers", fields: fields)
                return try client.readAnswer()
            }
            for bytes in [90_000, 300_000, 900_000] {
                let found = try answer(bytes)
                #expect(found.status == 200 && found.body.count > bytes - 30_000, "\(bytes): \(found.status)")
            }
            #expect(try answer(1_200_000).status == 431)
            #expect(try pod.get("/bytes/3").body.count == 3)
        }
    }

    /// 1.8: a chunked response to an HTTP/1.0 client is ended by the connection.
    @Test func chunkedToHTTP10() throws {
        try ContractPod.running { pod throws in
            let client = try pod.connect()
            try client.send("GET /chunked/5000?chunk=1000 HTTP/1.0\r\nHost: \(ContractPod.host)\r\n\r\n")
            let answer = try client.readAnswer()
            #expect(answer["Transfer-Encoding"] == nil && answer.body.count == 5_000)
        }
    }

    /// 1.8: 101 makes a tunnel, both ways until either side closes; bytes sent right behind the head are not lost.
    @Test func tunnels() throws {
        try ContractPod.running { pod throws in
            let client = try pod.connect()
            try client.send(
                "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly bytes")
            let answer = try client.readHead()
            #expect(answer.status == 101 && answer["Upgrade"] == "echo", "\(answer)")
            #expect(answer["Connection"]?.lowercased() == "upgrade")
            #expect(try client.take(11) == Array("early bytes".utf8))
            for round in 0..<50 {
                try client.send("round \(round)\n")
                #expect(try client.take("round \(round)\n".utf8.count) == Array("round \(round)\n".utf8))
            }
            client.finishSending()
            #expect(try client.receive().isEmpty)
            // Refused by the container: an ordinary response.
            let refused = try pod.get("/tunnel", ["Connection: Upgrade", "Upgrade: other"])
            #expect(refused.status == 426)
        }
    }

    /// 1.8: python3-websockets on both sides: messages, fragments, compression, close codes.
    @Test func webSockets() throws {
        let certificates = try ForeignCertificates()
        try ContractPod.running([:], .webSocket, certificates: certificates) { pod throws in
            try Self.expectCases("ws_client.py", pod, settings: ["sidecar=yes"])
        }
        try ContractPod.running([:], .webSocket, certificates: certificates) { pod throws in
            let few = ["thousand_messages", "handshake"]
            try Self.expectCases("ws_client.py", pod, few, at: .tls, certificates, settings: ["sidecar=yes"])
        }
    }

    /// gRPC: unary, streams each way, errors, deadlines, cancellation (grpcio on both sides).
    @Test func gRPC() throws {
        let certificates = try ForeignCertificates()
        try ContractPod.running(["QUEUE_SERVING_PORT": "8013"], .grpc, certificates: certificates) { pod throws in
            try Self.expectCases("grpc_client.py", pod, ["all"], settings: ["sidecar=yes"])
            let few = ["unary", "ping_pong", "error_status", "metadata"]
            try Self.expectCases("grpc_client.py", pod, few, at: .tls, certificates, settings: ["sidecar=yes"])
        }
    }

    /// 1.3: what the sidecar announces for HTTP/2; probes and requests as streams of one connection.
    @Test func http2Connections() throws {
        let certificates = try ForeignCertificates()
        try ContractPod.running([:], .reporter, certificates: certificates) { pod throws in
            try Self.expectCases("queue_client.py", pod)
            try Self.expectCases("queue_client.py", pod, at: .tls, certificates)
        }
    }

    static func expectCases(
        _ script: String, _ pod: ContractPod, _ names: [String] = [], at listener: ContractPod.Listener = .queue,
        _ certificates: ForeignCertificates? = nil, settings: [String] = [],
        location: SourceLocation = #_sourceLocation
    ) throws {
        let words = Foreign.python(script)
        var arguments = ["--port", "\(try pod.port(listener))", "--host", "localhost", "--pid", "\(pod.sidecar.pid)"]
        if listener == .tls, let certificates { arguments += ["--ca", certificates.authority] }
        for setting in settings { arguments += ["--set", setting] }
        try pod.sidecar.expectCases(words[0], Array(words.dropFirst()) + arguments + names, location: location)
    }

    /// 1.8: both directions at once, without the annotation too; what arrives is passed on at once.
    @Test func fullDuplex() throws {
        try ContractPod.running { pod throws in
            let client = try pod.connect()
            try client.request(ContractPod.host, "/echo", method: "POST", fields: ["Transfer-Encoding: chunked"])
            try client.send("5\r\nfirst\r\n")
            #expect(try client.readHead().status == 200)
            #expect(try client.readChunk().map { String(decoding: $0, as: UTF8.self) } == "first")
            for round in 0..<20 {
                try client.send("6\r\nnumber\r\n")
                #expect(try client.readChunk()?.count == 6, "\(round)")
            }
            try client.send("0\r\n\r\n")
            #expect(try client.readChunk() == nil)
        }
    }

    /// 1.8 (#12387): a container that answers before it has read the body, and one that then closes, are no errors.
    @Test func answersBeforeTheBody() throws {
        let closing = try PlayedContainer { request in
            try request.answer(413, "too much", closes: true)
        }
        try ContractPod.running([:], .played(closing)) { pod throws in
            for _ in 0..<10 {
                let client = try pod.connect()
                try client.request(ContractPod.host, "/", method: "POST", fields: ["Content-Length: 5000000"])
                // The rest of the body may or may not be taken; the answer is there in any case.
                _ = try? client.send([UInt8](repeating: 1, count: 100_000))
                let answer = try client.readAnswer()
                #expect(answer.status == 413 && answer.text == "too much", "\(answer)")
            }
        }
        try ContractPod.running { pod throws in
            let client = try pod.connect()
            try client.request(ContractPod.host, "/early", method: "POST", fields: ["Content-Length: 200000"])
            #expect(try client.readAnswer().text == "early\n")
            // What was announced may still be sent, as far as Go reads it too (256 KiB); the connection may end then.
            try client.send([UInt8](repeating: 1, count: 200_000))
            #expect(try pod.get("/bytes/4").body.count == 4)
        }
    }

    static let errors: [Rule<ContractPod>] = [
        Rule("a container that answers nonsense: 502 and a text with LF") { pod throws in
            let answer = try pod.get("/garbage")
            try demandBadGateway(answer)
        },
        Rule("a container that closes instead of answering: 502") { pod throws in
            try demandBadGateway(try pod.get("/half?at=start"))
            try demandBadGateway(try pod.get("/half?at=start", ["Content-Length: 0"], method: "POST"))
        },
        Rule("a container that resets instead of answering: 502") { pod throws in
            try demandBadGateway(try pod.get("/reset?at=start"))
        },
        Rule("a container that closes in the middle: no proper end") { pod throws in
            for path in ["/half", "/reset"] {
                let client = try pod.connect()
                try client.request(ContractPod.host, path)
                try demandEqual(try client.readHead().status, 200)
                var count = 0
                while let bytes = try? client.receive(), !bytes.isEmpty { count += bytes.count }
                try demand(count < 1000, "\(count) bytes and an end")
            }
        },
        Rule("a kept connection that the container has closed is no error, for POST neither (#12414)") { pod throws in
            for path in ["/drop", "/drop?reset=1", "/drop", "/drop"] {
                let client = try pod.connect()
                try client.request(ContractPod.host, path)
                try demandEqual(try client.readAnswer().text, "drop\n")
                poll(nil, 0, 20)
                try client.request(ContractPod.host, "/upload", method: "POST", fields: ["Content-Length: 5"])
                try client.send("hello")
                let answer = try client.readAnswer()
                try demand(answer.status == 200 && answer.text.contains("\"bytes\":5"), "\(path): \(answer)")
            }
        },
        Rule("after all of that the sidecar serves") { pod throws in
            for _ in 0..<20 { try demandEqual(try pod.get("/bytes/7").body.count, 7) }
        },
    ]

    static func demandBadGateway(_ answer: Answer, line: UInt = #line) throws {
        try demandEqual(answer.status, 502, line: line)
        try demand(answer.text.hasSuffix("\n") && answer.text.count > 1, "the text is \(answer.text)", line: line)
        try demandEqual(answer["Content-Type"], "text/plain; charset=utf-8", line: line)
        try demandEqual(answer["X-Content-Type-Options"], "nosniff", line: line)
    }

    /// 1.8: what a client hears of a container that fails.
    @Test func failingContainers() throws {
        try ContractPod.running { pod in show(Self.errors, on: pod) }
        try ContractPod.running([:], .none(ContractPod.freePort())) { pod throws in
            for _ in 0..<3 {
                let (seconds, answer) = try timed { try pod.get("/") }
                try Self.demandBadGateway(answer)
                #expect(seconds < 2, "a refused connection is reported at once")
            }
            let wire = try Wire(pod.scratch)
            #expect(try wire.perform(Wire.Request("/"), .h2c, pod).status == 502)
        }
    }

    /// 1.8: what comes piece by piece goes on piece by piece.
    @Test func streaming() throws {
        try ContractPod.running { pod throws in
            let client = try pod.connect()
            let begin = Date()
            try client.request(ContractPod.host, "/chunked/50?chunk=10&ms=150")
            #expect(try client.readHead().status == 200)
            var times: [Double] = []
            while try client.readChunk() != nil { times.append(Date().timeIntervalSince(begin)) }
            #expect(times.count == 5)
            #expect(times.first ?? 9 < 0.45 && times.last ?? 0 >= 0.55, "\(times)")
        }
    }

    /// 1.1, 1.3, 1.11: TLS 1.3 unless told otherwise; any name or none asks for the same certificate.
    @Test func encryption() throws {
        let certificates = try ForeignCertificates()
        func curl(_ pod: ContractPod, _ more: [String]) throws -> Martlet.Ended {
            let fixed = ["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "-k"]
            return try Foreign.run("curl", fixed + more + ["https://127.0.0.1:\(try pod.port(.tls))/bytes/1"])
        }
        try ContractPod.running([:], .server, certificates: certificates) { pod throws in
            #expect(try curl(pod, ["--http1.1"]).out == "200 1.1")
            #expect(try curl(pod, ["--tls-max", "1.2"]).status != 0, "TLS 1.2 is below the default minimum")
            for name in [
                ["-servername", "data-plane.knative.dev"], ["-servername", "nobody.example"], ["-noservername"],
            ] {
                let connecting = ["s_client", "-connect", "127.0.0.1:\(try pod.port(.tls))"]
                let ended = try Foreign.run("openssl", connecting + name)
                #expect(ended.out.contains("subject=CN = leaf"), "\(name): \(ended.out)\n\(ended.log)")
            }
            #expect(try pod.get("/bytes/2").body.count == 2, "the plain listener stays open")
        }
        let older = ["QUEUE_PROXY_TLS_MIN_VERSION": "1.2", "QUEUE_PROXY_TLS_MAX_VERSION": "1.2"]
        try ContractPod.running(older, .server, certificates: certificates) { pod throws in
            #expect(try curl(pod, ["--tls-max", "1.2", "--http1.1"]).out == "200 1.1")
            #expect(try curl(pod, ["--tlsv1.3"]).status != 0)
        }
    }
}
