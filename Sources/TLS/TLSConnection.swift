import COpenSSL
import Primitives

/// One TLS connection, either side, over the memory of its driver. It knows no socket: bytes of the peer are handed in,
/// bytes to the peer are written into the driver's buffer, and between two calls it holds no buffer but a started
/// record.
///
/// Noncopyable, so that it lives in the slab beside its socket and is freed with it. It belongs to one worker. See
/// `Lifecycle.md` for the states and what the driver must do.
public struct TLSConnection: ~Copyable {
    /// Where a connection stands.
    public enum State: Equatable, Sendable {
        /// The handshake is under way: no data yet.
        case handshaking
        /// Data flows both ways.
        case open
        /// The peer has said that it sends no more; we still may.
        case peerClosed
        /// We have said that we send no more; the peer still may.
        case closing
        /// Both have.
        case closed
        /// It broke. Send what was written into the replies, then close the socket.
        case failed(TLSFailure)
    }

    /// What a call came to, and what comes next.
    public enum Next: Equatable, Sendable {
        /// All bytes were taken: wait for more.
        case bytes
        /// The handshake is complete: look at the facts, pick a codec, then call again with the bytes that are left.
        case opened
        /// The room for data is full: use it, then call again.
        case room
        /// The room for replies is full: send them, then call again.
        case replies
        /// The peer sends no more; see `state`.
        case end
        /// It broke; see `state`.
        case failure
    }

    /// The result of `receive`.
    public struct Progress: Equatable, Sendable {
        /// How many of the peer's bytes were taken.
        public let consumed: Int
        /// How many bytes of data were written.
        public let produced: Int
        /// What comes next.
        public let next: Next
    }

    /// Room for replies that is always enough for one step outside of a handshake, in bytes.
    public static let replyBytes = 512
    /// Bytes that a record adds to its data, at most: header, explicit nonce, tag, and what may have to go before it.
    public static let recordOverheadBytes = 128

    /// Where it stands.
    public private(set) var state = State.handshaking

    let ssl: OpaquePointer
    // OpenSSL calls back with the addresses of these two, so the connection keeps them alive.
    private let context: TLSContext
    let peer: PeerIdentity?
    /// Bytes of the handshake so far; later bytes since the last data.
    private var protocolBytes = 0
    /// Length of a record that OpenSSL has made and not written out yet.
    private var stalledWrite = 0
    private var owesCloseNotify = false

    /// The server's side of a new connection. Throws only without memory.
    public init(accepting context: TLSServerContext) throws(TLSFailure) {
        ssl = try Self.make(context)
        self.context = context
        peer = nil
        SSL_set_accept_state(ssl)
    }

    /// The client's side of a new connection to a peer that must be `peer`, resuming `session` if that was made under
    /// the same rule. Call `transmit` for the first bytes. Throws if the names cannot be used, or without memory.
    public init(
        connecting context: TLSClientContext, to peer: PeerIdentity, resuming session: TLSSession? = nil
    ) throws(TLSFailure) {
        let ssl = try Self.make(context)
        SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(peer).toOpaque())
        guard peer.install(in: ssl) else {
            SSL_free(ssl)
            throw TLSFailure(.ours, code: UInt32(truncatingIfNeeded: OpenSSLError.take()))
        }
        self.ssl = ssl
        self.context = context
        self.peer = peer
        SSL_set_connect_state(ssl)
        if let session, session.peer === peer { SSL_set_session(ssl, session.pointer) }
    }

    private static func make(_ context: TLSContext) throws(TLSFailure) -> OpaquePointer {
        ERR_clear_error()
        if let ssl = SSL_new(context.pointer) {
            if copenssl_attach(ssl) == 1 { return ssl }
            SSL_free(ssl)
        }
        throw TLSFailure(.ours, code: UInt32(truncatingIfNeeded: OpenSSLError.take()))
    }

    deinit {
        // OpenSSL makes the session of a connection that was not shut down unusable; whether data was cut off is the
        // codec's business, and says nothing about the session. One that failed stays unusable.
        if case .failed = state {} else { SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN) }
        SSL_free(ssl)
    }

    // MARK: Ways in

    /// Takes bytes of the peer: goes on with the handshake, or writes the data in them to `plain`.
    ///
    /// `replies` receives what the protocol itself must say (flights of the handshake, alerts, key updates); send it in
    /// any case, also after a failure. It needs `replyBytes` of room. Bytes that are not consumed must be handed in
    /// again.
    public mutating func receive(
        _ cipher: ByteView, into plain: UnsafeMutableRawBufferPointer, replies: inout ByteWriter
    ) -> Progress {
        switch state {
        case .handshaking: return handshake(cipher, &replies)
        case .open, .closing: return read(cipher, into: plain, &replies)
        case .peerClosed, .closed: return Progress(consumed: cipher.count, produced: 0, next: .end)
        case .failed: return Progress(consumed: cipher.count, produced: 0, next: .failure)
        }
    }

    /// The transport ended without more bytes. Without the peer's close_notify before it that is a failure (the data
    /// may be cut off), unless we have said goodbye first.
    public mutating func endOfStream() {
        switch state {
        case .handshaking, .open: state = .failed(TLSFailure(.truncated))
        case .closing: state = .closed
        case .peerClosed, .closed, .failed: break
        }
    }

    private mutating func handshake(_ cipher: ByteView, _ replies: inout ByteWriter) -> Progress {
        var io = Self.io(cipher, replies)
        let result = copenssl_handshake(ssl, &io)
        Self.commit(io, &replies)
        let consumed = cipher.count - io.input_count
        protocolBytes += consumed
        switch result {
        case SSL_ERROR_NONE:
            state = .open
            protocolBytes = 0
            return Progress(consumed: consumed, produced: 0, next: .opened)
        case SSL_ERROR_WANT_WRITE: return Progress(consumed: consumed, produced: 0, next: .replies)
        case SSL_ERROR_WANT_READ where protocolBytes <= context.handshakeBytesLimit:
            return Progress(consumed: consumed, produced: 0, next: .bytes)
        case SSL_ERROR_WANT_READ: return fail(TLSFailure(.handshakeTooLarge), consumed, 0)
        default: return fail(TLSFailure.taken(from: ssl), consumed, 0)
        }
    }

    private mutating func read(
        _ cipher: ByteView, into plain: UnsafeMutableRawBufferPointer, _ replies: inout ByteWriter
    ) -> Progress {
        var io = Self.io(cipher, replies)
        var produced = 0
        var result = SSL_ERROR_NONE
        while result == SSL_ERROR_NONE, produced < plain.count {
            var count = 0
            result = copenssl_read(ssl, &io, plain.baseAddress.map { $0 + produced }, plain.count - produced, &count)
            produced += count
            // Asking once more would allocate a record's buffer only to find nothing.
            if io.input_count == 0, SSL_has_pending(ssl) == 0 { break }
        }
        Self.commit(io, &replies)
        assert(produced <= plain.count && io.input_count <= cipher.count)
        return finishRead(result, consumed: cipher.count - io.input_count, left: io.input_count, produced)
    }

    private mutating func finishRead(_ result: Int32, consumed: Int, left: Int, _ produced: Int) -> Progress {
        protocolBytes = produced > 0 ? 0 : protocolBytes + consumed
        switch result {
        case SSL_ERROR_NONE:
            let isDrained = left == 0 && SSL_pending(ssl) == 0
            return Progress(consumed: consumed, produced: produced, next: isDrained ? .bytes : .room)
        case SSL_ERROR_WANT_READ where protocolBytes <= context.controlBytesLimit:
            return Progress(consumed: consumed, produced: produced, next: .bytes)
        case SSL_ERROR_WANT_READ: return fail(TLSFailure(.controlFlood), consumed, produced)
        case SSL_ERROR_WANT_WRITE: return Progress(consumed: consumed, produced: produced, next: .replies)
        case SSL_ERROR_ZERO_RETURN:
            state = state == .closing ? .closed : .peerClosed
            return Progress(consumed: consumed, produced: produced, next: .end)
        default: return fail(TLSFailure.taken(from: ssl), consumed, produced)
        }
    }

    private mutating func fail(_ failure: TLSFailure, _ consumed: Int, _ produced: Int) -> Progress {
        state = .failed(failure)
        return Progress(consumed: consumed, produced: produced, next: .failure)
    }

    // MARK: Ways out

    /// Encrypts `plain` into records in `cipher` and returns how many bytes were taken: all of them, or as many as
    /// `cipher` has room for. Bytes that were not taken must be offered again, before any others.
    ///
    /// `recordLimit` is the most data in one record, in bytes (see `RecordSizing`). Nothing is taken unless the state
    /// is `open` or `peerClosed`.
    public mutating func write(
        _ plain: ByteView, into cipher: inout ByteWriter, recordLimit: Int = RecordSizing.largestBytes
    ) -> Int {
        guard state == .open || state == .peerClosed else { return 0 }
        let limit = min(max(recordLimit, 1), RecordSizing.largestBytes)
        var taken = 0
        while taken < plain.count {
            let left = plain.count - taken
            let chunk = stalledWrite > 0 ? stalledWrite : chunk(of: left, limit: limit, room: cipher)
            guard chunk > 0, chunk <= left else { break }
            let count = writeRecord(plain[taken..<(taken + chunk)], &cipher)
            guard count > 0 else { break }
            taken += count
        }
        return taken
    }

    /// How many bytes the next record takes: none, rather than a sliver, when the room ends.
    private func chunk(of left: Int, limit: Int, room cipher: borrowing ByteWriter) -> Int {
        let wanted = min(left, limit)
        let fits = cipher.capacity - cipher.count - Self.recordOverheadBytes
        return fits >= wanted ? wanted : fits >= 1024 ? fits : 0
    }

    private mutating func writeRecord(_ plain: ByteView, _ cipher: inout ByteWriter) -> Int {
        var io = Self.io(.empty, cipher)
        var count = 0
        let result = copenssl_write(ssl, &io, plain.base, plain.count, &count)
        Self.commit(io, &cipher)
        switch result {
        case SSL_ERROR_NONE: stalledWrite = 0
        // The room was enough by our count, so this comes only after a reply that found none.
        case SSL_ERROR_WANT_WRITE: stalledWrite = plain.count
        default: state = .failed(TLSFailure.taken(from: ssl))
        }
        return count
    }

    /// Writes what the protocol itself has to say without having heard anything: the client's first flight, or what
    /// found no room before. Call it after `connecting`, and when a call came to `replies`.
    public mutating func transmit(into cipher: inout ByteWriter) {
        switch state {
        case .handshaking:
            // Nothing can have opened without bytes of the peer, except a flight that waited for room.
            _ = handshake(.empty, &cipher)
        case .closing, .closed: if owesCloseNotify { sendCloseNotify(&cipher) }
        case .open, .peerClosed, .failed: break
        }
    }

    /// Says that we send no more (RFC 8446 §6.1). The peer may still send, and `receive` goes on. In a handshake
    /// there is nothing to end: the state is `closed` at once.
    public mutating func closeNotify(into cipher: inout ByteWriter) {
        switch state {
        case .handshaking: state = .closed
        case .open:
            state = .closing
            sendCloseNotify(&cipher)
        case .peerClosed:
            state = .closed
            sendCloseNotify(&cipher)
        case .closing, .closed, .failed: break
        }
    }

    private mutating func sendCloseNotify(_ cipher: inout ByteWriter) {
        var io = Self.io(.empty, cipher)
        let result = copenssl_close(ssl, &io)
        Self.commit(io, &cipher)
        owesCloseNotify = result == SSL_ERROR_WANT_WRITE
    }

    // MARK: Memory of a step

    private static func io(_ cipher: ByteView, _ out: borrowing ByteWriter) -> copenssl_io {
        copenssl_io(
            input: cipher.base, input_count: cipher.count, output: out.base + out.count,
            output_room: out.overflowed ? 0 : out.capacity - out.count)
    }

    private static func commit(_ io: copenssl_io, _ out: inout ByteWriter) {
        guard !out.overflowed else { return }
        _ = out.reserve(out.capacity - out.count - io.output_room)
    }
}
