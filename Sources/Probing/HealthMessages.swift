import Primitives

/// What the gRPC health service says of a service (grpc.health.v1, `HealthCheckResponse.ServingStatus`).
struct HealthStatus: Equatable, Sendable, CustomStringConvertible {
    /// The number on the wire. Others than those below are legal and mean nothing yet.
    let rawValue: Int32

    static let unknown = HealthStatus(rawValue: 0)
    /// The one that means ready.
    static let serving = HealthStatus(rawValue: 1)

    var description: String {
        switch rawValue {
        case 0: "UNKNOWN"
        case 1: "SERVING"
        case 2: "NOT_SERVING"
        case 3: "SERVICE_UNKNOWN"
        default: String(rawValue)
        }
    }
}

/// The two messages of `grpc.health.v1.Health/Check`, by hand: a library would be larger than everything here.
enum HealthMessages {
    /// Bytes of a message's frame: a flag for compression and the length (gRPC over HTTP/2, Length-Prefixed-Message).
    static let prefixBytes = 5

    /// `HealthCheckRequest { string service = 1; }` in its frame. An empty service is not written, as in proto3.
    static func request(service: String) -> [UInt8] {
        let name = Array(service.utf8)
        var message: [UInt8] = []
        if !name.isEmpty {
            message.append(1 << 3 | 2)
            var length = UInt64(name.count)
            while length > 0x7F {
                message.append(UInt8(truncatingIfNeeded: length | 0x80))
                length >>= 7
            }
            message.append(UInt8(truncatingIfNeeded: length))
            message += name
        }
        return withUnsafeBytes(of: UInt32(message.count).bigEndian) { [0] + Array($0) } + message
    }

    /// The status in `HealthCheckResponse { ServingStatus status = 1; }`: the last one, UNKNOWN if there is none.
    /// Unknown fields are passed over; nil if the bytes are no message.
    static func status(_ message: ByteView) -> HealthStatus? {
        var status = HealthStatus.unknown
        var cursor = 0
        while cursor < message.count {
            guard let key = varint(message, &cursor), key >> 3 > 0, key >> 3 < 1 << 29 else { return nil }
            switch key & 7 {
            case 0:
                guard let value = varint(message, &cursor) else { return nil }
                if key >> 3 == 1 { status = HealthStatus(rawValue: Int32(truncatingIfNeeded: value)) }
            case 1: cursor += 8
            case 2:
                guard let length = varint(message, &cursor), length <= UInt64(message.count - cursor) else {
                    return nil
                }
                cursor += Int(length)
            case 5: cursor += 4
            default: return nil  // groups, which proto3 does not have
            }
            guard cursor <= message.count else { return nil }
            // A status of another wire type is an unknown field to protobuf; here it is no answer.
            if key >> 3 == 1, key & 7 != 0 { return nil }
        }
        return status
    }

    /// A base-128 number of at most ten bytes; nil if it has no end or more than 64 bits.
    private static func varint(_ bytes: ByteView, _ cursor: inout Int) -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while cursor < bytes.count, shift < 64 {
            let byte = bytes[cursor]
            cursor += 1
            guard shift < 63 || byte <= 1 else { return nil }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        return nil
    }
}
