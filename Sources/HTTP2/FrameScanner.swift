import Primitives

/// The numbers of frame types and flags (RFC 9113 §6).
enum FrameType {
    static var data: UInt8 { 0 }
    static var headers: UInt8 { 1 }
    static var priority: UInt8 { 2 }
    static var reset: UInt8 { 3 }
    static var settings: UInt8 { 4 }
    static var pushPromise: UInt8 { 5 }
    static var ping: UInt8 { 6 }
    static var goAway: UInt8 { 7 }
    static var windowUpdate: UInt8 { 8 }
    static var continuation: UInt8 { 9 }
}

/// Flags of frames (RFC 9113 §6).
enum FrameFlag {
    static var endStream: UInt8 { 1 }
    static var ack: UInt8 { 1 }
    static var endHeaders: UInt8 { 4 }
}

/// The first nine bytes of a frame (RFC 9113 §4.1).
struct FrameHeader: Equatable, Sendable {
    static var bytes: Int { 9 }

    var length = 0
    var type: UInt8 = 0
    var flags: UInt8 = 0
    var stream: UInt32 = 0

    /// DATA without a byte that does not end its stream. Padding is not seen here.
    var isEmptyData: Bool { type == FrameType.data && length == 0 && flags & FrameFlag.endStream == 0 }
    /// Whether a header block begins or goes on and is not complete with this frame.
    var leavesBlockOpen: Bool {
        (type == FrameType.headers || type == FrameType.continuation) && flags & FrameFlag.endHeaders == 0
    }
    /// Whether a header block ends with this frame.
    var endsBlock: Bool {
        (type == FrameType.headers || type == FrameType.continuation) && flags & FrameFlag.endHeaders != 0
    }
}

/// Cuts the peer's bytes at the ends of frames and reads each frame's first nine bytes. Pure, allocates nothing.
///
/// nghttp2 would take any number of frames at once and call back for each; cutting keeps what one call can bring down
/// to a frame, so that a short queue of events suffices, and lets floods be counted before anything is done for them.
struct FrameScanner: Sendable {
    /// A piece to hand on.
    struct Piece: Equatable, Sendable {
        /// Where it ends in the bytes.
        var end: Int
        /// The frame whose header was completed by it.
        var header: FrameHeader?
    }

    private var prefaceLeft: Int
    private var have = 0
    private var left = 0
    // The first eight bytes of a header, and the ninth in the low byte of `last`: a header can come in nine reads.
    private var high: UInt64 = 0
    private var last: UInt8 = 0

    /// At the beginning of a connection. A client begins with 24 bytes that are no frame (RFC 9113 §3.4).
    init(expectsPreface: Bool) { prefaceLeft = expectsPreface ? HTTP2Preface.bytes : 0 }

    /// Whether the bytes so far end with a whole frame.
    var isBetweenFrames: Bool { prefaceLeft == 0 && have == 0 && left == 0 }

    /// The next piece of `bytes` from `cursor` on, which must be before the end.
    mutating func next(_ bytes: ByteView, from cursor: Int) -> Piece {
        assert(cursor >= 0 && cursor < bytes.count)
        if prefaceLeft > 0 {
            let taken = min(prefaceLeft, bytes.count - cursor)
            prefaceLeft -= taken
            return Piece(end: cursor + taken, header: nil)
        }
        if left > 0 { return Piece(end: takePayload(bytes, cursor), header: nil) }
        if have == 0, bytes.count - cursor >= FrameHeader.bytes {
            high = UInt64(bigEndian: UnsafeRawPointer(bytes.base + cursor).loadUnaligned(as: UInt64.self))
            last = bytes.base[cursor + 8]
            return headerEnds(bytes, cursor + FrameHeader.bytes)
        }
        var index = cursor
        while have < FrameHeader.bytes, index < bytes.count {
            if have < 8 { high = high << 8 | UInt64(bytes.base[index]) } else { last = bytes.base[index] }
            have += 1
            index += 1
        }
        guard have == FrameHeader.bytes else { return Piece(end: index, header: nil) }
        return headerEnds(bytes, index)
    }

    /// The header is complete before `index`: on to the payload.
    private mutating func headerEnds(_ bytes: ByteView, _ index: Int) -> Piece {
        let header = FrameHeader(
            length: Int(high >> 40), type: UInt8(truncatingIfNeeded: high >> 32),
            flags: UInt8(truncatingIfNeeded: high >> 24),
            stream: (UInt32(truncatingIfNeeded: high) << 8 | UInt32(last)) & 0x7FFF_FFFF)
        (have, high, last, left) = (0, 0, 0, header.length)
        return Piece(end: left > 0 ? takePayload(bytes, index) : index, header: header)
    }

    private mutating func takePayload(_ bytes: ByteView, _ index: Int) -> Int {
        let taken = min(left, bytes.count - index)
        left -= taken
        return index + taken
    }
}
