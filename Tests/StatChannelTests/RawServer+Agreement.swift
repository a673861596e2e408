import Primitives
import WebSocket

extension RawServer {
    /// The head that agrees to a handshake with this key.
    static func agreement(to key: [UInt8]) -> [UInt8] {
        let answer = key.withUnsafeBytes { WebSocketAcceptance.of(ByteView($0)) } ?? []
        return [UInt8](unsafeUninitializedCapacity: 256) { place, count in
            var writer = ByteWriter(UnsafeMutableRawBufferPointer(place))
            WebSocketServerHandshake.write(acceptance: answer, to: &writer)
            count = writer.count
        }
    }
}
