import EventLoop
import TLS

/// One address that clients connect to. Every listener takes HTTP/1.1 and HTTP/2.
public struct ListenerOptions: Sendable {
    /// Where to listen; port 0 picks a free one.
    public var address: SocketAddress
    /// TLS on every connection, with `WorkerOptions.certificates`. Nil: plain TCP. Default nil.
    public var tls: TLSServerSettings?
    /// Answer every request with 301 to the same host and path at `https`, at this port (443 is not written); 0 is
    /// the port of the first listener with TLS. Nil: do not. Only for plain listeners. Default nil.
    public var redirectPort: UInt16?

    /// A plain listener.
    public init(_ address: SocketAddress, tls: TLSServerSettings? = nil, redirectPort: UInt16? = nil) {
        self.address = address
        self.tls = tls
        self.redirectPort = redirectPort
    }
}
