import CNGHTTP2
import HTTP
import Primitives

/// The records of a session's streams: found by token, linked in the order they came, freed after their last event.
extension HTTP2Session {
    typealias Record = UnsafeMutablePointer<StreamRecord>

    private var address: UnsafeRawPointer { UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque()) }

    /// The record of `stream`, if it is one of this session's and not gone.
    func record(_ stream: HTTP2Stream) -> Record? {
        guard let record = pool.streams[stream], record.pointee.owner == address else { return nil }
        return record
    }

    /// The record that nghttp2 keeps for a stream.
    func record(number: Int32) -> Record? {
        if number == lastNumber, let lastRecord {
            assert(UnsafeMutableRawPointer(lastRecord) == nghttp2_session_get_stream_user_data(handle, number))
            return lastRecord
        }
        guard let data = nghttp2_session_get_stream_user_data(handle, number) else { return nil }
        let record = data.assumingMemoryBound(to: StreamRecord.self)
        (lastNumber, lastRecord) = (number, record)
        return record
    }

    /// The next look-up asks nghttp2.
    func forgetLastRecord() { (lastNumber, lastRecord) = (0, nil) }

    func makeRecord(number: Int32) -> Record? {
        guard let token = pool.streams.vacancy() else { return nil }
        let record = pool.streams.insert(
            StreamRecord(token: token, owner: address, number: number, now: now), at: token)
        record.pointee.next = firstStream
        if let first = pool.streams[firstStream] { first.pointee.previous = token }
        firstStream = token
        streamCount += 1
        return record
    }

    /// Frees a stream that nghttp2 has closed, or never knew.
    func free(_ record: Record) {
        if record.pointee.unconsumed > 0 { giveBack(record, record.pointee.unconsumed) }
        forgetLastRecord()
        // An abandoned connection's streams are still open in nghttp2, which must not find the record any more.
        if let handle { nghttp2_session_set_stream_user_data(handle, record.pointee.number, nil) }
        releaseMemory(record)
        let (previous, next) = (record.pointee.previous, record.pointee.next)
        if let before = pool.streams[previous] { before.pointee.next = next } else { firstStream = next }
        if let after = pool.streams[next] { after.pointee.previous = previous }
        streamCount -= 1
        pool.streams.remove(record.pointee.token)
    }

    func releaseMemory(_ record: Record) {
        if let head = record.pointee.head {
            if block == head { block = nil }
            pool.giveHead(head)
        }
        if let trailers = record.pointee.trailers {
            if block == trailers { block = nil }
            pool.giveHead(trailers)
        }
        if let trailers = record.pointee.outboundTrailers { pool.giveHead(trailers) }
        (record.pointee.head, record.pointee.trailers, record.pointee.outboundTrailers) = (nil, nil, nil)
        if record.pointee.outbound.count > 0 { leftOutbound(record.pointee.outbound.count) }
        pool.buffers.release(&record.pointee.outbound)
    }

    func giveBack(_ record: Record, _ count: Int) {
        assert(count <= record.pointee.unconsumed)
        record.pointee.unconsumed -= count
        guard let handle, state != .closed else { return }
        if record.pointee.isClosed {
            nghttp2_session_consume_connection(handle, count)
        } else {
            nghttp2_session_consume(handle, record.pointee.number, count)
        }
    }

    /// nghttp2 has done with a stream.
    func streamClosed(_ record: Record, _ code: HTTP2ErrorCode) {
        guard !record.pointee.isClosed else { return }
        record.pointee.isClosed = true
        record.pointee.closeCode = code
        owe(record)
    }

    /// The connection ends: so do all streams, each with one last event.
    func abandonStreams(_ code: HTTP2ErrorCode) {
        var token = firstStream
        while let record = pool.streams[token] {
            token = record.pointee.next
            streamClosed(record, code)
        }
    }

    /// For `deinit`: no events any more.
    func freeAllStreams() {
        state = .closed
        while let record = pool.streams[firstStream] { free(record) }
    }

    // MARK: Streams with an event owed

    func owe(_ record: Record) {
        guard !record.pointee.owed.isQueued else { return }
        record.pointee.owed = StreamRecord.Link(next: .none, isQueued: true)
        if let last = pool.streams[owedLast], owedFirst != .none {
            last.pointee.owed.next = record.pointee.token
        } else {
            owedFirst = record.pointee.token
        }
        owedLast = record.pointee.token
    }

    func popOwed() -> Record? {
        guard let record = pool.streams[owedFirst] else { return nil }
        owedFirst = record.pointee.owed.next
        if owedFirst == .none { owedLast = .none }
        record.pointee.owed = StreamRecord.Link()
        return record
    }

    // MARK: What the driver reads of a stream

    /// The stream's number on the wire; nil once it is gone.
    public func number(of stream: HTTP2Stream) -> Int32? { record(stream)?.pointee.number }

    /// The driver's own 64 bits; 0 at first and once the stream is gone.
    public func context(of stream: HTTP2Stream) -> UInt64 { record(stream)?.pointee.context ?? 0 }

    /// Sets the driver's own 64 bits.
    public func setContext(_ context: UInt64, of stream: HTTP2Stream) { record(stream)?.pointee.context = context }

    /// The head that `.head` announced: until released, taken, replaced by the next one (after an interim response) or
    /// the stream is gone.
    public func head(of stream: HTTP2Stream) -> UnsafePointer<HTTP2Head>? {
        record(stream)?.pointee.head.map { UnsafePointer($0) }
    }

    /// Makes the head the driver's own: it outlives the stream and goes back with `HTTP2Pool.giveHead`.
    public func takeHead(of stream: HTTP2Stream) -> UnsafeMutablePointer<HTTP2Head>? {
        guard let record = record(stream), let head = record.pointee.head, head != block else { return nil }
        record.pointee.head = nil
        return head
    }

    /// Gives the head back when it was forwarded, so that a long response does not hold it.
    public func releaseHead(of stream: HTTP2Stream) {
        if let head = takeHead(of: stream) { pool.giveHead(head) }
    }

    /// Makes the trailers the driver's own: they outlive the stream and go back with `HTTP2Pool.giveHead`.
    public func takeTrailers(of stream: HTTP2Stream) -> UnsafeMutablePointer<HTTP2Head>? {
        guard let record = record(stream), let trailers = record.pointee.trailers, trailers != block else { return nil }
        record.pointee.trailers = nil
        return trailers
    }

    /// The trailers that `.trailers` announced, until the stream is gone. Fields that may not stand there are flagged.
    public func trailers(of stream: HTTP2Stream) -> UnsafePointer<HTTP2Head>? {
        record(stream)?.pointee.trailers.map { UnsafePointer($0) }
    }

    /// Bytes of body that were written and have not left.
    public func outboundBytes(of stream: HTTP2Stream) -> Int { record(stream)?.pointee.outbound.count ?? 0 }

    /// Bytes of body that were delivered and not consumed: what the peer's window lacks.
    public func unconsumedBytes(of stream: HTTP2Stream) -> Int { record(stream)?.pointee.unconsumed ?? 0 }

    /// Whether a client may open a WebSocket here: the server has said that it takes extended CONNECT (RFC 8441 §3).
    public var peerAllowsWebSocket: Bool {
        guard role == .client, let handle else { return false }
        return nghttp2_session_get_remote_settings(handle, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
    }

    /// How many more streams a client may open now; 0 for a server.
    public var roomForStreams: Int {
        guard role == .client, acceptsRequests, let handle, nghttp2_session_check_request_allowed(handle) != 0 else {
            return 0
        }
        let allowed = nghttp2_session_get_remote_settings(handle, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
        return max(0, min(Int(allowed), limits.concurrentStreams) - streamCount)
    }
}
