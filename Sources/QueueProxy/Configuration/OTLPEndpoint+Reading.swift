import Primitives

extension OTLPEndpoint {
    static let allowed = "http://host:port or https://host:port, with a path if need be"

    /// Reads an endpoint as Knative hands it to OpenTelemetry: a URL, or `host:port` with a name, which means https.
    /// An address needs a scheme, as in Go. No path is that of the signal (`/v1/traces`).
    init?(configured text: String, transport: Transport, signalPath: String) {
        let isURL = text.cut(at: "://") != nil
        let startsAsScheme = text.unicodeScalars.first.map { $0.properties.isAlphabetic && $0.isASCII } ?? false
        guard isURL || startsAsScheme && text.utf8.contains(ASCII.colon) else { return nil }
        self.init(url: isURL ? text : "https://" + text, transport: transport)
        if path.isEmpty { path = signalPath }
    }

    /// Reads OpenTelemetry's own variables: that of the signal with its path as it is, that of all signals with the
    /// signal's path behind its own.
    init?(variable text: String, isForAllSignals: Bool, transport: Transport, signalPath: String) {
        self.init(url: text, transport: transport)
        if isForAllSignals {
            while path.hasSuffix("/") { path.removeLast() }
            path += signalPath
        } else if path.isEmpty {
            path = "/"
        }
    }

    private init?(url: String, transport: Transport) {
        guard let (scheme, rest) = url.cut(at: "://"), url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            return nil
        }
        switch scheme.lowercased() {
        case "http": isTLS = false
        case "https": isTLS = true
        case _: return nil
        }
        self.transport = transport
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        path = String(rest.dropFirst(authority.count).prefix { $0 != "?" && $0 != "#" })
        guard !authority.utf8.contains(UInt8(ascii: "@")) else { return nil }
        var name = authority, portText = Substring()
        if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
            name = authority[..<colon]
            portText = authority[authority.index(after: colon)...]
            guard !portText.isEmpty else { return nil }
        }
        if name.hasPrefix("["), name.hasSuffix("]") {
            name = name.dropFirst().dropLast()
        } else if name.utf8.contains(ASCII.colon) {
            return nil
        }
        let standard: UInt16 = isTLS || transport == .grpc ? 443 : 80
        guard !name.isEmpty, let number = portText.isEmpty ? standard : GoText.port(String(portText)), number > 0
        else { return nil }
        (host, port) = (String(name), number)
    }
}

extension OTLPEndpoint: CustomStringConvertible {
    /// `http/protobuf http://collector:4318/v1/traces`.
    public var description: String {
        let name = host.utf8.contains(ASCII.colon) ? "[\(host)]" : host
        return "\(transport.rawValue) \(isTLS ? "https" : "http")://\(name):\(port)\(path)"
    }
}
