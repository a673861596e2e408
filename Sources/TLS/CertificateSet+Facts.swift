/// What people are told about the certificates: which file serves what, and until when.
extension CertificateSet {
    /// One pair that is served.
    public struct Served: Equatable, Sendable {
        /// The certificate file, as the source named it.
        public let file: String
        /// Host names in lower case; wildcards begin with "*.".
        public let names: [String]
        /// When it ends, in seconds since 1970.
        public let expiresAt: Int64
        /// Whether it serves clients that name no host, or an unknown one.
        public let isDefault: Bool
    }

    /// Every pair, in the order of the sources.
    public var served: [Served] {
        identities.map { Served(file: $0.file, names: $0.names, expiresAt: $0.expiresAt, isDefault: $0.isDefault) }
    }
}
