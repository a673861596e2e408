import COpenSSL

/// What the server's side of connections shares: settings, the certificates of now, and the keys of session tickets.
///
/// One a worker and listener; never used by two threads. Set `certificates` between wake-ups: handshakes that begin
/// their choice afterwards use the new ones, connections that are open keep what they have.
public final class TLSServerContext: TLSContext {
    /// The certificates served from now on.
    public var certificates: CertificateSet
    private let tickets: TicketKeyRing?

    /// A context. Without `tickets` no session is resumed. Throws the setting that cannot be used.
    public init(
        _ settings: TLSServerSettings, certificates: CertificateSet, tickets: TicketKeyRing?
    ) throws(TLSSetupFailure) {
        self.certificates = certificates
        self.tickets = tickets
        try super.init(TLS_server_method(), settings.common)
        let owner = Unmanaged.passUnretained(self).toOpaque()
        copenssl_on_server_name(pointer, serverNameCallback, owner)
        SSL_CTX_set_cert_cb(pointer, certificateCallback, owner)
        if !protocols.isEmpty { SSL_CTX_set_alpn_select_cb(pointer, protocolCallback, owner) }
        try setUpTickets(settings)
        try setUpClientCertificates(settings)
    }

    private func setUpTickets(_ settings: TLSServerSettings) throws(TLSSetupFailure) {
        guard (60...604_800).contains(settings.ticketLifetimeSeconds) else {
            throw TLSSetupFailure("ticketLifetimeSeconds", "\(settings.ticketLifetimeSeconds) is not in 60...604800")
        }
        guard (0...4).contains(settings.ticketsPerHandshake) else {
            throw TLSSetupFailure("ticketsPerHandshake", "\(settings.ticketsPerHandshake) is not in 0...4")
        }
        SSL_CTX_set_timeout(pointer, settings.ticketLifetimeSeconds)
        SSL_CTX_set_num_tickets(pointer, tickets == nil ? 0 : settings.ticketsPerHandshake)
        if tickets == nil {
            copenssl_no_tickets(pointer)
        } else {
            // The callback finds the ring through the context's own slot for application data.
            SSL_CTX_set_ex_data(pointer, 0, Unmanaged.passUnretained(self).toOpaque())
            try accept("session tickets", SSL_CTX_set_tlsext_ticket_key_evp_cb(pointer, ticketCallback))
        }
    }

    private func setUpClientCertificates(_ settings: TLSServerSettings) throws(TLSSetupFailure) {
        // A session is resumed only where the same clients would have been let in.
        var realm = [UInt8](repeating: 0, count: Int(SSL_MAX_SID_CTX_LENGTH))
        if let authorities = settings.clientAuthorities { authorities.digest(into: &realm) }
        realm[0] = settings.clientCertificates.rawValue
        try accept("session tickets", SSL_CTX_set_session_id_context(pointer, realm, UInt32(realm.count)))
        guard settings.clientCertificates != .off else { return }
        guard let authorities = settings.clientAuthorities else {
            throw TLSSetupFailure("clientAuthorities", "missing; client certificates are asked for")
        }
        try authorities.install(in: pointer, setting: "clientAuthorities")
        authorities.nameAuthorities(in: pointer)
        let mustCome = settings.clientCertificates == .required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0
        SSL_CTX_set_verify(pointer, SSL_VERIFY_PEER | mustCome, nil)
    }

    // MARK: OpenSSL asks

    fileprivate func mayServe(_ name: String?) -> Bool { certificates.covers(name) }

    fileprivate func install(in ssl: OpaquePointer) -> Bool {
        certificates.install(for: TLSConnection.serverName(of: ssl), in: ssl)
    }

    /// The first of our protocols among those offered. Who speaks HTTP/1.1 speaks HTTP/1.0, which some clients (curl)
    /// offer alone.
    fileprivate func pick(from offered: UnsafeBufferPointer<UInt8>) -> (start: UnsafePointer<UInt8>, count: UInt8)? {
        for item in protocols {
            if let found = Self.find(item.name, in: offered) { return found }
        }
        return protocols.contains(.http1) ? Self.find("http/1.0", in: offered) : nil
    }

    private static func find(
        _ name: StaticString, in offered: UnsafeBufferPointer<UInt8>
    ) -> (start: UnsafePointer<UInt8>, count: UInt8)? {
        guard let base = offered.baseAddress else { return nil }
        var index = 0
        while index < offered.count {
            let count = Int(offered[index])
            guard index + 1 + count <= offered.count else { return nil }
            let candidate = UnsafeBufferPointer(start: base + index + 1, count: count)
            if name.withUTF8Buffer({ $0.elementsEqual(candidate) }) { return (base + index + 1, UInt8(count)) }
            index += 1 + count
        }
        return nil
    }

    fileprivate func ticket(
        _ name: UnsafeMutablePointer<UInt8>, _ vector: UnsafeMutablePointer<UInt8>?, _ cipher: OpaquePointer?,
        _ mac: OpaquePointer?, isSealed: Bool
    ) -> Int32 {
        guard let tickets else { return 0 }
        return isSealed ? tickets.seal(name, vector, cipher, mac) : tickets.open(name, vector, cipher, mac)
    }
}

// The context outlives each call: every connection holds it.
private func context(_ pointer: UnsafeMutableRawPointer?) -> TLSServerContext? {
    pointer.map { Unmanaged<TLSServerContext>.fromOpaque($0).takeUnretainedValue() }
}

private let serverNameCallback:
    @convention(c) (OpaquePointer?, UnsafeMutablePointer<Int32>?, UnsafeMutableRawPointer?) -> Int32 = {
        ssl, alert, owner in
        guard let ssl, let context = context(owner) else { return SSL_TLSEXT_ERR_ALERT_FATAL }
        let name = TLSConnection.serverName(of: ssl)
        if context.mayServe(name) { return name == nil ? SSL_TLSEXT_ERR_NOACK : SSL_TLSEXT_ERR_OK }
        alert?.pointee = SSL_AD_UNRECOGNIZED_NAME
        return SSL_TLSEXT_ERR_ALERT_FATAL
    }

private let certificateCallback: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> Int32 = { ssl, owner in
    guard let ssl, let context = context(owner) else { return 0 }
    return context.install(in: ssl) ? 1 : 0
}

private let protocolCallback:
    @convention(c) (
        OpaquePointer?, UnsafeMutablePointer<UnsafePointer<UInt8>?>?, UnsafeMutablePointer<UInt8>?,
        UnsafePointer<UInt8>?, UInt32, UnsafeMutableRawPointer?
    ) -> Int32 = { _, chosen, count, offered, length, owner in
        guard let context = context(owner),
            let found = context.pick(from: UnsafeBufferPointer(start: offered, count: Int(length)))
        else { return SSL_TLSEXT_ERR_ALERT_FATAL }
        chosen?.pointee = found.start
        count?.pointee = found.count
        return SSL_TLSEXT_ERR_OK
    }

private let ticketCallback:
    @convention(c) (
        OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<UInt8>?, OpaquePointer?, OpaquePointer?,
        Int32
    ) -> Int32 = { ssl, name, vector, cipher, mac, isSealed in
        guard let ssl, let name, let owner = context(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0)) else { return -1 }
        return owner.ticket(name, vector, cipher, mac, isSealed: isSealed == 1)
    }
