import CNGHTTP2
import Glibc
import HTTP
import Primitives

/// What nghttp2 asks and tells while it writes.
extension HTTP2Session {
    /// How many bytes the next DATA frame may carry: what the writer has room for and the windows allow.
    func frameBytes(_ window: Int32, _ maximumFrame: UInt32) -> ssize_t {
        guard let sink else { return 1 }
        let room = sink.pointee.capacity - sink.pointee.count - FrameHeader.bytes
        return max(1, min(room, min(Int(window), min(Int(maximumFrame), 16_384))))
    }

    /// Says how much of a stream's buffer the next DATA frame carries; the bytes themselves go by `sendData`.
    func readBody(_ number: Int32, _ room: Int, _ flags: UnsafeMutablePointer<UInt32>) -> ssize_t {
        guard let record = record(number: number), !record.pointee.isForgotten else {
            return ssize_t(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
        }
        let held = record.pointee.outbound.count
        if held == 0, !record.pointee.writeEnded {
            record.pointee.isDeferred = true
            return ssize_t(NGHTTP2_ERR_DEFERRED.rawValue)
        }
        let count = min(held, room)
        flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
        guard count == held, record.pointee.writeEnded else { return count }
        flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
        if let trailers = record.pointee.outboundTrailers {
            flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
            submitTrailers(trailers, number)
            pool.giveHead(trailers)
            record.pointee.outboundTrailers = nil
        }
        return count
    }

    private func submitTrailers(_ trailers: UnsafeMutablePointer<HTTP2Head>, _ number: Int32) {
        let bytes = trailers.pointee.bytes
        pool.trailerFields.removeAll()
        pool.trailerFields.append(trailers.pointee.fields, of: bytes)
        nghttp2_submit_trailer(handle, number, pool.trailerFields.list, pool.trailerFields.count)
    }

    /// Writes a DATA frame: its header and bytes from the stream's buffer. The result is nghttp2's.
    func sendData(_ frame: Frame, _ header: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
        guard let record = record(number: frame.pointee.hd.stream_id), !record.pointee.isForgotten,
            record.pointee.outbound.count >= count
        else { return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue }
        assert(frame.pointee.data.padlen == 0, "no padding is asked for")
        guard let sink, sink.pointee.capacity - sink.pointee.count >= FrameHeader.bytes + count else {
            return NGHTTP2_ERR_WOULDBLOCK.rawValue
        }
        sink.pointee.append(ByteView(base: header, count: FrameHeader.bytes))
        guard count > 0 else { return 0 }
        let held = record.pointee.outbound.bytes
        sink.pointee.append(held[0..<count])
        record.pointee.outbound.consume(count)
        record.pointee.progressAt = now
        floods.sent(count, limits)
        let left = record.pointee.outbound.count
        if left == 0 { pool.buffers.release(&record.pointee.outbound) }
        leftOutbound(count)
        if record.pointee.owesWritable, left <= outboundShare / 2 { owe(record) }
        return 0
    }

    /// Bytes of bodies wait no more. When half of the room for all is free, each stream has its whole share again.
    func leftOutbound(_ count: Int) {
        outboundBytes -= count
        assert(outboundBytes >= 0)
        guard isCrowded, outboundBytes <= limits.connectionOutboundBytes / 2 else { return }
        isCrowded = false
        var token = firstStream
        while let record = pool.streams[token] {
            token = record.pointee.next
            if record.pointee.owesWritable, record.pointee.outbound.count <= outboundShare / 2 { owe(record) }
        }
    }

    /// A frame has been written.
    func frameSent(_ frame: Frame) {
        let number = frame.pointee.hd.stream_id
        switch frame.pointee.hd.type {
        case FrameType.headers, FrameType.data:
            guard frame.pointee.hd.flags & FrameFlag.endStream != 0 else { return }
            floods.progress(limits)
            guard let record = record(number: number) else { return }
            record.pointee.hasSentEnd = true
            if record.pointee.dropsRest { resetAnswered(record) }
        case FrameType.reset: resetSent(number)
        case FrameType.goAway:
            let code = HTTP2ErrorCode(rawValue: frame.pointee.goaway.error_code)
            // nghttp2's own judgement; ours has set the state before. `transmit` ends the streams.
            guard code != .noError, isReading else { return }
            failure = code
            state = .failing
        default: break
        }
    }

    /// Our side is complete and nobody wants the rest of the peer's (RFC 9113 §8.1).
    func resetAnswered(_ record: Record) {
        guard let handle, isReading, !record.pointee.hasReceivedEnd, !record.pointee.isClosed else { return }
        record.pointee.resetByDriver = true
        nghttp2_submit_rst_stream(
            handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), record.pointee.number, HTTP2ErrorCode.noError.rawValue)
    }

    /// A stream that had to be reset although the driver did not ask for it counts for the peer, whose fault it was.
    private func resetSent(_ number: Int32) {
        if let record = record(number: number), record.pointee.resetByDriver { return }
        guard role == .server, !floods.takeReset(limits, now: now) else { return }
        pendingFlood = .resets
    }

    /// A frame will not be written. Of a request that never left, nghttp2 says nothing else.
    func frameNotSent(_ frame: Frame) {
        guard role == .client, frame.pointee.hd.type == FrameType.headers,
            frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
        else { return }
        var token = firstStream
        while let record = pool.streams[token] {
            token = record.pointee.next
            if record.pointee.number == frame.pointee.hd.stream_id { return streamClosed(record, .refusedStream) }
        }
    }
}
