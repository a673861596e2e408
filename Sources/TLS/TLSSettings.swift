/// A version of TLS we speak. Older ones are refused (RFC 8996).
public enum TLSVersion: Int32, Comparable, Sendable, CaseIterable {
    /// TLS 1.2 (RFC 5246).
    case tls12 = 0x0303
    /// TLS 1.3 (RFC 8446).
    case tls13 = 0x0304

    /// Whether `lhs` is older than `rhs`.
    public static func < (lhs: TLSVersion, rhs: TLSVersion) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// An application protocol that ALPN names (RFC 7301).
public enum ApplicationProtocol: Equatable, Sendable, CaseIterable {
    /// HTTP/2, "h2".
    case http2
    /// HTTP/1.1, "http/1.1".
    case http1

    /// The name on the wire.
    public var name: StaticString {
        switch self {
        case .http2: "h2"
        case .http1: "http/1.1"
        }
    }
}

/// What both sides of TLS can be told. The defaults are the safe ones.
public struct TLSSettings: Equatable, Sendable {
    /// Oldest version allowed. Default TLS 1.2.
    public var lowestVersion = TLSVersion.tls12

    /// Newest version allowed. Default TLS 1.3.
    public var highestVersion = TLSVersion.tls13

    /// Cipher suites of TLS 1.2, in OpenSSL's names, best first, separated by colons. Only suites with ephemeral ECDH
    /// and an AEAD cipher are allowed; others are reported. Default: AES-128, ChaCha20, AES-256.
    public var cipherSuitesTLS12 =
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305"
        + ":ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"

    /// Cipher suites of TLS 1.3, best first, separated by colons. Default: AES-128, ChaCha20, AES-256.
    public var cipherSuitesTLS13 = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"

    /// Groups of the key exchange, best first, separated by colons. Default X25519, P-256, P-384.
    public var groups = "X25519:P-256:P-384"

    /// Application protocols, best first. A server picks the first that the client offers and refuses a client that
    /// offers others only (RFC 7301 §3.2; HTTP/1.0 is taken where HTTP/1.1 is); a client that offers none gets none.
    /// Empty: ALPN is not used. Default both.
    public var protocols: [ApplicationProtocol] = [.http2, .http1]

    /// Most bytes a peer may send before its handshake is complete. Default 64 KiB. Range 4 KiB...1 MiB.
    public var handshakeBytesLimit = 64 * 1024

    /// Most bytes a peer may send after its handshake without a byte of data among them (tickets, key updates, refused
    /// renegotiations). Default 64 KiB; at least two records.
    public var controlBytesLimit = 64 * 1024

    /// The defaults.
    public init() {}
}

/// What a server does about certificates of clients.
public enum ClientCertificates: UInt8, Equatable, Sendable, CaseIterable {
    /// They are not asked for.
    case off
    /// They are asked for; one that comes must be good.
    case optional
    /// A client without a good one is refused.
    case required
}

/// What a server can be told.
public struct TLSServerSettings: Equatable, Sendable {
    /// Versions, ciphers, protocols.
    public var common = TLSSettings()

    /// Whether clients show a certificate. Default off.
    public var clientCertificates = ClientCertificates.off

    /// Who signs the certificates of clients. Needed unless they are off.
    public var clientAuthorities: TrustBundle?

    /// How long a session can be resumed, in seconds. Default 8 hours. Range 60...604800 (RFC 8446 §4.6.1).
    public var ticketLifetimeSeconds = 8 * 3600

    /// Tickets given at the end of a full TLS 1.3 handshake. One serves a client that keeps its connection; browsers
    /// that open several at once use two. Each costs about 240 bytes and 10 µs. Default 1. Range 0...4.
    public var ticketsPerHandshake = 1

    /// The defaults.
    public init() {}
}

/// Settings that OpenSSL, or we, do not take.
public struct TLSSetupFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The setting, by its name in the settings type.
    public let setting: String
    /// What is wrong with it.
    public let problem: String

    init(_ setting: String, _ problem: String) {
        self.setting = setting
        self.problem = problem
    }

    /// "setting: problem".
    public var description: String { "\(setting): \(problem)" }
}
