import Testing

@testable import DataPlane

/// What the client receives, byte for byte but for the date.
@Suite struct ResponseTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        var request = ProxyHarness.get()
        let response: String
        /// What the client gets, up to the end of the connection if `closes`.
        let expected: String
        /// The pod closes after its response.
        var podCloses = false
        /// The proxy closes after its response.
        var closes = false
        /// The pod's connection is kept for the next request.
        var isReused = true
        var testDescription: String { name }
    }

    static let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    static let http10 = "GET / HTTP/1.0\r\nHost: hello.example.com\r\n"

    static let cases: [Case] = [
        Case(
            name: "by length, order kept, hop-by-hop gone",
            response: "HTTP/1.1 200 Fine\r\n\(date)B: 2\r\nConnection: X-Drop\r\nX-Drop: 1\r\nKeep-Alive: 1\r\n"
                + "Content-Length: 2\r\na: 1\r\n\r\nhi",
            expected: "HTTP/1.1 200 Fine\r\n\(date)B: 2\r\nContent-Length: 2\r\na: 1\r\n\r\nhi"),
        Case(
            name: "chunks are made anew",
            response: "HTTP/1.1 200 OK\r\n\(date)Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nh\r\n1\r\ni\r\n0\r\n\r\n",
            expected: "HTTP/1.1 200 OK\r\n\(date)Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        Case(
            name: "trailers",
            response:
                "HTTP/1.1 200 OK\r\n\(date)Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n0\r\nSum: 1\r\n"
                + "Content-Length: 9\r\n\r\n",
            expected: "HTTP/1.1 200 OK\r\n\(date)Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n0\r\nSum: 1\r\n\r\n"),
        Case(
            name: "until close becomes chunked", response: "HTTP/1.1 200 OK\r\n\(date)\r\nhello",
            expected: "HTTP/1.1 200 OK\r\n\(date)Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            podCloses: true, isReused: false),
        Case(
            name: "an HTTP/1.0 pod", response: "HTTP/1.0 200 OK\r\n\(date)Content-Length: 2\r\n\r\nhi",
            expected: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\n\r\nhi", isReused: false),
        Case(
            name: "the pod's close is its own",
            response: "HTTP/1.1 200 OK\r\n\(date)Connection: close\r\nContent-Length: 2\r\n\r\nhi",
            expected: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\n\r\nhi", podCloses: true, isReused: false),
        Case(
            name: "HEAD has the length and no body", request: "HEAD / HTTP/1.1\r\nHost: hello.example.com\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 1000\r\n\r\n",
            expected: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 1000\r\n\r\n"),
        Case(
            name: "204", response: "HTTP/1.1 204 No Content\r\n\(date)Content-Length: 5\r\n\r\n",
            expected: "HTTP/1.1 204 No Content\r\n\(date)\r\n"),
        Case(
            name: "304", response: "HTTP/1.1 304 Not Modified\r\n\(date)Content-Length: 5\r\nETag: x\r\n\r\n",
            expected: "HTTP/1.1 304 Not Modified\r\n\(date)Content-Length: 5\r\nETag: x\r\n\r\n"),
        Case(
            name: "an empty phrase", response: "HTTP/1.1 299 \r\n\(date)Content-Length: 0\r\n\r\n",
            expected: "HTTP/1.1 299 \r\n\(date)Content-Length: 0\r\n\r\n"),
        Case(
            name: "a 1.0 client", request: http10 + "\r\n",
            response: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\n\r\nhi",
            expected: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\nConnection: close\r\n\r\nhi", closes: true),
        Case(
            name: "a 1.0 client that keeps alive", request: http10 + "Connection: keep-alive\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\n\r\nhi",
            expected: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\nConnection: keep-alive\r\n\r\nhi"),
        Case(
            name: "a 1.0 client gets no chunks", request: http10 + "Connection: keep-alive\r\n\r\n",
            response: "HTTP/1.1 200 OK\r\n\(date)Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: 1\r\n\r\n",
            expected: "HTTP/1.1 200 OK\r\n\(date)Connection: close\r\n\r\nhi", closes: true),
        Case(
            name: "the client asks to close", request: ProxyHarness.get("/", "Connection: close\r\n"),
            response: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\n\r\nhi",
            expected: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\nConnection: close\r\n\r\nhi", closes: true),
        Case(
            name: "103 passes",
            response:
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\(date)Content-Length: 0\r\n\r\n",
            expected:
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\(date)Content-Length: 0\r\n\r\n"),
        Case(
            name: "103 does not pass to 1.0", request: http10 + "\r\n",
            response: "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\(date)Content-Length: 0\r\n\r\n",
            expected: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 0\r\nConnection: close\r\n\r\n", closes: true),
        Case(
            name: "bytes behind the response",
            response: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\n\r\nhiHTTP/1.1 200",
            expected: "HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\n\r\nhi", isReused: false),
        Case(
            name: "bytes behind a 204", response: "HTTP/1.1 204 No Content\r\n\(date)\r\nboo",
            expected: "HTTP/1.1 204 No Content\r\n\(date)\r\n", isReused: false),
    ]

    @Test(arguments: cases) func exactly(_ example: Case) throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(example.request)
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(example.response)
            if example.podCloses { pod.close() }
            try client.expect(example.expected)
            if example.closes { try client.expectClosed() } else { #expect(client.pending.isEmpty) }
            let gauges = try proxy.until("settled") { $0.exchanges == 0 && $0.upstreams == 0 }
            #expect(gauges.pooledUpstreams == (example.isReused ? 1 : 0))
            #expect(gauges.downstreams == 1)
        }
    }

    /// The response's head may arrive split at any byte; so may its chunks and trailers.
    @Test(arguments: [1, 16]) func everySplit(reads: Int) throws {
        let response =
            "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\n\(Self.date)Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
            + "0\r\nT: 1\r\n\r\n"
        try withProxy {
            $0.limits.readsPerWakeup = reads
        } _: { proxy in
            let client = try proxy.client()
            var pod: Peer?
            for size in 1..<response.utf8.count {
                try client.send(ProxyHarness.get())
                let connection = try pod ?? proxy.accept()
                pod = connection
                _ = try connection.receiveHead()
                try connection.send(String(response.prefix(size)))
                _ = try proxy.gauges()
                try connection.send(String(response.dropFirst(size)))
                #expect(try client.receiveHead().status == 103)
                let message = try client.receiveMessage()
                #expect(
                    message.status == 200 && message.body == "hi" && message.trailers == ["T: 1"], "split at \(size)")
            }
        }
    }

    @Test func aDateIsAdded() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            let date = try #require(try client.receiveMessage().value("Date"))
            #expect(date.hasSuffix(" GMT") && date.utf8.count == 29)
        }
    }

    /// 100 Continue from end to end: the body is sent only when the pod has asked for it.
    @Test func expectation() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(
                "POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
            let pod = try proxy.accept()
            #expect(try pod.receiveHead().value("Expect") == "100-continue")
            try pod.send("HTTP/1.1 100 Continue\r\n\r\n")
            try client.expect("HTTP/1.1 100 Continue\r\n\r\n")
            try client.send("body")
            try pod.expect("body")
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            #expect(try client.receiveMessage().status == 200)
            #expect(try proxy.total().pooledUpstreams == 1)
        }
    }

    @Test func tooManyInterimResponses() throws {
        let log = try withProxy {
            $0.limits.interimResponses = 3
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            for _ in 0..<4 { try pod.send("HTTP/1.1 103 Early Hints\r\n\r\n") }
            for _ in 0..<3 { #expect(try client.receiveHead().status == 103) }
            #expect(try client.receiveMessage().status == 502)
            try pod.expectClosed()
        }
        #expect(log.first?.contains(" 502 UPE ") == true, "\(log)")
    }

    /// Ten requests in one write are answered in their order, one at a time.
    @Test func pipelining() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send((0..<10).map { ProxyHarness.get("/\($0)") }.joined())
            let pod = try proxy.accept()
            for index in 0..<10 {
                #expect(try pod.receiveHead().startLine == "GET /\(index) HTTP/1.1")
                #expect(try proxy.total().exchanges == 1)
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\(index)")
            }
            for index in 0..<10 { #expect(try client.receiveMessage().body == "\(index)") }
        }
    }

    /// Bodies between pipelined requests, by length and by chunks, end where they say.
    @Test func pipeliningWithBodies() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            let chunked =
                "POST / HTTP/1.1\r\nHost: hello.example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            let requests = [
                ProxyHarness.post("one"), chunked, ProxyHarness.post(String(repeating: "x", count: 9_000)), chunked,
            ]
            try client.send(requests.joined())
            let pod = try proxy.accept()
            for body in ["one", "abc", String(repeating: "x", count: 9_000), "abc"] {
                #expect(try pod.receiveMessage().body == body)
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                #expect(try client.receiveMessage().status == 200)
            }
        }
    }

    @Test func requestsPerConnection() throws {
        try withProxy {
            $0.limits.requestsPerConnection = 2
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get() + ProxyHarness.get() + ProxyHarness.get())
            let pod = try proxy.accept()
            for isLast in [false, true] {
                _ = try pod.receiveHead()
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                #expect(try client.receiveMessage().values("Connection") == (isLast ? ["close"] : []))
            }
            try client.expectClosed()
        }
    }

    /// Many requests one after the other use one connection to the pod.
    @Test func reuse() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            for _ in 0..<50 {
                _ = try pod.receiveHead()
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                #expect(try client.receiveMessage().body == "ok")
                try client.send(ProxyHarness.get())
            }
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            _ = try client.receiveMessage()
            #expect(!proxy.pods[0].isConnectionWaiting())
        }
    }
}
