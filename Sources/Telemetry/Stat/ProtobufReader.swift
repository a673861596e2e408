import Primitives

/// Why a message of Protocol Buffers was refused.
public enum ProtobufFailure: Error, Equatable, Sendable {
    /// It ends in the middle of a field.
    case truncated
    /// A number of more than 64 bits or ten bytes.
    case numberTooLarge
    /// Field number 0 or above 2^29 - 1, or a wire type that is not in use (groups among them).
    case illegalKey
    /// A known field has another wire type than it should.
    case wrongType(field: Int)
    /// A known field holds what it must not: a number that is negative or not finite, a text that is no UTF-8.
    case illegalValue(field: Int)
    /// It is longer, or has more parts, than the limit.
    case tooLarge
}

/// Walks over the fields of a message that came from outside. Never reads past its end, never recurses.
struct ProtobufReader {
    /// A field as it stands on the wire.
    struct Field {
        let number: Int
        let type: ProtobufWireType
        /// The number of a varint, or the bits of a fixed field.
        let bits: UInt64
        /// The content of a length-delimited field.
        let bytes: ByteView

        /// The bits as a number that counts or lasts: finite and not negative.
        func amount() throws(ProtobufFailure) -> Double {
            guard type == .fixed64 else { throw .wrongType(field: number) }
            let value = Double(bitPattern: bits)
            guard value.isFinite, value >= 0 else { throw .illegalValue(field: number) }
            return value
        }

        /// The bytes as text: valid UTF-8 of at most `limit` bytes.
        func text(limit: Int) throws(ProtobufFailure) -> ByteView {
            guard type == .bytes else { throw .wrongType(field: number) }
            guard bytes.count <= limit else { throw .tooLarge }
            var index = 0
            while index < bytes.count {
                let length = ByteWriter.characterLength(bytes, at: index)
                guard length > 0 else { throw .illegalValue(field: number) }
                index += length
            }
            return bytes
        }
    }

    private let message: ByteView
    private var cursor = 0

    init(_ message: ByteView) { self.message = message }

    /// The next field, nil at the end.
    mutating func next() throws(ProtobufFailure) -> Field? {
        guard cursor < message.count else { return nil }
        let key = try varint()
        let number = key >> 3
        guard number > 0, number < 1 << 29, let type = ProtobufWireType(rawValue: UInt8(key & 7)) else {
            throw .illegalKey
        }
        switch type {
        case .varint:
            return Field(number: Int(number), type: type, bits: try varint(), bytes: .empty)
        case .fixed64, .fixed32:
            let bytes = try take(type == .fixed64 ? 8 : 4)
            var bits: UInt64 = 0
            for index in 0..<bytes.count { bits |= UInt64(bytes.base[index]) << UInt64(8 * index) }
            return Field(number: Int(number), type: type, bits: bits, bytes: .empty)
        case .bytes:
            let length = try varint()
            guard length <= UInt64(message.count - cursor) else { throw .truncated }
            return Field(number: Int(number), type: type, bits: 0, bytes: try take(Int(length)))
        }
    }

    private mutating func take(_ length: Int) throws(ProtobufFailure) -> ByteView {
        guard length <= message.count - cursor else { throw .truncated }
        defer { cursor += length }
        return message[cursor..<cursor + length]
    }

    private mutating func varint() throws(ProtobufFailure) -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<10 {
            guard cursor < message.count else { throw .truncated }
            let byte = message.base[cursor]
            cursor += 1
            // The tenth byte has one bit to give.
            if index == 9, byte > 1 { throw .numberTooLarge }
            value |= UInt64(byte & 0x7F) << UInt64(7 * index)
            if byte < 0x80 { return value }
        }
        throw .numberTooLarge
    }
}
