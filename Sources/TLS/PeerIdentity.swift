import COpenSSL

/// Who an upstream must be: the rule its certificate is held against. Immutable.
///
/// Knative's (activator to pod): the chain must be good for `data-plane.knative.dev`, which is also what is asked
/// for, and the leaf must name `kn-user-<namespace>`.
public final class PeerIdentity: Sendable {
    /// The X.509 result for a leaf without a required name.
    static let requiredNameMissing = X509_V_ERR_APPLICATION_VERIFICATION

    /// The name asked for (SNI); nil asks for none, as an address must (RFC 6066 §3).
    public let serverName: String?
    /// The host name or address that the certificate must be good for; nil skips this check.
    public let verifiedName: String?
    /// Host names of which the leaf must have at least one among its alternative names, literally; empty: no such rule.
    public let requiredNames: [String]

    /// A rule. `verifiedName` is the name asked for unless it is given.
    public init(serverName: String?, verifiedName: String? = nil, requiredNames: [String] = []) {
        self.serverName = serverName
        self.verifiedName = verifiedName ?? serverName
        self.requiredNames = requiredNames.map(ServerIdentity.normalized)
    }

    /// Knative's legacy name, the one clients of the queue-proxy ask for.
    public static let dataPlaneName = "data-plane.knative.dev"

    /// The rule for the pods of a namespace (`activator/certificate`).
    public static func knativePod(namespace: String) -> PeerIdentity {
        PeerIdentity(serverName: dataPlaneName, requiredNames: ["kn-user-\(namespace.lowercased())"])
    }

    /// The rule for what an ingress reaches: the activator, or the pods of a namespace.
    public static func knativeRoute(namespace: String) -> PeerIdentity {
        PeerIdentity(serverName: dataPlaneName, requiredNames: ["kn-routing", "kn-user-\(namespace.lowercased())"])
    }

    /// Sets the names of one connection. False if OpenSSL does not take them.
    func install(in ssl: OpaquePointer) -> Bool {
        if let serverName, copenssl_set_server_name(ssl, serverName) != 1 { return false }
        guard let verifiedName else { return true }
        let rule = SSL_get0_param(ssl)
        if X509_VERIFY_PARAM_set1_ip_asc(rule, verifiedName) == 1 { return true }
        ERR_clear_error()
        SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT))
        return SSL_set1_host(ssl, verifiedName) == 1
    }

    /// Whether the leaf has one of the required names.
    func isMet(by leaf: OpaquePointer?) -> Bool {
        guard !requiredNames.isEmpty else { return true }
        guard let leaf else { return false }
        let hosts = CertificateNames(leaf).hosts.map(ServerIdentity.normalized)
        return requiredNames.contains { hosts.contains($0) }
    }
}
