import Primitives

/// A `Sec-WebSocket-Key` (RFC 6455 §4.1): sixteen random bytes in base64.
public struct WebSocketKey: Sendable {
    private let high: UInt64
    private let low: UInt64

    /// The key of these 128 bits, which should be random and used for one handshake.
    public init(_ high: UInt64, _ low: UInt64) { (self.high, self.low) = (high, low) }

    /// Appends its 24 characters.
    public func append(to writer: inout ByteWriter) {
        withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { writer.append(base64: ByteView($0)) }
    }
}
