import EventLoop
import Glibc
import Primitives
import Routing
import TLS
import Testing

@testable import DataPlane

/// TLS handshakes: how they fail, how they are bounded, whom they serve.
@Suite struct HandshakeTests {
    /// A client that ends, or falls silent for good, in the middle of a handshake.
    @Test(arguments: [0, 1, 5, 100, 10_000], [false, true]) func truncated(bytes: Int, isReset: Bool) throws {
        try withSecureProxy { proxy in
            let client = try proxy.client()
            try client.send(Array(try hello().prefix(bytes)))
            try proxy.until("under way") { $0.handshakes == 1 }
            if isReset { client.reset() } else { client.endSending() }
            try proxy.until("closed") { $0.downstreams == 0 && $0.handshakes == 0 }
            #expect(try proxy.total().failedHandshakes == 1)
        }
    }

    /// A client's first flight.
    private func hello() throws -> [UInt8] {
        var ends: [Int32] = [0, 0]
        #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        let other = Peer(owning: ends[1])
        let client = try SecurePeer(
            Peer(owning: ends[0]), connecting: Certificates.client(), to: PeerIdentity(serverName: ProxyHarness.host))
        try client.hello()
        try other.poll(milliseconds: Int32(Peer.patience))
        return other.pending
    }

    /// A flight in single bytes is as good as any.
    @Test func bytewise() throws {
        try withSecureProxy { proxy in
            let flight = try hello()
            let client = try proxy.client()
            for byte in flight { try client.send([byte]) }
            // A ServerHello: the record's type.
            #expect(try client.receive(1) == [22])
        }
    }

    /// What is no TLS gets an alert or nothing, and the end.
    @Test(arguments: [
        "\u{16}\u{03}\u{01}\u{7f}\u{7f}garbage", "\0\0\0\0\0\0\0\0", "SSH-2.0-x\r\n", "\u{16}\u{03}\u{01}\0\u{05}aaaaa",
        "get / http/1.1\r\n\r\n",
    ]) func garbage(text: String) throws {
        let log = try withSecureProxy { proxy in
            let client = try proxy.client()
            try client.send(Array(text.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) }))
            client.endSending()
            _ = try client.waitForBreak()
            try proxy.until("closed") { $0.downstreams == 0 }
            #expect(try proxy.total().failedHandshakes == 1)
        }
        // A word in capitals may be a method.
        #expect(log.count == (text.hasPrefix("SSH") ? 1 : 0))
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\n", "D", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ])
    func plainHTTP(request: String) throws {
        let log = try withSecureProxy { proxy in
            let client = try proxy.client()
            try client.send(request)
            let answer = try client.receiveMessage()
            #expect(answer.status == 400 && answer.body == "plain HTTP request sent to TLS port\n")
            #expect(answer.value("Connection") == "close")
            #expect(try client.receiveToEnd().isEmpty)
        }
        #expect(log.count == 1 && log[0].contains(" 400 DPE "), "\(log)")
    }

    /// A handshake has its time; what is open then has other limits.
    @Test func timeout() throws {
        try withSecureProxy {
            $0.limits.handshakeTimeoutMilliseconds = 2_000
        } _: { proxy in
            let open = try proxy.secureClient().handshake()
            let silent = try proxy.client()
            let slow = try proxy.client()
            try slow.send(Array(try hello().prefix(50)))
            try open.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try silent.expectClosed()
            try slow.expectClosed()
            #expect(try proxy.total().failedHandshakes == 2)
            try pod.send(SecureRequestTests.ok)
            #expect(try open.receiveMessage().status == 200)
        }
    }

    /// Beyond the limit the newest is closed; those under way and those that are open go on.
    @Test func limit() throws {
        try withSecureProxy {
            $0.limits.handshakes = 3
        } _: { proxy in
            let open = try proxy.secureClient().handshake()
            try proxy.until("open") { $0.handshakes == 0 }
            let silent = try (0..<3).map { _ in try proxy.client() }
            try proxy.until("full") { $0.handshakes == 3 }
            let refused = try proxy.client()
            try refused.expectClosed()
            try open.send(ProxyHarness.get())
            try proxy.accept().send(SecureRequestTests.ok)
            #expect(try open.receiveMessage().status == 200)
            silent[0].close()
            try proxy.until("room") { $0.handshakes == 2 }
            try proxy.secureClient().handshake()
        }
    }

    /// A storm of handshakes, four steps a wake-up: all come through in the end, and an open connection is served
    /// meanwhile.
    @Test func storm() throws {
        try withSecureProxy { proxy in
            let open = try proxy.secureClient().handshake()
            try open.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send(SecureRequestTests.ok)
            #expect(try open.receiveMessage().status == 200)
            let clients = try (0..<100).map { _ in try proxy.secureClient() }
            for client in clients { try client.hello() }
            for round in 0..<20 {
                try open.send(ProxyHarness.get("/\(round)"))
                _ = try pod.receiveHead()
                try pod.send(SecureRequestTests.ok)
                #expect(try open.receiveMessage().status == 200)
            }
            for client in clients { try client.handshake() }
            try proxy.until("all open") { $0.handshakes == 0 && $0.downstreams == 101 }
            #expect(try proxy.total().failedHandshakes == 0)
            #expect(try proxy.total().lentBytes == 0, "idle connections hold no buffers")
        }
    }

    /// Settings that OpenSSL does not take are named, before workers start and by a worker that could not.
    @Test func unusableSettings() throws {
        let listener = ListenerOptions(
            .loopback(port: 0), tls: Certificates.server { $0.common.cipherSuitesTLS12 = "RC4-MD5" })
        let options = WorkerOptions()
        #expect(throws: TLSSetupFailure.self) { try listener.check(with: options) }
        try ListenerOptions(.loopback(port: 0), tls: Certificates.server()).check(with: options)
        let group = try WorkerGroup(listeners: [listener], options: options, log: nil)
        try group.start(RoutingSnapshot(generation: 1, table: RouteTable(routes: []), targets: []))
        group.join()
        let problems = group.events.takeAll().compactMap { event in
            if case .failed(_, let error) = event { "\(error)" } else { nil }
        }
        #expect(problems.count == 1 && problems[0].contains("cipherSuitesTLS12"), "\(problems)")
    }

    // MARK: Names and certificates

    /// The certificate by name: exact, by wildcard, the default, and none at all.
    @Test func serverNames() throws {
        try withSecureProxy {
            $0.certificates = Certificates.set(
                Certificates.issued(["fallback.test"]), Certificates.hello, Certificates.issued(["*.wild.test"]))
        } _: { proxy in
            let expected = [
                (ProxyHarness.host, ProxyHarness.host), ("a.wild.test", "*.wild.test"),
                ("a.b.wild.test", "fallback.test"),
                ("unknown.test", "fallback.test"), (nil, "fallback.test"),
            ]
            for (asked, served) in expected {
                // Another name than the certificate's is refused by a client, so each asks without checking.
                let rule = PeerIdentity(serverName: asked, verifiedName: served.replacing("*", with: "a"))
                let client = try proxy.secureClient(identity: rule).handshake()
                #expect(client.peerNames == [served], "\(asked ?? "no name")")
            }
        }
    }

    /// Without a default, a client that asks for an unknown name is told so.
    @Test func unknownName() throws {
        try withSecureProxy {
            let pair = Certificates.hello
            $0.certificates =
                CertificateSet.load(
                    [
                        CertificateSource(
                            certificateFile: "a", certificate: pair.certificate, keyFile: "b", key: pair.key)
                    ], now: Certificates.now
                ).set
        } _: { proxy in
            let client = try proxy.secureClient(name: "unknown.test")
            try client.hello()
            #expect(try client.waitForFailure()?.kind == .peerAlert)
            try proxy.secureClient().handshake()
            try proxy.until("counted") { $0.failedHandshakes == 1 }
        }
    }

    @Test func versions() throws {
        try withSecureProxy {
            $0.listeners = [
                ListenerOptions(.loopback(port: 0), tls: Certificates.server { $0.common.lowestVersion = .tls13 })
            ]
        } _: { proxy in
            try proxy.secureClient(SecureRequestTests.context(.tls13)).handshake()
            let old = try proxy.secureClient(SecureRequestTests.context(.tls12))
            try old.hello()
            #expect(try old.waitForFailure()?.kind == .peerAlert)
        }
    }

    @Test(arguments: [ClientCertificates.optional, .required]) func clientCertificates(mode: ClientCertificates) throws
    {
        try withSecureProxy {
            let trust = try Certificates.trust()
            let settings = Certificates.server {
                $0.clientCertificates = mode
                $0.clientAuthorities = trust
            }
            $0.listeners = [ListenerOptions(.loopback(port: 0), tls: settings)]
        } _: { proxy in
            let known = Certificates.set(Certificates.issued(["client.test"]))
            let stranger = Certificates.set(Certificates.issued(["client.test"], by: Certificates.stranger))
            for (identity, isServed) in [(known, true), (stranger, false), (nil, mode == .optional)] {
                let client = try proxy.secureClient(Certificates.client(identity: identity)).handshake()
                // In TLS 1.3 the client is open before the server has seen its certificate.
                client.peer.sendWhatFits(client.sealed(Array(ProxyHarness.get().utf8)))
                guard isServed else {
                    #expect(try client.waitForFailure()?.kind == .peerAlert)
                    continue
                }
                let pod = try proxy.pods[0].connections.first ?? proxy.accept()
                _ = try pod.receiveHead()
                try pod.send(SecureRequestTests.ok)
                #expect(try client.receiveMessage().status == 200)
            }
        }
    }

    /// A ticket of one worker is good at every other.
    @Test(arguments: TLSVersion.allCases) func resumption(version: TLSVersion) throws {
        try withSecureProxy {
            $0.workers = 4
            $0.tickets = try TicketKeyRing(now: MonotonicClock.now())
        } _: { proxy in
            let context = try SecureRequestTests.context(version)
            let rule = PeerIdentity(serverName: ProxyHarness.host)
            let first = try proxy.secureClient(context, identity: rule).handshake()
            try first.send(ProxyHarness.get())
            try proxy.accept().send(SecureRequestTests.ok)
            #expect(try first.receiveMessage().status == 200)
            #expect(!first.isResumed)
            let session = try #require(first.session())
            for _ in 0..<16 {
                let next = try proxy.secureClient(context, identity: rule, resuming: session).handshake()
                #expect(next.isResumed)
            }
            // The kernel has spread them.
            let spread = try proxy.gauges().filter { $0.downstreams > 0 }
            #expect(spread.count > 1, "\(spread)")
        }
    }

    /// New certificates serve new connections; those that are open go on, in the middle of requests.
    @Test func swap() throws {
        try withSecureProxy {
            $0.workers = 2
        } _: { proxy in
            let old = try (0..<8).map { _ in try proxy.secureClient().handshake() }
            for client in old { try client.send(ProxyHarness.get()) }
            let pods = try old.map { _ in try proxy.accept() }
            for pod in pods { _ = try pod.receiveHead() }
            // A handshake that begins before the swap and ends after it.
            let between = try proxy.secureClient(identity: PeerIdentity(serverName: "second.test"))
            let second = Certificates.issued(["second.test", ProxyHarness.host])
            proxy.group.post(.certificates(Certificates.set(second)))
            _ = try proxy.gauges()
            try between.handshake()
            #expect(between.peerNames.first == "second.test")
            for pod in pods { try pod.send(SecureRequestTests.ok) }
            for client in old {
                #expect(try client.receiveMessage().body == "hello")
                #expect(client.peerNames == [ProxyHarness.host])
            }
        }
    }

    /// Requests flow on 50 connections while certificates are swapped a hundred times: none is lost.
    @Test func swapsUnderLoad() throws {
        try withSecureProxy {
            $0.workers = 2
        } _: { proxy in
            let sets = (0..<2).map { _ in Certificates.set(Certificates.issued([ProxyHarness.host])) }
            let clients = try (0..<50).map { _ in try proxy.secureClient().handshake() }
            for round in 0..<20 {
                for client in clients { try client.send(ProxyHarness.get("/missing", "X: \(round)\r\n")) }
                for index in 0..<5 { proxy.group.post(.certificates(sets[index % 2])) }
                try proxy.secureClient().handshake()
                for _ in clients {
                    let pod = try nextPod(proxy)
                    _ = try pod.receiveHead()
                    try pod.send(SecureRequestTests.ok)
                }
                for client in clients { #expect(try client.receiveMessage().status == 200) }
            }
            #expect(try proxy.total().failedHandshakes == 0)
        }
    }

    /// A pod's connection on which a request waits.
    private func nextPod(_ proxy: ProxyHarness) throws -> Peer {
        let end = MonotonicClock.now().adding(milliseconds: Peer.patience)
        while MonotonicClock.now() < end {
            while proxy.pods[0].isConnectionWaiting() { _ = try proxy.accept() }
            for pod in proxy.pods[0].connections where !pod.hasEnded {
                try pod.poll(milliseconds: 0)
                if !pod.pending.isEmpty { return pod }
            }
        }
        throw PeerFailure(description: "no request came")
    }
}
