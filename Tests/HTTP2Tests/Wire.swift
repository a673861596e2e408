import HTTP
import Primitives

@testable import HTTP2

/// A frame as a test writes and reads it.
struct TestFrame: Equatable, CustomStringConvertible {
    var type: UInt8
    var flags: UInt8 = 0
    var stream: UInt32
    var payload: [UInt8] = []

    var bytes: [UInt8] {
        let count = payload.count
        return [UInt8(count >> 16), UInt8(count >> 8 & 255), UInt8(count & 255), type, flags] + big(stream) + payload
    }

    /// The number in the first four bytes of the payload, or at `offset`.
    func number(at offset: Int = 0) -> UInt32 {
        guard payload.count >= offset + 4 else { return .max }
        return payload[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    var description: String { "type \(type) flags \(flags) stream \(stream) bytes \(payload.count)" }

    /// Cuts bytes into whole frames; what is left over is returned too.
    static func parse(_ bytes: [UInt8]) -> (frames: [TestFrame], rest: [UInt8]) {
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

func big(_ value: UInt32) -> [UInt8] {
    [UInt8(value >> 24), UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255)]
}

/// Makes frames by hand, right or wrong.
enum Make {
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    static let get: [(String, String)] = [
        (":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/"),
    ]
    static let post: [(String, String)] = [
        (":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", "/"),
    ]

    static func frame(_ type: UInt8, _ flags: UInt8 = 0, _ stream: UInt32 = 0, _ payload: [UInt8] = []) -> [UInt8] {
        TestFrame(type: type, flags: flags, stream: stream, payload: payload).bytes
    }

    /// Literals without indexing and without Huffman coding (RFC 7541 §6.2.2).
    static func block(_ fields: [(String, String)]) -> [UInt8] {
        fields.flatMap { [0] + string(Array($0.0.utf8)) + string(Array($0.1.utf8)) }
    }

    static func string(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.count >= 127 else { return [UInt8(bytes.count)] + bytes }
        var rest = bytes.count - 127, head: [UInt8] = [127]
        while rest >= 128 {
            head.append(UInt8(rest & 127 | 128))
            rest >>= 7
        }
        return head + [UInt8(rest)] + bytes
    }

    /// HEADERS with the whole block; `end` is END_STREAM.
    static func headers(_ stream: UInt32, _ fields: [(String, String)], end: Bool = true) -> [UInt8] {
        frame(1, end ? 5 : 4, stream, block(fields))
    }

    static func data(_ stream: UInt32, _ count: Int, end: Bool = false) -> [UInt8] {
        frame(0, end ? 1 : 0, stream, Array(repeating: 0x61, count: count))
    }

    static func settings(_ entries: [(UInt16, UInt32)] = []) -> [UInt8] {
        frame(4, 0, 0, entries.flatMap { [UInt8($0.0 >> 8), UInt8($0.0 & 255)] + big($0.1) })
    }

    static func ping(_ byte: UInt8 = 1) -> [UInt8] { frame(6, 0, 0, Array(repeating: byte, count: 8)) }
    static func reset(_ stream: UInt32, _ code: UInt32 = 8) -> [UInt8] { frame(3, 0, stream, big(code)) }
    static func window(_ stream: UInt32, _ more: UInt32) -> [UInt8] { frame(8, 0, stream, big(more)) }
    static func goAway(_ last: UInt32, _ code: UInt32 = 0) -> [UInt8] { frame(7, 0, 0, big(last) + big(code)) }
}

/// Where bytes stand while a view of them is handed in.
func withView<Result>(_ bytes: [UInt8], _ body: (ByteView) throws -> Result) rethrows -> Result {
    try bytes.withUnsafeBytes { try body(ByteView($0)) }
}
