import DataPlane
import TLS

/// HTTPS beside HTTP: the second listener, and whose certificates it serves.
extension AllInOneOptions {
    /// The plain listener, then the one with TLS.
    var listeners: [ListenerOptions] {
        guard let https = serving.https else { return [ListenerOptions(serving.http)] }
        let plain = ListenerOptions(serving.http, redirectPort: redirectsToHTTPS ? https.port : nil)
        return [plain, ListenerOptions(https, tls: TLSServerSettings())]
    }
}

extension AllInOne {
    /// Tells the keeper of certificates which hosts there are.
    func useHosts() {
        var hosts: [String: [String]] = [:]
        for (service, routes) in control.publicHosts {
            hosts[service.namespace, default: []] += routes.map(\.host)
        }
        certificates?.use(hosts: hosts)
    }
}
