import EventLoop

/// Where a listener takes connections.
public struct ListenAddress: Equatable, Sendable, CustomStringConvertible {
    /// The address, or nil: every address of the pod, IPv6 and IPv4.
    public let address: SocketAddress?
    /// The port; 0 asks the kernel for one.
    public let port: UInt16

    /// Every address with `port`.
    public init(port: UInt16) { self.init(nil, port: port) }

    private init(_ address: SocketAddress?, port: UInt16) {
        self.address = address
        self.port = port
    }

    /// `:port` (every address), `address:port`, `[ipv6]:port`, `localhost:port`, or a port alone (127.0.0.1). Host
    /// names are not looked up. Nil if the text is none of these.
    public init?(_ text: String) {
        if text.hasPrefix(":") {
            guard let port = GoText.port(String(text.dropFirst())), text.utf8.count > 1 else { return nil }
            self.init(port: port)
        } else {
            guard let address = SocketAddress(text) else { return nil }
            self.init(address, port: address.port)
        }
    }

    /// What to bind: the first that the kernel takes. For every address that is `[::]`, which takes IPv4 as well, and
    /// `0.0.0.0` on a machine without IPv6 (as Go's `net.Listen`).
    public var candidates: [SocketAddress] {
        if let address { return [address] }
        return [SocketAddress("[::]:\(port)"), SocketAddress("0.0.0.0:\(port)")].compactMap { $0 }
    }

    /// `:8012`, `127.0.0.1:8012`.
    public var description: String { address.map { "\($0)" } ?? ":\(port)" }

    static let allowed = "address:port, [ipv6]:port, :port (every address) or a port alone (127.0.0.1)"
}
