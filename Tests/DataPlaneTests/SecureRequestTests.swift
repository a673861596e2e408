import EventLoop
import Glibc
import TLS
import Testing

@testable import DataPlane

/// Requests of clients that speak TLS.
@Suite struct SecureRequestTests {
    static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

    /// A proxy with one TLS listener.
    @discardableResult
    static func withSecureProxy(
        _ configure: (inout ProxySetup) throws -> Void = { _ in }, _ body: (ProxyHarness) throws -> Void
    ) throws -> [String] {
        var setup = ProxySetup()
        setup.listeners = [ListenerOptions(.loopback(port: 0), tls: Certificates.server())]
        setup.certificates = Certificates.set(Certificates.hello)
        try configure(&setup)
        return try withProxy({ $0 = setup }, body)
    }

    /// A client that has said nothing yet.
    static func client(
        _ proxy: ProxyHarness, context: TLSClientContext? = nil, name: String? = ProxyHarness.host,
        resuming session: TLSSession? = nil, receiveBuffer: Int32? = nil, identity: PeerIdentity? = nil
    ) throws -> SecurePeer {
        try SecurePeer(
            try proxy.client(receiveBuffer: receiveBuffer), connecting: try context ?? Certificates.client(),
            to: identity ?? PeerIdentity(serverName: name), resuming: session)
    }

    /// A request over TLS reaches the pod as one over plain TCP does, and says what it was.
    @Test func request() throws {
        let log = try Self.withSecureProxy { proxy in
            let client = try Self.client(proxy).handshake()
            try client.send(ProxyHarness.get("/a"))
            let pod = try proxy.accept()
            let head = try pod.receiveHead()
            #expect(head.startLine == "GET /a HTTP/1.1")
            #expect(head.value("X-Forwarded-Proto") == "https")
            #expect(head.value("Forwarded") == "for=127.0.0.1;host=\(ProxyHarness.host);proto=https")
            try pod.send(Self.ok)
            #expect(try client.receiveMessage().body == "hello")
            #expect(try proxy.total().handshakes == 0)
            #expect(try proxy.total().lentBytes == 0, "an idle connection holds no buffer")
        }
        #expect(log.count == 1 && log[0].contains("200"), "\(log)")
    }
}
