import Foundation
import Testing

/// Bodies and protocols that flow: piece by piece, both ways, to the end.
@Suite struct StreamTests {
    static let manifest = Manifest()

    /// A WebSocket is tunnelled: handshake, a masked message there, the same unmasked back, close.
    @Test func webSocket() throws {
        try Martlet.serving(Self.manifest) { martlet throws in
            let client = try martlet.connect()
            let fields = [
                "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ]
            try client.request(Self.manifest.host, "/ws", fields: fields)
            let answer = try client.readHead()
            #expect(answer.status == 101)
            #expect(answer["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")  // RFC 6455 section 1.3
            for text in ["hello", "again"] {
                let mask: [UInt8] = [1, 2, 3, 4]
                let payload = text.utf8.enumerated().map { $1 ^ mask[$0 % 4] }
                try client.send([0x81, 0x80 | UInt8(payload.count)] + mask + payload)
                #expect(try client.take(2 + payload.count) == [0x81, UInt8(payload.count)] + Array(text.utf8))
            }
            // It outlives a reload that does not concern it.
            martlet.signal(SIGHUP)
            martlet.expectLog("reloaded")
            try client.send([0x88, 0x80, 1, 2, 3, 4])
            #expect(try client.take(2).first == 0x88)
        }
    }

    @Test func chunkedUpload() throws {
        try Martlet.serving(Self.manifest) { martlet throws in
            let client = try martlet.connect()
            try client.request(Self.manifest.host, "/upload", method: "POST", fields: ["Transfer-Encoding: chunked"])
            let piece = String(repeating: "0123456789abcdef", count: 4096)
            for _ in 0..<20 { try client.send("10000\r\n\(piece)\r\n") }
            try client.send("0\r\n\r\n")
            let answer = try client.readAnswer()
            #expect(answer.status == 200 && answer.text.contains("\(20 * 65_536)"), "\(answer.text)")
            // The connection goes on.
            try client.request(Self.manifest.host, "/echo", method: "POST", fields: ["Content-Length: 4"])
            try client.send("ping")
            #expect(try client.readAnswer().text == "ping")
        }
    }

    /// Events arrive as they are sent, not when the response ends.
    @Test func streamingIsNotBuffered() throws {
        try Martlet.serving(Self.manifest) { martlet throws in
            let client = try martlet.connect()
            let begin = Date()
            try client.request(Self.manifest.host, "/chunked/50?chunk=10&ms=300")
            var times: [Double] = []
            #expect(try client.readHead().status == 200)
            while try client.readChunk() != nil { times.append(Date().timeIntervalSince(begin)) }
            #expect(times.count == 5)
            #expect(times.first ?? 9 < 0.9 && times.last ?? 0 >= 1.1, "\(times)")
        }
    }

    /// A request body arrives piece by piece too, while the answer already flows.
    @Test func bothWaysAtOnce() throws {
        try Martlet.serving(Self.manifest) { martlet throws in
            let client = try martlet.connect()
            try client.request(Self.manifest.host, "/echo", method: "POST", fields: ["Transfer-Encoding: chunked"])
            try client.send("5\r\nfirst\r\n")
            #expect(try client.readHead().status == 200)
            #expect(try client.readChunk().map { String(decoding: $0, as: UTF8.self) } == "first")
            try client.send("6\r\nsecond\r\n0\r\n\r\n")
            #expect(try client.readChunk().map { String(decoding: $0, as: UTF8.self) } == "second")
            #expect(try client.readChunk() == nil)
        }
    }

    @Test func interimResponses() throws {
        try Martlet.serving(Self.manifest) { martlet throws in
            let client = try martlet.connect()
            try client.request(Self.manifest.host, "/103")
            #expect(try client.readHead().status == 103)
            #expect(try client.readAnswer().status == 200)
            try client.request(
                Self.manifest.host, "/upload", method: "POST", fields: ["Content-Length: 3", "Expect: 100-continue"])
            #expect(try client.readHead().status == 100)
            try client.send("abc")
            #expect(try client.readAnswer().status == 200)
        }
    }

    /// Foreign clients: what curl and wrk say counts more than our own.
    @Test func curlAndWrk() throws {
        try Martlet.serving(Self.manifest) { martlet throws in
            let host = "\(Self.manifest.host):\(try martlet.port())"
            let arguments = ["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"]
            let resolve = ["--resolve", "\(host):127.0.0.1"]
            let curl = try Martlet(arguments + resolve + ["http://\(host)/bytes/1000000"], program: "curl")
            #expect(curl.waitForEnd() == 0 && curl.out == "200 1000000", "\(curl.out) \(curl.log)")
            let upload = martlet.scratch.write("upload", String(repeating: "x", count: 300_000))
            let expect = ["-T", upload, "-H", "Expect: 100-continue", "http://\(host)/upload"]
            let put = try Martlet(arguments + resolve + expect, program: "curl")
            #expect(put.waitForEnd() == 0 && put.out.hasPrefix("200 "), "\(put.out) \(put.log)")
            let url = "http://127.0.0.1:\(try martlet.port())/"
            let wrk = try Martlet(["-t2", "-c64", "-d3s", "-H", "Host: \(Self.manifest.host)", url], program: "wrk")
            #expect(wrk.waitForEnd() == 0)
            #expect(wrk.out.contains("Requests/sec") && !wrk.out.contains("Socket errors"), "\(wrk.out)")
            #expect(!wrk.out.contains("Non-2xx"), "\(wrk.out)")
        }
    }
}
