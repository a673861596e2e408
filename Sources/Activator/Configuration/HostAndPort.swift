/// A host name or address and a port, as `autoscaler.knative-serving:8080`, `[::1]:8080`.
public struct HostAndPort: Equatable, Sendable {
    /// Without brackets; not empty.
    public let host: String
    /// 1...65535.
    public let port: UInt16

    /// Reads `HOST:PORT`; nil if the text is none.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        var host = text[..<colon]
        let port = text[text.index(after: colon)...]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard let number = UInt16(port), number > 0, port.allSatisfy(\.isNumber), !host.isEmpty else { return nil }
        guard host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        self.host = String(host)
        self.port = number
    }
}
