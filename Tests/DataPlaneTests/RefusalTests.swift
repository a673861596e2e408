import Glibc
import Testing

@testable import DataPlane

/// Requests that are answered by the proxy itself. The pod sees nothing of them.
@Suite struct RefusalTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let request: String
        let status: Int
        var testDescription: String { name }

        init(_ name: String, _ status: Int, _ request: String) {
            self.name = name
            self.request = request
            self.status = status
        }
    }

    static let host = "Host: hello.example.com\r\n"
    static let long = String(repeating: "a", count: 70_000)

    static let wrong: [Case] = [
        Case("garbage", 400, "\u{16}\u{3}\u{1}\r\n\r\n"),
        Case("no Host", 400, "GET / HTTP/1.1\r\n\r\n"),
        Case("two Hosts", 400, "GET / HTTP/1.1\r\n\(host)\(host)\r\n"),
        Case("Host differs from the target", 400, "GET http://other/ HTTP/1.1\r\n\(host)\r\n"),
        Case("user information", 400, "GET http://a@hello.example.com/ HTTP/1.1\r\n\(host)\r\n"),
        Case("fragment", 400, "GET /#a HTTP/1.1\r\n\(host)\r\n"),
        Case("space before the colon", 400, "GET / HTTP/1.1\r\n\(host)A : b\r\n\r\n"),
        Case("a folded line", 400, "GET / HTTP/1.1\r\n\(host)A: b\r\n c\r\n\r\n"),
        Case("a bare line feed", 400, "GET / HTTP/1.1\n\(host)\r\n"),
        Case("NUL", 400, "GET / HTTP/1.1\r\n\(host)A: \0\r\n\r\n"),
        Case("request line too long", 414, "GET /\(long) HTTP/1.1\r\n\(host)\r\n"),
        Case(
            "head too large", 431,
            "GET / HTTP/1.1\r\n\(host)" + String(repeating: "A: \(long.prefix(7_000))\r\n", count: 10) + "\r\n"),
        Case("too many fields", 431, "GET / HTTP/1.1\r\n\(host)" + String(repeating: "A: 1\r\n", count: 100) + "\r\n"),
        Case("a long value", 431, "GET / HTTP/1.1\r\n\(host)A: \(long.prefix(33_000))\r\n\r\n"),
        Case(
            "a head without end of 1 MiB", 431,
            "GET / HTTP/1.1\r\n\(host)" + String(repeating: "A: \(long.prefix(1_000))\r\n", count: 1_000)),
        Case("an unknown expectation", 417, "GET / HTTP/1.1\r\n\(host)Expect: 200-ok\r\n\r\n"),
        Case("CONNECT", 501, "CONNECT hello.example.com:443 HTTP/1.1\r\n\(host)\r\n"),
        Case("an unknown coding", 501, "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: gzip, chunked\r\n\r\n"),
        Case("half of HTTP/2's preface", 505, "PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n"),
        Case("HTTP/3.0", 505, "GET / HTTP/3.0\r\n\(host)\r\n"),
    ]

    static let smuggling: [Case] = [
        Case(
            "length and chunks", 400,
            "POST / HTTP/1.1\r\n\(host)Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Case("two lengths", 400, "POST / HTTP/1.1\r\n\(host)Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello"),
        Case("a list of lengths", 400, "POST / HTTP/1.1\r\n\(host)Content-Length: 5, 5\r\n\r\nhello"),
        Case("a signed length", 400, "POST / HTTP/1.1\r\n\(host)Content-Length: +5\r\n\r\nhello"),
        Case("chunked twice", 400, "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        Case(
            "chunked in two lines", 400,
            "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Case("chunked not last", 400, "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        Case("chunked by another name", 501, "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        Case(
            "chunked with a vertical tab", 400,
            "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
        Case("chunks in HTTP/1.0", 400, "POST / HTTP/1.0\r\n\(host)Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Case("space in the name", 400, "POST / HTTP/1.1\r\n\(host)Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ]

    @Test(arguments: wrong + smuggling) func refusedAndClosed(_ example: Case) throws {
        let log = try withProxy { proxy in
            let client = try proxy.client()
            // The rest may find the connection closed.
            try? client.send(example.request + "GET /smuggled HTTP/1.1\r\n\(Self.host)\r\n")
            let message = try client.receiveMessage()
            #expect(message.status == example.status)
            #expect(message.value("Connection") == "close")
            try client.expectClosed()
            #expect(!proxy.pods[0].isConnectionWaiting())
        }
        #expect(log.count == 1 && log[0].contains(" \(example.status) DPE "), "\(log)")
    }

    /// Wrong chunks show only after the head has gone on: the pod sees no end of the body and no second request.
    @Test(arguments: [
        "0x5\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello", "5\r\nhelloxx0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5;a=\n\r\nhello\r\n0\r\n\r\n",
        "0\r\nA : b\r\n\r\n", "-1\r\nhello", "\r\n0\r\n\r\n",
    ]) func wrongChunks(body: String) throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send("POST / HTTP/1.1\r\n\(Self.host)Transfer-Encoding: chunked\r\n\r\n")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try? client.send(body + "GET /smuggled HTTP/1.1\r\n\(Self.host)\r\n")
            let message = try client.receiveMessage()
            #expect(message.status == 400 && message.value("Connection") == "close")
            try client.expectClosed()
            _ = try pod.waitForBreak()
            let seen = String(decoding: pod.pending, as: UTF8.self)
            #expect(!seen.contains("smuggled") && !seen.hasSuffix("0\r\n\r\n"), "\(seen.debugDescription)")
            #expect(!proxy.pods[0].isConnectionWaiting())
        }
    }

    /// Bytes behind a GET are the next request, whatever they look like; a body nobody announced is none.
    @Test func bytesBehindARequest() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get() + "hello\r\n\r\n")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            #expect(try client.receiveMessage().status == 200)
            #expect(try client.receiveMessage().status == 400)
            try client.expectClosed()
            #expect(pod.pending.isEmpty)
        }
    }

    // MARK: No route

    @Test(arguments: ["GET", "HEAD"]) func unknownHost(method: String) throws {
        let log = try withProxy { proxy in
            let client = try proxy.client()
            for _ in 0..<3 {
                try client.send("\(method) / HTTP/1.1\r\nHost: other.example.com\r\n\r\n")
                let message = try client.receiveMessage(bodyless: method == "HEAD")
                #expect(message.status == 404 && message.value("Connection") != "close")
                #expect(message.value("Content-Length") == "10")
            }
            #expect(!proxy.pods[0].isConnectionWaiting())
        }
        #expect(log.count == 3 && log[0].contains(" 404 NR "), "\(log)")
    }

    /// With a body the end of the request is not looked for: the connection closes.
    @Test func unknownHostWithBody() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send("POST / HTTP/1.1\r\nHost: other\r\nContent-Length: 5\r\n\r\nhello")
            #expect(try client.receiveMessage().value("Connection") == "close")
            try client.expectClosed()
        }
    }

    /// A client that resets as its request is answered, at every moment of the worker's.
    @Test func resetsAtOnce() throws {
        try withProxy { proxy in
            for round in 0..<300 {
                let client = try Peer(port: proxy.group.addresses[0].port)
                try client.send(round % 3 == 0 ? "bad\r\n\r\n" : "GET / HTTP/1.1\r\nHost: other\r\n\r\n")
                if round % 2 == 0 { sched_yield() }
                client.reset()
            }
        }
    }

    /// Half a request, then silence or an end: nothing is answered to nobody.
    @Test func halfARequest() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send("GET / HTTP/1.1\r\nHost: hello.exa")
            client.endSending()
            try client.expectClosed()
            try proxy.until("gone") { $0.downstreams == 0 }
        }
    }
}
