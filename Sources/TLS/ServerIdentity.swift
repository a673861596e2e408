import COpenSSL

/// A certificate chain with its key, checked and ready to serve. Immutable; OpenSSL counts references atomically.
final class ServerIdentity: @unchecked Sendable {
    // Safe to share: the three objects are only read after `init`, and OpenSSL locks what it caches in them.
    private let leaf: Certificate
    private let key: PrivateKey
    private let chain: OpaquePointer?

    /// The certificate file, as the source named it.
    let file: String
    /// Host names in lower case, without a closing dot.
    let names: [String]
    /// OpenSSL's number of the kind of key.
    let kind: Int32
    /// Seconds since 1970.
    let expiresAt: Int64
    let isDefault: Bool

    /// Parses and checks a source. `now` is seconds since 1970.
    init(_ source: CertificateSource, now: Int64) throws(CertificateProblem) {
        let certificates = try PEM.certificates(source.certificate, file: source.certificateFile)
        let key = try PEM.privateKey(source.key, file: source.keyFile)
        let leaf = certificates[0]
        guard X509_check_private_key(leaf.pointer, key.pointer) == 1 else {
            ERR_clear_error()
            throw CertificateProblem(source.keyFile, .mismatch(certificateFile: source.certificateFile))
        }
        expiresAt = try Self.checkDates(leaf, file: source.certificateFile, now: now)
        names = CertificateNames(leaf.pointer).hosts.map(Self.normalized)
        guard !names.isEmpty || source.isDefault else { throw CertificateProblem(source.certificateFile, .noNames) }
        kind = EVP_PKEY_get_base_id(key.pointer)
        file = source.certificateFile
        isDefault = source.isDefault

        let chain = try Self.chain(certificates.dropFirst(), file: source.certificateFile)
        do throws(CertificateProblem) {
            try Self.tryOut(leaf, key, chain, file: source.certificateFile)
        } catch {
            copenssl_chain_free(chain)
            throw error
        }
        self.chain = chain
        self.leaf = leaf
        self.key = key
    }

    deinit { copenssl_chain_free(chain) }

    /// Gives it to one connection, beside those of other kinds.
    func install(in ssl: OpaquePointer) -> Bool { SSL_use_cert_and_key(ssl, leaf.pointer, key.pointer, chain, 1) == 1 }

    /// Gives it to all connections of a context.
    func install(inContext context: OpaquePointer) -> Bool {
        SSL_CTX_use_cert_and_key(context, leaf.pointer, key.pointer, chain, 1) == 1
    }

    /// A host name in lower case without the closing dot of a full name.
    static func normalized(_ name: String) -> String {
        let lower = name.lowercased()
        return lower.hasSuffix(".") ? String(lower.dropLast()) : lower
    }

    private static func chain(
        _ certificates: ArraySlice<Certificate>, file: String
    ) throws(CertificateProblem) -> OpaquePointer? {
        guard !certificates.isEmpty else { return nil }
        guard let chain = copenssl_new_chain() else {
            throw CertificateProblem(file, .refused(reason: "out of memory"))
        }
        for certificate in certificates {
            X509_up_ref(certificate.pointer)
            guard copenssl_chain_push(chain, certificate.pointer) > 0 else {
                X509_free(certificate.pointer)
                copenssl_chain_free(chain)
                throw CertificateProblem(file, .refused(reason: "out of memory"))
            }
        }
        return chain
    }

    private static func checkDates(
        _ leaf: Certificate, file: String, now: Int64
    ) throws(CertificateProblem) -> Int64 {
        let notBefore = X509_get0_notBefore(leaf.pointer)
        let notAfter = X509_get0_notAfter(leaf.pointer)
        var first: Int64 = 0
        var last: Int64 = 0
        guard copenssl_time_seconds(notBefore, &first) == 1, copenssl_time_seconds(notAfter, &last) == 1 else {
            throw CertificateProblem(file, .unreadableCertificate(index: 1, reason: "its dates are none"))
        }
        if last < now { throw CertificateProblem(file, .expired(at: text(notAfter))) }
        if first > now { throw CertificateProblem(file, .notYetValid(until: text(notBefore))) }
        return last
    }

    private static func text(_ time: UnsafePointer<ASN1_TIME>?) -> String {
        var text = [CChar](repeating: 0, count: COPENSSL_TIME_BYTES)
        guard copenssl_time_text(time, &text) == 1 else { return "an unreadable time" }
        return text.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    }

    /// Asks OpenSSL whether it would serve it under the rules that connections have.
    private static func tryOut(
        _ leaf: Certificate, _ key: PrivateKey, _ chain: OpaquePointer?, file: String
    ) throws(CertificateProblem) {
        ERR_clear_error()
        let context = SSL_CTX_new(TLS_server_method())
        defer { SSL_CTX_free(context) }
        if let context { SSL_CTX_set_security_level(context, TLSContext.securityLevel) }
        guard let context, SSL_CTX_use_cert_and_key(context, leaf.pointer, key.pointer, chain, 1) == 1 else {
            throw CertificateProblem(file, .refused(reason: OpenSSLError.takeText()))
        }
    }
}

/// The names in a certificate.
struct CertificateNames {
    /// Host names of the subject alternative names; the common name if there is no alternative name of any kind.
    private(set) var hosts: [String] = []
    /// Addresses among the alternative names, 4 or 16 bytes each.
    private(set) var addresses: [[UInt8]] = []

    init(_ certificate: OpaquePointer) {
        guard let raw = X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else {
            addCommonName(certificate)
            return
        }
        let names = OpaquePointer(raw)
        defer { GENERAL_NAMES_free(names) }
        var index: Int32 = 0
        while true {
            var bytes: UnsafePointer<UInt8>?
            var count = 0
            let kind = copenssl_alternative_name(names, index, &bytes, &count)
            guard Int(kind) != COPENSSL_NAME_NONE else { return }
            index += 1
            add(UnsafeBufferPointer(start: bytes, count: count), kind: Int(kind))
        }
    }

    private mutating func add(_ bytes: UnsafeBufferPointer<UInt8>, kind: Int) {
        // A zero byte in a name has fooled readers of C strings before; such a name is no name.
        let isText = bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F }
        if kind == COPENSSL_NAME_DNS, isText { hosts.append(String(decoding: bytes, as: UTF8.self)) }
        if kind == COPENSSL_NAME_IP { addresses.append(Array(bytes)) }
    }

    private mutating func addCommonName(_ certificate: OpaquePointer) {
        var text = [CChar](repeating: 0, count: 256)
        let count = Int(copenssl_common_name(certificate, &text, Int32(text.count)))
        guard count > 0, count < text.count else { return }
        let bytes = text.prefix(count).map { UInt8(bitPattern: $0) }
        bytes.withUnsafeBufferPointer { add($0, kind: COPENSSL_NAME_DNS) }
    }
}
