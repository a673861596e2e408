import DataPlane
import EventLoop
import TLS

/// What an activator has of certificates: its own, for the listener with TLS, and whom it trusts to sign those of pods.
///
/// A folder like the Secret `routing-serving-certs`: `tls.crt` and `tls.key`; `ca.crt`, of which the first certificate
/// counts; and `bundle.crt`, all of it. Each may be missing, but not one of the first two. Owned by the control thread.
/// Source: spec/dataplane 3.4.
public final class ActivatorCertificates {
    /// Longest file that is read, in bytes.
    static let fileLimit = 1 << 20
    /// What is wrong with the files, a line each.
    public struct Failure: Error, Equatable, Sendable {
        /// At least one.
        public let problems: [String]
    }

    /// The keys of session tickets, shared by the workers. Renewed on the loop of the activator that uses this.
    public let tickets: TicketKeyRing
    /// What the listener with TLS serves; nil: there is no such listener.
    public private(set) var set: CertificateSet?
    /// Who signs the pods' certificates; nil: pods are spoken to in plain TCP.
    public private(set) var trust: TrustBundle?
    private let folder: String
    private var texts: [String?]
    private var securities: [String: UpstreamSecurity] = [:]

    /// Reads the folder; an empty path is one without files.
    ///
    /// - Parameter ticketMilliseconds: how long a key of session tickets seals. Default 8 hours.
    public init(folder: String, ticketMilliseconds: UInt64 = 8 * 3_600_000) throws(Failure) {
        self.folder = folder
        do throws(TLSSetupFailure) {
            tickets = try TicketKeyRing(rotationMilliseconds: ticketMilliseconds, now: MonotonicClock.now())
        } catch {
            throw Failure(problems: ["\(error)"])
        }
        texts = Self.read(folder)
        try load()
    }

    /// TLS to the pods of a namespace; nil: plain TCP.
    public func security(_ namespace: String) -> UpstreamSecurity? {
        guard let trust else { return nil }
        if let known = securities[namespace] { return known }
        let made = UpstreamSecurity(trust: trust, identity: .knativePod(namespace: namespace))
        securities[namespace] = made
        return made
    }

    /// What has changed since the last look.
    public struct Change: Equatable, Sendable {
        /// There is something else to serve.
        public var servesAnew = false
        /// Others are trusted.
        public var trustsAnew = false
    }

    /// Looks again. Files that cannot be used change nothing; that is thrown once.
    public func look() throws(Failure) -> Change {
        let new = Self.read(folder)
        guard new != texts else { return Change() }
        let old = texts
        texts = new
        try load()
        return Change(
            servesAnew: old[..<2] != new[..<2] && set != nil, trustsAnew: old[2...] != new[2...] && trust != nil)
    }

    private static let names = ["tls.crt", "tls.key", "ca.crt", "bundle.crt"]

    private static func read(_ folder: String) -> [String?] {
        names.map { folder.isEmpty ? nil : SystemFile.read("\(folder)/\($0)", atMost: fileLimit) }
    }

    private func load() throws(Failure) {
        var problems: [String] = []
        let set = loadSet(&problems), trust = loadTrust(&problems)
        guard problems.isEmpty else { throw Failure(problems: problems) }
        (self.set, self.trust, securities) = (set, trust, [:])
    }

    private func loadSet(_ problems: inout [String]) -> CertificateSet? {
        guard let certificate = texts[0], let key = texts[1] else {
            if texts[0] != nil || texts[1] != nil {
                problems.append("\(folder): tls.crt and tls.key belong together; one of them is missing")
            }
            return nil
        }
        let source = CertificateSource(
            certificateFile: "\(folder)/tls.crt", certificate: Array(certificate.utf8),
            keyFile: "\(folder)/tls.key", key: Array(key.utf8), isDefault: true)
        let now = MonotonicClock.wallSeconds()
        let loaded = CertificateSet.load([source], previous: set, now: now)
        problems += loaded.problems.map { "\($0)" }
        return loaded.set
    }

    private func loadTrust(_ problems: inout [String]) -> TrustBundle? {
        var trust: TrustBundle?
        for (text, name, extent) in [(texts[2], "ca.crt", TrustBundle.Extent.first), (texts[3], "bundle.crt", .all)] {
            guard let text else { continue }
            do throws(CertificateProblem) {
                let file = "\(folder)/\(name)"
                let bundle = try TrustBundle(pem: Array(text.utf8), file: file, extent: extent)
                trust = trust?.adding(bundle) ?? bundle
            } catch {
                problems.append("\(error)")
            }
        }
        return trust
    }
}

/// Certificates of a running activator.
extension Activator {
    /// Uses these from now on, and looks for other ones now and then. Before `begin`.
    public func use(_ certificates: ActivatorCertificates) {
        context.security = { certificates.security($0) }
        lookLater(certificates)
        certificates.tickets.renew(on: loop) { [logger] problem in
            logger.error("session ticket key not rotated; trying again", metadata: ["problem": "\(problem)"])
        }
    }

    private func lookLater(_ certificates: ActivatorCertificates) {
        loop.after(milliseconds: configuration.certificateCheckMilliseconds) { [weak self] in
            guard let self else { return }
            look(certificates)
            lookLater(certificates)
        }
    }

    private func look(_ certificates: ActivatorCertificates) {
        do throws(ActivatorCertificates.Failure) {
            let change = try certificates.look()
            if change.servesAnew, let set = certificates.set { workers.post(.certificates(set)) }
            if change.trustsAnew {
                for throttler in throttlers.values { throttler.renewTarget() }
                publishLater()
            }
            if change.servesAnew || change.trustsAnew { logger.info("certificates were reloaded") }
        } catch {
            for problem in error.problems {
                logger.error("certificates refused; the old ones stay", metadata: ["problem": "\(problem)"])
            }
        }
    }
}
