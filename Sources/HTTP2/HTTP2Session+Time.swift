import CNGHTTP2
import HTTP
import Primitives

/// Time limits, and the way in by `Upgrade: h2c`.
extension HTTP2Session {
    /// When `timeout` is to be called; `distantFuture` if nothing runs.
    public var deadline: Instant {
        let nearest = min(settingsDeadline, min(blockDeadline, stallDeadline))
        if case .noticed(let until) = state { return min(nearest, until) }
        return nearest
    }

    /// Acts on the deadlines that have passed at `now`.
    public func timeout(now: Instant) {
        self.now = now
        guard isReading else { return }
        if case .noticed(let until) = state, until <= now { nameLastStream() }
        if settingsDeadline <= now {
            settingsDeadline = .distantFuture
            return terminate(.settingsTimeout)
        }
        if blockDeadline <= now { return giveUp(.slowHead) }
        if stallDeadline <= now { resetStalledStreams() }
    }

    /// Resets streams whose peer gave no window for too long, and finds the next deadline of the others.
    private func resetStalledStreams() {
        stallDeadline = .distantFuture
        guard let handle else { return }
        let isConnectionBlocked = nghttp2_session_get_remote_window_size(handle) <= 0
        var token = firstStream
        while let record = pool.streams[token] {
            token = record.pointee.next
            guard !record.pointee.isClosed, !record.pointee.isForgotten, record.pointee.outbound.count > 0 else {
                continue
            }
            let due = record.pointee.progressAt.adding(milliseconds: limits.stallMilliseconds)
            let isBlocked =
                isConnectionBlocked
                || nghttp2_session_get_stream_remote_window_size(handle, record.pointee.number) <= 0
            if due <= now, isBlocked {
                resetForPeer(record, .cancel)
            } else {
                // Not blocked by a window but by the socket: its own time limit is the driver's.
                let again = due > now ? due : now.adding(milliseconds: limits.stallMilliseconds / 4 + 1)
                stallDeadline = min(stallDeadline, again)
            }
        }
    }

    /// Resets a stream for the peer's fault: unlike `reset` the driver is told.
    func resetForPeer(_ record: Record, _ code: HTTP2ErrorCode) {
        guard let handle, !record.pointee.isClosed else { return }
        record.pointee.resetCode = code
        nghttp2_submit_rst_stream(handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), record.pointee.number, code.rawValue)
    }

    /// Starts a server's session on a connection whose HTTP/1.1 request asked for `Upgrade: h2c` (RFC 7540 §3.2), to
    /// be called before anything else. The driver has sent 101. The request becomes stream 1: its `.head` and `.end`
    /// come as those of any other; it must have no body.
    ///
    /// - Parameters:
    ///   - settings: The value of `HTTP2-Settings`, base64url.
    ///   - request: Begun with `HTTP2Fields.beginRequest`, from a validated head; names in any case.
    ///   - isHead: Whether the request's method is HEAD.
    /// - Returns: False if the settings are malformed or there is no memory; then the session must not be used.
    public func upgrade(settings: ByteView, request: borrowing HTTP2Fields, isHead: Bool) -> Bool {
        guard role == .server, state == .open, requestCount == 0, !request.overflowed else { return false }
        return withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            guard Base64URL.decode(settings, to: &writer), let record = makeRecord(number: 1) else { return false }
            let payload = writer.written
            guard let head = pool.takeHead(),
                nghttp2_session_upgrade2(handle, payload.base, payload.count, isHead ? 1 : 0, nil) == 0
            else {
                free(record)
                return false
            }
            record.pointee.head = head
            // A server's stream is opened without our record, whatever was handed in.
            nghttp2_session_set_stream_user_data(handle, 1, record)
            history.opened(1)
            fill(head, with: request)
            deliverUpgraded(head, record)
            return true
        }
    }

    /// The head as it would be had it come in HTTP/2, by the same rules.
    private func fill(_ head: UnsafeMutablePointer<HTTP2Head>, with request: borrowing HTTP2Fields) {
        head.pointee.begin(.request, limits)
        withUnsafeTemporaryAllocation(byteCount: limits.http.fieldNameBytes, alignment: 1) { memory in
            for index in 0..<request.count {
                let field = request.list[index]
                var name = ByteWriter(memory)
                for place in 0..<field.namelen { name.append(ASCII.lowercased(field.name[place])) }
                head.pointee.take(name.written, ByteView(base: field.value, count: field.valuelen))
            }
        }
        head.pointee.finish(endsStream: true, allowsWebSocket: false)
    }

    private func deliverUpgraded(_ head: UnsafeMutablePointer<HTTP2Head>, _ record: Record) {
        peerEnded(record)
        (record.pointee.isDelivered, record.pointee.hasFinalHead) = (true, true)
        requestCount = 1
        switch head.pointee.verdict {
        case .fine:
            push(.head(record.pointee.token))
            push(.end(record.pointee.token))
        case .refused(let reason):
            record.pointee.dropsRest = true
            push(.refused(record.pointee.token, reason))
        case .malformed, .bomb: resetForPeer(record, .protocolError)
        }
    }
}
