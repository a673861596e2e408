import EventLoop
import Glibc
import TLS

/// One listening socket of a worker, and what the connections that come in there are.
final class WorkerListener {
    let socket: Listener
    /// The server's side of TLS; nil for a plain listener.
    let tls: TLSServerContext?
    /// Where requests are redirected to; 0: they are served.
    let redirectPort: UInt16
    /// What its connections are for.
    let purpose: ListenerPurpose
    /// Whether cluster-local hosts are served.
    let servesClusterLocal: Bool
    /// Whether what is said about who asked is believed.
    let believesForwarded: Bool
    /// Whether its certificates are its own and not those of all.
    let ownsCertificates: Bool

    /// Owns `descriptor` from now on. Throws the TLS setting that cannot be used.
    init(owning descriptor: Int32, _ listener: ListenerOptions, _ options: WorkerOptions) throws(SystemError) {
        socket = Listener(owning: descriptor)
        redirectPort = listener.redirectPort ?? 0
        purpose = listener.purpose
        servesClusterLocal = listener.servesClusterLocal
        believesForwarded = listener.believesForwarded
        ownsCertificates = listener.certificates != nil
        do throws(TLSSetupFailure) {
            tls = try listener.makeContext(options)
        } catch {
            throw SystemError(call: "TLS on \(listener.address): \(error)", code: EINVAL)
        }
    }
}

extension ListenerOptions {
    /// The server's side of TLS for one worker; nil for a plain listener.
    func makeContext(_ options: WorkerOptions) throws(TLSSetupFailure) -> TLSServerContext? {
        guard let tls else { return nil }
        let certificates = certificates ?? options.certificates ?? CertificateSet.load([], now: 0).set
        return try TLSServerContext(tls, certificates: certificates, tickets: options.tickets)
    }

    /// Throws the TLS setting that workers with these options could not use; they would fail to start.
    public func check(with options: WorkerOptions) throws(TLSSetupFailure) { _ = try makeContext(options) }
}
