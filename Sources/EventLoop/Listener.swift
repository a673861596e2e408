import CLinux
import Glibc

/// A listening TCP socket. Several may share one address (`SO_REUSEPORT`), one a worker.
public struct Listener: ~Copyable {
    /// Connections the kernel keeps ready for us; it may cap this at net.core.somaxconn.
    public static let backlog: Int32 = 4096

    /// The descriptor, for registration with a poller.
    public let fd: Int32

    /// Binds and listens. Port 0 picks a free one: see `port`.
    public init(_ address: SocketAddress, sharesPort: Bool) throws(SystemError) {
        var native = address.native
        let result = clinux_listen(&native, sharesPort ? 1 : 0, Self.backlog)
        guard result >= 0 else { throw SystemError(call: "listen on \(address)", code: -result) }
        fd = result
    }

    /// Throws if nobody could listen there now. Nobody can connect meanwhile, as they could to a socket that listens
    /// for a moment, whose connections the kernel would reset.
    public static func check(_ address: SocketAddress) throws(SystemError) {
        var native = address.native
        let result = clinux_listen(&native, 0, -1)
        guard result >= 0 else { throw SystemError(call: "listen on \(address)", code: -result) }
        close(result)
    }

    /// Takes over a listening descriptor, opened by another thread or handed over by systemd.
    public init(owning fd: Int32) { self.fd = fd }

    /// Gives up the descriptor without closing it, to hand it to a worker.
    public consuming func release() -> Int32 {
        let descriptor = fd
        discard self
        return descriptor
    }

    /// The address it is bound to; nil if the system does not say.
    public var address: SocketAddress? {
        var native = clinux_address()
        return clinux_local_address(fd, &native) == 0 ? SocketAddress(native: native) : nil
    }

    /// One waiting connection, nothing, or an error number.
    public enum AcceptResult: ~Copyable {
        /// A connection and where it comes from.
        case connection(Socket, SocketAddress)
        /// Nobody is waiting.
        case nobody
        /// No connection, with this error number: EMFILE and ENFILE mean that descriptors have run out.
        case failed(Int32)
    }

    /// Takes the next waiting connection.
    public borrowing func accept() -> AcceptResult {
        var peer = clinux_address()
        while true {
            let result = clinux_accept(fd, &peer)
            if result >= 0 { return .connection(Socket(owning: result), SocketAddress(native: peer)) }
            switch -result {
            case EAGAIN: return .nobody
            case EINTR, ECONNABORTED: continue
            default: return .failed(-result)
            }
        }
    }

    deinit { close(fd) }
}
