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
    /// Whether ALPN offers the protocol that will be spoken (`h2` or `http/1.1`). False: ALPN is not used, and HTTP/2
    /// begins with its preface.
    public let offersProtocol: Bool
    private let settings: TLSSettings

    /// TLS to pods. The defaults are those of Knative's activator (spec/dataplane 3.4): TLS 1.3, no ALPN. Of `settings`
    /// the protocols do not count.
    public init(trust: TrustBundle, identity: PeerIdentity, offersProtocol: Bool = false, settings: TLSSettings? = nil)
    {
        self.trust = trust
        self.identity = identity
        self.offersProtocol = offersProtocol
        self.settings = settings ?? Self.knativeSettings
    }

    /// Throws the setting that workers could not use; requests would get 502.
    public func check() throws(TLSSetupFailure) { _ = try makeContext(.http1) }

    /// The client's side of connections that speak `spoken`.
    func makeContext(_ spoken: ApplicationProtocol) throws(TLSSetupFailure) -> TLSClientContext {
        var settings = settings
        settings.protocols = offersProtocol ? [spoken] : []
        return try TLSClientContext(settings, trust: trust)
    }

    private static var knativeSettings: TLSSettings {
        var settings = TLSSettings()
        settings.lowestVersion = .tls13
        return settings
    }
}
