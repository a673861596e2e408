import COpenSSL

/// The certificates that are trusted to sign others. An immutable value: any thread may hold it.
public struct TrustBundle: Equatable, Sendable {
    /// Which certificates of a PEM text count.
    public enum Extent: Equatable, Sendable {
        /// All of them.
        case all
        /// The first only, as Knative reads `ca.crt`.
        case first
    }

    /// How many certificates there are.
    public private(set) var count: Int
    private var pieces: [[UInt8]]

    /// The certificates of a PEM text; anything between them is skipped. Throws if there is none or one is broken.
    public init(pem: [UInt8], file: String, extent: Extent = .all) throws(CertificateProblem) {
        let certificates = try PEM.certificates(pem, file: file)
        let kept = extent == .first ? Array(certificates.prefix(1)) : certificates
        pieces = kept.map { PEM.text($0) }
        count = kept.count
    }

    /// Both bundles in one.
    public func adding(_ other: TrustBundle) -> TrustBundle {
        var sum = self
        sum.pieces += other.pieces
        sum.count += other.count
        return sum
    }

    /// Lets `context` trust the certificates. As in Go, each is an anchor, be it an intermediate one or a leaf.
    func install(in context: OpaquePointer, setting: String) throws(TLSSetupFailure) {
        guard let store = X509_STORE_new() else { throw TLSSetupFailure(setting, "out of memory") }
        for piece in pieces {
            // They were parsed before, so they parse now.
            guard let certificate = try? PEM.certificates(piece, file: setting).first,
                withExtendedLifetime(certificate, { X509_STORE_add_cert(store, certificate.pointer) }) == 1
            else {
                X509_STORE_free(store)
                throw TLSSetupFailure(setting, OpenSSLError.takeText())
            }
        }
        X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
        SSL_CTX_set_cert_store(context, store)
    }

    /// Names the certificates in the server's request for a client certificate (RFC 8446 §4.2.4).
    func nameAuthorities(in context: OpaquePointer) {
        for piece in pieces {
            guard let certificate = try? PEM.certificates(piece, file: "").first else { continue }
            withExtendedLifetime(certificate) { _ = SSL_CTX_add_client_CA(context, certificate.pointer) }
        }
    }

    /// A digest of the certificates: sessions are only resumed under the same ones.
    func digest(into place: inout [UInt8]) {
        let bytes = Array(pieces.joined())
        EVP_Digest(bytes, bytes.count, &place, nil, EVP_sha256(), nil)
    }
}
