import Primitives

/// How large the next TLS record should be.
///
/// A reader can use a record only when all of it is there. At the start of a response, and after a pause, the
/// congestion window is small: records that fit one packet let the reader begin at once. Under way, full records cost
/// less.
public struct RecordSizing: Sendable {
    /// Plain bytes of a record that fits one packet of 1500 bytes, with headers of IPv6, TCP with options, and TLS.
    public static let packetBytes = 1369
    /// Most plain bytes of a record (RFC 8446 §5.1).
    public static let largestBytes = 16_384
    /// So many bytes go in small records first.
    public static let smallPhaseBytes = 40 * packetBytes
    /// After so long without sending, small records come again.
    public static let pauseMilliseconds: UInt64 = 1000

    private var sentBytes = 0
    private var lastSent = Instant(nanoseconds: 0)

    /// The start of a connection.
    public init() {}

    /// The limit to pass to `TLSConnection.write` now. `bulk` says that a large body is known to follow: full records
    /// then go at once (the peer waits for its end anyway).
    public mutating func limit(now: Instant, bulk: Bool = false) -> Int {
        if now.milliseconds(since: lastSent) >= Self.pauseMilliseconds { sentBytes = 0 }
        return bulk || sentBytes >= Self.smallPhaseBytes ? Self.largestBytes : Self.packetBytes
    }

    /// Counts what was written.
    public mutating func sent(_ bytes: Int, now: Instant) {
        sentBytes = min(sentBytes + bytes, Self.smallPhaseBytes)
        lastSent = now
    }
}
