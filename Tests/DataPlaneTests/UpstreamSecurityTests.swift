import EventLoop
import Glibc
import TLS
import Testing

@testable import DataPlane

/// TLS to pods: whom we trust, and how connections live.
@Suite struct UpstreamSecurityTests {
    static let names = ["kn-user-default", PeerIdentity.dataPlaneName]
    static let pod = Certificates.issued(names)

    /// A proxy whose pods must prove that they are of namespace `default`.
    @discardableResult
    private func withSecurePods(
        _ configure: (inout ProxySetup) throws -> Void = { _ in }, _ body: (ProxyHarness) throws -> Void
    ) throws -> [String] {
        var setup = ProxySetup()
        setup.upstreamSecurity = UpstreamSecurity(
            trust: try Certificates.trust(), identity: .knativePod(namespace: "default"))
        try configure(&setup)
        return try withProxy({ $0 = setup }, body)
    }

    /// The server's side of a pod with a certificate.
    private func context(
        _ pair: PEMPair = pod, at time: Int64 = Certificates.now, tickets: TicketKeyRing? = nil,
        _ change: (inout TLSServerSettings) -> Void = { _ in }
    ) throws -> TLSServerContext {
        try TLSServerContext(
            Certificates.server(change), certificates: Certificates.set(pair, at: time), tickets: tickets)
    }

    @Test func good() throws {
        try withSecurePods { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/1"))
            let pod = try SecurePeer(proxy.accept(), accepting: context()).answer()
            #expect(pod.version == .tls13 && pod.serverName == PeerIdentity.dataPlaneName)
            #expect(pod.applicationProtocol == nil, "ALPN is not offered")
            for round in 1...20 {
                #expect(try pod.receiveHead().startLine == "GET /\(round) HTTP/1.1")
                try pod.send(SecureRequestTests.ok)
                #expect(try client.receiveMessage().body == "hello")
                if round < 20 { try client.send(ProxyHarness.get("/\(round + 1)")) }
            }
            #expect(try proxy.total().lentBytes == 0)
            #expect(try proxy.total().pooledUpstreams == 1)
        }
    }

    /// A pod that cannot prove who it is gets no request, and the client is told.
    @Test(arguments: [
        (["other.test", "kn-user-default"], false, false, "the pod's certificate was refused\n"),
        (
            [PeerIdentity.dataPlaneName, "kn-user-other"], false, false,
            "the pod's certificate lacks the required name\n"
        ),
        (names, true, false, "the pod's certificate was refused\n"),
        (names, false, true, "the pod's certificate was refused\n"),
    ]) func refused(names: [String], isStrangers: Bool, isExpired: Bool, text: String) throws {
        let past = Certificates.now - 100 * 86_400
        let log = try withSecurePods { proxy in
            let pair = Certificates.issued(
                names, by: isStrangers ? Certificates.stranger : Certificates.authority,
                at: isExpired ? past : Certificates.now)
            for _ in 0..<2 {
                let client = try proxy.client()
                try client.send(ProxyHarness.post("secret"))
                let pod = try SecurePeer(
                    proxy.accept(), accepting: context(pair, at: isExpired ? past : Certificates.now))
                #expect(throws: PeerFailure.self) { try pod.answer().receiveHead() }
                let answer = try client.receiveMessage()
                #expect(answer.status == 502 && answer.body == text)
                #expect(proxy.gate.inFlight == 0)
            }
        }
        #expect(log.count == 2 && log.allSatisfy { $0.contains(" 502 UF ") }, "\(log)")
    }

    /// TLS 1.2 is too old for Knative's rule; what is no TLS is none.
    @Test(arguments: [true, false]) func noCommonTLS(isOld: Bool) throws {
        try withSecurePods { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            if isOld {
                let pod = try SecurePeer(proxy.accept(), accepting: context { $0.common.highestVersion = .tls12 })
                #expect(throws: PeerFailure.self) { try pod.answer() }
            } else {
                try proxy.accept().send("HTTP/1.1 400 Bad Request\r\n\r\n")
            }
            let answer = try client.receiveMessage()
            #expect(answer.status == 502 && answer.body == "the TLS handshake with the pod failed\n")
        }
    }

    /// A connection that breaks in the handshake is one that was refused: another is tried, then the client is told.
    @Test(arguments: [true, false]) func brokenHandshake(isReset: Bool) throws {
        try withSecurePods {
            $0.pods = 2
            $0.limits.upstreamConnectTries = 2
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            for _ in 0..<2 {
                let pod = try nextPod(proxy)
                if isReset { pod.reset() } else { pod.close() }
            }
            #expect(try client.receiveMessage().status == 503)
            _ = try proxy.event { if case .suspect = $0 { true } else { nil } }
        }
    }

    private func nextPod(_ proxy: ProxyHarness) throws -> Peer {
        for _ in 0..<Int(Peer.patience) {
            for pod in proxy.pods where pod.isConnectionWaiting(1) { return try pod.accept() }
        }
        throw PeerFailure(description: "nobody connected")
    }

    /// A pod that accepts and says nothing.
    @Test func silentPod() throws {
        try withSecurePods {
            $0.limits.upstreamHandshakeMilliseconds = 50
            $0.limits.upstreamConnectTries = 1
        } _: { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            #expect(try client.receiveMessage().status == 503)
            _ = try pod.waitForBreak()
        }
    }

    /// A client that leaves in the middle of the handshake gives its slot back.
    @Test func clientLeaves() throws {
        try withSecurePods { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            try proxy.until("connecting") { $0.upstreams == 1 }
            client.close()
            try proxy.until("gone") { $0.exchanges == 0 && $0.upstreams == 0 }
            #expect(proxy.gate.inFlight == 0)
            _ = try pod.waitForBreak()
        }
    }

    /// A second connection to the same pod resumes the session of the first.
    @Test func resumption() throws {
        try withSecurePods { proxy in
            let ring = try TicketKeyRing(now: MonotonicClock.now())
            let context = try context(tickets: ring)
            for round in 0..<3 {
                let client = try proxy.client()
                try client.send(ProxyHarness.get())
                let pod = try SecurePeer(proxy.accept(), accepting: context).answer()
                #expect(pod.isResumed == (round > 0))
                _ = try pod.receiveHead()
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                #expect(try client.receiveMessage().status == 200)
            }
        }
    }

    /// What TLS itself says to a connection that waits in the pool leaves it there; data and the end do not.
    @Test func pooled() throws {
        try withSecurePods { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/1"))
            let raw = try proxy.accept()
            let pod = try SecurePeer(raw, accepting: context()).answer()
            _ = try pod.receiveHead()
            try pod.send(SecureRequestTests.ok)
            #expect(try client.receiveMessage().status == 200)
            #expect(try proxy.total().pooledUpstreams == 1)
            // Half a record is nothing yet.
            let unasked = pod.sealed(Array("unasked".utf8))
            try raw.send(Array(unasked.prefix(5)))
            for _ in 0..<5 { #expect(try proxy.total().pooledUpstreams == 1) }
            try raw.send(Array(unasked.dropFirst(5)))
            try proxy.until("closed") { $0.pooledUpstreams == 0 }
            try client.send(ProxyHarness.get("/2"))
            let next = try SecurePeer(proxy.accept(), accepting: context()).answer()
            _ = try next.receiveHead()
            try next.send(SecureRequestTests.ok)
            #expect(try client.receiveMessage().status == 200)
            try next.closeNotify()
            try proxy.until("closed") { $0.pooledUpstreams == 0 }
        }
    }

    /// Tickets that come with the first answer, in one packet.
    @Test func ticketsWithTheAnswer() throws {
        try withSecurePods { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/1"))
            let ring = try TicketKeyRing(now: MonotonicClock.now())
            let raw = try proxy.accept()
            let pod = try SecurePeer(raw, accepting: context(tickets: ring) { $0.ticketsPerHandshake = 4 })
            try pod.answer(holdingBack: true)
            _ = try pod.receiveHead()
            let answer = pod.sealed(Array(SecureRequestTests.ok.utf8))
            try raw.send(pod.held + answer)
            #expect(try client.receiveMessage().status == 200)
            #expect(try proxy.total().pooledUpstreams == 1)
            try client.send(ProxyHarness.get("/2"))
            #expect(try pod.receiveHead().startLine == "GET /2 HTTP/1.1")
            try pod.send(SecureRequestTests.ok)
            #expect(try client.receiveMessage().status == 200)
        }
    }

    /// Large bodies both ways, a slow pod, and TLS on both sides.
    @Test func bodies() throws {
        try withSecurePods {
            $0.podReceiveBuffer = 16_384
            $0.listeners = [ListenerOptions(.loopback(port: 0), tls: Certificates.server())]
            $0.certificates = Certificates.set(Certificates.hello)
        } _: { proxy in
            let client = try proxy.secureClient().handshake()
            let body = (0..<(3 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ $0 >> 9) }
            let upload = try Background {
                try client.send(
                    "POST / HTTP/1.1\r\nHost: \(ProxyHarness.host)\r\nContent-Length: \(body.count)\r\n\r\n")
                try client.send(body)
            }
            let pod = try SecurePeer(proxy.accept(), accepting: context()).answer()
            _ = try pod.receiveHead()
            for _ in 0..<20 { #expect(try proxy.total().lentBytes <= 2 * (131_072 + 8_192)) }
            #expect(try pod.receive(body.count) == body)
            try upload.join()
            let download = try Background {
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n")
                try pod.send(body)
            }
            _ = try client.receiveHead()
            #expect(try client.receive(body.count) == body)
            try download.join()
            try proxy.until("pooled") { $0.pooledUpstreams == 1 && $0.lentBytes == 0 }
        }
    }

    /// A response that ends with the connection ends with close_notify; without it, it may have been cut off.
    @Test(arguments: [true, false]) func untilClose(isWhole: Bool) throws {
        let log = try withSecurePods { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try SecurePeer(proxy.accept(), accepting: context()).answer()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\n\r\nhello")
            if isWhole { try pod.closeNotify() }
            pod.peer.close()
            if isWhole {
                #expect(try client.receiveMessage().body == "hello")
            } else {
                #expect(throws: PeerFailure.self) { try client.receiveMessage() }
            }
        }
        #expect(log.first?.contains(" UC ") == !isWhole, "\(log)")
    }

    /// A reused connection that the pod has closed: the request goes again over a new one.
    @Test func retry() throws {
        try withSecurePods { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get("/1"))
            let pod = try SecurePeer(proxy.accept(), accepting: context()).answer()
            _ = try pod.receiveHead()
            try pod.send(SecureRequestTests.ok)
            #expect(try client.receiveMessage().status == 200)
            try client.send(ProxyHarness.get("/2"))
            _ = try pod.receiveHead()
            try pod.closeNotify()
            pod.peer.close()
            let next = try SecurePeer(proxy.accept(), accepting: context()).answer()
            #expect(try next.receiveHead().startLine == "GET /2 HTTP/1.1")
            try next.send(SecureRequestTests.ok)
            #expect(try client.receiveMessage().status == 200)
        }
    }

    /// WebSocket over TLS on both sides.
    @Test func tunnel() throws {
        try withSecurePods {
            $0.listeners = [ListenerOptions(.loopback(port: 0), tls: Certificates.server())]
            $0.certificates = Certificates.set(Certificates.hello)
        } _: { proxy in
            let client = try proxy.secureClient().handshake()
            try client.send(TunnelTests.upgrade)
            let pod = try SecurePeer(proxy.accept(), accepting: context()).answer()
            _ = try pod.receiveHead()
            try pod.send(TunnelTests.switching)
            #expect(try client.receiveHead().status == 101)
            for round in 0..<20 {
                try client.send("ping \(round)")
                try pod.expect("ping \(round)")
                try pod.send("pong \(round)")
                try client.expect("pong \(round)")
            }
            try client.closeNotify()
            #expect(try pod.receiveToEnd().isEmpty)
            try pod.send("last")
            try pod.closeNotify()
            #expect(try client.receiveToEnd() == "last")
        }
    }
}
