import COpenSSL

/// A certificate with its key, both PEM texts, for the edge to store. The key is secret: a file of mode 0600.
public struct PEMPair: Equatable, Sendable {
    /// The certificate.
    public let certificate: [UInt8]
    /// The private key, not encrypted.
    public let key: [UInt8]

    /// A pair of texts.
    public init(certificate: [UInt8], key: [UInt8]) {
        self.certificate = certificate
        self.key = key
    }
}

/// A certificate authority of one's own machine: signs certificates for local names, so that `martlet run --https`
/// works without any. Its certificate is trusted by hand, once.
///
/// Keys and serial numbers come from OpenSSL's random generator. `now` is seconds since 1970.
public final class LocalAuthority {
    /// Kinds of keys it makes.
    public enum KeyKind: Equatable, Sendable, CaseIterable {
        /// ECDSA with P-256.
        case ecdsa
        /// RSA with 2048 bits.
        case rsa
    }

    /// Why nothing could be made.
    public enum Failure: Error, Equatable, Sendable, CustomStringConvertible {
        /// A name that no certificate can carry.
        case unusableName(String)
        /// No name was given.
        case noNames
        /// The stored authority is broken.
        case stored(CertificateProblem)
        /// OpenSSL failed.
        case openSSL(String)

        /// One line.
        public var description: String {
            switch self {
            case .unusableName(let name): "\"\(name)\" cannot be a name of a certificate"
            case .noNames: "a certificate needs a name"
            case .stored(let problem): "\(problem)"
            case .openSSL(let reason): "the certificate cannot be made: \(reason)"
            }
        }
    }

    /// How long the authority lasts, in days.
    public static let authorityDays: Int64 = 3650
    /// How long certificates last by default, in days: the most that Apple's clients accept.
    public static let certificateDays: Int64 = 397

    private let certificate: Certificate
    private let key: PrivateKey

    private init(_ certificate: Certificate, _ key: PrivateKey) {
        self.certificate = certificate
        self.key = key
    }

    /// Makes a new authority. With `onlyBelow` it can sign for these domains and their subdomains, and for loopback
    /// addresses, and clients refuse what else it signs: a stolen key then does little harm.
    public static func create(
        commonName: String, onlyBelow domains: [String] = [], days: Int64 = authorityDays, now: Int64
    ) throws(Failure) -> LocalAuthority {
        for domain in domains where !isUsable(domain) || isAddress(domain) { throw .unusableName(domain) }
        let key = try makeKey(.ecdsa)
        var extensions: [(Int32, String)] = [
            (NID_basic_constraints, "critical,CA:TRUE,pathlen:0"),
            (NID_key_usage, "critical,keyCertSign,cRLSign"),
            (NID_subject_key_identifier, "hash"),
        ]
        if !domains.isEmpty {
            let permitted =
                domains.map { "permitted;DNS:\($0)" } + [
                    "permitted;IP:127.0.0.0/255.0.0.0", "permitted;IP:::1/FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF",
                ]
            extensions.append((NID_name_constraints, "critical," + permitted.joined(separator: ",")))
        }
        let certificate = try sign(
            subject: commonName, key: key, extensions: extensions, days: days, now: now, issuer: nil)
        return LocalAuthority(certificate, key)
    }

    /// An authority that was stored.
    public init(_ stored: PEMPair, certificateFile: String, keyFile: String) throws(Failure) {
        do throws(CertificateProblem) {
            let certificates = try PEM.certificates(stored.certificate, file: certificateFile)
            let key = try PEM.privateKey(stored.key, file: keyFile)
            guard X509_check_private_key(certificates[0].pointer, key.pointer) == 1 else {
                throw CertificateProblem(keyFile, .mismatch(certificateFile: certificateFile))
            }
            guard X509_check_ca(certificates[0].pointer) == 1 else {
                throw CertificateProblem(certificateFile, .refused(reason: "it is no certificate authority"))
            }
            self.certificate = certificates[0]
            self.key = key
        } catch {
            throw .stored(error)
        }
    }

    /// The authority itself: its certificate is what clients must trust.
    public var pem: PEMPair {
        PEMPair(certificate: PEM.text(certificate), key: PEM.text(key))
    }

    /// When it ends, in seconds since 1970.
    public var expiresAt: Int64 {
        var seconds: Int64 = 0
        return copenssl_time_seconds(X509_get0_notAfter(certificate.pointer), &seconds) == 1 ? seconds : 0
    }

    /// The SHA-256 digest of its certificate, as programs show it: 32 pairs of hexadecimal digits between colons.
    public var fingerprint: String {
        var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        guard X509_digest(certificate.pointer, EVP_sha256(), &digest, &count) == 1 else { return "" }
        return digest.prefix(Int(count)).map { byte in
            let text = String(byte, radix: 16, uppercase: true)
            return text.utf8.count == 1 ? "0" + text : text
        }.joined(separator: ":")
    }

    /// Signs a certificate for host names (also wildcards) and addresses, for servers and clients alike.
    public func issue(
        names: [String], key kind: KeyKind = .ecdsa, days: Int64 = certificateDays, now: Int64
    ) throws(Failure) -> PEMPair {
        guard let first = names.first else { throw .noNames }
        for name in names where !Self.isUsable(name) { throw .unusableName(name) }
        let alternatives = names.map { (Self.isAddress($0) ? "IP:" : "DNS:") + $0 }.joined(separator: ",")
        let made = try Self.makeKey(kind)
        let usage = kind == .rsa ? "critical,digitalSignature,keyEncipherment" : "critical,digitalSignature"
        let signed = try Self.sign(
            subject: first, key: made,
            extensions: [
                (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, usage),
                (NID_ext_key_usage, "serverAuth,clientAuth"), (NID_subject_key_identifier, "hash"),
                (NID_authority_key_identifier, "keyid"), (NID_subject_alt_name, alternatives),
            ], days: days, now: now, issuer: self)
        return PEMPair(certificate: PEM.text(signed), key: PEM.text(made))
    }

    // MARK: Making

    /// Clocks differ: certificates count from so many seconds before now.
    private static let skewSeconds: Int64 = 300

    private static func makeKey(_ kind: KeyKind) throws(Failure) -> PrivateKey {
        ERR_clear_error()
        guard let key = kind == .ecdsa ? copenssl_new_ec_key() : copenssl_new_rsa_key(2048) else {
            throw .openSSL(OpenSSLError.takeText())
        }
        return PrivateKey(owning: key)
    }

    private static func sign(
        subject: String, key: PrivateKey, extensions: [(Int32, String)], days: Int64, now: Int64,
        issuer: LocalAuthority?
    ) throws(Failure) -> Certificate {
        ERR_clear_error()
        guard let pointer = X509_new() else { throw .openSSL("out of memory") }
        let certificate = Certificate(owning: pointer)
        let signer = issuer?.certificate.pointer ?? pointer
        let isMade =
            X509_set_version(pointer, 2) == 1 && setSerial(pointer) && setName(pointer, subject)
            && X509_set_issuer_name(pointer, X509_get_subject_name(signer)) == 1
            && setDates(pointer, from: now - skewSeconds, to: now + days * 86_400)
            && X509_set_pubkey(pointer, key.pointer) == 1
            && extensions.allSatisfy { copenssl_add_extension(pointer, signer, $0.0, $0.1) == 1 }
            && X509_sign(pointer, (issuer?.key ?? key).pointer, EVP_sha256()) > 0
        guard isMade else { throw .openSSL(OpenSSLError.takeText()) }
        return certificate
    }

    /// 127 random bits, positive and not zero (RFC 5280 §4.1.2.2).
    private static func setSerial(_ certificate: OpaquePointer) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard RAND_bytes(&bytes, 16) == 1 else { return false }
        bytes[0] = bytes[0] & 0x7F | 0x40
        guard let number = BN_bin2bn(bytes, 16, nil) else { return false }
        defer { BN_free(number) }
        return BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nil
    }

    private static func setName(_ certificate: OpaquePointer, _ text: String) -> Bool {
        let name = X509_get_subject_name(certificate)
        let common = String(text.prefix(64))  // RFC 5280, upper bound of a common name
        return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, common, -1, -1, 0) == 1
    }

    private static func setDates(_ certificate: OpaquePointer, from first: Int64, to last: Int64) -> Bool {
        ASN1_TIME_set(X509_getm_notBefore(certificate), Int(first)) != nil
            && ASN1_TIME_set(X509_getm_notAfter(certificate), Int(last)) != nil
    }

    /// Letters, digits and what stands between them in names and addresses: nothing that OpenSSL's extension syntax
    /// reads.
    private static func isUsable(_ name: String) -> Bool {
        let others = Set("-._*:".utf8)
        let isPlain = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
            case UInt8(ascii: "0")...UInt8(ascii: "9"): true
            default: others.contains(byte)
            }
        }
        let hasColon = name.utf8.contains(UInt8(ascii: ":"))
        return !name.isEmpty && name.utf8.count <= 253 && isPlain && (!hasColon || isAddress(name))
    }

    private static func isAddress(_ name: String) -> Bool {
        guard let address = a2i_IPADDRESS(name) else {
            ERR_clear_error()
            return false
        }
        ASN1_OCTET_STRING_free(address)
        return true
    }
}
