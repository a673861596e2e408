import EventLoop
import TLS

/// The listener for metrics.
enum SidecarMetrics {
    /// The certificate of the page's listener, and who may read it. Nil: plain.
    static func security(
        of listener: PrometheusListener
    ) throws(SidecarFailure) -> (settings: TLSServerSettings, certificates: CertificateSet)? {
        guard let security = listener.security else { return nil }
        do {
            var settings = security.settings
            if let file = security.clientAuthorityFile {
                settings.clientAuthorities = try TrustBundle(pem: read(file), file: file)
            }
            let source = CertificateSource(
                certificateFile: security.certificateFile, certificate: try read(security.certificateFile),
                keyFile: security.keyFile, key: try read(security.keyFile), isDefault: true)
            let now = MonotonicClock.wallSeconds()
            let loaded = CertificateSet.load([source], now: now)
            if let problem = loaded.problems.first { throw problem }
            return (settings, loaded.set)
        } catch {
            let fields = [("listener", "metrics"), ("error", "\(error)")]
            throw SidecarFailure(reasons: [("certificate refused", fields)])
        }
    }

    private static func read(_ path: String) throws(SystemError) -> [UInt8] {
        try FolderFiles.contents(of: path, atMost: CertificateWatch.fileLimit)
    }
}
