import Balancing
import EventLoop
import HTTP
import Primitives
import Telemetry

/// Lines of the access log that wait for the end of the wake-up. One a worker.
struct LogLines: ~Copyable {
    /// Room for lines, in bytes; handed over before it overflows.
    static let capacity = 64 * 1024

    private let memory: UnsafeMutableRawBufferPointer
    var writer: ByteWriter

    /// `isUsed` false: the log is off and takes no room.
    init(isUsed: Bool) {
        memory = .allocate(byteCount: isUsed ? Self.capacity : 16, alignment: 16)
        writer = ByteWriter(memory)
    }

    deinit { memory.deallocate() }
}

/// The access log: one line a request, handed at the end of a wake-up to the thread that writes.
extension Worker {
    /// Longest part of a request that is kept for its line, in bytes.
    private static let partLimit = 1_024
    /// Room for an IPv4 address and a port as text.
    static let endpointTextLimit = 24

    /// Copies what the line will show, since the request's bytes are gone when it is written. The parts of most
    /// requests fit the smallest buffer; a thousand that wait hold 4 MiB.
    func note(_ exchange: ExchangePointer, _ parts: RequestParts, _ fields: borrowing FieldTable) {
        exchange.pointee.log.method = keep(parts.methodBytes, exchange)
        exchange.pointee.log.target = keep(parts.target, exchange)
        exchange.pointee.log.host = keep(parts.authority, exchange)
        exchange.pointee.log.userAgent = keep(fields.firstIndex(of: .userAgent), fields, parts.bytes, exchange)
        let referer = fields.firstIndex(named: "referer", in: parts.bytes)
        exchange.pointee.log.referer = keep(referer, fields, parts.bytes, exchange)
        exchange.pointee.log.requestID = keep(fields.firstIndex(of: .xRequestId), fields, parts.bytes, exchange)
        exchange.pointee.log.forwardedFor = keep(fields.firstIndex(of: .xForwardedFor), fields, parts.bytes, exchange)
        exchange.pointee.log.traceparent = keep(fields.firstIndex(of: .traceparent), fields, parts.bytes, exchange)
    }

    /// Keeps the id that we gave to a request that came without one.
    func note(requestID: ByteView, _ exchange: ExchangePointer) {
        if options.accessLog != .off { exchange.pointee.log.requestID = keep(requestID, exchange) }
    }

    private func keep(
        _ index: Int?, _ fields: borrowing FieldTable, _ bytes: ByteView, _ exchange: ExchangePointer
    ) -> Range<Int> {
        guard let index else { return 0..<0 }
        return keep(fields.value(index, in: bytes), exchange)
    }

    private func keep(_ part: ByteView, _ exchange: ExchangePointer) -> Range<Int> {
        let start = exchange.pointee.log.bytes.count
        let kept = part[0..<min(part.count, Self.partLimit)]
        guard buffers.provide(start + kept.count, in: &exchange.pointee.log.bytes),
            exchange.pointee.log.bytes.append(kept)
        else { return 0..<0 }
        return start..<start + kept.count
    }

    /// Writes the line of an exchange that ends now.
    func writeLog(_ exchange: ExchangePointer) {
        var record = AccessRecord()
        let noted = exchange.pointee.log.bytes.bytes
        record.method = noted[exchange.pointee.log.method]
        record.path = noted[exchange.pointee.log.target]
        record.host = noted[exchange.pointee.log.host]
        record.userAgent = noted[exchange.pointee.log.userAgent]
        record.referer = noted[exchange.pointee.log.referer]
        record.requestID = noted[exchange.pointee.log.requestID]
        record.forwardedFor = noted[exchange.pointee.log.forwardedFor]
        record.traceID = Self.traceID(noted[exchange.pointee.log.traceparent])
        record.protocolName = ByteView(exchange.pointee.clientVersion.name)
        record.status = UInt16(clamping: exchange.pointee.status)
        record.flags = exchange.pointee.flags
        record.bytesReceived = exchange.pointee.bytesReceived
        record.bytesSent = exchange.pointee.bytesSent
        let duration = now.nanoseconds(since: exchange.pointee.arrivedAt)
        record.durationMicroseconds = duration / 1_000
        record.queuedMicroseconds = exchange.pointee.grantedAt.nanoseconds(since: exchange.pointee.arrivedAt) / 1_000
        if exchange.pointee.firstByteAt != .distantFuture {
            record.upstreamMicroseconds =
                exchange.pointee.firstByteAt.nanoseconds(since: exchange.pointee.grantedAt) / 1_000
        }
        record.startUnixNanoseconds = MonotonicClock.wallNanoseconds() &- duration
        record.revision = exchange.pointee.target.nameView
        guard let connection = downstreams[exchange.pointee.downstream] else { return }
        connection.pointee.withPeerText { peer in
            record.peer = peer
            withUnsafeTemporaryAllocation(byteCount: Self.endpointTextLimit, alignment: 1) { place in
                var writer = ByteWriter(place)
                writer.append(exchange.pointee.log.endpoint)
                record.endpoint = writer.written
                write(record)
            }
        }
    }

    /// Writes the line of a request that never became an exchange. `parts` is nil if its head could not be read.
    func writeLog(_ refusal: Refusal, _ connection: Downstream, _ parts: RequestParts?) {
        var record = AccessRecord()
        record.status = UInt16(clamping: refusal.status)
        record.flags = ResponseFlags(refusal.flag)
        record.bytesSent = UInt64(refusal.text.utf8CodeUnitCount)
        writeLog(record, connection, parts)
    }

    /// Writes the line of a request that never became an exchange.
    func writeLog(_ answer: AccessRecord, _ connection: Downstream, _ parts: RequestParts?) {
        var record = answer
        record.protocolName = ByteView(
            connection.pointee.session == nil ? HTTPVersion.http11.name : HTTPVersion.http2.name)
        record.startUnixNanoseconds = MonotonicClock.wallNanoseconds()
        if let parts {
            record.method = parts.methodBytes
            record.path = parts.target
            record.host = parts.authority
        }
        connection.pointee.withPeerText { peer in
            record.peer = peer
            write(record)
        }
    }

    /// The second part of a traceparent (W3C Trace Context §3.2.2).
    private static func traceID(_ traceparent: ByteView) -> ByteView {
        traceparent.count >= 35 ? traceparent[3..<35] : .empty
    }

    private func write(_ record: borrowing AccessRecord) {
        if options.accessLog.write(record, to: &logLines.writer) { return }
        flushLog()
        options.accessLog.write(record, to: &logLines.writer)
    }

    func flushLog() {
        guard logLines.writer.count > 0 else { return }
        log?.append(logLines.writer.written)
        logLines.writer.rewind(to: 0)
    }
}

extension ByteWriter {
    /// Appends `127.0.0.1:8080`; nothing for port 0.
    mutating func append(_ address: EndpointAddress) {
        guard address.port != 0 else { return }
        for shift: UInt32 in [24, 16, 8, 0] {
            append(decimal: UInt64(address.ipv4 >> shift & 0xFF))
            append(shift == 0 ? ASCII.colon : UInt8(ascii: "."))
        }
        append(decimal: UInt64(address.port))
    }
}

extension HTTPVersion {
    /// The name in the log, as Envoy writes it.
    fileprivate var name: StaticString {
        switch self {
        case .http10: "HTTP/1.0"
        case .http11: "HTTP/1.1"
        case .http2: "HTTP/2"
        }
    }
}

extension ResponseFlags {
    /// Every flag that says why a request failed; a cold start is no failure.
    static var failures: ResponseFlags { ResponseFlags(rawValue: .max).subtracting(ResponseFlags(.coldStart)) }
}
