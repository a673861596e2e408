import CWslay
import Glibc
import Primitives

/// What wslay calls back. Each call finds its session by the pointer that the context was made with; it is made within
/// a call of the session's own, which keeps it alive.
enum Callbacks {
    static var table: wslay_event_callbacks {
        var table = wslay_event_callbacks()
        table.recv_callback = { context, place, count, _, owner in
            guard let place else { return -1 }
            let taken = Callbacks.with(owner) { $0.give(to: place, count) }
            if taken == 0 { wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK.rawValue) }
            return taken == 0 ? -1 : taken
        }
        table.send_callback = { context, bytes, count, _, owner in
            guard let bytes else { return -1 }
            let taken = Callbacks.with(owner) { $0.take(ByteView(base: bytes, count: count)) }
            if taken == 0 { wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK.rawValue) }
            return taken == 0 ? -1 : taken
        }
        table.genmask_callback = { _, place, count, owner in
            guard let place else { return -1 }
            Callbacks.with(owner) { $0.fillMask(place, count) }
            return 0
        }
        table.on_frame_recv_chunk_callback = { _, argument, owner in
            guard let chunk = argument?.pointee, let data = chunk.data, chunk.data_length > 0 else { return }
            Callbacks.with(owner) { $0.gather(ByteView(base: data, count: chunk.data_length)) }
        }
        table.on_msg_recv_callback = { _, argument, owner in
            guard let opcode = argument?.pointee.opcode else { return }
            Callbacks.with(owner) { $0.received(opcode) }
        }
        return table
    }

    private static func with<Result>(_ owner: UnsafeMutableRawPointer?, _ body: (WebSocketSession) -> Result) -> Result
    {
        body(Unmanaged<WebSocketSession>.fromOpaque(owner.unsafelyUnwrapped).takeUnretainedValue())
    }
}

extension WebSocketSession {
    /// Gives wslay some of the peer's bytes.
    fileprivate func give(to place: UnsafeMutablePointer<UInt8>, _ room: Int) -> Int {
        let count = min(room, input.count)
        guard count > 0 else { return 0 }
        memcpy(place, input.base, count)
        input = input.dropping(first: count)
        return count
    }

    /// Takes some of wslay's bytes.
    fileprivate func take(_ bytes: ByteView) -> Int {
        guard let sink else { return 0 }
        let count = min(bytes.count, sink.pointee.capacity - sink.pointee.count)
        guard count > 0 else { return 0 }
        sink.pointee.append(bytes[0..<count])
        return count
    }

    fileprivate func fillMask(_ place: UnsafeMutablePointer<UInt8>, _ count: Int) {
        for index in 0..<count { place[index] = UInt8(truncatingIfNeeded: random.next() >> 56) }
    }

    fileprivate func gather(_ bytes: ByteView) {
        guard isFeedingData else { return }
        message.append(contentsOf: UnsafeBufferPointer(start: bytes.base, count: bytes.count))
    }
}
