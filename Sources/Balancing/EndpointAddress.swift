/// Where an endpoint listens: an IPv4 address and a TCP port.
public struct EndpointAddress: Hashable, Sendable {
    /// The IPv4 address in host order: `127.0.0.1` is `0x7F00_0001`.
    public var ipv4: UInt32
    /// The TCP port. 0 is never connected to.
    public var port: UInt16

    /// The address `ipv4` (host order), port `port`.
    @inlinable
    public init(ipv4: UInt32, port: UInt16) {
        self.ipv4 = ipv4
        self.port = port
    }

    /// Port `port` of this machine, `127.0.0.1`.
    @inlinable
    public static func loopback(port: UInt16) -> EndpointAddress { EndpointAddress(ipv4: 0x7F00_0001, port: port) }
}

extension EndpointAddress: CustomStringConvertible {
    /// The usual text, `127.0.0.1:8080`. Allocates: for logs and errors, not per request.
    public var description: String {
        "\(ipv4 >> 24).\(ipv4 >> 16 & 0xFF).\(ipv4 >> 8 & 0xFF).\(ipv4 & 0xFF):\(port)"
    }
}
