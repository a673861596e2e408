/// Why we gave a connection up: the rule that the peer broke, or the limit that was reached.
public enum WebSocketFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// A reserved bit is set, and no extension was agreed on (RFC 6455 §5.2).
    case reservedBits
    /// An opcode that has no meaning.
    case unknownOpcode(UInt8)
    /// A frame of a client that is not masked (§5.1).
    case unmasked
    /// A frame of a server that is masked (§5.1).
    case masked
    /// A control frame in fragments (§5.5).
    case fragmentedControl
    /// A control frame of more than 125 bytes (§5.5).
    case controlTooLong
    /// A length that is not in its shortest form, or beyond 2^63 (§5.2).
    case invalidLength
    /// A continuation of nothing (§5.4).
    case unexpectedContinuation
    /// A new message before the end of the last one (§5.4).
    case unfinishedMessage
    /// A Close frame with one byte (§5.5.1).
    case closeTooShort
    /// A Close frame with a code that may not stand there (§7.4).
    case invalidCloseCode(UInt16)
    /// Text, or the reason of a Close frame, is not UTF-8 (§8.1).
    case invalidText
    /// A message beyond `messageBytes`.
    case messageTooBig
    /// Frames beyond `idleFrames`.
    case tooManyIdleFrames
    /// Answers beyond `outboundBytes` or `outboundMessages`: the peer does not read.
    case peerDoesNotRead
    /// The driver has no room for more of this message now.
    case overloaded
    /// No memory, or an error of ours.
    case internalError

    /// What the peer is told.
    public var code: WebSocketCloseCode {
        switch self {
        case .reservedBits, .unknownOpcode, .unmasked, .masked, .fragmentedControl, .controlTooLong, .invalidLength,
            .unexpectedContinuation, .unfinishedMessage, .closeTooShort, .invalidCloseCode:
            .protocolError
        case .invalidText: .invalidPayload
        case .messageTooBig: .messageTooBig
        case .tooManyIdleFrames, .peerDoesNotRead: .policyViolation
        case .overloaded: .tryAgainLater
        case .internalError: .internalError
        }
    }

    /// A few words, which are also the reason in the Close frame.
    public var description: String {
        switch self {
        case .reservedBits: "reserved bit set"
        case .unknownOpcode(let opcode): "unknown opcode \(opcode)"
        case .unmasked: "frame not masked"
        case .masked: "frame masked"
        case .fragmentedControl: "fragmented control frame"
        case .controlTooLong: "control frame of more than 125 bytes"
        case .invalidLength: "invalid length"
        case .unexpectedContinuation: "continuation of no message"
        case .unfinishedMessage: "new message before the end of the last"
        case .closeTooShort: "Close frame of one byte"
        case .invalidCloseCode(let code): "invalid close code \(code)"
        case .invalidText: "text is not UTF-8"
        case .messageTooBig: "message too big"
        case .tooManyIdleFrames: "too many frames without content"
        case .peerDoesNotRead: "answers are not read"
        case .overloaded: "overloaded"
        case .internalError: "internal error"
        }
    }
}
