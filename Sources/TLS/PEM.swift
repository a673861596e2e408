import COpenSSL

/// Owns one reference to a certificate.
final class Certificate {
    let pointer: OpaquePointer

    init(owning pointer: OpaquePointer) { self.pointer = pointer }

    deinit { X509_free(pointer) }
}

/// Owns one reference to a private key.
final class PrivateKey {
    let pointer: OpaquePointer

    init(owning pointer: OpaquePointer) { self.pointer = pointer }

    deinit { EVP_PKEY_free(pointer) }
}

/// Reading and writing PEM texts (RFC 7468) in memory.
enum PEM {
    /// Most certificates read from one text.
    static let certificateLimit = 1000

    /// All certificates of a text, in order.
    static func certificates(_ text: [UInt8], file: String) throws(CertificateProblem) -> [Certificate] {
        var found: [Certificate] = []
        ERR_clear_error()
        let reader = reader(text)
        defer { BIO_free(reader) }
        while found.count < certificateLimit, let pointer = PEM_read_bio_X509(reader, nil, refusePassword, nil) {
            found.append(Certificate(owning: pointer))
        }
        let code = ERR_peek_last_error()
        let isAtEnd = copenssl_library(code) == ERR_LIB_PEM && copenssl_reason(code) == PEM_R_NO_START_LINE
        let reason = OpenSSLError.takeText()
        if !isAtEnd, found.count < certificateLimit {
            throw CertificateProblem(file, .unreadableCertificate(index: found.count + 1, reason: reason))
        }
        guard !found.isEmpty else { throw CertificateProblem(file, .noCertificate) }
        return found
    }

    /// The first private key of a text.
    static func privateKey(_ text: [UInt8], file: String) throws(CertificateProblem) -> PrivateKey {
        guard contains(text, "PRIVATE KEY-----") else { throw CertificateProblem(file, .noKey) }
        ERR_clear_error()
        let reader = reader(text)
        defer { BIO_free(reader) }
        var wasAsked = false
        let pointer = withUnsafeMutablePointer(to: &wasAsked) {
            PEM_read_bio_PrivateKey(reader, nil, refusePassword, $0)
        }
        let reason = OpenSSLError.takeText()
        if let pointer { return PrivateKey(owning: pointer) }
        throw CertificateProblem(file, wasAsked ? .encryptedKey : .unreadableKey(reason: reason))
    }

    /// A copy of `text` to read from; nil, which OpenSSL refuses to read, without memory.
    private static func reader(_ text: [UInt8]) -> OpaquePointer? {
        guard let memory = BIO_new(BIO_s_mem()) else { return nil }
        if !text.isEmpty { BIO_write(memory, text, Int32(clamping: text.count)) }
        return memory
    }

    /// The text of a certificate.
    static func text(_ certificate: Certificate) -> [UInt8] {
        withExtendedLifetime(certificate) { written { PEM_write_bio_X509($0, certificate.pointer) } }
    }

    /// The text of a private key, not encrypted (PKCS #8).
    static func text(_ key: PrivateKey) -> [UInt8] {
        withExtendedLifetime(key) { written { PEM_write_bio_PKCS8PrivateKey($0, key.pointer, nil, nil, 0, nil, nil) } }
    }

    // Without this, OpenSSL would ask on the terminal.
    private static let refusePassword:
        @convention(c) (
            UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?
        ) -> Int32 = { _, _, _, asked in
            asked?.storeBytes(of: true, as: Bool.self)
            return -1
        }

    private static func written(_ write: (OpaquePointer) -> Int32) -> [UInt8] {
        guard let memory = BIO_new(BIO_s_mem()) else { return [] }
        defer { BIO_free(memory) }
        guard write(memory) == 1 else { return [] }
        var start: UnsafePointer<UInt8>?
        let count = copenssl_memory(memory, &start)
        return Array(UnsafeBufferPointer(start: start, count: count))
    }

    private static func contains(_ text: [UInt8], _ word: String) -> Bool {
        let wanted = Array(word.utf8)
        guard text.count >= wanted.count else { return false }
        return (0...(text.count - wanted.count)).contains { start in
            text[start] == wanted[0] && text[start..<(start + wanted.count)].elementsEqual(wanted)
        }
    }
}
