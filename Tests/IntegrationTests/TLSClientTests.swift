import Foundation
import Testing

/// `openssl s_client` against the listener with TLS: versions, names, protocols, resumption.
@Suite struct TLSClientTests {
    static let rsa = "rsa.default.localhost"

    /// Runs s_client, sends one request, and returns all it printed.
    private func visit(
        _ martlet: Martlet, _ certificates: ForeignCertificates, _ arguments: [String],
        name: String? = "app.default.localhost",
        host: String = "app.default.localhost"
    ) throws -> (status: Int32?, text: String) {
        let request = "GET / HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\r\n"
        let place = ["s_client", "-connect", "127.0.0.1:\(try martlet.securePort())", "-ign_eof"]
        let names = name.map { ["-servername", $0, "-verify_hostname", $0] } ?? ["-noservername"]
        let trust = ["-CAfile", certificates.authority, "-verify_return_error"]
        let ended = try Foreign.run("openssl", place + names + trust + arguments, input: request)
        return (ended.status, ended.out + ended.log)
    }

    private func serving(_ certificates: ForeignCertificates, _ body: (Martlet) throws -> Void) throws {
        let manifest = Manifest { $0.environment = [("TARGET", "TLS")] }
        try Martlet.serving(manifest, certificates.flags + ["--workers", "3"]) { martlet throws in try body(martlet) }
    }

    @Test func versionsAndProtocols() throws {
        let certificates = try ForeignCertificates()
        let rows: [(arguments: [String], signs: [String])] = [
            (["-tls1_3"], ["New, TLSv1.3", "No ALPN negotiated", "Hello TLS!"]),
            (["-tls1_2"], ["New, TLSv1.2", "No ALPN negotiated", "Hello TLS!"]),
            (["-tls1_3", "-alpn", "http/1.1"], ["ALPN protocol: http/1.1", "Hello TLS!"]),
            (["-tls1_2", "-alpn", "http/1.1"], ["ALPN protocol: http/1.1", "Hello TLS!"]),
            (["-alpn", "acme,http/1.1"], ["ALPN protocol: http/1.1", "Hello TLS!"]),
            (["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], ["TLS_CHACHA20_POLY1305", "Hello TLS!"]),
            (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"], ["ECDHE-ECDSA-AES256-GCM", "Hello TLS!"]),
            (["-tls1_3", "-groups", "P-256"], ["Hello TLS!"]),
            (["-tls1_3", "-no_ticket"], ["Hello TLS!"]),
        ]
        try serving(certificates) { martlet throws in
            for row in rows {
                let visit = try visit(martlet, certificates, row.arguments)
                for sign in row.signs + ["Verification: OK"] {
                    #expect(
                        visit.text.contains(sign), "\(row.arguments): no \(sign) in\n\(visit.text)\n\(martlet.tail)")
                }
                #expect(visit.status == 0, "\(row.arguments): \(visit.text)")
            }
            // HTTP/2 is preferred when both are offered. It cannot be spoken by hand: the name is enough.
            let both = try visit(martlet, certificates, ["-alpn", "http/1.1,h2"])
            #expect(both.text.contains("ALPN protocol: h2"), "\(both.text)")
            #expect(!both.text.contains("Hello TLS!"), "HTTP/1.1 where HTTP/2 was agreed:\n\(both.text)")
        }
    }

    @Test func whatIsRefused() throws {
        let certificates = try ForeignCertificates()
        let rows = [
            ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], ["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"],
            ["-tls1_2", "-cipher", "AES128-SHA"], ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
            ["-alpn", "spdy/3"],
        ]
        try serving(certificates) { martlet throws in
            for arguments in rows {
                let visit = try visit(martlet, certificates, arguments)
                #expect(visit.status != 0 && !visit.text.contains("Hello"), "\(arguments): \(visit.text)")
                #expect(visit.text.contains("alert"), "\(arguments): the client is not told why:\n\(visit.text)")
            }
            #expect(try visit(martlet, certificates, []).status == 0)
        }
    }

    /// Each name gets its certificate; a name that nobody has, and no name, get the first.
    @Test func names() throws {
        let certificates = try ForeignCertificates(rsa: [Self.rsa])
        try serving(certificates) { martlet throws in
            let exact = try visit(martlet, certificates, ["-tls1_3"], name: Self.rsa)
            #expect(exact.status == 0 && exact.text.contains("Peer signature type: RSA-PSS"), "\(exact.text)")
            let wild = try visit(martlet, certificates, [])
            #expect(wild.status == 0 && wild.text.contains("Peer signature type: ECDSA"), "\(wild.text)")
            let none = try visit(martlet, certificates, [], name: nil)
            #expect(none.status == 0 && none.text.contains("Peer signature type: ECDSA"), "\(none.text)")
            let odd = try visit(martlet, certificates, ["-verify_hostname", "localhost"], name: "elsewhere.test")
            #expect(odd.text.contains("Peer signature type: ECDSA"), "\(odd.text)")
        }
    }

    /// Tickets of one worker are good at every other; early data is never taken.
    @Test(arguments: ["-tls1_3", "-tls1_2"]) func resumption(version: String) throws {
        let certificates = try ForeignCertificates()
        try serving(certificates) { martlet throws in
            let session = martlet.scratch.path + "/session"
            let first = try visit(martlet, certificates, [version, "-sess_out", session])
            #expect(first.status == 0 && first.text.contains("New, TLSv1"), "\(first.text)")
            for attempt in 0..<6 {
                let again = try visit(martlet, certificates, [version, "-sess_in", session])
                #expect(again.status == 0 && again.text.contains("Reused, TLSv1"), "\(attempt): \(again.text)")
                #expect(again.text.contains("Hello TLS!"), "\(again.text)")
            }
            guard version == "-tls1_3" else {
                let many = try visit(martlet, certificates, [version, "-reconnect"])
                #expect(many.text.ranges(of: "Reused, TLSv1.2").count == 5, "\(many.text)")
                return
            }
            let data = martlet.scratch.write("early", "GET /early HTTP/1.1\r\nHost: app.default.localhost\r\n\r\n")
            let early = try visit(martlet, certificates, [version, "-sess_in", session, "-early_data", data])
            #expect(!early.text.contains("Early data was accepted"), "\(early.text)")
            #expect(early.text.contains("Hello TLS!"), "the connection does not go on without:\n\(early.text)")
            #expect(!martlet.out.contains("/early"), "\(martlet.tail)")
        }
    }

    /// Renegotiation is refused and half of a handshake is not waited for by others.
    @Test func hostileHandshakes() throws {
        let certificates = try ForeignCertificates()
        try serving(certificates) { martlet throws in
            let place = "127.0.0.1:\(try martlet.securePort())"
            let ask = ["s_client", "-connect", place, "-tls1_2", "-CAfile", certificates.authority]
            let ended = try Foreign.run("openssl", ask, input: "R\n")
            #expect(ended.status != 0 || (ended.out + ended.log).contains("no renegotiation"), "\(ended)")
            // Plain HTTP where TLS is expected, and silence: both end or wait, others are served.
            let plain = try Client(port: martlet.securePort()), silent = try Client(port: martlet.securePort())
            try plain.request("app.default.localhost")
            while try !plain.receive().isEmpty {}
            #expect(try visit(martlet, certificates, []).status == 0)
            withExtendedLifetime(silent) {}
        }
    }

    /// TLS where plain HTTP is expected is answered or closed, and the listener goes on.
    @Test func encryptedToThePlainPort() throws {
        let certificates = try ForeignCertificates()
        try serving(certificates) { martlet throws in
            let ended = try Foreign.run("openssl", ["s_client", "-connect", "127.0.0.1:\(try martlet.port())"])
            #expect(ended.status != 0, "\(ended)")
            #expect(try martlet.get("app.default.localhost").status == 200)
        }
    }
}
