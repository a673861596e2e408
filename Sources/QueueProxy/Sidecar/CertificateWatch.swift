import DataPlane
import EventLoop
import Primitives
import TLS

/// The certificate of the TLS listener: read at the start, compared with its files now and then, and handed to the
/// workers when they have changed. A pair that cannot be served is told, and the old one stays.
///
/// Owner: the control thread. Source: spec/dataplane 1.11.
final class CertificateWatch {
    /// Longest file that is read, in bytes.
    static let fileLimit = 1 << 20
    /// What the log says when a certificate is in use from now on. Tests of Knative wait for this line.
    static let reloadedMessage = "Certificate and/or key have changed on disk and were reloaded."

    /// What is served.
    private(set) var set: CertificateSet
    /// The keys of session tickets, shared by the workers.
    let tickets: TicketKeyRing
    private let directory: String
    private let log: SidecarLog
    private var certificate: [UInt8]
    private var key: [UInt8]

    /// Why there is no certificate to begin with.
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Reads the pair in `directory`.
    init(directory: String, log: SidecarLog) throws(Failure) {
        self.directory = directory
        self.log = log
        do throws(SystemError) {
            (certificate, key) = try Self.read(directory)
        } catch {
            throw Failure(description: "\(error)")
        }
        let loaded = Self.load(directory, certificate, key, previous: nil)
        if let problem = loaded.problems.first { throw Failure(description: "\(problem)") }
        set = loaded.set
        do throws(TLSSetupFailure) {
            tickets = try TicketKeyRing(now: MonotonicClock.now())
        } catch {
            throw Failure(description: "\(error)")
        }
        log.write(.info, Self.reloadedMessage)
    }

    /// Compares each `milliseconds` from now on; `publish` gets what is to be served instead.
    func begin(on loop: Loop, milliseconds: UInt64, publish: @escaping (CertificateSet) -> Void) {
        lookLater(on: loop, milliseconds, publish)
        tickets.renew(on: loop) { [log] problem in
            log.write(.error, "session ticket key not rotated; trying again", [("error", "\(problem)")])
        }
    }

    private func lookLater(on loop: Loop, _ milliseconds: UInt64, _ publish: @escaping (CertificateSet) -> Void) {
        loop.after(milliseconds: milliseconds) { [weak self, unowned loop] in
            guard let self else { return }
            if look() { publish(set) }
            lookLater(on: loop, milliseconds, publish)
        }
    }

    /// Whether there is something new to serve.
    private func look() -> Bool {
        do throws(SystemError) {
            let (newCertificate, newKey) = try Self.read(directory)
            guard newCertificate != certificate || newKey != key else { return false }
            // Told once: the same broken pair is not looked at again.
            (certificate, key) = (newCertificate, newKey)
        } catch {
            log.write(.error, "certificate cannot be read; the old one stays", [("error", "\(error)")])
            return false
        }
        let loaded = Self.load(directory, certificate, key, previous: set)
        if let problem = loaded.problems.first {
            log.write(.error, "certificate refused; the old one stays", [("error", "\(problem)")])
            return false
        }
        set = loaded.set
        log.write(.info, Self.reloadedMessage)
        return true
    }

    private static func load(
        _ directory: String, _ certificate: [UInt8], _ key: [UInt8], previous: CertificateSet?
    ) -> CertificateSet.Loaded {
        // Whatever name a client asks for: activators ask for one that no certificate of Knative's has today.
        let source = CertificateSource(
            certificateFile: "\(directory)/\(CertificateMount.certificateName)", certificate: certificate,
            keyFile: "\(directory)/\(CertificateMount.keyName)", key: key, isDefault: true)
        let now = MonotonicClock.wallSeconds()
        return CertificateSet.load([source], previous: previous, now: now)
    }

    private static func read(
        _ directory: String
    ) throws(SystemError) -> (certificate: [UInt8], key: [UInt8]) {
        func contents(_ name: String) throws(SystemError) -> [UInt8] {
            try FolderFiles.contents(of: "\(directory)/\(name)", atMost: fileLimit)
        }
        return (try contents(CertificateMount.certificateName), try contents(CertificateMount.keyName))
    }
}
