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

    /// Starts a server's session on a connection whose HTTP/1.1 request asked for `Upgrade: h2c` (RFC 7540 §3.2), to be
    /// called before anything else. The driver has sent 101 and goes on with the request as stream 1, which has no
    /// `.head`: its head was HTTP/1.1's, and it had no body.
    ///
    /// - Parameters:
    ///   - settings: The value of `HTTP2-Settings`, base64url.
    ///   - isHead: Whether the request's method was HEAD.
    /// - Returns: Stream 1; nil if the value is malformed, and then the session must not be used.
    public func upgrade(settings: ByteView, isHead: Bool, context: UInt64 = 0) -> HTTP2Stream? {
        guard role == .server, state == .open, requestCount == 0 else { return nil }
        return withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            guard Base64URL.decode(settings, to: &writer), let record = makeRecord(number: 1) else { return nil }
            let payload = writer.written
            guard
                nghttp2_session_upgrade2(handle, payload.base, payload.count, isHead ? 1 : 0, nil) == 0
            else {
                free(record)
                return nil
            }
            // A server's stream is opened without our record, whatever was handed in.
            nghttp2_session_set_stream_user_data(handle, 1, record)
            history.opened(1)
            peerEnded(record)
            record.pointee.context = context
            (record.pointee.isDelivered, record.pointee.hasFinalHead) = (true, true)
            requestCount = 1
            return record.pointee.token
        }
    }
}
