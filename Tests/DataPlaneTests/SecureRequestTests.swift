import EventLoop
import Glibc
import Primitives
import TLS
import Testing

@testable import DataPlane

/// A proxy with one TLS listener.
@discardableResult
func withSecureProxy(
    _ configure: (inout ProxySetup) throws -> Void = { _ in }, _ body: (ProxyHarness) throws -> Void
) throws -> [String] {
    var setup = ProxySetup()
    setup.listeners = [ListenerOptions(.loopback(port: 0), tls: Certificates.server())]
    setup.certificates = Certificates.set(Certificates.hello)
    try configure(&setup)
    return try withProxy({ $0 = setup }, body)
}

extension ProxyHarness {
    /// A TLS client that has said nothing yet.
    func secureClient(
        _ context: TLSClientContext? = nil, name: String? = ProxyHarness.host, identity: PeerIdentity? = nil,
        resuming session: TLSSession? = nil, receiveBuffer: Int32? = nil
    ) throws -> SecurePeer {
        try SecurePeer(
            try client(receiveBuffer: receiveBuffer), connecting: try context ?? Certificates.client(),
            to: identity ?? PeerIdentity(serverName: name), resuming: session)
    }
}

/// Requests of clients that speak TLS.
@Suite struct SecureRequestTests {
    static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

    static func context(_ version: TLSVersion) throws -> TLSClientContext {
        try Certificates.client {
            $0.lowestVersion = version
            $0.highestVersion = version
        }
    }

    /// A request over TLS reaches the pod as one over plain TCP does, and says what it was; and the next one too.
    @Test(arguments: TLSVersion.allCases) func requests(version: TLSVersion) throws {
        let log = try withSecureProxy { proxy in
            let client = try proxy.secureClient(Self.context(version)).handshake()
            #expect(client.version == version)
            try client.send(ProxyHarness.get("/0"))
            let pod = try proxy.accept()
            for round in 0..<20 {
                let head = try pod.receiveHead()
                #expect(head.startLine == "GET /\(round) HTTP/1.1")
                #expect(head.value("X-Forwarded-Proto") == "https")
                #expect(head.value("Forwarded") == "for=127.0.0.1;host=\(ProxyHarness.host);proto=https")
                try pod.send(Self.ok)
                #expect(try client.receiveMessage().body == "hello")
                if round == 10 { #expect(try proxy.total().lentBytes == 0, "an idle connection holds no buffer") }
                if round < 19 { try client.send(ProxyHarness.get("/\(round + 1)")) }
            }
            #expect(try proxy.total().handshakes == 0)
        }
        #expect(log.count == 20 && log.allSatisfy { $0.contains(" 200 ") }, "\(log)")
    }

    /// Many requests in one record, and one request in many records and packets.
    @Test func pipelines() throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send((0..<50).map { ProxyHarness.get("/\($0)") }.joined())
            let pod = try proxy.accept()
            for round in 0..<50 {
                #expect(try pod.receiveHead().startLine == "GET /\(round) HTTP/1.1")
                try pod.send(Self.ok)
                #expect(try client.receiveMessage().body == "hello")
            }
            let bytes = ProxyHarness.post("split").utf8.flatMap { client.sealed([$0]) }
            for start in stride(from: 0, to: bytes.count, by: 7) {
                try client.peer.send(Array(bytes[start..<min(start + 7, bytes.count)]))
            }
            #expect(try pod.receiveMessage().body == "split")
            try pod.send(Self.ok)
            #expect(try client.receiveMessage().status == 200)
        }
    }

    /// A header section that takes several reads and grows the buffer.
    @Test func longHead() throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            let fields = (0..<40).map { "X-\($0): \(String(repeating: "v", count: 1_000))\r\n" }.joined()
            try client.send(ProxyHarness.get("/", fields))
            let pod = try proxy.accept()
            let head = try pod.receiveHead()
            #expect((0..<40).allSatisfy { head.value("X-\($0)")?.count == 1_000 })
            try pod.send(Self.ok)
            #expect(try client.receiveMessage().status == 200)
        }
    }

    /// Large bodies both ways, by length and in chunks, arrive whole.
    @Test(arguments: TLSVersion.allCases, [false, true]) func bodies(version: TLSVersion, isChunked: Bool) throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient(Self.context(version)).handshake()
            let body = (0..<(3 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
            let framing = isChunked ? "Transfer-Encoding: chunked" : "Content-Length: \(body.count)"
            let lead = isChunked ? "\(String(body.count, radix: 16))\r\n" : ""
            let trail = isChunked ? "\r\n0\r\n\r\n" : ""
            let upload = try Background {
                try client.send("POST / HTTP/1.1\r\nHost: \(ProxyHarness.host)\r\n\(framing)\r\n\r\n" + lead)
                try client.send(body)
                try client.send(trail)
            }
            let pod = try proxy.accept()
            let message = try pod.receiveHead()
            #expect(try Self.bytes(message, pod) == body)
            try upload.join()
            let download = try Background {
                try pod.send("HTTP/1.1 200 OK\r\n\(framing)\r\n\r\n" + lead)
                try pod.send(body)
                try pod.send(trail)
            }
            let answer = try client.receiveHead()
            #expect(try Self.bytes(answer, client) == body)
            try download.join()
            try proxy.until("given back") { $0.lentBytes == 0 && $0.exchanges == 0 }
        }
    }

    /// The body behind a head that was taken.
    private static func bytes(_ head: Message, _ from: any Hearing) throws -> [UInt8] {
        guard head.isChunked else { return try from.receive(Int(head.value("Content-Length") ?? "") ?? 0) }
        var body: [UInt8] = []
        while true {
            let line = try from.receive(through: "\r\n")
            let count = try #require(Int(line.dropLast(1), radix: 16))
            body += try from.receive(count)
            try from.expect("\r\n")
            if count == 0 { return body }
        }
    }

    /// A slow client: little is held, the pod is held back, nothing is lost.
    @Test func slowClient() throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient(receiveBuffer: 16_384).handshake()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            let size = 32 << 20
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
            let sent = try pod.sendUntilBlocked(7, atMost: size, silence: 200)
            #expect(sent < size, "the pod should have been held back")
            // The records of one read, and the noted parts of the request for its log line.
            #expect(try proxy.total().lentBytes <= 65_536 + 8_192 + 4_096)
            #expect(try client.receiveHead().status == 200)
            var left = sent
            while left > 0 {
                let part = min(left, 1 << 20)
                #expect(try client.receive(part) == [UInt8](repeating: 7, count: part))
                left -= part
            }
            pod.close()
            // What was cut is not ended by close_notify.
            #expect(throws: PeerFailure.self) { try client.receiveToEnd() }
        }
    }

    /// A slow pod: little is held, the client is held back, nothing is lost.
    @Test func slowPod() throws {
        try withSecureProxy {
            $0.podReceiveBuffer = 16_384
        } _: { proxy in
            let client = try proxy.secureClient().handshake()
            let size = 16 << 20
            try client.send("POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: \(size)\r\n\r\n")
            let upload = try Background { try client.send([UInt8](repeating: 7, count: size)) }
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try proxy.until("held back") { $0.lentBytes > 0 }
            for _ in 0..<50 { #expect(try proxy.total().lentBytes <= 131_072 + 8_192 + 4_096) }
            var left = size
            while left > 0 {
                let part = min(left, 1 << 20)
                #expect(try pod.receive(part) == [UInt8](repeating: 7, count: part))
                left -= part
            }
            try upload.join()
            try pod.send(Self.ok)
            #expect(try client.receiveMessage().status == 200)
        }
    }

    /// Refusals and `Connection: close` end with close_notify, so that the client knows that it has all.
    @Test func orderlyEnds() throws {
        try withSecureProxy { proxy in
            let bad = try proxy.secureClient().handshake()
            try bad.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
            #expect(try bad.receiveMessage().status == 400)
            #expect(try bad.receiveToEnd().isEmpty)
            let closing = try proxy.secureClient().handshake()
            try closing.send(ProxyHarness.get("/", "Connection: close\r\n"))
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")
            pod.close()
            #expect(try closing.receiveMessage().body == "until the end")
            #expect(try closing.receiveToEnd().isEmpty)
        }
    }

    /// A response of unknown length to HTTP/1.0 ends with the connection, by close_notify; one that broke does not.
    @Test(arguments: [true, false]) func untilClose(isWhole: Bool) throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send("GET / HTTP/1.0\r\nHost: hello.example.com\r\n\r\n")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + (isWhole ? "0\r\n\r\n" : ""))
            _ = try client.receiveHead()
            try client.expect("hello")
            if isWhole {
                #expect(try client.receiveToEnd().isEmpty)
            } else {
                pod.close()
                #expect(throws: PeerFailure.self) { try client.receiveToEnd() }
            }
        }
    }

    /// An unused connection that is closed for its age is told so.
    @Test func idleEnd() throws {
        try withSecureProxy {
            $0.limits.keepAliveIdleMilliseconds = 50
        } _: { proxy in
            let client = try proxy.secureClient().handshake()
            #expect(try client.receiveToEnd().isEmpty)
        }
    }

    /// WebSocket and its kind.
    @Test func tunnel() throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send(TunnelTests.upgrade + "early")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(TunnelTests.switching + "late")
            #expect(try client.receiveHead().status == 101)
            try client.expect("late")
            try pod.expect("early")
            for round in 0..<20 {
                try client.send("ping \(round)")
                try pod.expect("ping \(round)")
                try pod.send("pong \(round)")
                try client.expect("pong \(round)")
            }
            try proxy.until("given back") { $0.lentBytes <= 4_096 }  // the noted parts of the request
            // The client ends its side; the pod's last words still arrive, then its end.
            try client.closeNotify()
            #expect(try pod.receiveToEnd().isEmpty)
            try pod.send("last")
            try client.expect("last")
            pod.close()
            #expect(try client.receiveToEnd().isEmpty)
        }
    }

    /// The pod's end in a tunnel reaches the client as close_notify, and the client's bytes still go through.
    @Test func tunnelEndedByPod() throws {
        try withSecureProxy { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send(TunnelTests.upgrade)
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(TunnelTests.switching)
            #expect(try client.receiveHead().status == 101)
            pod.endSending()
            #expect(try client.receiveToEnd().isEmpty)
            try client.send("still here")
            try pod.expect("still here")
            pod.close()
        }
    }
}
