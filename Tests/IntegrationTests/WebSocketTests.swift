import Foundation
import Testing

/// WebSockets of python3-websockets, a client and a server that others wrote.
@Suite struct WebSocketTests {
    static let manifest = Foreign.service(Foreign.python("ws_app.py"))

    @Test func cleartext() throws {
        try Martlet.serving(Self.manifest) { martlet throws in
            try martlet.expectCases("ws_client.py", host: Self.manifest.host)
        }
    }

    @Test func encrypted() throws {
        let certificates = try ForeignCertificates()
        try Martlet.serving(Self.manifest, certificates.flags) { martlet throws in
            try martlet.expectCases("ws_client.py", host: Self.manifest.host, certificates: certificates)
        }
    }

    /// On a stream of HTTP/2 (RFC 8441), to the same server that knows HTTP/1.1 only.
    @Test(arguments: [false, true]) func overHTTP2(isEncrypted: Bool) throws {
        let certificates = isEncrypted ? try ForeignCertificates() : nil
        try Martlet.serving(Self.manifest, certificates?.flags ?? []) { martlet throws in
            try martlet.expectCases(
                "h2_client.py", ["websocket"], host: Self.manifest.host, certificates: certificates)
        }
    }
}
