import COpenSSL

/// What both kinds of context share: the OpenSSL context and its rules.
///
/// Belongs to one worker, as its connections do. It is a class because OpenSSL calls back with its address.
public class TLSContext {
    /// OpenSSL's level 2: 112 bits of security, so no RSA below 2048 bits, no SHA-1, no RC4, no 3DES.
    static let securityLevel: Int32 = 2

    let pointer: OpaquePointer
    let protocols: [ApplicationProtocol]
    let handshakeBytesLimit: Int
    let controlBytesLimit: Int

    init(_ method: OpaquePointer?, _ settings: TLSSettings) throws(TLSSetupFailure) {
        ERR_clear_error()
        guard let pointer = SSL_CTX_new(method) else {
            throw TLSSetupFailure("TLS", "no context: \(OpenSSLError.takeText())")
        }
        self.pointer = pointer
        protocols = settings.protocols
        handshakeBytesLimit = settings.handshakeBytesLimit
        controlBytesLimit = settings.controlBytesLimit
        try apply(settings)
    }

    deinit { SSL_CTX_free(pointer) }

    private func apply(_ settings: TLSSettings) throws(TLSSetupFailure) {
        try Self.check(settings)
        SSL_CTX_set_security_level(pointer, Self.securityLevel)
        copenssl_set_safe_options(pointer)
        copenssl_set_memory_mode(pointer)
        copenssl_no_session_cache(pointer)
        copenssl_set_certificate_list_limit(pointer, settings.handshakeBytesLimit)
        try accept(
            "lowestVersion",
            copenssl_set_versions(pointer, settings.lowestVersion.rawValue, settings.highestVersion.rawValue))
        try accept("cipherSuitesTLS12", SSL_CTX_set_cipher_list(pointer, settings.cipherSuitesTLS12))
        try accept("cipherSuitesTLS13", SSL_CTX_set_ciphersuites(pointer, settings.cipherSuitesTLS13))
        try accept("groups", copenssl_set_groups(pointer, settings.groups))
        try checkCiphers()
    }

    private static func check(_ settings: TLSSettings) throws(TLSSetupFailure) {
        guard settings.lowestVersion <= settings.highestVersion else {
            throw TLSSetupFailure("lowestVersion", "newer than highestVersion")
        }
        guard (4096...(1 << 20)).contains(settings.handshakeBytesLimit) else {
            throw TLSSetupFailure("handshakeBytesLimit", "\(settings.handshakeBytesLimit) is not in 4096...1048576")
        }
        guard settings.controlBytesLimit >= 2 * RecordSizing.largestBytes else {
            throw TLSSetupFailure("controlBytesLimit", "\(settings.controlBytesLimit) is below two records")
        }
    }

    /// Only ephemeral key exchange and authenticated encryption; OpenSSL's lists let more through.
    private func checkCiphers() throws(TLSSetupFailure) {
        for index in 0..<copenssl_cipher_count(pointer) {
            guard let cipher = copenssl_cipher(pointer, index) else { continue }
            let exchange = SSL_CIPHER_get_kx_nid(cipher)
            guard SSL_CIPHER_is_aead(cipher) == 1, exchange == NID_kx_ecdhe || exchange == NID_kx_any else {
                let name = SSL_CIPHER_get_name(cipher).map { String(cString: $0) } ?? "a cipher"
                throw TLSSetupFailure("cipherSuitesTLS12", "\(name) is too weak; allowed are ECDHE with an AEAD cipher")
            }
        }
    }

    /// Throws if OpenSSL did not take a setting.
    func accept(_ setting: String, _ result: Int32) throws(TLSSetupFailure) {
        guard result != 1 else { return }
        throw TLSSetupFailure(setting, OpenSSLError.takeText())
    }

    /// The protocols as ALPN writes them: each with its length before it.
    static func wire(_ protocols: [ApplicationProtocol]) -> [UInt8] {
        protocols.flatMap { item in
            item.name.withUTF8Buffer { [UInt8($0.count)] + Array($0) }
        }
    }
}
