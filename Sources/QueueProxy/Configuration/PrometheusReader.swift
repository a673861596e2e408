import Primitives
import TLS

/// The listener for Prometheus: METRICS_PROMETHEUS_* over the configured endpoint (`knative.dev/pkg`
/// `observability/metrics/prometheus/server.go`). Read only if Prometheus is on; empty means absent.
enum PrometheusReader {
    static let prefix = "METRICS_PROMETHEUS_"
    /// Where users' metrics are if nothing else is said.
    static let standardPort: UInt16 = 9091
    /// The ports Knative allows here.
    static let ports = 1024...65_535

    /// Nil if something is wrong with it, which is noted.
    static func read(endpoint: String, _ reader: inout VariableReader) -> PrometheusListener? {
        var host = "", port = String(standardPort)
        if !endpoint.isEmpty {
            guard let parts = split(endpoint) else {
                reader.reject(
                    "\(ObservabilityReader.variable).requestMetrics.endpoint",
                    found: "is \(endpoint.quotedForMessage)", allowed: "host:port, [ipv6]:port or :port")
                return nil
            }
            (host, port) = parts
        }
        let standardHost = host, standardPortText = port
        host = reader.text("\(prefix)HOST", default: standardHost, empty: .isAbsent)
        port = reader.text("\(prefix)PORT", default: standardPortText, empty: .isAbsent)
        guard let number = GoText.port(port), ports.contains(Int(number)) else {
            reader.reject(
                "\(prefix)PORT", found: "is \(port.quotedForMessage)",
                allowed: "a port in \(ports.lowerBound)...\(ports.upperBound)")
            return nil
        }
        let name = host.utf8.contains(ASCII.colon) ? "[\(host)]" : host
        guard let listen = ListenAddress("\(name):\(number)") else {
            reader.reject(
                "\(prefix)HOST", found: "is \(host.quotedForMessage)",
                allowed: "an address, localhost, or nothing (every address); names are not looked up")
            return nil
        }
        return PrometheusListener(listen: listen, security: security(&reader))
    }

    /// Go's `net.SplitHostPort`.
    private static func split(_ text: String) -> (host: String, port: String)? {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let host = text[..<colon], port = text[text.index(after: colon)...]
        if host.hasPrefix("["), host.hasSuffix("]") { return (String(host.dropFirst().dropLast()), String(port)) }
        return host.utf8.contains { ":[]".utf8.contains($0) } ? nil : (String(host), String(port))
    }

    private static func security(_ reader: inout VariableReader) -> PrometheusListener.Security? {
        let certificate = reader.text("\(prefix)TLS_CERT", empty: .isAbsent)
        let key = reader.text("\(prefix)TLS_KEY", empty: .isAbsent)
        let clients = clientCertificates(&reader)
        let authority = reader.text("\(prefix)TLS_CLIENT_CA_FILE", empty: .isAbsent)
        let authorityFile = authority.drop { $0 == " " }.isEmpty ? "" : authority
        if certificate.isEmpty != key.isEmpty {
            reader.reject(
                "\(prefix)TLS_\(certificate.isEmpty ? "CERT" : "KEY")", found: "is not set",
                allowed: "both \(prefix)TLS_CERT and \(prefix)TLS_KEY, or neither")
        }
        let isTLS = !certificate.isEmpty && !key.isEmpty
        if clients != .off, authorityFile.isEmpty {
            reader.reject(
                "\(prefix)TLS_CLIENT_CA_FILE", found: "is not set",
                allowed: "the file of those who sign the certificates of clients, as \(prefix)TLS_CLIENT_AUTH asks for")
        }
        if clients == .off, !authorityFile.isEmpty {
            reader.reject(
                "\(prefix)TLS_CLIENT_CA_FILE", found: "is \(authority.quotedForMessage)",
                allowed: "only with \(prefix)TLS_CLIENT_AUTH optional or require")
        }
        guard isTLS else {
            if clients != .off {
                reader.reject(
                    "\(prefix)TLS_CLIENT_AUTH", found: "is set",
                    allowed: "only with \(prefix)TLS_CERT and \(prefix)TLS_KEY")
            }
            return nil
        }
        var settings = TLSReader.read(prefix: prefix, &reader)
        settings.clientCertificates = clients
        return PrometheusListener.Security(
            certificateFile: certificate, keyFile: key, clientAuthorityFile: clients == .off ? nil : authorityFile,
            settings: settings)
    }

    private static func clientCertificates(_ reader: inout VariableReader) -> ClientCertificates {
        reader.value(
            "\(prefix)TLS_CLIENT_AUTH", default: .off, empty: .isAbsent, allowed: "none, optional, require",
            show: { $0 == .off ? "none" : $0 == .optional ? "optional" : "require" },
            parse: { text in
                switch text.lowercased().filter({ $0 != " " && $0 != "\t" }) {
                case "", "none": .off
                case "optional": .optional
                case "require": .required
                case _: nil
                }
            })
    }
}
