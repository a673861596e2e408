import EventLoop
import TLS

/// One address that clients connect to. Every listener takes HTTP/1.1 and HTTP/2.
public struct ListenerOptions: Sendable {
    /// Where to listen; port 0 picks a free one.
    public var address: SocketAddress
    /// TLS on every connection, with `WorkerOptions.certificates`. Nil: plain TCP. Default nil.
    public var tls: TLSServerSettings?
    /// What it serves to TLS clients instead of `WorkerOptions.certificates`, for good. Nil: those. Default nil.
    public var certificates: CertificateSet?
    /// Answer every request with 301 to the same host and path at `https`, at this port (443 is not written); 0 is
    /// the port of the first listener with TLS. Nil: do not. Only for plain listeners. Default nil.
    public var redirectPort: UInt16?
    /// Whether a gateway serves cluster-local hosts there. Default false.
    public var servesClusterLocal = false
    /// Whether its clients are parts of the cluster, so that what they say about who asked is believed and completed:
    /// X-Forwarded-*, `Forwarded`, and at a gateway `K-Original-Host`. Default false.
    public var believesForwarded = false
    /// What its connections are for. All but traffic needs `WorkerOptions.questions`. Default traffic.
    public var purpose = ListenerPurpose.traffic

    /// A plain listener.
    public init(
        _ address: SocketAddress, tls: TLSServerSettings? = nil, redirectPort: UInt16? = nil,
        purpose: ListenerPurpose = .traffic
    ) {
        self.address = address
        self.tls = tls
        self.redirectPort = redirectPort
        self.purpose = purpose
    }
}
