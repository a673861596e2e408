/// The code of RST_STREAM and GOAWAY (RFC 9113 §7). Unknown codes are kept as they came.
public struct HTTP2ErrorCode: RawRepresentable, Equatable, Hashable, Sendable {
    /// The number on the wire.
    public let rawValue: UInt32

    /// The code with this number.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// No error: an end, not a failure.
    public static var noError: HTTP2ErrorCode { .init(rawValue: 0) }
    /// The peer broke the protocol.
    public static var protocolError: HTTP2ErrorCode { .init(rawValue: 1) }
    /// Our own fault.
    public static var internalError: HTTP2ErrorCode { .init(rawValue: 2) }
    /// More data than the window allowed.
    public static var flowControlError: HTTP2ErrorCode { .init(rawValue: 3) }
    /// SETTINGS were not acknowledged in time.
    public static var settingsTimeout: HTTP2ErrorCode { .init(rawValue: 4) }
    /// A frame for a stream that had ended.
    public static var streamClosed: HTTP2ErrorCode { .init(rawValue: 5) }
    /// A frame of a wrong size.
    public static var frameSizeError: HTTP2ErrorCode { .init(rawValue: 6) }
    /// Nothing was done for the stream: the request may be sent again elsewhere (RFC 9113 §8.7).
    public static var refusedStream: HTTP2ErrorCode { .init(rawValue: 7) }
    /// No longer wanted.
    public static var cancel: HTTP2ErrorCode { .init(rawValue: 8) }
    /// The header compression state is lost.
    public static var compressionError: HTTP2ErrorCode { .init(rawValue: 9) }
    /// The connection behind a CONNECT broke.
    public static var connectError: HTTP2ErrorCode { .init(rawValue: 10) }
    /// The peer does too much of something.
    public static var enhanceYourCalm: HTTP2ErrorCode { .init(rawValue: 11) }
    /// The TLS below is not good enough.
    public static var inadequateSecurity: HTTP2ErrorCode { .init(rawValue: 12) }
    /// Ask again with HTTP/1.1.
    public static var http11Required: HTTP2ErrorCode { .init(rawValue: 13) }

    /// A word for logs.
    public var name: StaticString {
        switch rawValue {
        case 0: "NO_ERROR"
        case 1: "PROTOCOL_ERROR"
        case 2: "INTERNAL_ERROR"
        case 3: "FLOW_CONTROL_ERROR"
        case 4: "SETTINGS_TIMEOUT"
        case 5: "STREAM_CLOSED"
        case 6: "FRAME_SIZE_ERROR"
        case 7: "REFUSED_STREAM"
        case 8: "CANCEL"
        case 9: "COMPRESSION_ERROR"
        case 10: "CONNECT_ERROR"
        case 11: "ENHANCE_YOUR_CALM"
        case 12: "INADEQUATE_SECURITY"
        case 13: "HTTP_1_1_REQUIRED"
        default: "UNKNOWN"
        }
    }
}
