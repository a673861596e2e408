import DataPlane
import EventLoop
import Logging
import TLS

/// HTTPS beside HTTP: the second listener, and whose certificates it serves.
extension AllInOneOptions {
    /// The plain listener, then the one with TLS.
    var listeners: [ListenerOptions] {
        guard let https else { return [ListenerOptions(http)] }
        let plain = ListenerOptions(http, redirectPort: redirectsToHTTPS ? https.port : nil)
        return [plain, ListenerOptions(https, tls: TLSServerSettings())]
    }
}

extension AllInOne {
    /// Keeps what was opened; nil without HTTPS.
    static func keeper(_ opened: OpenedCertificates?, _ loop: Loop, _ logger: Logger) throws -> CertificateKeeper? {
        guard let opened else { return nil }
        return CertificateKeeper(opened, tickets: try TicketKeyRing(now: loop.now), loop: loop, logger: logger)
    }

    /// Tells the keeper of certificates which hosts there are.
    func useHosts() {
        var hosts: [String: [String]] = [:]
        for (service, routes) in control.publicHosts {
            hosts[service.namespace, default: []] += routes.map(\.host)
        }
        certificates?.use(hosts: hosts)
    }
}
