import EventLoop
import Glibc
import TLS
import Testing

@testable import DataPlane

/// HTTP/2 over TLS, on both sides.
@Suite struct SecureStreamTests {
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    /// A frame (RFC 9113 §4.1).
    private struct Frame {
        let type: UInt8
        let flags: UInt8
        let stream: UInt8
        let payload: [UInt8]

        var bytes: [UInt8] {
            [0, UInt8(payload.count >> 8), UInt8(payload.count & 255), type, flags, 0, 0, 0, stream] + payload
        }

        static let settings = Frame(type: 4, flags: 0, stream: 0, payload: [])
        /// `:status: 200` (RFC 7541, static table), and no body.
        static func ok(_ stream: UInt8) -> Frame { Frame(type: 1, flags: 5, stream: stream, payload: [0x88]) }

        /// GET https://hello.example.com/ in literals without indexing.
        static func get(_ stream: UInt8) -> Frame {
            let host = Array(ProxyHarness.host.utf8)
            return Frame(
                type: 1, flags: 5, stream: stream, payload: [0x82, 0x87, 0x84, 0x01, UInt8(host.count)] + host)
        }
    }

    /// The next frame of `type`, others passed over.
    private func next(_ type: UInt8, _ peer: any Hearing) throws -> Frame {
        while true {
            let head = try peer.receive(9)
            let payload = try peer.receive(Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2]))
            let frame = Frame(type: head[3], flags: head[4], stream: head[8], payload: payload)
            if frame.type == type { return frame }
        }
    }

    // MARK: Clients

    private func withBoth(_ body: (ProxyHarness) throws -> Void) throws {
        try withSecureProxy {
            $0.listeners = [ListenerOptions(.loopback(port: 0), tls: TLSServerSettings())]
        } _: { proxy in
            try body(proxy)
        }
    }

    /// What ALPN settles is spoken; the first bytes may come with the client's last flight.
    @Test(arguments: [[ApplicationProtocol.http2, .http1], [.http2], []])
    func sessions(offered: [ApplicationProtocol]) throws {
        try withBoth { proxy in
            let client = try proxy.secureClient(Certificates.client { $0.protocols = offered }).handshake()
            #expect(client.applicationProtocol == offered.first)
            try client.send(Self.preface + Frame.settings.bytes + Frame.get(1).bytes + Frame.get(3).bytes)
            for _ in 0..<2 {
                let pod = try proxy.accept()
                let head = try pod.receiveHead()
                #expect(head.startLine == "GET / HTTP/1.1" && head.value("X-Forwarded-Proto") == "https")
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            }
            let streams = try (0..<2).map { _ in try next(1, client).stream }
            #expect(Set(streams) == [1, 3])
            try proxy.until("given back") { $0.exchanges == 0 }
            // close_notify alone ends it.
            try client.closeNotify()
            try proxy.until("closed") { $0.downstreams == 0 }
        }
    }

    /// A client that settles on HTTP/1.1 gets it.
    @Test func olderClient() throws {
        try withBoth { proxy in
            let client = try proxy.secureClient(Certificates.client { $0.protocols = [.http1] }).handshake()
            #expect(client.applicationProtocol == .http1)
            try client.send(ProxyHarness.get())
            try proxy.accept().send(SecureRequestTests.ok)
            #expect(try client.receiveMessage().body == "hello")
        }
    }

    @Test(arguments: ["--http2 --tls-max 1.2", "--http2"]) func curl(options: String) throws {
        let folder = try Folder()
        let authority = folder.file("ca.crt", Certificates.authority.certificate)
        try withBoth { proxy in
            let port = proxy.group.addresses[0].port
            let url = "https://\(ProxyHarness.host):\(port)"
            let program = try Program(
                "head -c 300000 /dev/zero | curl -sS -m 10 --cacert \(authority) \(options) --data-binary @- "
                    + "--resolve \(ProxyHarness.host):\(port):127.0.0.1 -w '%{http_code} %{http_version}' \(url)/a")
            let pod = try proxy.accept()
            let head = try pod.receiveHead()
            #expect(head.value("X-Forwarded-Proto") == "https")
            try pod.discard(Int(head.value("Content-Length") ?? "") ?? 0)
            try pod.send(SecureRequestTests.ok)
            #expect(try program.finish() == "hello200 2")
        }
    }

    // MARK: Pods

    @discardableResult
    private func withSecurePods(
        _ configure: (inout ProxySetup) throws -> Void = { _ in }, _ body: (ProxyHarness) throws -> Void
    ) throws -> [String] {
        var setup = ProxySetup()
        setup.upstreamProtocol = .h2c
        setup.upstreamSecurity = UpstreamSecurity(
            trust: try Certificates.trust(), identity: .knativePod(namespace: "default"))
        try configure(&setup)
        return try withProxy({ $0 = setup }, body)
    }

    private func context(_ pair: PEMPair, tickets: TicketKeyRing? = nil) throws -> TLSServerContext {
        var settings = TLSServerSettings()
        settings.common.protocols = [.http2, .http1]
        return try TLSServerContext(settings, certificates: Certificates.set(pair), tickets: tickets)
    }

    /// One connection for many requests; its preface comes at once (Knative), or after ALPN has offered it.
    @Test(arguments: [false, true]) func shared(offersProtocol: Bool) throws {
        try withSecurePods {
            $0.upstreamSecurity = UpstreamSecurity(
                trust: try Certificates.trust(), identity: .knativePod(namespace: "default"),
                offersProtocol: offersProtocol)
        } _: { proxy in
            let clients = try (0..<3).map { _ in try proxy.client() }
            for client in clients { try client.send(ProxyHarness.get()) }
            let pod = try SecurePeer(proxy.accept(), accepting: context(UpstreamSecurityTests.pod)).answer()
            #expect(pod.applicationProtocol == (offersProtocol ? .http2 : nil))
            #expect(try pod.receive(Self.preface.count) == Self.preface)
            try pod.send(Frame.settings.bytes)
            for _ in clients { try pod.send(Frame.ok(try next(1, pod).stream).bytes) }
            for client in clients { #expect(try client.receiveMessage(bodyless: true).status == 200) }
            try proxy.until("unused") { $0.pooledUpstreams == 1 && $0.upstreams == 0 }
            // What TLS says, and half a record, are nothing.
            let goodbye = pod.sealed(Frame(type: 6, flags: 0, stream: 0, payload: Array(repeating: 1, count: 8)).bytes)
            try pod.peer.send(Array(goodbye.prefix(5)))
            for _ in 0..<5 { #expect(try proxy.total().pooledUpstreams == 1) }
            try pod.peer.send(Array(goodbye.dropFirst(5)))
            let answer = try next(6, pod)
            #expect(answer.flags == 1, "the answer to a PING")
            try pod.closeNotify()
            try proxy.until("closed") { $0.pooledUpstreams == 0 }
        }
    }

    /// All who waited for a connection are told, and no slot is lost.
    @Test func refused() throws {
        try withSecurePods { proxy in
            let clients = try (0..<3).map { _ in try proxy.client() }
            for client in clients { try client.send(ProxyHarness.get()) }
            try proxy.until("waiting") { $0.exchanges == 3 && $0.upstreams == 1 }
            let other = Certificates.issued([PeerIdentity.dataPlaneName, "kn-user-other"])
            let pod = try SecurePeer(proxy.accept(), accepting: context(other))
            #expect(throws: PeerFailure.self) { try pod.answer().receive(1) }
            for client in clients {
                let answer = try client.receiveMessage()
                #expect(answer.status == 502 && answer.body == "the pod's certificate lacks the required name\n")
            }
            #expect(proxy.gate.inFlight == 0)
        }
    }

    /// A connection that breaks in its handshake counts as refused.
    @Test func brokenHandshake() throws {
        try withSecurePods {
            $0.limits.upstreamConnectTries = 1
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            try proxy.accept().close()
            #expect(try client.receiveMessage().status == 503)
            #expect(proxy.gate.inFlight == 0)
        }
    }

    /// Those who wait in a handshake may leave; the connection is made for the others, or for nobody.
    @Test(arguments: [1, 3]) func clientLeaves(count: Int) throws {
        try withSecurePods { proxy in
            let clients = try (0..<count).map { _ in try proxy.client() }
            for client in clients { try client.send(ProxyHarness.get()) }
            try proxy.until("waiting") { $0.exchanges == count && $0.upstreams == 1 }
            clients[0].close()
            try proxy.until("gone") { $0.exchanges == count - 1 }
            #expect(proxy.gate.inFlight == count - 1)
            let pod = try SecurePeer(proxy.accept(), accepting: context(UpstreamSecurityTests.pod)).answer()
            #expect(try pod.receive(Self.preface.count) == Self.preface)
            try pod.send(Frame.settings.bytes)
            for _ in 1..<count { try pod.send(Frame.ok(try next(1, pod).stream).bytes) }
            for client in clients.dropFirst() { #expect(try client.receiveMessage(bodyless: true).status == 200) }
            try proxy.until("unused") { $0.pooledUpstreams == 1 }
        }
    }

    /// The next connection resumes what the last one had.
    @Test func resumption() throws {
        try withSecurePods { proxy in
            let context = try context(UpstreamSecurityTests.pod, tickets: TicketKeyRing(now: MonotonicClock.now()))
            for round in 0..<2 {
                let client = try proxy.client()
                try client.send(ProxyHarness.get())
                let pod = try SecurePeer(proxy.accept(), accepting: context).answer()
                #expect(pod.isResumed == (round > 0))
                _ = try pod.receive(Self.preface.count)
                try pod.send(Frame.settings.bytes)
                try pod.send(Frame.ok(try next(1, pod).stream).bytes)
                #expect(try client.receiveMessage(bodyless: true).status == 200)
                try pod.closeNotify()
                try proxy.until("closed") { $0.pooledUpstreams == 0 && $0.upstreams == 0 }
            }
        }
    }
}
