/// A message of Protocol Buffers taken apart without a schema, by other code than the product's: for tests.
public struct ProtobufMessage {
    /// A field: its number, and what stands behind the key.
    public struct Field {
        /// The number in the key.
        public let number: Int
        /// Of a varint or a fixed field.
        public let bits: UInt64
        /// Of a field with a length.
        public let bytes: [UInt8]

        /// The bytes as a text.
        public var text: String { String(decoding: bytes, as: UTF8.self) }
        /// The bytes as a message.
        public var message: ProtobufMessage { get throws { try ProtobufMessage(bytes) } }
        /// The bits as a number.
        public var double: Double { Double(bitPattern: bits) }
        /// The 64-bit numbers of a packed field.
        public var packed: [UInt64] {
            stride(from: 0, to: bytes.count - 7, by: 8).map { start in
                (0..<8).reduce(0) { $0 | UInt64(bytes[start + $1]) << UInt64(8 * $1) }
            }
        }
        /// The digits of its bytes.
        public var hex: String { bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
    }

    /// It is no message.
    public struct Malformed: Error {}

    /// In the order of the wire.
    public private(set) var fields: [Field] = []

    /// Takes a message apart; throws if it is none.
    public init(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        func number() throws -> UInt64 {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 64, by: 7) {
                guard let byte = rest.popFirst() else { throw Malformed() }
                value |= UInt64(byte & 0x7F) << shift
                if byte < 0x80 { return value }
            }
            throw Malformed()
        }
        func take(_ count: Int) throws -> [UInt8] {
            guard count <= rest.count else { throw Malformed() }
            defer { rest = rest.dropFirst(count) }
            return Array(rest.prefix(count))
        }
        while !rest.isEmpty {
            let key = try number()
            let length = [1: 8, 5: 4][Int(key & 7)]
            if let length {
                let bytes = try take(length)
                let bits = bytes.enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << UInt64(8 * $1.offset) }
                fields.append(Field(number: Int(key >> 3), bits: bits, bytes: []))
            } else if key & 7 == 0 {
                fields.append(Field(number: Int(key >> 3), bits: try number(), bytes: []))
            } else if key & 7 == 2 {
                let count = try number()
                fields.append(Field(number: Int(key >> 3), bits: 0, bytes: try take(Int(clamping: count))))
            } else {
                throw Malformed()
            }
        }
    }

    /// All fields of a number.
    public func all(_ number: Int) -> [Field] { fields.filter { $0.number == number } }

    /// The only field of a number; nil if there is none or more than one.
    public subscript(number: Int) -> Field? {
        let found = all(number)
        return found.count == 1 ? found[0] : nil
    }

    /// What is at the end of a way through messages, all of it.
    public func find(_ path: Int...) throws -> [Field] {
        var found = all(path[0])
        for number in path.dropFirst() { found = try found.flatMap { try $0.message.all(number) } }
        return found
    }

    /// OTLP's attributes in field `number`: texts as they are, integers in decimals.
    public func attributes(_ number: Int) throws -> [String: String] {
        var found: [String: String] = [:]
        for field in all(number) {
            let attribute = try field.message
            guard let name = attribute[1]?.text, let value = try attribute[2]?.message.fields.first else {
                throw Malformed()
            }
            found[name] = value.number == 1 ? value.text : String(value.bits)
        }
        return found
    }
}

/// A span of an `ExportTraceServiceRequest`.
public struct OTLPSpan {
    /// Ids in hexadecimal digits; empty for none.
    public let traceID, spanID, parentSpanID, traceState, name: String
    /// 2: of a server, 3: of a client.
    public let kind: UInt64
    /// Nanoseconds since 1970.
    public let start, end: UInt64
    /// Numbers in decimals.
    public let attributes: [String: String]
    /// 2: an error.
    public let status: UInt64
    /// Those of the trace, 0x100, and 0x200 if the parent is another process's.
    public let flags: UInt64

    /// The spans of a request, in order.
    public static func all(_ request: [UInt8]) throws -> [OTLPSpan] {
        try ProtobufMessage(request).find(1, 2, 2).map { field in
            let span = try field.message
            return OTLPSpan(
                traceID: span[1]?.hex ?? "", spanID: span[2]?.hex ?? "", parentSpanID: span[4]?.hex ?? "",
                traceState: span[3]?.text ?? "", name: span[5]?.text ?? "", kind: span[6]?.bits ?? 0,
                start: span[7]?.bits ?? 0, end: span[8]?.bits ?? 0, attributes: try span.attributes(9),
                status: try span[15]?.message[3]?.bits ?? 0, flags: span[16]?.bits ?? 0)
        }
    }
}
