import COpenSSL
import HTTP
import Primitives

/// `Sec-WebSocket-Accept`: proves that a server has understood the handshake (RFC 6455 §4.2.2).
public enum WebSocketAcceptance {
    private static let magic: StaticString = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    /// The 28 characters that answer `key`, the value of `Sec-WebSocket-Key`. Nil only if OpenSSL has no SHA-1.
    public static func of(_ key: ByteView) -> [UInt8]? {
        var digest = [UInt8](repeating: 0, count: 20)
        var text = [UInt8]()
        text.append(contentsOf: UnsafeBufferPointer(start: key.base, count: key.count))
        text.append(contentsOf: UnsafeBufferPointer(start: magic.utf8Start, count: magic.utf8CodeUnitCount))
        guard EVP_Digest(text, text.count, &digest, nil, EVP_sha1(), nil) == 1 else { return nil }
        return [UInt8](unsafeUninitializedCapacity: 28) { place, count in
            var writer = ByteWriter(UnsafeMutableRawBufferPointer(place))
            digest.withUnsafeBytes { writer.append(base64: ByteView($0)) }
            count = writer.count
        }
    }

    /// Whether `key` is sixteen bytes in base64, without a bit too many.
    public static func isKey(_ key: ByteView) -> Bool {
        guard key.count == 24, key[22] == padding, key[23] == padding else { return false }
        // Of the last character two bits count; the others are zero.
        guard [UInt8(ascii: "A"), UInt8(ascii: "Q"), UInt8(ascii: "g"), UInt8(ascii: "w")].contains(key[21]) else {
            return false
        }
        return (0..<21).allSatisfy { isDigit(key[$0]) }
    }

    private static let padding = UInt8(ascii: "=")

    private static func isDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
            true
        default: false
        }
    }
}
