import CNGHTTP2
import Glibc
import HTTP
import Primitives

/// What nghttp2 calls: each finds its session from the context, hands over, and says in nghttp2's words what came of
/// it.
enum Callbacks {
    private static var fine: Int32 { 0 }
    private static var resetStream: Int32 { NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue }

    /// The table of callbacks; nil without memory.
    static func make() -> OpaquePointer? {
        var table: OpaquePointer?
        guard nghttp2_session_callbacks_new(&table) == 0 else { return nil }
        nghttp2_session_callbacks_set_on_begin_headers_callback(table) { _, frame, context in
            guard let frame else { return Callbacks.fine }
            return Callbacks.with(context) { $0.headBegins(frame) } ? Callbacks.fine : Callbacks.resetStream
        }
        nghttp2_session_callbacks_set_on_header_callback(table) {
            _, frame, name, nameCount, value, valueCount, _, context in
            guard let frame, let name, let value else { return Callbacks.fine }
            let isFine = Callbacks.with(context) {
                $0.takeField(frame, ByteView(base: name, count: nameCount), ByteView(base: value, count: valueCount))
            }
            return isFine ? Callbacks.fine : Callbacks.resetStream
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(table) { _, frame, context in
            if let frame { Callbacks.with(context) { $0.frameReceived(frame) } }
            return Callbacks.fine
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table) { _, _, number, data, count, context in
            guard let data else { return Callbacks.fine }
            Callbacks.with(context) { $0.dataReceived(number, ByteView(base: data, count: count)) }
            return Callbacks.fine
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(table) { _, number, code, context in
            Callbacks.with(context) { $0.streamClosed(number, code) }
            return Callbacks.fine
        }
        setSending(table)
        return table
    }

    private static func setSending(_ table: OpaquePointer?) {
        nghttp2_session_callbacks_set_on_frame_send_callback(table) { _, frame, context in
            if let frame { Callbacks.with(context) { $0.frameSent(frame) } }
            return Callbacks.fine
        }
        nghttp2_session_callbacks_set_on_frame_not_send_callback(table) { _, frame, _, context in
            if let frame { Callbacks.with(context) { $0.frameNotSent(frame) } }
            return Callbacks.fine
        }
        nghttp2_session_callbacks_set_data_source_read_length_callback(table) {
            _, _, _, connectionWindow, streamWindow, maximumFrame, context in
            Callbacks.with(context) { $0.frameBytes(min(connectionWindow, streamWindow), maximumFrame) }
        }
        nghttp2_session_callbacks_set_send_data_callback(table) { _, frame, header, count, _, context in
            guard let frame, let header else { return Callbacks.resetStream }
            return Callbacks.with(context) { $0.sendData(frame, header, count) }
        }
    }

    /// Says how much of a stream's buffer the next DATA frame carries.
    static let read: nghttp2_data_source_read_callback = { _, number, _, room, flags, _, context in
        guard let flags else { return ssize_t(Callbacks.resetStream) }
        return Callbacks.with(context) { $0.readBody(number, room, flags) }
    }

    /// Calls `body` with the session that made the call. Its driver keeps it alive meanwhile, so that none of the some
    /// forty calls a request counts references.
    @inline(__always)
    private static func with<Result>(
        _ context: UnsafeMutableRawPointer?, _ body: (HTTP2Session) -> Result
    ) -> Result {
        Unmanaged<HTTP2Session>.fromOpaque(context.unsafelyUnwrapped)._withUnsafeGuaranteedRef { body($0) }
    }
}
