import CNGHTTP2
import HTTP
import Primitives

/// What nghttp2 tells while it reads. Nothing here calls the driver: events are queued.
extension HTTP2Session {
    typealias Frame = UnsafePointer<nghttp2_frame>

    /// A header block begins. False if it is not wanted, its stream having been reset.
    func headBegins(_ frame: Frame) -> Bool {
        block = nil
        let number = frame.pointee.hd.stream_id
        guard let record = record(number: number) ?? openedByPeer(frame) else { return refuse(number, .refusedStream) }
        guard !record.pointee.isForgotten else { return refuse(number, .cancel) }
        let isTrailers = record.pointee.hasFinalHead
        let old = isTrailers ? record.pointee.trailers : record.pointee.head
        guard let head = old ?? pool.takeHead() else { return refuse(number, .refusedStream) }
        if isTrailers { record.pointee.trailers = head } else { record.pointee.head = head }
        head.pointee.begin(isTrailers ? .trailers : role == .server ? .request : .response, limits)
        block = head
        return true
    }

    /// The record of a stream that a client opens to us.
    private func openedByPeer(_ frame: Frame) -> Record? {
        guard role == .server, frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST,
            let record = makeRecord(number: frame.pointee.hd.stream_id)
        else { return nil }
        nghttp2_session_set_stream_user_data(handle, record.pointee.number, record)
        return record
    }

    /// Resets a stream of which the driver knows nothing, or nothing more.
    private func refuse(_ number: Int32, _ code: HTTP2ErrorCode) -> Bool {
        nghttp2_submit_rst_stream(handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), number, code.rawValue)
        return false
    }

    /// A field of the block. False if the stream was reset for it.
    func takeField(_ frame: Frame, _ name: ByteView, _ value: ByteView) -> Bool {
        guard let block else { return true }
        block.pointee.take(name, value)
        switch block.pointee.verdict {
        case .fine, .refused: return true
        case .bomb:
            pendingFlood = .headBomb
            return false
        case .malformed: return refuse(frame.pointee.hd.stream_id, .protocolError)
        }
    }

    /// A whole frame has been read and found in order.
    func frameReceived(_ frame: Frame) {
        let flags = frame.pointee.hd.flags
        switch frame.pointee.hd.type {
        case FrameType.headers: headEnds(frame)
        case FrameType.data:
            if flags & FrameFlag.endStream != 0 { endReceived(frame.pointee.hd.stream_id) }
            let hasOnlyPadding = frame.pointee.hd.length > 0 && frame.pointee.hd.length == frame.pointee.data.padlen
            if hasOnlyPadding, flags & FrameFlag.endStream == 0, !floods.takeEmptyData(limits, now: now) {
                pendingFlood = .emptyData
            }
        case FrameType.reset: if role == .server { history.ended(UInt32(frame.pointee.hd.stream_id)) }
        case FrameType.settings where flags & FrameFlag.ack != 0:
            settingsDeadline = .distantFuture
            settingsAreAcknowledged = true
            push(.settingsAcknowledged)
        case FrameType.settings: peerSettingsAreKnown = true
        case FrameType.ping where flags & FrameFlag.ack != 0: pongReceived(frame)
        case FrameType.goAway:
            peerIsDraining = true
            push(
                .goAway(
                    HTTP2ErrorCode(rawValue: frame.pointee.goaway.error_code),
                    lastStream: frame.pointee.goaway.last_stream_id))
        default: break
        }
    }

    private func pongReceived(_ frame: Frame) {
        let opaque = frame.pointee.ping.opaque_data
        let number = withUnsafeBytes(of: opaque) { UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)) }
        if case .noticed = state, number == Self.drainPing { return nameLastStream() }
        push(.pong(number))
    }

    /// A header block is complete.
    private func headEnds(_ frame: Frame) {
        guard let head = block, let record = record(number: frame.pointee.hd.stream_id) else { return }
        block = nil
        let endsStream = frame.pointee.hd.flags & FrameFlag.endStream != 0
        head.pointee.finish(endsStream: endsStream, allowsWebSocket: limits.allowsWebSocket)
        pool.weigh(head)
        switch head.pointee.verdict {
        case .fine:
            if !head.pointee.isInterim, head.pointee.kind != .trailers {
                record.pointee.promisedBytes = head.pointee.promisedBytes(toRequest: record.pointee.method)
            }
            if endsStream, !record.pointee.isBodyWhole { return resetForPeer(record, .protocolError) }
            deliver(head, record, endsStream: endsStream)
        case .refused(let reason): deliverRefused(head, record, reason, endsStream: endsStream)
        case .malformed: resetForPeer(record, .protocolError)
        case .bomb: pendingFlood = .headBomb
        }
    }

    private func deliver(_ head: UnsafeMutablePointer<HTTP2Head>, _ record: Record, endsStream: Bool) {
        floods.progress(limits)
        mustDrain = role == .client
        let stream = record.pointee.token
        if head.pointee.kind == .trailers {
            push(.trailers(stream))
        } else {
            if !head.pointee.isInterim { record.pointee.hasFinalHead = true }
            record.pointee.isDelivered = true
            countRequest()
            push(.head(stream))
        }
        guard endsStream else { return }
        peerEnded(record)
        push(.end(stream))
    }

    /// A request that is answered by us; a response or trailers that are too large end their stream.
    private func deliverRefused(
        _ head: UnsafeMutablePointer<HTTP2Head>, _ record: Record, _ reason: ParseFailure.Reason, endsStream: Bool
    ) {
        guard head.pointee.kind == .request else { return resetForPeer(record, .enhanceYourCalm) }
        floods.progress(limits)
        record.pointee.hasFinalHead = true
        record.pointee.isDelivered = true
        record.pointee.dropsRest = true
        if endsStream { peerEnded(record) }
        countRequest()
        push(.refused(record.pointee.token, reason))
    }

    private func countRequest() {
        guard role == .server else { return }
        requestCount += 1
        if requestCount >= limits.requestsPerConnection, state == .open { goAway(now: now) }
    }

    private func endReceived(_ number: Int32) {
        guard let record = record(number: number) else { return }
        floods.progress(limits)
        guard record.pointee.dropsRest || (record.pointee.hasFinalHead && record.pointee.isBodyWhole) else {
            return resetForPeer(record, .protocolError)
        }
        peerEnded(record)
        if !record.pointee.dropsRest { push(.end(record.pointee.token)) }
    }

    /// The peer's side of a stream is complete.
    func peerEnded(_ record: Record) {
        record.pointee.hasReceivedEnd = true
        if role == .server { history.ended(UInt32(record.pointee.number)) }
    }

    func dataReceived(_ number: Int32, _ bytes: ByteView) {
        guard let record = record(number: number), !record.pointee.isForgotten, !record.pointee.dropsRest else {
            nghttp2_session_consume(handle, number, bytes.count)
            return
        }
        // nghttp2 resets a stream that overruns its window, but hands over the bytes that did.
        guard record.pointee.unconsumed + bytes.count <= max(65_535, limits.streamWindowBytes) else {
            nghttp2_session_consume(handle, number, bytes.count)
            return
        }
        record.pointee.receivedBytes += UInt64(bytes.count)
        // A body before the final head, or a longer one than that has said. The rest of the frame comes here as well.
        guard record.pointee.hasFinalHead, record.pointee.receivedBytes <= record.pointee.promisedBytes ?? .max else {
            nghttp2_session_consume(handle, number, bytes.count)
            return resetForPeer(record, .protocolError)
        }
        floods.progress(limits)
        record.pointee.unconsumed += bytes.count
        push(.data(record.pointee.token, bytes))
    }

    func streamClosed(_ number: Int32, _ code: UInt32) {
        guard let record = record(number: number) else { return }
        forgetLastRecord()
        if block != nil, block == record.pointee.head || block == record.pointee.trailers { block = nil }
        streamClosed(record, record.pointee.resetCode ?? HTTP2ErrorCode(rawValue: code))
    }
}
