import TLS

/// How the pods of a revision are reached by TLS: whom to trust, who they must be, which versions. Immutable; revisions
/// of a namespace share one, and each worker keeps one context for it.
///
/// A new one (another authority) takes effect for new connections; those that are open were good when they were made.
public final class UpstreamSecurity: Sendable {
    /// Who signs the pods' certificates.
    public let trust: TrustBundle
    /// The rule that a pod's certificate is held against.
    public let identity: PeerIdentity
    /// Versions, ciphers, and what ALPN offers.
    public let settings: TLSSettings

    /// TLS to pods. `settings`: default TLS 1.3 and no ALPN, as Knative's activator (spec/dataplane 3.4).
    public init(trust: TrustBundle, identity: PeerIdentity, settings: TLSSettings? = nil) {
        self.trust = trust
        self.identity = identity
        self.settings = settings ?? Self.knativeSettings
    }

    /// Throws the setting that workers could not use; requests would get 502.
    public func check() throws(TLSSetupFailure) { _ = try TLSClientContext(settings, trust: trust) }

    private static var knativeSettings: TLSSettings {
        var settings = TLSSettings()
        settings.lowestVersion = .tls13
        settings.protocols = []
        return settings
    }
}
