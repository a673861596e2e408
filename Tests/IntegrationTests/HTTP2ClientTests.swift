import Foundation
import Testing

/// HTTP/2 as python3-h2 and the tools of nghttp2 see it.
@Suite struct HTTP2ClientTests {
    /// Frame by frame; see Clients/h2_client.py. The pod is spoken to in either protocol.
    @Test(arguments: ["http1", "h2c"]) func frames(portName: String) throws {
        let manifest = Foreign.reporter(portName: portName)
        try Martlet.serving(manifest) { martlet throws in
            try martlet.expectCases("h2_client.py", ["all", "cleartext"], host: manifest.host)
        }
    }

    @Test func framesInTLS() throws {
        let manifest = Foreign.reporter(), certificates = try ForeignCertificates()
        try Martlet.serving(manifest, certificates.flags) { martlet throws in
            try martlet.expectCases("h2_client.py", ["all", "tls"], host: manifest.host, certificates: certificates)
        }
    }

    /// A client that does not read, and a pod that does not, cost a bounded amount of memory and nobody else's time.
    @Test(arguments: ["http1", "h2c"]) func stalls(portName: String) throws {
        let manifest = Foreign.reporter(portName: portName)
        try Martlet.serving(manifest, ["--workers", "1"]) { martlet throws in
            try martlet.expectCases("h2_client.py", ["stall"], host: manifest.host)
        }
    }

    /// With `containerConcurrency: 1` a cancelled stream lets the next one in at once.
    @Test(arguments: ["http1", "h2c"]) func cancellationFreesTheSlot(portName: String) throws {
        let manifest = Foreign.reporter(portName: portName) { $0.revision = ["containerConcurrency: 1"] }
        try Martlet.serving(manifest) { martlet throws in
            try martlet.expectCases("h2_client.py", ["single"], host: manifest.host)
        }
    }

    /// SIGTERM: GOAWAY, every stream is answered, exit status 0.
    @Test(arguments: ["http1", "h2c"]) func drain(portName: String) throws {
        let manifest = Foreign.reporter(portName: portName)
        try Martlet.serving(manifest) { martlet throws in
            try martlet.expectCases("h2_client.py", ["drain"], host: manifest.host)
            #expect(martlet.waitForEnd() == 0, "\(martlet.tail)")
        }
    }

    /// Client's protocol times pod's: what the pod saw is what is to be expected; see Clients/translation_client.py.
    @Test(arguments: ["http1", "h2c"]) func translation(portName: String) throws {
        let manifest = Foreign.reporter(portName: portName)
        try Martlet.serving(manifest) { martlet throws in
            try martlet.expectCases("translation_client.py", host: manifest.host, settings: ["pod=\(portName)"])
        }
    }

    @Test func translationInTLS() throws {
        let manifest = Foreign.reporter(portName: "h2c"), certificates = try ForeignCertificates()
        try Martlet.serving(manifest, certificates.flags) { martlet throws in
            try martlet.expectCases(
                "translation_client.py", host: manifest.host, settings: ["pod=h2c"], certificates: certificates)
        }
    }

    // MARK: nghttp and h2load

    private func nghttp(_ martlet: Martlet, _ host: String, _ path: String, _ more: [String] = []) throws -> String {
        let url = "http://127.0.0.1:\(try martlet.port())\(path)"
        let ended = try Foreign.run(
            "nghttp", ["-v", "-t", "20", "-H:authority: \(host)", "-HHost: \(host)"] + more + [url])
        #expect(ended.status == 0, "nghttp \(more) \(path): \(ended)")
        return ended.out
    }

    private func expect(_ signs: [String], in text: String, _ location: SourceLocation = #_sourceLocation) {
        for sign in signs { #expect(text.contains(sign), "no \"\(sign)\" in:\n\(text)", sourceLocation: location) }
    }

    @Test func nghttpIsServed() throws {
        let manifest = Foreign.reporter()
        try Martlet.serving(manifest) { martlet throws in
            let plain = try nghttp(martlet, manifest.host, "/report?a=b")
            expect(
                [
                    "recv SETTINGS frame", "SETTINGS_MAX_CONCURRENT_STREAMS(0x03)",
                    "SETTINGS_ENABLE_CONNECT_PROTOCOL(0x08):1", ":status: 200", "; END_STREAM",
                    "recv (stream_id=13) content-type: application/json",
                ], in: plain)
            #expect(!plain.contains("recv GOAWAY") && !plain.contains("recv RST_STREAM"), "\(plain)")
            let file = martlet.scratch.write("body", String(repeating: "b", count: 200_000))
            let upload = try nghttp(
                martlet, manifest.host, "/echo", ["-d", file, "--trailer", "x-check: 1", "--no-content-length"])
            expect([":status: 200", "x-check: 1\n"], in: upload)
            #expect(upload.ranges(of: "x-check: 1").count >= 2, "the trailer does not come back:\n\(upload)")
            let trailers = try nghttp(martlet, manifest.host, "/trailers", ["-n"])
            expect(["x-sum: 5", "x-end: yes", "; Trailer"].dropLast() + ["; END_STREAM"], in: trailers)
            let upgraded = try nghttp(martlet, manifest.host, "/report", ["-nu"])
            expect(["HTTP/1.1 101", "HTTP Upgrade success", "recv (stream_id=1) :status: 200"], in: upgraded)
            let many = try nghttp(martlet, manifest.host, "/bytes/1000", ["-nm", "200"])
            #expect(many.ranges(of: ":status: 200").count == 200, "\(many.suffix(3_000))")
            let windows = try nghttp(martlet, manifest.host, "/bytes/300000", ["-n", "-w", "10", "-W", "12"])
            expect([":status: 200", "send WINDOW_UPDATE frame", "; END_STREAM"], in: windows)
        }
    }

    /// What nghttp prints when martlet is told to end while its streams are open.
    @Test func nghttpSeesTheDrain() throws {
        let manifest = Foreign.reporter(portName: "h2c")
        try Martlet.serving(manifest) { martlet throws in
            let url = "http://127.0.0.1:\(try martlet.port())/wait?ms=2000"
            let client = try Martlet(
                ["-nv", "-t", "20", "-m", "10", "-H:authority: \(manifest.host)", url], program: "nghttp")
            #expect(try wait { try martlet.get(manifest.host, "/stats").text.contains("\"in_flight\": 10,") })
            martlet.signal(SIGTERM)
            #expect(client.waitForEnd() == 0, "\(client.out)")
            expect(["recv GOAWAY frame", "error_code=NO_ERROR(0x00)"], in: client.out)
            #expect(client.out.ranges(of: ":status: 200").count == 10, "\(client.out)")
            #expect(martlet.waitForEnd() == 0, "\(martlet.tail)")
        }
    }

    static let loads = [["-n4000", "-c10", "-m100"], ["-n2000", "-c50", "-m1"], ["-n2000", "-c10", "--h1"]]

    @Test(arguments: loads) func h2load(arguments: [String]) throws {
        let certificates = try ForeignCertificates()
        for manifest in [Manifest(), Foreign.service(["node", Foreign.folder + "/node_app.js"], portName: "h2c")] {
            try Martlet.serving(manifest, certificates.flags) { martlet throws in
                let header = ["-t1", "-H:authority: \(manifest.host)"]
                for base in ["http://127.0.0.1:\(try martlet.port())", "https://127.0.0.1:\(try martlet.securePort())"]
                {
                    let ended = try Foreign.run("h2load", arguments + header + [base + "/bytes/2000"])
                    let count = arguments[0].dropFirst(2)
                    let shown = "\(base) \(arguments): \(ended.out)\(ended.log)\n\(martlet.tail)"
                    #expect(ended.out.contains("\(count) succeeded, 0 failed, 0 errored, 0 timeout"), "\(shown)")
                    #expect(ended.out.contains("status codes: \(count) 2xx, 0 3xx, 0 4xx, 0 5xx"), "\(shown)")
                }
            }
        }
    }
}
