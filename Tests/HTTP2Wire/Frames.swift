/// A frame as a test writes and reads it.
public struct TestFrame: Equatable, CustomStringConvertible {
    /// As on the wire (RFC 9113 §6).
    public var type: UInt8
    /// As on the wire.
    public var flags: UInt8 = 0
    /// 0 for the connection.
    public var stream: UInt32
    /// Everything behind the nine bytes of the header.
    public var payload: [UInt8] = []

    /// A frame, right or wrong.
    public init(type: UInt8, flags: UInt8 = 0, stream: UInt32, payload: [UInt8] = []) {
        (self.type, self.flags, self.stream, self.payload) = (type, flags, stream, payload)
    }

    /// As on the wire.
    public var bytes: [UInt8] {
        let count = payload.count
        return [UInt8(count >> 16), UInt8(count >> 8 & 255), UInt8(count & 255), type, flags] + big(stream) + payload
    }

    /// The number in the first four bytes of the payload, or at `offset`.
    public func number(at offset: Int = 0) -> UInt32 {
        guard payload.count >= offset + 4 else { return .max }
        return payload[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// For messages of tests.
    public var description: String { "type \(type) flags \(flags) stream \(stream) bytes \(payload.count)" }

    /// Cuts bytes into whole frames; what is left over is returned too.
    public static func parse(_ bytes: [UInt8]) -> (frames: [TestFrame], rest: [UInt8]) {
        var frames: [TestFrame] = [], at = 0
        while bytes.count - at >= 9 {
            let count = Int(bytes[at]) << 16 | Int(bytes[at + 1]) << 8 | Int(bytes[at + 2])
            guard bytes.count - at >= 9 + count else { break }
            let stream = bytes[at + 5..<at + 9].reduce(0) { $0 << 8 | UInt32($1) }
            let payload = Array(bytes[at + 9..<at + 9 + count])
            frames.append(TestFrame(type: bytes[at + 3], flags: bytes[at + 4], stream: stream, payload: payload))
            at += 9 + count
        }
        return (frames, Array(bytes[at...]))
    }
}

/// Four bytes, most significant first.
public func big(_ value: UInt32) -> [UInt8] {
    [UInt8(value >> 24), UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255)]
}

/// Makes frames by hand, right or wrong.
public enum Make {
    /// What a client says first.
    public static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    /// Pseudo-fields of a GET.
    public static let get: [(String, String)] = [
        (":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/"),
    ]
    /// Pseudo-fields of a POST.
    public static let post: [(String, String)] = [
        (":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", "/"),
    ]

    /// A frame of any type.
    public static func frame(_ type: UInt8, _ flags: UInt8 = 0, _ stream: UInt32 = 0, _ payload: [UInt8] = [])
        -> [UInt8]
    {
        TestFrame(type: type, flags: flags, stream: stream, payload: payload).bytes
    }

    /// Literals without indexing and without Huffman coding (RFC 7541 §6.2.2).
    public static func block(_ fields: [(String, String)]) -> [UInt8] {
        fields.flatMap { [0] + string(Array($0.0.utf8)) + string(Array($0.1.utf8)) }
    }

    /// A string literal of HPACK, without Huffman coding.
    public static func string(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.count >= 127 else { return [UInt8(bytes.count)] + bytes }
        var rest = bytes.count - 127, head: [UInt8] = [127]
        while rest >= 128 {
            head.append(UInt8(rest & 127 | 128))
            rest >>= 7
        }
        return head + [UInt8(rest)] + bytes
    }

    /// HEADERS with the whole block; `end` is END_STREAM.
    public static func headers(_ stream: UInt32, _ fields: [(String, String)], end: Bool = true) -> [UInt8] {
        frame(1, end ? 5 : 4, stream, block(fields))
    }

    /// DATA of `count` bytes.
    public static func data(_ stream: UInt32, _ count: Int, end: Bool = false) -> [UInt8] {
        frame(0, end ? 1 : 0, stream, Array(repeating: 0x61, count: count))
    }

    /// SETTINGS with these entries.
    public static func settings(_ entries: [(UInt16, UInt32)] = []) -> [UInt8] {
        frame(4, 0, 0, entries.flatMap { [UInt8($0.0 >> 8), UInt8($0.0 & 255)] + big($0.1) })
    }

    /// PING.
    public static func ping(_ byte: UInt8 = 1) -> [UInt8] { frame(6, 0, 0, Array(repeating: byte, count: 8)) }
    /// RST_STREAM, by default CANCEL.
    public static func reset(_ stream: UInt32, _ code: UInt32 = 8) -> [UInt8] { frame(3, 0, stream, big(code)) }
    /// WINDOW_UPDATE.
    public static func window(_ stream: UInt32, _ more: UInt32) -> [UInt8] { frame(8, 0, stream, big(more)) }
    /// GOAWAY.
    public static func goAway(_ last: UInt32, _ code: UInt32 = 0) -> [UInt8] { frame(7, 0, 0, big(last) + big(code)) }
}
