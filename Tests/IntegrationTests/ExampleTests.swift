import Foundation
import TestProcess
import Testing

/// The examples run as their comments say, and so do the other ways to say what runs.
@Suite struct ExampleTests {
    @Test func hello() throws {
        try Martlet.serving([Place.example("hello")]) { martlet throws in
            let answer = try martlet.get("hello.default.localhost")
            #expect(answer.status == 200)
            #expect(answer.text == "Hello Martlet!\n")
            // Host names know no case, and the port in them does not matter.
            #expect(try martlet.get("HELLO.default.LOCALHOST:1234").status == 200)
            #expect(martlet.waitForLog(of: 1) { $0.contains("hello-00001-1 | GET / 200") }, "\(martlet.tail)")
        }
    }

    /// Exactly 80 and 20 of every 100; the tag's host has one revision only.
    @Test func split() throws {
        try Martlet.serving([Place.example("split")]) { martlet throws in
            for _ in 0..<2 {
                var counts: [String: Int] = [:]
                for _ in 0..<100 { counts[try martlet.get("split.default.localhost").text, default: 0] += 1 }
                #expect(counts == ["Hello blue!\n": 80, "Hello green!\n": 20])
            }
            for _ in 0..<5 {
                #expect(try martlet.get("next-split.default.localhost").text == "Hello green!\n")
            }
        }
    }

    /// Twenty clients at once: the application itself would answer 500 to a second request at a time.
    @Test func single() throws {
        try Martlet.serving([Place.example("single")]) { martlet throws in
            let tally = try Load(martlet, "single.default.localhost", clients: 20, requests: 5).finish()
            #expect(tally.isPerfect && tally.count == 100, "\(tally.summary)\n\(martlet.tail)")
            #expect(tally.texts.count == 4, "max-scale is 4: \(tally.texts)")
            #expect(martlet.pods("app.py").count == 4)
        }
    }

    @Test func compiled() throws {
        // The example names the release build; what the test build made serves as well.
        let scratch = Scratch()
        let text = try String(contentsOfFile: Place.example("compiled") + "/service.yaml", encoding: .utf8)
        scratch.write("service.yaml", text.replacing("../../../.build/release/martlet-test-server", with: Place.server))
        try Martlet.serving([scratch.path], scratch: scratch) { martlet throws in
            #expect(try martlet.get("compiled.default.localhost").text.hasPrefix("Hello compiled!"))
            let head = try martlet.get("compiled.default.localhost", "/headers").text
            #expect(head.contains("X-Forwarded-For: 127.0.0.1"), "\(head)")
        }
    }

    /// Unary calls and a stream through the data plane; ready by its own health service. Debian's Python has gRPC.
    @Test func grpc() throws {
        let scratch = Scratch()
        for name in ["service.yaml", "app.py"] {
            let text = try String(contentsOfFile: Place.example("grpc") + "/\(name)", encoding: .utf8)
            scratch.write("files/\(name)", text.replacing("\"python3\"", with: "\"/usr/bin/python3\""))
        }
        try Martlet.serving([scratch.path + "/files"], scratch: scratch) { martlet throws in
            let client = try TestProcess.run([
                "/usr/bin/python3", Place.example("grpc") + "/client.py", "--at", "127.0.0.1:\(try martlet.port())",
                "one", "two",
            ])
            #expect(client.status == 0, "\(client.errors)\n\(martlet.tail)")
            #expect(client.output == "said one\nsaid two\nheard one\nheard two\n")
        }
    }

    @Test func aCommandIsAService() throws {
        let scratch = Scratch()
        let app = try String(contentsOfFile: Place.example("hello") + "/app.py", encoding: .utf8)
        scratch.write("app.py", app)
        try Martlet.serving(["--name", "mine", "--", "python3", "app.py"], scratch: scratch) { martlet throws in
            #expect(try martlet.get("mine.default.localhost").text == "Hello World!\n")
            let port = try martlet.port()
            martlet.expectLog("http://mine.default.localhost:\(port)/")
        }
    }

    @Test func standardInputAndDomain() throws {
        let manifest = Manifest { $0.environment = [("TARGET", "input")] }
        try Martlet.serving(["-", "--domain", "example.com", "--workers", "1"], input: manifest.text) {
            martlet throws in
            #expect(try martlet.get("app.default.example.com").text.hasPrefix("Hello input!"))
            #expect(try martlet.get("app.default.localhost").status == 404)
            martlet.expectLog("workers=1")
            // Standard input says it once; a reload must not take its silence for "no services".
            martlet.signal(SIGHUP)
            martlet.expectLog("reloaded")
            #expect(try martlet.get("app.default.example.com").text.hasPrefix("Hello input!"))
        }
    }

    /// Files are applied in order of name; a Knative file that says no command runs what `--image` says.
    @Test func folderAndImages() throws {
        let scratch = Scratch()
        let first = Manifest {
            $0.name = "first"; $0.environment = [("TARGET", "one")]
        }
        let second = Manifest {
            $0.name = "second"
            $0.command = []
            $0.image = "ghcr.io/me/app:v1"
            $0.args = ["$(PORT)", "$(GREETING)-$(K_REVISION)", "$$(PORT)"]
            $0.environment = [("GREETING", "hello")]
        }
        let script = """
            import http.server, json, os, sys
            class Handler(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    body = json.dumps({"args": sys.argv[1:], "env": dict(os.environ)}).encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
            http.server.HTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
            """
        scratch.write("files/app.py", script)
        scratch.write("files/1.yaml", first.text)
        scratch.write("files/2.yml", second.text)
        scratch.write("files/notes.txt", "not a manifest")
        let arguments = [scratch.path + "/files", "--image", "ghcr.io/me/app=python3 app.py"]
        try Martlet.serving(arguments, scratch: scratch) { martlet throws in
            #expect(try martlet.get("first.default.localhost").text.hasPrefix("Hello one!"))
            let answer = try martlet.get("second.default.localhost")
            let object = try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any]
            let environment = object?["env"] as? [String: String] ?? [:]
            let port = environment["PORT"] ?? "?"
            #expect(object?["args"] as? [String] == [port, "hello-second-00001", "$(PORT)"])
            #expect(environment["K_SERVICE"] == "second" && environment["K_CONFIGURATION"] == "second")
            #expect(environment["K_REVISION"] == "second-00001" && environment["GREETING"] == "hello")
            #expect(environment["XDG_RUNTIME_DIR"] == nil, "only what is documented is inherited")
        }
    }
}
