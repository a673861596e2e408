/// Why a WebSocket connection is closed (RFC 6455 §7.4 and IANA's registry).
public struct WebSocketCloseCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The number on the wire.
    public let rawValue: UInt16

    /// The code of that number.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// The purpose is fulfilled.
    public static let normal = WebSocketCloseCode(rawValue: 1000)
    /// An end goes away.
    public static let goingAway = WebSocketCloseCode(rawValue: 1001)
    /// The peer broke the protocol.
    public static let protocolError = WebSocketCloseCode(rawValue: 1002)
    /// Text that is not UTF-8.
    public static let invalidPayload = WebSocketCloseCode(rawValue: 1007)
    /// Against a rule of ours that has no code of its own.
    public static let policyViolation = WebSocketCloseCode(rawValue: 1008)
    /// A message beyond the limit.
    public static let messageTooBig = WebSocketCloseCode(rawValue: 1009)
    /// Something unexpected on our side.
    public static let internalError = WebSocketCloseCode(rawValue: 1011)
    /// The server restarts: connect again.
    public static let serviceRestart = WebSocketCloseCode(rawValue: 1012)
    /// The server has too much to do: connect again later.
    public static let tryAgainLater = WebSocketCloseCode(rawValue: 1013)

    /// Whether it may stand in a Close frame: registered and not one of those that only tell of a missing frame, or
    /// one of the ranges for libraries and applications (RFC 6455 §7.4.2).
    public var isValidOnWire: Bool {
        switch rawValue {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }

    /// The number.
    public var description: String { String(rawValue) }
}
