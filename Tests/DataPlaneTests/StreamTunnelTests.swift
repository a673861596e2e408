import HTTP2Wire
import Testing

@testable import DataPlane

/// Ways in and through: `Upgrade: h2c`, the preface, WebSocket over extended CONNECT.
@Suite struct StreamTunnelTests {
    static let websocket: [(String, String)] = [
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", ProxyHarness.host),
        (":path", "/chat"), ("sec-websocket-version", "13"), ("sec-websocket-protocol", "a"),
    ]
    static let agreement =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        + "Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: a\r\n\r\n"

    // MARK: WebSocket

    /// Opens a tunnel: the client, and the pod's side of it. Whatever the pods speak, this goes over HTTP/1.1.
    private func tunnel(_ proxy: ProxyHarness) throws -> (HTTP2Peer, Peer) {
        let client = try proxy.client2()
        try client.request(Self.websocket, end: false)
        let pod = try proxy.accept()
        let head = try pod.receiveHead()
        #expect(head.startLine == "GET /chat HTTP/1.1" && head.values("Upgrade") == ["websocket"])
        #expect(head.values("Connection") == ["Upgrade"] && head.values("Sec-WebSocket-Version") == ["13"])
        #expect(head.values("Sec-WebSocket-Key").first?.utf8.count == 24)
        #expect(head.values("Content-Length").isEmpty && head.values("Transfer-Encoding").isEmpty)
        try pod.send(Self.agreement)
        let answer = try client.receiveHead(1)
        #expect(answer.status == 200 && !answer.hasEnded)
        #expect(answer.lines(without: ["date"]) == [":status: 200", "sec-websocket-protocol: a"])
        return (client, pod)
    }

    @Test(arguments: [UpstreamProtocol.http1, .h2c, .asInbound]) func echo(_ spoken: UpstreamProtocol) throws {
        try withProxy {
            $0.upstreamProtocol = spoken
        } _: { proxy in
            let (client, pod) = try tunnel(proxy)
            for text in ["one", "two", String(repeating: "x", count: 100_000)] {
                let before = client.streams[1]?.body.count ?? 0
                try client.body(1, Array(text.utf8), end: false)
                try pod.send(try pod.receive(text.utf8.count))
                try client.receiveBody(1, count: before + text.utf8.count)
            }
            // The client ends, then the pod.
            try client.data(1, [], end: true)
            #expect(try pod.receiveToEnd() == "")
            try pod.send("last")
            pod.endSending()
            let message = try client.receiveMessage(1)
            #expect(message.text.hasSuffix("xlast") && message.hasEnded && message.resetCode == nil)
            try client.settle()
            #expect(try proxy.total().exchanges == 0)
        }
    }

    /// The pod ends first: the stream ends, and nobody wants the rest.
    @Test func endedByThePod() throws {
        try withProxy { proxy in
            let (client, pod) = try tunnel(proxy)
            try pod.send("bye")
            pod.close()
            #expect(try client.receiveReset(1) == 0)
            #expect(client.streams[1]?.text == "bye" && client.streams[1]?.hasEnded == true)
            try client.settle()
        }
    }

    @Test func cancelledByTheClient() throws {
        try withProxy { proxy in
            let (client, pod) = try tunnel(proxy)
            try client.reset(1)
            try pod.expectClosed()
            try client.settle()
        }
    }

    /// What the client says before the pod has agreed is not said to the pod: it could read it as its next request.
    @Test(arguments: [false, true]) func bytesBeforeTheAnswer(ends: Bool) throws {
        for agrees in [false, true] {
            try withProxy { proxy in
                let client = try proxy.client2()
                try client.request(Self.websocket, end: false)
                let early = "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"
                try client.data(1, Array(early.utf8), end: ends)
                let pod = try proxy.accept()
                _ = try pod.receiveHead()
                try client.settle()
                try pod.expectSilence(milliseconds: 20)
                if agrees {
                    try pod.send(Self.agreement)
                    try pod.expect(early)
                    if ends { #expect(try pod.receiveToEnd() == "") }
                    pod.endSending()
                    _ = try client.receiveMessage(1)
                } else {
                    try pod.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
                    let message = try client.receiveMessage(1)
                    #expect(message.status == 403 && message.text == "no" && message.hasEnded)
                    try pod.expectClosed()
                }
                try client.settle()
                #expect(try proxy.total().pooledUpstreams == 0 && proxy.total().exchanges == 0)
            }
        }
    }

    /// What has no place in the handshake of HTTP/1.1 does not get there.
    @Test func fieldsOfTheHandshake() throws {
        try withProxy { proxy in
            let client = try proxy.client2()
            try client.request(
                Self.websocket + [("sec-websocket-key", "mine"), ("content-length", "5"), ("x", "y")], end: false)
            let pod = try proxy.accept()
            let head = try pod.receiveHead()
            #expect(head.values("Content-Length").isEmpty && head.values("Sec-WebSocket-Key").count == 1)
            #expect(head.values("Sec-WebSocket-Key") != ["mine"] && head.values("x") == ["y"])
            try client.reset(1)
            try pod.expectClosed()
        }
    }

    /// A head that ends the stream: the pod is told so once it has agreed.
    @Test func endedWithTheHead() throws {
        try withProxy { proxy in
            let client = try proxy.client2()
            try client.request(Self.websocket)
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(Self.agreement + "one-sided")
            #expect(try pod.receiveToEnd() == "")
            pod.endSending()
            #expect(try client.receiveMessage(1).text == "one-sided")
        }
    }

    /// Refused ways of CONNECT: the proxy is a tunnel to nowhere.
    @Test func otherTunnels() throws {
        try withProxy { proxy in
            let client = try proxy.client2()
            try client.request([(":method", "CONNECT"), (":authority", "\(ProxyHarness.host):80")], end: false)
            #expect(try client.receiveHead(1).status == 501)
            var other = Self.websocket
            other[1] = (":protocol", "connect-udp")
            try client.request(other, end: false)
            #expect(try client.receiveHead(3).status == 501)
            // Without a path it is not even one.
            try client.request(Self.websocket.filter { $0.0 != ":path" }, end: false)
            #expect(try client.receiveReset(5) == 1)
            try client.settle()
            #expect(!proxy.pods[0].isConnectionWaiting())
        }
    }

    // MARK: Upgrade

    static func upgrade(_ line: String = "GET /up HTTP/1.1", _ settings: String = "AAMAAABkAAQAAP__") -> String {
        "\(line)\r\nHost: \(ProxyHarness.host)\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            + "HTTP2-Settings: \(settings)\r\nX: y\r\n\r\n"
    }
    static let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

    @Test(arguments: Speech.allCases, [false, true]) func upgraded(_ speech: Speech, atOnce: Bool) throws {
        try withProxy {
            $0.speak(speech)
        } _: { proxy in
            let plain = try proxy.client()
            let next = Make.headers(3, ProxyHarness.fields("GET", "/next"))
            let preface = Make.preface + Make.settings()
            try plain.send(Array(Self.upgrade().utf8) + (atOnce ? preface + next : []))
            try plain.expect(Self.switching)
            let client = try HTTP2Peer(client: plain, nextStream: 3, saysPreface: !atOnce)
            if !atOnce { try plain.send(next) }
            let shared = speech == .http2 ? try proxy.accept2() : nil
            for path in ["/up", "/next"] {
                let answer = Talk.response(200, "of \(path)")
                let taken: Talk
                if let shared {
                    let (stream, message) = try shared.nextRequest()
                    taken = Talk(message)
                    try answer.send(shared, stream)
                } else {
                    let pod = try proxy.accept()
                    taken = Talk(try pod.receiveMessage())
                    try pod.send(answer.http1)
                }
                #expect(taken.start == "GET \(path) \(ProxyHarness.host)", "\(taken)")
                if path == "/up" { #expect(taken.fields == ["x: y"]) }
            }
            #expect(try client.receiveMessage(1).text == "of /up")
            #expect(try client.receiveMessage(3).text == "of /next")
        }
    }

    /// Absolute targets, methods without a body, trailers wanted.
    @Test(arguments: [
        ("GET http://\(ProxyHarness.host) HTTP/1.1", "GET / \(ProxyHarness.host)"),
        ("GET http://\(ProxyHarness.host)?q HTTP/1.1", "GET /?q \(ProxyHarness.host)"),
        ("OPTIONS http://\(ProxyHarness.host) HTTP/1.1", "OPTIONS * \(ProxyHarness.host)"),
        ("OPTIONS * HTTP/1.1", "OPTIONS * \(ProxyHarness.host)"),
        ("HEAD /h HTTP/1.1", "HEAD /h \(ProxyHarness.host)"),
    ]) func targetsOfUpgrade(line text: String, start: String) throws {
        try withProxy { proxy in
            let plain = try proxy.client()
            try plain.send(Self.upgrade(text))
            try plain.expect(Self.switching)
            let client = try HTTP2Peer(client: plain, nextStream: 3)
            let pod = try proxy.accept()
            #expect(Talk(try pod.receiveHead()).start == start)
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: \(text.hasPrefix("HEAD") ? 5 : 0)\r\n\r\n")
            let message = try client.receiveMessage(1)
            #expect(message.status == 200 && message.hasEnded)
        }
    }

    /// Requests that are answered as if they had not asked: with a body, with settings that cannot be read, over a
    /// connection that was used before.
    @Test func upgradeIsIgnored() throws {
        try withProxy { proxy in
            let bodied = Self.upgrade("POST / HTTP/1.1").replacing("X: y", with: "Content-Length: 2") + "hi"
            let requests = [
                bodied, Self.upgrade("GET / HTTP/1.1", "!!"), Self.upgrade("GET / HTTP/1.1", "AAAA"),
                Self.upgrade().replacing("Upgrade, HTTP2-Settings", with: "Upgrade"),
                Self.upgrade().replacing("X: y", with: "HTTP2-Settings: AAMAAABk"),
            ]
            var pod: Peer?
            for request in requests {
                let client = try proxy.client()
                try client.send(request)
                let served = try pod ?? proxy.accept()
                pod = served
                let message = try served.receiveMessage()
                #expect(message.values("Upgrade").isEmpty && message.values("HTTP2-Settings").isEmpty, "\(message)")
                try served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                #expect(try client.receiveMessage().body == "ok")
                client.close()
            }
            let client = try proxy.client()
            for request in [ProxyHarness.get(), Self.upgrade()] {
                try client.send(request)
                _ = try pod?.receiveHead()
                try pod?.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                #expect(try client.receiveMessage().body == "ok")
            }
        }
    }

    // MARK: The preface

    /// The preface and the first request, cut at every place.
    @Test func prefaceInPieces() throws {
        try withProxy { proxy in
            let bytes = Make.preface + Make.settings() + Make.headers(1, ProxyHarness.fields())
            var pod: Peer?
            for cut in 1...bytes.count {
                let plain = try proxy.client()
                try plain.send(Array(bytes[..<cut]))
                // Only what has been read apart is apart.
                try proxy.until("taken in") { $0.downstreams > 0 }
                try plain.send(Array(bytes[cut...]))
                let client = try HTTP2Peer(client: plain, nextStream: 3, saysPreface: false)
                let served = try pod ?? proxy.accept()
                pod = served
                _ = try served.receiveHead()
                try served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                #expect(try client.receiveMessage(1).text == "ok", "cut at \(cut)")
                plain.close()
                try proxy.until("gone") { $0.downstreams == 0 }
            }
        }
    }

    /// Almost the preface is a request of HTTP/1.1, and a bad one.
    @Test(arguments: [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "PRI * HTTP/2.0\r\nHost: x\r\n\r\n", "PRI / HTTP/1.1\r\n\r\n",
    ])
    func almostThePreface(text: String) throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(text)
            client.endSending()
            let status = try client.receiveMessage().status
            #expect(status == 400 || status == 505)
        }
    }
}
