import Testing

@testable import DataPlane

/// What the pod receives, byte for byte.
@Suite struct RequestForwardingTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let request: String
        let forwarded: String
        var testDescription: String { name }

        init(_ name: String, _ request: String, _ forwarded: String) {
            self.name = name
            self.request = request
            self.forwarded = forwarded
        }
    }

    static let host = "Host: hello.example.com\r\n"
    static let id = "X-Request-Id: r\r\n"
    static let ours = """
        X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: hello.example.com\r\n\
        Forwarded: for=127.0.0.1;host=hello.example.com;proto=http\r\n
        """

    static let plain: [Case] = [
        Case(
            "order and target are kept", "GET /a/../b%2F?x=1&y HTTP/1.1\r\nB: 2\r\n\(host)a: 1\r\n\(id)\r\n",
            "GET /a/../b%2F?x=1&y HTTP/1.1\r\nB: 2\r\n\(host)a: 1\r\n\(id)\(ours)\r\n"),
        Case(
            "space around values goes", "GET / HTTP/1.1\r\nHost:hello.example.com\r\nA:   1  \r\n\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)A: 1\r\n\(id)\(ours)\r\n"),
        Case(
            "hop-by-hop goes",
            "GET / HTTP/1.1\r\n\(host)Connection: keep-alive, X-Drop\r\nKeep-Alive: 5\r\nX-Drop: 1\r\nX-Keep: 2\r\n"
                + "Proxy-Authorization: x\r\nProxy-Connection: y\r\nTrailer: z\r\n\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)X-Keep: 2\r\n\(id)\(ours)\r\n"),
        Case(
            "Connection cannot drop Host", "GET / HTTP/1.1\r\n\(host)Connection: Host, X-Forwarded-For\r\n\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)\(id)\(ours)\r\n"),
        Case(
            "fields that are ours to say",
            "GET / HTTP/1.1\r\n\(host)X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-Ip: 6.6.6.6\r\n"
                + "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nK-Proxy-Request: a\r\n"
                + "Knative-Serving-Revision: x\r\nKnative-Serving-Namespace: y\r\nK-Original-Host: z\r\n\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)\(id)\(ours)\r\n"),
        Case(
            "absolute form", "GET http://hello.example.com/p?q HTTP/1.1\r\n\(host)\(id)\r\n",
            "GET /p?q HTTP/1.1\r\n\(host)\(id)\(ours)\r\n"),
        Case(
            "absolute form without path", "GET http://hello.example.com?q HTTP/1.1\r\n\(host)\(id)\r\n",
            "GET /?q HTTP/1.1\r\n\(host)\(id)\(ours)\r\n"),
        Case("OPTIONS *", "OPTIONS * HTTP/1.1\r\n\(host)\(id)\r\n", "OPTIONS * HTTP/1.1\r\n\(host)\(id)\(ours)\r\n"),
        Case(
            "OPTIONS * in absolute form", "OPTIONS http://hello.example.com HTTP/1.1\r\n\(host)\(id)\r\n",
            "OPTIONS * HTTP/1.1\r\n\(host)\(id)\(ours)\r\n"),
        Case(
            "TE: trailers", "GET / HTTP/1.1\r\n\(host)TE: gzip, trailers\r\n\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)\(id)\(ours)TE: trailers\r\nConnection: TE\r\n\r\n"),
        Case(
            "h2c is no upgrade",
            "GET / HTTP/1.1\r\n\(host)Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                + "HTTP2-Settings: AA\r\n\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)\(id)\(ours)\r\n"),
        Case(
            "an upgrade", "GET / HTTP/1.1\r\n\(host)Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)\(id)\(ours)Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        Case(
            "an unknown method", "BREW /pot HTTP/1.1\r\n\(host)\(id)\r\n",
            "BREW /pot HTTP/1.1\r\n\(host)\(id)\(ours)\r\n"),
        Case(
            "HTTP/1.0 becomes 1.1, without expectation", "GET / HTTP/1.0\r\n\(host)Expect: 100-continue\r\n\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)\(id)\(ours)\r\n"),
        Case(
            "empty lines before the request", "\r\n\r\nGET / HTTP/1.1\r\n\(host)\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)\(id)\(ours)\r\n"),
        Case(
            "a body by length", "POST / HTTP/1.1\r\n\(host)Content-Length: 5\r\n\(id)\r\nhello",
            "POST / HTTP/1.1\r\n\(host)Content-Length: 5\r\n\(id)\(ours)\r\nhello"),
        Case(
            "an empty body by length", "POST / HTTP/1.1\r\n\(host)Content-Length: 0\r\n\(id)\r\n",
            "POST / HTTP/1.1\r\n\(host)Content-Length: 0\r\n\(id)\(ours)\r\n"),
        Case(
            "chunks that came together leave as one",
            "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\(id)\r\n3;x=y\r\nabc\r\n02\r\nde\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\n\(host)\(id)\(ours)Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"),
        Case(
            "an empty chunked body", "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\(id)\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\n\(host)\(id)\(ours)Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Case(
            "trailers pass, but not those that steer",
            "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\(id)\r\n1\r\nx\r\n0\r\nSum: 1\r\n"
                + "Host: evil\r\nB: 2\r\n\r\n",
            "POST / HTTP/1.1\r\n\(host)\(id)\(ours)Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nSum: 1\r\n"
                + "B: 2\r\n\r\n"
        ),
    ]

    @Test(arguments: plain) func plainCases(_ example: Case) throws { try check(example, trusts: false) }

    static let trusted: [Case] = [
        Case(
            "nothing came", "GET / HTTP/1.1\r\n\(host)\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)\(id)X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
                + "X-Forwarded-Host: hello.example.com\r\nForwarded: for=127.0.0.1\r\n\r\n"),
        Case(
            "all came",
            "GET / HTTP/1.1\r\n\(host)X-Forwarded-For: 127.0.0.1, ::1\r\nX-Forwarded-Host: h\r\n"
                + "X-Forwarded-Proto: p\r\n\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)\(id)X-Forwarded-For: 127.0.0.1, ::1, 127.0.0.1\r\nX-Forwarded-Proto: p\r\n"
                + "X-Forwarded-Host: h\r\nForwarded: for=127.0.0.1;host=h;proto=p, for=\"[::1]\"\r\n\r\n"),
        Case(
            "several lines, Forwarded, port",
            "GET / HTTP/1.1\r\n\(host)X-Forwarded-For: a\r\nX-Forwarded-Port: 1\r\nX-Forwarded-For: b\r\n"
                + "Forwarded: for=c\r\n\(id)\r\n",
            "GET / HTTP/1.1\r\n\(host)X-Forwarded-Port: 1\r\n\(id)X-Forwarded-For: a, b, 127.0.0.1\r\n"
                + "X-Forwarded-Proto: http\r\nX-Forwarded-Host: hello.example.com\r\nForwarded: for=c\r\n\r\n"),
    ]

    @Test(arguments: trusted) func trustedCases(_ example: Case) throws { try check(example, trusts: true) }

    private func check(_ example: Case, trusts: Bool) throws {
        try withProxy {
            $0.trustsForwarded = trusts
        } _: { proxy in
            let client = try proxy.client()
            try client.send(example.request)
            let pod = try proxy.accept()
            try pod.expect(example.forwarded)
            try pod.send("HTTP/1.1 204 No Content\r\n\r\n")
            #expect(try client.receiveHead().status == 204)
            #expect(pod.pending.isEmpty)
        }
    }

    /// Without an id of the client's each request gets its own, a random UUID of version 4.
    @Test func requestIDsAreMade() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            var ids: Set<String> = []
            var pod: Peer?
            for _ in 0..<3 {
                try client.send(ProxyHarness.get())
                let connection = try pod ?? proxy.accept()
                pod = connection
                let id = try #require(try connection.receiveHead().value("X-Request-Id"))
                let parts = id.split(separator: "-")
                #expect(parts.map(\.count) == [8, 4, 4, 4, 12])
                #expect(parts[2].first == "4" && "89ab".contains(parts[3].first ?? "x"))
                #expect(id.allSatisfy { "0123456789abcdef-".contains($0) })
                ids.insert(id)
                try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                _ = try client.receiveMessage()
            }
            #expect(ids.count == 3)
        }
    }

    /// The head may arrive split at any byte.
    @Test func everySplitOfTheRequest() throws {
        let request =
            "POST /p HTTP/1.1\r\n\(Self.host)\(Self.id)Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nT: 1\r\n\r\n"
        try withProxy { proxy in
            let client = try proxy.client()
            var pod: Peer?
            for size in 1..<request.utf8.count {
                let first = String(request.prefix(size))
                try client.send(first)
                // A round trip through the worker, so that it has read the first part alone.
                _ = try proxy.gauges()
                try client.send(String(request.dropFirst(size)))
                let connection = try pod ?? proxy.accept()
                pod = connection
                let message = try connection.receiveMessage()
                #expect(message.startLine == "POST /p HTTP/1.1")
                #expect(message.body == "ab" && message.trailers == ["T: 1"], "split at \(size)")
                try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                _ = try client.receiveMessage()
            }
        }
    }

    /// Byte by byte, with one read a wake-up.
    @Test func oneByteAndOneReadAtATime() throws {
        try withProxy {
            $0.limits.readsPerWakeup = 1
        } _: { proxy in
            let client = try proxy.client()
            try client.sendInPieces(ProxyHarness.post("hello"), of: 1)
            let pod = try proxy.accept()
            #expect(try pod.receiveMessage().body == "hello")
            try pod.sendInPieces("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", of: 1)
            #expect(try client.receiveMessage().body == "abc")
        }
    }
}
