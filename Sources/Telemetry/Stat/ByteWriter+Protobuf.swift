import Primitives

/// The wire types of Protocol Buffers that our few messages use.
enum ProtobufWireType: UInt8 {
    case varint = 0
    case fixed64 = 1
    case bytes = 2
    case fixed32 = 5
}

/// Protocol Buffers by hand: a few small, fixed messages, written as gogo/protobuf writes them.
///
/// Fields go out by ascending number, lengths in the fewest bytes, zero values not at all (proto3).
extension ByteWriter {
    /// Appends a base-128 number.
    mutating func append(varint value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(truncatingIfNeeded: rest))
    }

    /// Appends the key of a field. `field` is 1...2047.
    mutating func append(tag field: Int, _ type: ProtobufWireType) {
        append(varint: UInt64(field) << 3 | UInt64(type.rawValue))
    }

    /// Appends a number; nothing if it is zero.
    mutating func append(field: Int, varint value: UInt64) {
        guard value != 0 else { return }
        append(tag: field, .varint)
        append(varint: value)
    }

    /// Appends a double; nothing if all its bits are zero, so -0 and NaN are written.
    mutating func append(field: Int, double value: Double) {
        append(field: field, fixed64: value.bitPattern)
    }

    /// Appends eight bytes, the lowest first; nothing if they are zero.
    mutating func append(field: Int, fixed64 value: UInt64) {
        guard value != 0 else { return }
        append(tag: field, .fixed64)
        guard let place = reserve(8) else { return }
        UnsafeMutableRawPointer(place).storeBytes(of: value.littleEndian, as: UInt64.self)
    }

    /// Appends four bytes, the lowest first; nothing if they are zero.
    mutating func append(field: Int, fixed32 value: UInt32) {
        guard value != 0 else { return }
        append(tag: field, .fixed32)
        guard let place = reserve(4) else { return }
        UnsafeMutableRawPointer(place).storeBytes(of: value.littleEndian, as: UInt32.self)
    }

    /// Appends a text or bytes; nothing if there are none.
    mutating func append(field: Int, bytes: ByteView) {
        guard !bytes.isEmpty else { return }
        append(tag: field, .bytes)
        append(varint: UInt64(bytes.count))
        append(bytes)
    }

    /// Begins a message inside this one. Its length is not known yet: one byte is left for it.
    ///
    /// - Returns: where its content begins, for `endMessage`.
    mutating func beginMessage(field: Int) -> Int {
        append(tag: field, .bytes)
        append(0 as UInt8)
        return count
    }

    /// Ends the message that began at `start`: puts its length before it and moves it on where that takes more bytes.
    mutating func endMessage(at start: Int) {
        guard !overflowed else { return }
        assert(start > 0 && start <= count)
        var length = count - start
        let extra = ByteWriter.varintLength(UInt64(length)) - 1
        if extra > 0 {
            guard reserve(extra) != nil else { return }
            // From the end, since the two places overlap.
            var index = start + length
            while index > start {
                index -= 1
                base[index + extra] = base[index]
            }
        }
        var place = start - 1
        while length >= 0x80 {
            base[place] = UInt8(truncatingIfNeeded: length) | 0x80
            length >>= 7
            place += 1
        }
        base[place] = UInt8(truncatingIfNeeded: length)
    }

    /// How many bytes a base-128 number takes: 1...10.
    static func varintLength(_ value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }
}
