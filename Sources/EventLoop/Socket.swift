import CLinux
import Glibc
import Primitives

/// What a read or write of a non-blocking descriptor came to.
public enum TransferResult: Equatable, Sendable {
    /// So many bytes, at least one.
    case bytes(Int)
    /// None now: wait for readiness.
    case wouldBlock
    /// The peer will send no more (reads only).
    case endOfStream
    /// The connection is broken, with this error number.
    case failed(Int32)
}

/// A connection: owns its descriptor, never blocks, never raises SIGPIPE.
public struct Socket: ~Copyable {
    /// The descriptor, for registration with a poller.
    public let fd: Int32

    /// Takes over `fd`, which must be a non-blocking stream socket.
    public init(owning fd: Int32) { self.fd = fd }

    /// The socket, or a connection attempt under way, or the error number of its refusal.
    public enum ConnectResult: ~Copyable {
        /// Connected.
        case connected(Socket)
        /// Becomes writable when it is connected or has failed; see `pendingError`.
        case pending(Socket)
        /// Refused at once, with this error number.
        case failed(Int32)
    }

    /// Starts a TCP connection.
    public static func connect(to address: SocketAddress) -> ConnectResult {
        var native = address.native
        var pending: Int32 = 0
        let fd = clinux_connect(&native, &pending)
        guard fd >= 0 else { return .failed(-fd) }
        return pending != 0 ? .pending(Socket(owning: fd)) : .connected(Socket(owning: fd))
    }

    /// The error number a connection attempt ended with; 0 if it succeeded.
    public var pendingError: Int32 { clinux_pending_error(fd) }

    /// Reads what is there, at most `place.count` bytes.
    @inline(__always)
    public borrowing func receive(into place: UnsafeMutableRawBufferPointer) -> TransferResult {
        while true {
            let count = clinux_receive(fd, place.baseAddress, place.count, 0)
            if count > 0 { return .bytes(count) }
            if count == 0 { return .endOfStream }
            let code = clinux_errno()
            if code == EAGAIN { return .wouldBlock }
            if code != EINTR { return .failed(code) }
        }
    }

    /// Looks whether something (bytes, an end, an error) is there to be read, without taking it.
    public borrowing func peek() -> TransferResult {
        var byte: UInt8 = 0
        let count = clinux_receive(fd, &byte, 1, Int32(MSG_PEEK))
        if count > 0 { return .bytes(count) }
        if count == 0 { return .endOfStream }
        let code = clinux_errno()
        return code == EAGAIN || code == EINTR ? .wouldBlock : .failed(code)
    }

    /// Sends from one place. `more` says that more follows at once, so the kernel may wait for it.
    @inline(__always)
    public borrowing func send(_ bytes: ByteView, more: Bool = false) -> TransferResult {
        let flags = Int32(MSG_NOSIGNAL) | (more ? Int32(MSG_MORE) : 0)
        while true {
            let count = clinux_send(fd, bytes.base, bytes.count, flags)
            if count >= 0 { return .bytes(count) }
            let code = clinux_errno()
            if code == EAGAIN { return .wouldBlock }
            if code != EINTR { return .failed(code) }
        }
    }

    /// Sends from several places, in order, as far as the kernel takes it.
    @inline(__always)
    public borrowing func send(_ pieces: UnsafeMutableBufferPointer<iovec>) -> TransferResult {
        var message = msghdr()
        message.msg_iov = pieces.baseAddress
        message.msg_iovlen = pieces.count
        while true {
            let count = sendmsg(fd, &message, Int32(MSG_NOSIGNAL))
            if count >= 0 { return .bytes(count) }
            let code = clinux_errno()
            if code == EAGAIN { return .wouldBlock }
            if code != EINTR { return .failed(code) }
        }
    }

    /// Says that we will send no more; reading goes on.
    public borrowing func shutdownWrite() { shutdown(fd, Int32(SHUT_WR)) }

    /// Makes the close send a reset: the peer shall not take what it got for complete.
    public borrowing func resetOnClose() { clinux_reset_on_close(fd) }

    /// Lets the kernel ask a silent peer, every `seconds` seconds, whether it still lives; after three questions in a
    /// row without an answer the connection fails. Connections that we make have shorter times already.
    public borrowing func keepAlive(seconds: Int32) { clinux_keep_alive(fd, seconds, seconds, 3) }

    /// How many of our bytes the peer's kernel has acknowledged since the connection began; nil if unknown.
    public borrowing func acknowledgedBytes() -> UInt64? {
        var acknowledged: UInt64 = 0
        var received: UInt64 = 0
        return clinux_tcp_progress(fd, &acknowledged, &received) == 0 ? acknowledged : nil
    }

    /// The address of our side; nil if the system does not say.
    public borrowing func localAddress() -> SocketAddress? {
        var native = clinux_address()
        return clinux_local_address(fd, &native) == 0 ? SocketAddress(native: native) : nil
    }

    deinit { close(fd) }
}
