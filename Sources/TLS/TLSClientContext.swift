import COpenSSL

/// What our connections to upstreams share: settings, whom to trust, our own certificate if we show one.
///
/// One a worker; never used by two threads.
public final class TLSClientContext: TLSContext {
    /// A context. `trust` nil accepts any certificate: for tests and for probes that must not verify. With `identity`
    /// (its first certificate) we answer a request for a client certificate. Throws the setting that cannot be used.
    public init(
        _ settings: TLSSettings, trust: TrustBundle?, identity: CertificateSet? = nil
    ) throws(TLSSetupFailure) {
        try super.init(TLS_client_method(), settings)
        if let trust {
            try trust.install(in: pointer, setting: "trust")
            SSL_CTX_set_verify(pointer, SSL_VERIFY_PEER, nil)
            SSL_CTX_set_cert_verify_callback(pointer, verifyCallback, nil)
        }
        if let identity, !identity.installFirst(in: pointer) {
            throw TLSSetupFailure("identity", OpenSSLError.takeText())
        }
        let wire = Self.wire(settings.protocols)
        // This one answers 0 for success.
        if !wire.isEmpty, SSL_CTX_set_alpn_protos(pointer, wire, UInt32(wire.count)) != 0 {
            throw TLSSetupFailure("protocols", "OpenSSL does not take them")
        }
    }
}

/// A session with an upstream that a later connection may resume. Stays with the worker.
public final class TLSSession {
    let pointer: OpaquePointer
    /// The rule its certificate was held against: only the same rule may resume it, for it is not checked again.
    let peer: PeerIdentity

    init(owning pointer: OpaquePointer, peer: PeerIdentity) {
        self.pointer = pointer
        self.peer = peer
    }

    deinit { SSL_SESSION_free(pointer) }
}

/// OpenSSL's own verification (chain, dates, purpose, name), then our rule about names.
private let verifyCallback: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> Int32 = { store, _ in
    guard X509_verify_cert(store) == 1 else { return 0 }
    let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
    guard let ssl, let rule = SSL_get_ex_data(OpaquePointer(ssl), 0) else {
        X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED)
        return 0
    }
    let peer = Unmanaged<PeerIdentity>.fromOpaque(rule).takeUnretainedValue()
    if peer.isMet(by: X509_STORE_CTX_get0_cert(store)) { return 1 }
    X509_STORE_CTX_set_error(store, PeerIdentity.requiredNameMissing)
    return 0
}
