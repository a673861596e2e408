import CNGHTTP2
import Glibc
import HTTP
import Primitives

/// What the driver asks for: heads, bodies, trailers, resets, windows; and the bytes that come of it.
extension HTTP2Session {
    // MARK: Bytes

    /// Whether `transmit` has something to write. False while everything waits for the peer's window.
    public var wantsTransmit: Bool {
        guard state != .closed, let handle else { return false }
        return !pending.isEmpty || nghttp2_session_want_write(handle) != 0
    }

    /// The least room that is worth a frame.
    private static var leastRoom: Int { 64 }

    /// Writes what is to be sent, as much as fits; more than 64 bytes of room are needed to make progress. What was
    /// written counts as sent. Bodies are copied once, from the stream's buffer to `writer`.
    public func transmit(into writer: inout ByteWriter, now: Instant) {
        self.now = now
        guard state != .closed, handle != nil else { return }
        writePending(to: &writer)
        withUnsafeMutablePointer(to: &writer) { place in
            sink = place
            defer { sink = nil }
            while pending.isEmpty, place.pointee.capacity - place.pointee.count >= Self.leastRoom {
                var bytes: UnsafePointer<UInt8>?
                let count = nghttp2_session_mem_send(handle, &bytes)
                guard count >= 0 else { return close(.internalError) }
                guard count > 0, let bytes else { break }
                pending = ByteView(base: bytes, count: count)
                writePending(to: &place.pointee)
                actOnFlood()
            }
        }
        actOnFlood()
        if state == .failing { abandonStreams(failure ?? .protocolError) }
    }

    /// Bytes of nghttp2's, valid until it is called to send again.
    private func writePending(to writer: inout ByteWriter) {
        let count = min(pending.count, writer.capacity - writer.count)
        guard count > 0 else { return }
        writer.append(pending[0..<count])
        pending = pending.dropping(first: count)
    }

    // MARK: Heads

    /// Opens a stream with a request. Nil if there is no room for it (`roomForStreams`), or the list overflowed.
    ///
    /// - Parameters:
    ///   - fields: Begun with `HTTP2Fields.beginRequest`.
    ///   - hasBody: Whether `write` or `sendTrailers` will end it; else the head does.
    ///   - context: The driver's 64 bits for the stream.
    public func submitRequest(
        _ fields: borrowing HTTP2Fields, hasBody: Bool, context: UInt64 = 0, now: Instant
    ) -> HTTP2Stream? {
        self.now = now
        guard roomForStreams > 0, !fields.overflowed, let record = makeRecord(number: 0) else { return nil }
        var provider = dataProvider
        let number =
            hasBody
            ? nghttp2_submit_request(handle, nil, fields.list, fields.count, &provider, record)
            : nghttp2_submit_request(handle, nil, fields.list, fields.count, nil, record)
        guard number > 0 else {
            free(record)
            return nil
        }
        record.pointee.number = number
        record.pointee.context = context
        record.pointee.method = fields.method
        record.pointee.isDelivered = true  // the driver knows it
        record.pointee.hasSubmittedHead = true
        record.pointee.writeEnded = !hasBody
        requestCount += 1
        return record.pointee.token
    }

    /// Sends a 1xx head. False if the stream is gone, has its final head, or the list overflowed.
    public func submitInterim(_ fields: borrowing HTTP2Fields, on stream: HTTP2Stream) -> Bool {
        guard let record = answerable(stream), !fields.overflowed else { return false }
        return nghttp2_submit_headers(
            handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), record.pointee.number, nil, fields.list, fields.count, nil) == 0
    }

    /// Sends the final head of a response. False if the stream is gone or was answered, or the list overflowed.
    ///
    /// - Parameter hasBody: Whether `write` or `sendTrailers` will end it; else the head does.
    public func submitResponse(_ fields: borrowing HTTP2Fields, hasBody: Bool, on stream: HTTP2Stream) -> Bool {
        guard let record = answerable(stream), !fields.overflowed else { return false }
        var provider = dataProvider
        let number = record.pointee.number
        let result =
            hasBody
            ? nghttp2_submit_response(handle, number, fields.list, fields.count, &provider)
            : nghttp2_submit_response(handle, number, fields.list, fields.count, nil)
        guard result == 0 else { return false }
        record.pointee.hasSubmittedHead = true
        record.pointee.writeEnded = !hasBody
        return true
    }

    private func answerable(_ stream: HTTP2Stream) -> Record? {
        guard role == .server, isReading, let record = usable(stream), !record.pointee.hasSubmittedHead else {
            return nil
        }
        return record
    }

    private func usable(_ stream: HTTP2Stream) -> Record? {
        guard let record = record(stream), !record.pointee.isForgotten, !record.pointee.isClosed else { return nil }
        return record
    }

    private var dataProvider: nghttp2_data_provider {
        nghttp2_data_provider(source: nghttp2_data_source(), read_callback: Callbacks.read)
    }

    // MARK: Bodies

    /// Takes bytes of a body, as many as the stream's buffer has room for (`HTTP2Limits.outboundBytes`).
    ///
    /// - Parameter end: Whether the body ends with these bytes; it counts only if all of them are taken. May come with
    ///   no bytes.
    /// - Returns: How many were taken. When fewer than all, `.writable` follows once there is room. Nil if the stream
    ///   is gone, has ended or has no head yet, or when there is no memory: reset it.
    public func write(_ bytes: ByteView, end: Bool, on stream: HTTP2Stream, now: Instant) -> Int? {
        self.now = now
        guard let record = usable(stream), record.pointee.hasSubmittedHead, !record.pointee.writeEnded else {
            return nil
        }
        let held = record.pointee.outbound.count
        let taken = min(bytes.count, max(0, limits.outboundBytes - held))
        if taken > 0 {
            guard pool.buffers.provide(held + taken, in: &record.pointee.outbound) else { return nil }
            let isKept = record.pointee.outbound.append(bytes[0..<taken])
            assert(isKept, "room was made")
            outboundBytes += taken
            if held == 0 { startsWaiting(record) }
        }
        if taken < bytes.count { record.pointee.owesWritable = true } else { record.pointee.writeEnded = end }
        if taken > 0 || record.pointee.writeEnded { resume(record) }
        return taken
    }

    /// What a stream may keep of a body: little while many bytes wait in all streams, but never nothing, lest those
    /// that their reader has left hold up the others.
    var outboundShare: Int { isCrowded ? min(BufferPool.smallest, limits.outboundBytes) : limits.outboundBytes }

    /// How many bytes `write` should be given now. Less than half of the limit counts as 0, and `.writable` follows
    /// when there is more: whoever asks and gets 0 waits for that. Also 0 if the stream is gone.
    public func writableBytes(on stream: HTTP2Stream) -> Int {
        guard let record = usable(stream) else { return 0 }
        if outboundBytes >= limits.connectionOutboundBytes { isCrowded = true }
        let room = outboundShare - record.pointee.outbound.count
        if room >= outboundShare / 2 { return room }
        record.pointee.owesWritable = true
        return 0
    }

    /// Ends a body with trailers: what was written goes first. False if the stream is gone, has ended or has no head
    /// yet, the list overflowed or is too large, or there is no memory.
    ///
    /// - Parameter fields: Without pseudo-fields.
    public func sendTrailers(_ fields: borrowing HTTP2Fields, on stream: HTTP2Stream, now: Instant) -> Bool {
        self.now = now
        guard let record = usable(stream), record.pointee.hasSubmittedHead, !record.pointee.writeEnded,
            !fields.overflowed
        else { return false }
        if fields.count > 0 {
            guard let head = pool.takeHead() else { return false }
            head.pointee.begin(.trailers, fieldLimit: .max)
            guard head.pointee.store(fields) else {
                pool.giveHead(head)
                return false
            }
            record.pointee.outboundTrailers = head
        }
        record.pointee.writeEnded = true
        resume(record)
        return true
    }

    private func resume(_ record: Record) {
        guard record.pointee.isDeferred else { return }
        record.pointee.isDeferred = false
        nghttp2_session_resume_data(handle, record.pointee.number)
    }

    /// The first bytes of a body wait: from now on the peer must take some.
    private func startsWaiting(_ record: Record) {
        record.pointee.progressAt = now
        stallDeadline = min(stallDeadline, now.adding(milliseconds: limits.stallMilliseconds))
    }

    // MARK: Windows, resets, pings

    /// Gives `count` bytes of window back to the peer: bytes of `.data` that have left us. More than was delivered is
    /// not counted. What a stream never consumed goes back to the connection when it ends.
    public func consume(_ count: Int, on stream: HTTP2Stream) {
        guard let record = record(stream), !record.pointee.isForgotten else { return }
        let given = min(max(0, count), record.pointee.unconsumed)
        if given > 0 { giveBack(record, given) }
    }

    /// Says that nobody wants the rest of a message: what still comes is dropped and given back, `.data`, `.trailers`
    /// and `.end` are not told. When our side is complete, the stream is reset with NO_ERROR (RFC 9113 §8.1), unless
    /// the peer's is by then. A refused request is in this state from the start.
    public func dropRest(of stream: HTTP2Stream) {
        guard let record = usable(stream), !record.pointee.dropsRest else { return }
        record.pointee.dropsRest = true
        if record.pointee.unconsumed > 0 { giveBack(record, record.pointee.unconsumed) }
        if record.pointee.hasSentEnd { resetAnswered(record) }
    }

    /// Cuts a stream short. The driver hears no more of it, and its name is no longer valid.
    public func reset(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {
        guard let record = record(stream), !record.pointee.isForgotten else { return }
        record.pointee.isForgotten = true
        record.pointee.resetByDriver = true
        if record.pointee.unconsumed > 0 { giveBack(record, record.pointee.unconsumed) }
        releaseMemory(record)
        guard !record.pointee.isClosed, let handle, isReading else { return }
        nghttp2_submit_rst_stream(
            handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), record.pointee.number, code.rawValue)
    }

    /// Asks the peer for a sign of life: `.pong` with the same bytes.
    public func ping(_ opaque: UInt64) { if isReading { submitPing(opaque) } }

    func submitPing(_ opaque: UInt64) {
        withUnsafeBytes(of: opaque.bigEndian) { bytes in
            _ = nghttp2_submit_ping(
                handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), bytes.bindMemory(to: UInt8.self).baseAddress)
        }
    }

    /// Our SETTINGS and the connection's window.
    func submitSettings() -> Bool {
        var entries = (
            entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.streamWindowBytes),
            entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.http.headBytes),
            // Priorities of RFC 7540 are not followed: the peer need not send them (RFC 9218 §2.1).
            entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
            role == .server
                ? entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.concurrentStreams)
                : entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0),
            entry(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1)
        )
        let count = role == .server && limits.allowsWebSocket ? 5 : 4
        let flags = UInt8(NGHTTP2_FLAG_NONE.rawValue)
        let result = withUnsafeBytes(of: &entries) { bytes in
            nghttp2_submit_settings(
                handle, flags, bytes.bindMemory(to: nghttp2_settings_entry.self).baseAddress, count)
        }
        guard result == 0 else { return false }
        return nghttp2_session_set_local_window_size(handle, flags, 0, Int32(clamping: connectionWindow)) == 0
    }

    /// A client shares the connection among requests that know nothing of each other: however many of their receivers
    /// stall, the others must go on.
    private var connectionWindow: Int {
        guard role == .client else { return limits.connectionWindowBytes }
        return max(limits.connectionWindowBytes, limits.concurrentStreams * limits.streamWindowBytes)
    }

    private func entry(_ id: nghttp2_settings_id, _ value: Int) -> nghttp2_settings_entry {
        nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: UInt32(clamping: value))
    }
}

extension HTTP2Head {
    /// Keeps a copy of trailer fields that wait for the end of their body. False if they are too many.
    mutating func store(_ fields: borrowing HTTP2Fields) -> Bool {
        for index in 0..<fields.count {
            let field = fields.list[index]
            let name = ByteView(base: field.name, count: field.namelen)
            let value = ByteView(base: field.value, count: field.valuelen)
            guard storeLine(name, value, .other, isHopByHop: false) else { return false }
        }
        return true
    }
}
