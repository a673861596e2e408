import Primitives
import Testing

@testable import TLS

/// The `openssl` program as a foreign peer, over a real socket.
@Suite(.serialized) struct InteropTests {
    struct Visit {
        let server: Endpoint
        let said: String
        let status: Int32?
    }

    /// A foreign client says one line, our server answers with the line in capitals and closes.
    private func visit(_ context: TLSServerContext, _ arguments: [String]) throws -> Visit {
        let deadline = Deadline(seconds: 20)
        let folder = try #require(Folder())
        let authority = folder.file("ca.pem", Fixture.authority.certificate)
        let (listener, port) = try #require(Loopback.listening())
        let client = try #require(
            Foreign(
                [
                    "s_client", "-connect", "127.0.0.1:\(port)", "-CAfile", authority, "-verify_return_error",
                    "-servername", "app.default.localhost", "-verify_hostname", "app.default.localhost",
                ] + arguments))
        client.type("hello\n")
        let socket = try #require(listener.accepted(by: deadline))
        let server = try Endpoint(TLSConnection(accepting: context))
        socket.drive(server, by: deadline) { $0.data.last == 10 || $0.failure != nil }
        server.send(Array(String(decoding: server.data, as: UTF8.self).uppercased().utf8))
        server.close()
        socket.drive(server, by: deadline) { _ in false }
        let said = client.output(until: nil, by: deadline)
        return Visit(server: server, said: said, status: client.exitStatus(by: deadline))
    }

    @Test func clients() throws {
        let context = try Fixture.server(
            Fixture.set(Fixture.ecdsa, Fixture.rsa), tickets: TicketKeyRing(now: Instant(nanoseconds: 0)))
        let rows: [(arguments: [String], signs: [String])] = [
            (["-tls1_3", "-alpn", "h2,http/1.1"], ["TLSv1.3", "ALPN protocol: h2", "Verification: OK"]),
            (["-tls1_2", "-alpn", "http/1.1"], ["TLSv1.2", "ALPN protocol: http/1.1", "Verification: OK"]),
            (["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"], ["ECDHE-RSA-AES256-GCM-SHA384", "No ALPN"]),
            (["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], ["ECDHE-ECDSA-CHACHA20-POLY1305"]),
            (["-tls1_3", "-groups", "P-384"], ["TLSv1.3", "384 bits"]),
            (["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], ["RSA-PSS"]),
        ]
        for row in rows {
            let visit = try visit(context, row.arguments)
            for sign in row.signs + ["HELLO"] {
                #expect(visit.said.contains(sign), "\(row.arguments): no \(sign) in\n\(visit.said)")
            }
            #expect(visit.server.failure == nil && visit.status == 0, "\(row.arguments): \(visit.server.tls.state)")
            #expect(visit.server.tls.serverName == "app.default.localhost")
        }
    }

    @Test func refusedClients() throws {
        let context = try Fixture.server(Fixture.set(Fixture.ecdsa, Fixture.rsa))
        let rows: [(arguments: [String], kind: TLSFailure.Kind)] = [
            (["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], .version),
            (["-tls1_2", "-cipher", "AES128-SHA"], .noCommonCipher),
            (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], .noCommonCipher),
            (["-tls1_3", "-alpn", "spdy/3"], .noCommonProtocol),
        ]
        for row in rows {
            let visit = try visit(context, row.arguments)
            #expect(visit.server.failure?.kind == row.kind, "\(row.arguments): \(visit.server.tls.state)")
            #expect(visit.status != 0 && visit.said.contains("alert"), "\(row.arguments)\n\(visit.said)")
        }
    }

    @Test func clientCertificate() throws {
        let folder = try #require(Folder())
        let pair = Fixture.issued(["client.test"])
        let certificate = folder.file("client.crt", pair.certificate), key = folder.file("client.key", pair.key)
        let context = try Fixture.server {
            $0.clientCertificates = .required
            $0.clientAuthorities = try? Fixture.trust()
        }
        let known = try visit(context, ["-cert", certificate, "-key", key])
        #expect(known.said.contains("HELLO") && known.server.tls.peerNames == ["client.test"])
        let unknown = try visit(context, [])
        #expect(unknown.server.failure?.kind == .certificateMissing, "\(unknown.server.tls.state)")
    }

    @Test func servers() throws {
        let folder = try #require(Folder())
        let certificate = folder.file("a.crt", Fixture.ecdsa.certificate), key = folder.file("a.key", Fixture.ecdsa.key)
        for (version, flag) in [(TLSVersion.tls12, "-tls1_2"), (.tls13, "-tls1_3")] {
            let deadline = Deadline(seconds: 20)
            let server = try #require(
                Foreign([
                    "s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-rev", "-cert", certificate, "-key", key,
                    "-alpn", "h2,http/1.1", flag,
                ]))
            let said = server.output(until: "ACCEPT 127.0.0.1:", by: deadline)
            let digits = said.split(separator: "ACCEPT 127.0.0.1:").last?.prefix { $0.isNumber } ?? ""
            let port = try #require(UInt16(digits), "\(said)")
            let socket = try #require(Loopback.connected(to: port))
            let client = try Endpoint(TLSConnection(connecting: Fixture.client(), to: Fixture.local))
            client.start()
            socket.drive(client, by: deadline) { $0.tls.isEstablished || $0.failure != nil }
            client.send(Array("tel\n".utf8))
            socket.drive(client, by: deadline) { $0.data.last == 10 || $0.failure != nil }
            #expect(client.data == Array("let\n".utf8), "\(client.tls.state)")
            #expect(client.tls.version == version && client.tls.applicationProtocol == .http2)
            client.close()
            socket.drive(client, by: deadline) { $0.tls.state == .closed }
            #expect(client.tls.state == .closed)
        }
    }
}
