import HTTP
import Primitives
import Telemetry

/// What is kept of a probe that waits for the control thread's answer, for its line in the request log.
struct ProbeNote: ~Copyable {
    var note = Buffer.none
    let arrivedAt: Instant
    let version: HTTPVersion
}

/// Lines of the request log for probes, which are answered without an exchange; only if they are wanted.
extension Worker {
    /// The request log, if a question of this connection has a line in it.
    private func probeLog(_ connection: Downstream) -> (WorkerTelemetry, RequestLogTexts)? {
        guard connection.pointee.purpose == .traffic, let telemetry, let log = telemetry.log, log.includesProbes
        else { return nil }
        return (telemetry, log)
    }

    /// A probe is answered at once.
    func logProbe(
        _ connection: Downstream, _ parts: RequestParts, _ fields: borrowing FieldTable, status: Int, bytes: Int
    ) {
        guard let (telemetry, log) = probeLog(connection) else { return }
        var buffer = Buffer.none
        keepProbe(&buffer, connection, parts, fields, telemetry)
        if let note = NotePointer(buffer) {
            writeLine(
                note, connection, parts.version, status: status, bytes: UInt64(bytes), nanoseconds: 0, log)
        }
        buffers.release(&buffer)
    }

    /// Keeps what the line of a probe will show that is answered later. None if it has no line.
    func noteProbe(_ connection: Downstream, _ parts: RequestParts, _ fields: borrowing FieldTable) -> SlabToken {
        guard let (telemetry, _) = probeLog(connection), let token = probeNotes.vacancy() else { return .none }
        let place = probeNotes.insert(ProbeNote(arrivedAt: now, version: parts.version), at: token)
        keepProbe(&place.pointee.note, connection, parts, fields, telemetry)
        return token
    }

    private func keepProbe(
        _ buffer: inout Buffer, _ connection: Downstream, _ parts: RequestParts, _ fields: borrowing FieldTable,
        _ telemetry: WorkerTelemetry
    ) {
        var note = RequestNote()
        note.isProbe = true
        note.isTLS = connection.pointee.tls != nil
        note.contentLength = Self.contentLength(parts.framing)
        keep(&buffer, note, parts, fields, telemetry)
    }

    /// The probe is answered now.
    func logProbe(_ token: SlabToken, _ connection: Downstream, status: Int, bytes: Int) {
        guard let place = probeNotes[token] else { return }
        if let log = telemetry?.log, let note = NotePointer(place.pointee.note) {
            let elapsed = now.nanoseconds(since: place.pointee.arrivedAt)
            writeLine(
                note, connection, place.pointee.version, status: status, bytes: UInt64(bytes), nanoseconds: elapsed,
                log)
        }
        forgetProbe(token)
    }

    /// Nobody waits for the answer any more, or the line is written.
    func forgetProbe(_ token: SlabToken) {
        guard let place = probeNotes[token] else { return }
        buffers.release(&place.pointee.note)
        probeNotes.remove(token)
    }
}
