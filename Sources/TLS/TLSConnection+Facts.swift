import COpenSSL
import Primitives

/// What a handshake has settled. Ask once, when the connection opens.
extension TLSConnection {
    /// Whether the handshake is complete and nothing has failed.
    public var isEstablished: Bool {
        switch state {
        case .open, .peerClosed, .closing: true
        case .handshaking, .closed, .failed: false
        }
    }

    /// The application protocol that ALPN settled; nil if the peer does not use ALPN.
    public var applicationProtocol: ApplicationProtocol? {
        var start: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &start, &count)
        let name = UnsafeBufferPointer(start: start, count: Int(count))
        return ApplicationProtocol.allCases.first { item in item.name.withUTF8Buffer { $0.elementsEqual(name) } }
    }

    /// The name the client asked for (SNI), as it wrote it; nil if it named none.
    public var serverName: String? { Self.serverName(of: ssl) }

    /// The version in use; nil before it is settled.
    public var version: TLSVersion? { TLSVersion(rawValue: SSL_version(ssl)) }

    /// The cipher suite in OpenSSL's words, such as "TLS_AES_128_GCM_SHA256".
    public var cipherSuite: String {
        guard let name = SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)) else { return "" }
        return String(cString: name)
    }

    /// The cipher suite by its IANA number; 0 before it is settled.
    public var cipherSuiteNumber: UInt16 {
        guard let cipher = SSL_get_current_cipher(ssl) else { return 0 }
        return SSL_CIPHER_get_protocol_id(cipher)
    }

    /// `serverName` where it stands, empty for none: valid as long as the connection.
    public var serverNameView: ByteView {
        guard let name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) else { return .empty }
        var count = 0
        while name[count] != 0 { count += 1 }  // at most 255 (RFC 6066 §3), which OpenSSL has checked
        return ByteView(UnsafeRawBufferPointer(start: name, count: count))
    }

    /// Whether an earlier session was resumed.
    public var isResumed: Bool { SSL_session_reused(ssl) == 1 }

    /// Whether the peer showed a certificate, which was then verified if the context verifies.
    public var hasPeerCertificate: Bool { SSL_get0_peer_certificate(ssl) != nil }

    /// Host names in the peer's certificate; empty if it showed none.
    public var peerNames: [String] {
        guard let certificate = SSL_get0_peer_certificate(ssl) else { return [] }
        return CertificateNames(certificate).hosts
    }

    /// The session of a client's connection, to resume by a later one under the same rule; nil if the server gave no
    /// ticket. In TLS 1.3 the ticket comes with the first data: ask late, when the connection is given up.
    public func session() -> TLSSession? {
        guard let peer, isEstablished || state == .closed, let session = SSL_get1_session(ssl) else { return nil }
        guard SSL_SESSION_is_resumable(session) == 1 else {
            SSL_SESSION_free(session)
            return nil
        }
        return TLSSession(owning: session, peer: peer)
    }

    static func serverName(of ssl: OpaquePointer) -> String? {
        SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name).map { String(cString: $0) }
    }
}
