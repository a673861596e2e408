import EventLoop
import Glibc
import Primitives
import TLS

/// TLS between a connection and its socket, either side: the core, the ciphertext it has not taken, and what is known
/// of the end. In memory of its own, so that a plain connection holds no more than a pointer.
///
/// It reads the socket, since only who decrypts knows when enough was read; what is to be sent it hands back.
struct SecureTransport: ~Copyable {
    /// What one read came to.
    enum Step: Equatable {
        /// So much plaintext.
        case bytes(Int)
        /// The handshake is complete.
        case opened
        /// The very first byte is that of a method: somebody speaks plain HTTP to a TLS port.
        case plainHTTP
        /// Nothing yet: call again at once.
        case again
        /// Nothing, and the socket is drained.
        case wouldBlock
        /// The peer sends no more.
        case end
        /// Broken, with an error number of the socket's or `EPROTO` for what is no good TLS.
        case failed(Int32)
    }

    /// Room for ciphertext beyond the room for plaintext, so that records of a full read fit with their framing.
    static let readSlack = 512
    /// Least ciphertext asked of the socket, in bytes: a usual flight of a handshake in one read.
    static let leastRead = 4096

    var tls: TLSConnection
    var sizing = RecordSizing()
    /// Ciphertext that was read and not taken. The socket is not read while there is any.
    private var parked = Buffer.none
    /// Whether the core must be asked again before it hears more: it holds plaintext or a reply for which there was no
    /// room.
    private var isUnfinished = false
    /// Whether the first bytes are still to come, on the server's side.
    private var awaitsHello: Bool
    /// Whether the peer has said that it sends no more, by close_notify or by the end of the transport.
    private(set) var hasEnded = false
    /// Why it broke.
    private(set) var failure: TLSFailure?

    init(_ tls: consuming TLSConnection, isServer: Bool) {
        self.tls = tls
        awaitsHello = isServer
    }

    /// Whether another read may give something although the socket says nothing.
    var hasMore: Bool { isUnfinished || hasEnded || failure != nil || parked.count > 0 }

    /// One read of the socket, or one step with what is parked, decrypted into `place`.
    ///
    /// `scratch` takes the ciphertext meanwhile; `replies` what must be sent in any case. `isDrained` is set when the
    /// socket gave less than was asked of it.
    mutating func read(
        from socket: borrowing Socket, through scratch: UnsafeMutableRawBufferPointer,
        into place: UnsafeMutableRawBufferPointer, replies: inout ByteWriter, buffers: inout BufferPool,
        isDrained: inout Bool
    ) -> Step {
        if failure != nil { return .failed(EPROTO) }
        if hasEnded { return .end }
        if isUnfinished || parked.count > 0 { return stepParked(place, &replies, &buffers) }
        let room = min(scratch.count, max(place.count, Self.leastRead) + Self.readSlack)
        let chunk = UnsafeMutableRawBufferPointer(rebasing: scratch[..<room])
        switch socket.receive(into: chunk) {
        case .bytes(let count):
            isDrained = count < room
            let cipher = ByteView(UnsafeRawBufferPointer(rebasing: chunk[..<count]))
            if awaitsHello {
                awaitsHello = false
                if FirstBytes(cipher) == .plain, (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(cipher[0]) {
                    return .plainHTTP
                }
            }
            let progress = tls.receive(cipher, into: place, replies: &replies)
            let rest = cipher.dropping(first: progress.consumed)
            if !rest.isEmpty, progress.next != .end, progress.next != .failure {
                guard buffers.provide(rest.count, in: &parked), parked.append(rest) else { return .failed(ENOMEM) }
            }
            return settle(progress)
        case .wouldBlock:
            isDrained = true
            return .wouldBlock
        case .endOfStream:
            tls.endOfStream()
            hasEnded = true
            return .end
        case .failed(let code): return .failed(code)
        }
    }

    private mutating func stepParked(
        _ place: UnsafeMutableRawBufferPointer, _ replies: inout ByteWriter, _ buffers: inout BufferPool
    ) -> Step {
        let progress = tls.receive(parked.bytes, into: place, replies: &replies)
        parked.consume(progress.consumed)
        if parked.count == 0 { buffers.release(&parked) }
        return settle(progress)
    }

    private mutating func settle(_ progress: TLSConnection.Progress) -> Step {
        isUnfinished = progress.next == .room || progress.next == .replies
        switch progress.next {
        case .opened: return .opened
        case .bytes, .room, .replies: break
        case .end: hasEnded = true
        case .failure: if case .failed(let reason) = tls.state { failure = reason }
        }
        if progress.produced > 0 { return .bytes(progress.produced) }
        return hasEnded ? .end : failure != nil ? .failed(EPROTO) : .again
    }

    /// Whether something that was read waits to be taken.
    var holdsBytes: Bool { isUnfinished || parked.count > 0 }

    /// Whether the transport ended without the peer's close_notify: what came may be incomplete.
    var isTruncated: Bool { if case .failed = tls.state { hasEnded } else { false } }

    /// Gives back the memory of what was not taken.
    mutating func release(to buffers: inout BufferPool) { buffers.release(&parked) }
}

/// Where a connection keeps its TLS; nil if it is plain.
typealias Secure = UnsafeMutablePointer<SecureTransport>

extension Secure {
    /// Moves `tls` into memory of its own, which the connection that holds it frees with `destroy`.
    static func make(_ tls: consuming TLSConnection, isServer: Bool) -> Secure {
        let place = Secure.allocate(capacity: 1)
        place.initialize(to: SecureTransport(tls, isServer: isServer))
        return place
    }

    /// Ends it.
    func destroy() {
        deinitialize(count: 1)
        deallocate()
    }
}
