import HTTP2Wire
import Testing

@testable import DataPlane

/// Messages through the proxy in all four combinations of versions: what one side says is what the other hears.
@Suite struct TranslationTests {
    static let big = String(repeating: "0123456789abcdef", count: 4096) + "!"  // 64 KiB and one byte

    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        var request = Talk()
        var response = Talk.response(200, "ok")
        /// What differs on the other side; nil if nothing does.
        var taken: Talk?
        var heard: Talk?
        var bodyless = false
        var testDescription: String { name }
    }

    static let cases: [Case] = [
        Case(name: "plain"),
        Case(
            name: "fields in order",
            request: Talk(fields: ["b: 2", "accept: */*", "a: 1", "b: 3", "empty: ", "x-odd: a\tb  c"]),
            response: .response(200, "ok", fields: ["z: 1", "set-cookie: a=b", "set-cookie: c=d", "y: 2", "z: 3"])),
        Case(name: "path and query", request: Talk(start: "GET /a/../b%2F//c;d?x=1&y=%zz?/ hello.example.com")),
        Case(name: "a port", request: Talk(start: "GET / hello.example.com:8080")),
        Case(name: "OPTIONS *", request: Talk(start: "OPTIONS * hello.example.com")),
        Case(name: "an unknown method", request: Talk(start: "BREW /pot hello.example.com")),
        Case(name: "te", request: Talk(fields: ["x: y", "te: trailers"])),
        Case(name: "a length", request: .post("hello"), response: .response(201, "world")),
        Case(name: "no length", request: .post("hello", .unknown), response: .response(201, "world", .unknown)),
        Case(name: "length 0", request: .post("", .said(0)), response: .response(200, "", .said(0))),
        Case(
            name: "no body, unsaid", request: Talk(start: "GET / hello.example.com", length: .unknown),
            response: .response(200, "", .unknown)),
        Case(
            name: "trailers", request: .post("hello", .unknown, trailers: ["sum: 1", "b: 2"]),
            response: .response(200, "world", .unknown, trailers: ["grpc-status: 0", "a: b"])),
        Case(
            name: "trailers without a body", request: .post("", .unknown, trailers: ["sum: 1"]),
            response: .response(200, "", .unknown, trailers: ["sum: 2"])),
        Case(name: "64 KiB and a byte", request: .post(big), response: .response(200, big)),
        Case(name: "64 KiB and a byte, unsaid", request: .post(big, .unknown), response: .response(200, big, .unknown)),
        Case(
            name: "HEAD", request: Talk(start: "HEAD / hello.example.com"),
            response: Talk(start: "200", fields: ["a: b"], length: .said(5)), bodyless: true),
        Case(
            name: "HEAD, length unsaid", request: Talk(start: "HEAD / hello.example.com"),
            response: Talk(start: "200"), bodyless: true),
        Case(name: "204", response: Talk(start: "204", fields: ["a: b"]), bodyless: true),
        Case(name: "304", response: Talk(start: "304", fields: ["etag: x"], length: .said(7)), bodyless: true),
        Case(name: "500", response: .response(500, "broken")),
        Case(
            name: "trailers that steer", request: .post("x", .unknown, trailers: ["host: evil", "a: 1"]),
            response: .response(200, "y", .unknown, trailers: ["content-encoding: gzip", "b: 2"]),
            taken: .post("x", .unknown, trailers: ["a: 1"]),
            heard: .response(200, "y", .unknown, trailers: ["b: 2"])),
        Case(
            name: "fields that are ours",
            request: Talk(fields: ["k-original-host: a", "x-real-ip: b", "knative-serving-revision: c", "x: y"]),
            taken: Talk(fields: ["x: y"])),
    ]

    @Test(arguments: Combination.all, cases) func messages(_ combination: Combination, _ example: Case) throws {
        try withProxy {
            $0.speak(combination.pod)
        } _: { proxy in
            let line = try Line(proxy, combination)
            var request = example.request
            // HTTP/1.1 says TE for its connection only.
            let wantsTrailers = request.fields.contains("te: trailers")
            if wantsTrailers, combination.client == .http1 { request.fields.append("connection: te") }
            for _ in 0..<2 {
                let (taken, heard) = try line.round(request, example.response, bodyless: example.bodyless)
                #expect(taken == example.taken ?? example.request, "taken \(taken)")
                #expect(heard == example.heard ?? example.response, "heard \(heard)")
            }
            try line.marker()
        }
    }

    /// Cookie crumbs are one line for HTTP/1.1, and stay crumbs for HTTP/2.
    @Test func cookies() throws {
        let crumbs = Talk(fields: ["cookie: a=b", "x: y", "cookie: c=d"])
        let whole = Talk(fields: ["x: y", "cookie: a=b; c=d"])
        for pod in Speech.allCases {
            try withProxy {
                $0.speak(pod)
            } _: { proxy in
                let line = try Line(proxy, Combination(client: .http2, pod: pod))
                #expect(try line.round(crumbs, .response(200, "ok")).taken == whole)
            }
        }
    }

    /// A request without a body whose method usually has one says so to HTTP/1.1.
    @Test func emptyPost() throws {
        for pod in Speech.allCases {
            try withProxy {
                $0.speak(pod)
            } _: { proxy in
                let line = try Line(proxy, Combination(client: .http2, pod: pod))
                let taken = try line.round(Talk(start: "POST / hello.example.com"), .response(200, "ok")).taken
                #expect(taken.length == (pod == .http1 ? .said(0) : .none))
                try line.marker()
            }
        }
    }

    /// A response whose stream ends with its head says to HTTP/1.1 that it is empty.
    @Test func emptyResponse() throws {
        for client in Speech.allCases {
            try withProxy {
                $0.speak(.http2)
            } _: { proxy in
                let line = try Line(proxy, Combination(client: client, pod: .http2))
                let heard = try line.round(Talk(), Talk(start: "200")).heard
                #expect(heard.length == (client == .http1 ? .said(0) : .none))
                try line.marker()
            }
        }
    }

    /// What we add about the client is added whatever the versions.
    @Test(arguments: Combination.all) func forwarding(_ combination: Combination) throws {
        try withProxy {
            $0.speak(combination.pod)
        } _: { proxy in
            let line = try Line(proxy, combination)
            try line.ask(Talk(fields: ["x-forwarded-for: 6.6.6.6", "x-request-id: r", "forwarded: for=x"]))
            try line.connect()
            let fields: [(String, String)]
            if let pod = line.pod1 {
                fields = try pod.receiveHead().fields.map(Talk.pair)
            } else {
                _ = try line.takeHead()
                fields = line.pod2?.streams[line.podStream]?.head ?? []
            }
            let expected = [
                "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "x-forwarded-host": ProxyHarness.host,
                "forwarded": "for=127.0.0.1;host=\(ProxyHarness.host);proto=http", "x-request-id": "r",
            ]
            for (name, value) in expected {
                #expect(fields.filter { $0.0 == name }.map(\.1) == [value], "\(name) in \(fields)")
            }
            try line.answer(.response())
            _ = try line.hear()
        }
    }

    /// 1xx heads pass to clients that know them.
    @Test(arguments: Combination.all) func interim(_ combination: Combination) throws {
        try withProxy {
            $0.speak(combination.pod)
        } _: { proxy in
            let line = try Line(proxy, combination)
            let head = Talk(start: "POST / hello.example.com", fields: ["expect: 100-continue"], length: .said(5))
            if let client = line.client1 {
                try client.send(head.http1)
            } else if let client = line.client2 {
                try client.request(head.http2, end: false)
            }
            let taken = try line.takeHead()
            #expect(taken.fields == ["expect: 100-continue"] && taken.length == .said(5))
            try line.pod1?.send("HTTP/1.1 100 Continue\r\n\r\n")
            try line.pod2?.headers(line.podStream, [(":status", "100")], end: false)
            if let client = line.client1 {
                #expect(try client.receiveHead().status == 100)
                try client.send("hello")
            } else if let client = line.client2 {
                try client.until("100") { $0.streams[1]?.status == 100 }
                try client.data(1, Array("hello".utf8), end: true)
            }
            if let pod = line.pod1 { try pod.expect("hello") } else { _ = try line.pod2?.receiveMessage(1) }
            try line.pod1?.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            try line.pod2?.headers(line.podStream, [(":status", "103"), ("link", "</a>")], end: false)
            try line.answer(.response(200, "done"))
            if let client = line.client1 {
                let early = try client.receiveHead()
                #expect(early.status == 103 && early.values("Link") == ["</a>"])
                #expect(try client.receiveMessage().body == "done")
            } else if let client = line.client2 {
                let message = try client.receiveMessage(1)
                #expect(message.heads.map { $0.first?.1 } == ["100", "103", "200"] && message.text == "done")
                #expect(message.heads.dropFirst().first?.map(\.0) == [":status", "link"])
            }
        }
    }

    /// HTTP/1.0 gets no chunks and no 1xx from a pod of HTTP/2; a body without a length ends with the connection.
    @Test func http10Client() throws {
        try withProxy {
            $0.speak(.http2)
        } _: { proxy in
            let client = try proxy.client()
            try client.send("GET / HTTP/1.0\r\nHost: \(ProxyHarness.host)\r\nConnection: keep-alive\r\n\r\n")
            let pod = try proxy.accept2()
            let stream = try pod.nextStream()
            try Talk.response(200, "said").send(pod, stream)
            let first = try client.receiveMessage()
            #expect(first.body == "said" && first.values("Connection") == ["keep-alive"])
            try client.send("GET / HTTP/1.0\r\nHost: \(ProxyHarness.host)\r\nConnection: keep-alive\r\n\r\n")
            let second = try pod.nextStream()
            try pod.headers(second, [(":status", "103")], end: false)
            try Talk.response(200, "unsaid", .unknown, trailers: ["a: b"]).send(pod, second)
            let message = try client.receiveMessage(untilEnd: true)
            #expect(message.body == "unsaid" && message.values("Connection") == ["close"] && !message.isChunked)
        }
    }

    /// A response that cannot have a body may still end with an empty DATA frame: no chunks may come of that.
    @Test(arguments: Speech.allCases) func bodylessWithEmptyData(_ client: Speech) throws {
        try withProxy {
            $0.speak(.http2)
        } _: { proxy in
            let line = try Line(proxy, Combination(client: client, pod: .http2))
            for (method, status) in [("HEAD", "200"), ("GET", "204"), ("GET", "304")] {
                try line.ask(Talk(start: "\(method) / hello.example.com"))
                _ = try line.take()
                guard let pod = line.pod2 else { continue }
                try pod.headers(line.podStream, [(":status", status), ("a", "b")], end: false)
                try pod.data(line.podStream, [], end: true)
                let heard = try line.hear(bodyless: true)
                #expect(heard.start == status && heard.fields == ["a: b"])
                #expect(heard.length == .none || client == .http2, "\(method) \(status): \(heard)")
                try line.marker()
            }
        }
    }

    /// A pod of HTTP/1.1 that says a length where there cannot be one: 103 and 204.
    @Test(arguments: Speech.allCases) func lengthsThatMeanNothing(_ client: Speech) throws {
        try withProxy { proxy in
            let line = try Line(proxy, Combination(client: client, pod: .http1))
            try line.ask(Talk())
            _ = try line.take()
            try line.pod1?.send(
                "HTTP/1.1 103 E\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\n")
            if let client = line.client1 {
                #expect(try client.receiveHead().fields.isEmpty)
                #expect(try client.receiveHead().values("Content-Length").isEmpty)
            } else if let client = line.client2 {
                let message = try client.receiveMessage(1)
                #expect(message.heads.count == 2 && message.hasEnded)
                #expect(message.heads.allSatisfy { !$0.contains { $0.0 == "content-length" } })
            }
            try line.marker()
        }
    }
}
