/// What is wrong with a certificate file or its key, and in which file.
public struct CertificateProblem: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong.
    public enum Kind: Equatable, Sendable {
        /// The file cannot be read at all; `reason` is the system's or the reader's.
        case unreadable(reason: String)
        /// The other file of the pair is not there.
        case missingPartner(file: String)
        /// There is no certificate in the text.
        case noCertificate
        /// A certificate block cannot be read; `index` counts them from 1.
        case unreadableCertificate(index: Int, reason: String)
        /// There is no private key in the text.
        case noKey
        /// The private key cannot be read.
        case unreadableKey(reason: String)
        /// The private key is encrypted, which is not supported.
        case encryptedKey
        /// The private key is not that of the first certificate.
        case mismatch(certificateFile: String)
        /// The first certificate is no longer valid.
        case expired(at: String)
        /// The first certificate is not valid yet.
        case notYetValid(until: String)
        /// The first certificate names no host.
        case noNames
        /// OpenSSL does not serve it: too short a key, too weak a signature, an unknown kind of key.
        case refused(reason: String)
    }

    /// The file as the caller named it.
    public let file: String
    /// What is wrong.
    public let kind: Kind

    /// A problem of `file`. What reads the files has problems of its own; the others come from loading.
    public init(_ file: String, _ kind: Kind) {
        self.file = file
        self.kind = kind
    }

    /// "file: problem; remedy".
    public var description: String { "\(file): \(text)" }

    /// "problem; remedy", without the file.
    public var text: String {
        switch kind {
        case .unreadable(let reason): reason
        case .missingPartner(let file): "there is no \(file) that belongs to it; a pair is a certificate and its key"
        case .noCertificate: "no certificate found; expected PEM blocks \"BEGIN CERTIFICATE\""
        case .unreadableCertificate(let index, let reason):
            "certificate \(index) cannot be read: \(reason); is the file complete?"
        case .noKey: "no private key found; expected a PEM block \"BEGIN PRIVATE KEY\""
        case .unreadableKey(let reason): "the private key cannot be read: \(reason); is the file complete?"
        case .encryptedKey: "the private key is encrypted, which is not supported; store it decrypted"
        case .mismatch(let certificateFile):
            "the private key does not belong to the certificate in \(certificateFile); replace both together, the "
                + "server's own certificate first"
        case .expired(let at): "the certificate expired at \(at); renew it"
        case .notYetValid(let until): "the certificate is not valid before \(until); check the clock"
        case .noNames: "the certificate names no host; it needs a subject alternative name"
        case .refused(let reason): "the certificate cannot be served: \(reason)"
        }
    }
}
