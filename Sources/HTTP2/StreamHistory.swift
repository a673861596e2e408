/// What is remembered of a client's streams that are over: enough to tell a stream it has ended, or has passed over,
/// from one that we ended and whose frames may still be on their way (RFC 9113 §5.1, §5.1.1).
///
/// nghttp2 would keep a record of each ended stream for that, about 250 bytes apiece; this is a fixed 100.
struct StreamHistory: Sendable {
    /// Numbers of streams that the peer ended, by END_STREAM or RST_STREAM, newest last.
    private var endings = (UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0))
    /// The last two runs of numbers that were passed over.
    private var skipped: (Range<UInt32>, Range<UInt32>) = (0..<0, 0..<0)
    /// The highest number so far.
    private(set) var highest: UInt32 = 0

    /// The peer opens `stream`.
    mutating func opened(_ stream: UInt32) {
        guard stream > highest else { return }
        let firstFree = highest == 0 ? 1 : highest + 2
        if stream > firstFree { skipped = (skipped.1, firstFree..<stream) }
        highest = stream
    }

    /// The peer has ended `stream`.
    mutating func ended(_ stream: UInt32) {
        endings.0 = endings.0 << 32 | endings.1 >> 32
        endings.1 = endings.1 << 32 | endings.2 >> 32
        endings.2 = endings.2 << 32 | endings.3 >> 32
        endings.3 = endings.3 << 32 | endings.4 >> 32
        endings.4 = endings.4 << 32 | endings.5 >> 32
        endings.5 = endings.5 << 32 | endings.6 >> 32
        endings.6 = endings.6 << 32 | endings.7 >> 32
        endings.7 = endings.7 << 32 | UInt64(stream)
    }

    /// Whether `stream` is one of the last sixteen that the peer has ended.
    func hasEnded(_ stream: UInt32) -> Bool {
        holds(endings.0, stream) || holds(endings.1, stream) || holds(endings.2, stream) || holds(endings.3, stream)
            || holds(endings.4, stream) || holds(endings.5, stream) || holds(endings.6, stream)
            || holds(endings.7, stream)
    }

    /// Whether `stream` was passed over lately: it can never be opened.
    func isSkipped(_ stream: UInt32) -> Bool { skipped.0.contains(stream) || skipped.1.contains(stream) }

    private func holds(_ pair: UInt64, _ stream: UInt32) -> Bool {
        UInt32(truncatingIfNeeded: pair) == stream || UInt32(truncatingIfNeeded: pair >> 32) == stream
    }
}
