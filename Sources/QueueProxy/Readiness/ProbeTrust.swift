import EventLoop
import Primitives
import Probing
import TLS

/// Whom probes over TLS trust: the authorities of the system, as Go's client does.
enum ProbeTrust {
    /// Where distributions keep them.
    static let files = [
        "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
        "/etc/pki/tls/cacert.pem", "/etc/ssl/cert.pem",
    ]
    /// Longest of these files that is read, in bytes.
    static let fileLimit = 4 << 20

    /// The client's side of TLS, made only if a probe needs it: reading a hundred certificates takes milliseconds.
    static func security(_ settings: ReadinessSettings) -> Result<TLSClientContext, ProbeSecurityMissing> {
        let isNeeded = settings.probes.contains { if case .http(_, _, true, _) = $0.handler { true } else { false } }
        guard isNeeded else { return .failure(ProbeSecurityMissing("TLS is not set up")) }
        for file in files {
            guard let bytes = try? FolderFiles.contents(of: file, atMost: fileLimit) else { continue }
            guard let trust = try? TrustBundle(pem: bytes, file: file) else { continue }
            var common = TLSSettings()
            common.protocols = [.http1]
            guard let context = try? TLSClientContext(common, trust: trust) else { break }
            return .success(context)
        }
        return .failure(ProbeSecurityMissing("no certificate authorities on this system to check with"))
    }
}
