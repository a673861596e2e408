import Primitives
import TLS

/// Encrypts pieces in order: small ones are put together, large ones are taken where they stand, and records have the
/// size that `RecordSizing` says. What is encrypted is handed on in windows of 64 KiB at most.
struct RecordWriter {
    private var writer: ByteWriter
    private let record: UnsafeMutableRawBufferPointer
    private let now: Instant
    /// How many bytes stand in `record`.
    private var gathered = 0

    init(_ scratch: borrowing CipherScratch, now: Instant) {
        writer = ByteWriter(scratch.outgoing)
        record = scratch.record
        self.now = now
    }

    /// Takes in `piece`. False if `deliver` said so, or the connection can send no more.
    mutating func append(_ piece: ByteView, _ tls: Secure, _ deliver: (ByteView) -> Bool) -> Bool {
        var rest = piece
        while !rest.isEmpty {
            let limit = tls.pointee.sizing.limit(now: now)
            if gathered == 0, rest.count >= limit {
                // Whole records; after the phase of small ones the limit is asked for again.
                let run = min(rest.count, RecordSizing.smallPhaseBytes) / limit * limit
                guard seal(rest[0..<run], tls, limit, deliver) else { return false }
                rest = rest.dropping(first: run)
            } else {
                let count = min(rest.count, max(0, limit - gathered))
                let place = UnsafeMutableRawBufferPointer(rebasing: record[gathered...])
                place.copyMemory(from: UnsafeRawBufferPointer(start: rest.base, count: count))
                gathered += count
                rest = rest.dropping(first: count)
                guard gathered < limit || sealGathered(tls, limit, deliver) else { return false }
            }
        }
        return true
    }

    /// Encrypts and hands on what is left.
    mutating func finish(_ tls: Secure, _ deliver: (ByteView) -> Bool) -> Bool {
        guard gathered == 0 || sealGathered(tls, RecordSizing.largestBytes, deliver) else { return false }
        guard writer.count > 0 else { return true }
        let isTaken = deliver(writer.written)
        writer.rewind(to: 0)
        return isTaken
    }

    private mutating func sealGathered(_ tls: Secure, _ limit: Int, _ deliver: (ByteView) -> Bool) -> Bool {
        let bytes = ByteView(UnsafeRawBufferPointer(rebasing: record[..<gathered]))
        gathered = 0
        return seal(bytes, tls, limit, deliver)
    }

    private mutating func seal(_ bytes: ByteView, _ tls: Secure, _ limit: Int, _ deliver: (ByteView) -> Bool) -> Bool {
        var rest = bytes
        while true {
            let taken = tls.pointee.tls.write(rest, into: &writer, recordLimit: limit)
            tls.pointee.sizing.sent(taken, now: now)
            rest = rest.dropping(first: taken)
            if rest.isEmpty { return true }
            // The window is full; if it is empty, the connection can send no more.
            guard writer.count > 0, deliver(writer.written) else { return false }
            writer.rewind(to: 0)
        }
    }
}
