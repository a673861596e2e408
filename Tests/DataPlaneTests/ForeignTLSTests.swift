import TLS
import Testing

@testable import DataPlane

/// Programs of others speak TLS to us.
@Suite struct ForeignTLSTests {
    private struct Files {
        let folder: Folder
        let authority: String

        init() throws {
            folder = try Folder()
            authority = folder.file("ca.crt", Certificates.authority.certificate)
        }
    }

    /// Answers requests, on whatever connections they come, until `program` has ended.
    private func serve(_ proxy: ProxyHarness, requests: Int) throws -> [Message] {
        let pod = try proxy.accept()
        return try (0..<requests).map { _ in
            let message = try pod.receiveMessage()
            try pod.send(SecureRequestTests.ok)
            return message
        }
    }

    @Test(arguments: [
        "--tlsv1.2 --tls-max 1.2", "--tlsv1.3", "--http1.1", "--no-alpn", "--data-binary @-",
    ]) func curl(options: String) throws {
        let files = try Files()
        try withSecureProxy { proxy in
            let url = "https://\(ProxyHarness.host):\(proxy.group.addresses[0].port)"
            let resolve = "--resolve \(ProxyHarness.host):\(proxy.group.addresses[0].port):127.0.0.1"
            let program = try Program(
                "printf 'a body' | curl -sS -m 10 --cacert \(files.authority) \(resolve) \(options) "
                    + "-w '%{http_code} %{http_version} %{num_connects}\\n' \(url)/a \(url)/b")
            let messages = try serve(proxy, requests: 2)
            #expect(messages.map { $0.value("X-Forwarded-Proto") } == ["https", "https"])
            let said = try program.finish()
            #expect(said == "hello200 1.1 1\nhello200 1.1 0\n", "one connection: \(said)")
        }
    }

    /// HTTP/1.0 has an ALPN name of its own.
    @Test func curlOfOld() throws {
        let files = try Files()
        try withSecureProxy { proxy in
            let port = proxy.group.addresses[0].port
            let program = try Program(
                "curl -sS -m 10 --http1.0 --cacert \(files.authority) --resolve \(ProxyHarness.host):\(port):127.0.0.1 "
                    + "-w ' %{http_code} %{http_version}' https://\(ProxyHarness.host):\(port)/")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
            #expect(try program.finish() == "hello 200 1.1")
        }
    }

    /// curl refuses a certificate that is not the host's.
    @Test func curlChecks() throws {
        let files = try Files()
        try withSecureProxy { proxy in
            let port = proxy.group.addresses[0].port
            let said = try Program(
                "curl -sS -m 10 --cacert \(files.authority) --resolve other.test:\(port):127.0.0.1 "
                    + "https://other.test:\(port)/; echo status $?"
            ).finish()
            #expect(said.contains("status 60"), "\(said)")
            try proxy.until("closed") { $0.downstreams == 0 }
        }
    }

    @Test(arguments: [
        "-tls1_2", "-tls1_3", "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
        "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384",
        "-tls1_3 -groups P-384",
    ]) func openssl(options: String) throws {
        let files = try Files()
        try withSecureProxy { proxy in
            let request = "GET / HTTP/1.1\\r\\nHost: \(ProxyHarness.host)\\r\\nConnection: close\\r\\n\\r\\n"
            let program = try Program(
                "printf '\(request)' | openssl s_client -connect 127.0.0.1:\(proxy.group.addresses[0].port) -ign_eof "
                    + "-servername \(ProxyHarness.host) -verify_hostname \(ProxyHarness.host) -verify_return_error "
                    + "-CAfile \(files.authority) \(options); echo status $?")
            _ = try serve(proxy, requests: 1)
            let said = try program.finish()
            #expect(said.contains("Verify return code: 0 (ok)") && said.contains("hello"), "\(said)")
            #expect(said.contains("status 0"), "\(said)")
        }
    }

    /// Versions that are refused (RFC 8996), renegotiation, and a name that nobody has: an alert, not silence.
    @Test(arguments: ["-tls1", "-tls1_1", "-tls1_2 -cipher AES128-SHA", "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA"])
    func opensslRefused(options: String) throws {
        try withSecureProxy { proxy in
            let said = try Program(
                "openssl s_client -connect 127.0.0.1:\(proxy.group.addresses[0].port) \(options) </dev/null; "
                    + "echo status $?"
            ).finish()
            #expect(said.contains("status 1"), "\(said)")
            try proxy.until("closed") { $0.downstreams == 0 }
        }
    }

    /// A session of openssl's is resumed.
    @Test(arguments: ["-tls1_2", "-tls1_3"]) func opensslResumes(version: String) throws {
        let files = try Files()
        let session = files.folder.file("session", [])
        try withSecureProxy {
            $0.workers = 2
            $0.tickets = try TicketKeyRing(now: .init(nanoseconds: 0))
        } _: { proxy in
            let request = "GET / HTTP/1.1\\r\\nHost: \(ProxyHarness.host)\\r\\nConnection: close\\r\\n\\r\\n"
            for (round, option) in ["-sess_out", "-sess_in"].enumerated() {
                let program = try Program(
                    "printf '\(request)' | openssl s_client -connect 127.0.0.1:\(proxy.group.addresses[0].port) "
                        + "-ign_eof -servername \(ProxyHarness.host) \(version) \(option) \(session)")
                let pod = try proxy.accept()
                _ = try pod.receiveHead()
                try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
                let said = try program.finish()
                #expect(said.contains(round == 0 ? "\nNew, " : "\nReused, "), "\(said)")
            }
        }
    }
}
