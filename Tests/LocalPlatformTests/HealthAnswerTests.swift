import Primitives
import Testing

@testable import LocalPlatform
@testable import Probing

/// What is asked of the gRPC health service and how its answers are read.
@Suite struct HealthAnswerTests {
    @Test(arguments: [
        (0, [UInt8]()), (1, [10, 1]), (127, [10, 127]), (128, [10, 0x80, 1]), (1024, [10, 0x80, 8]),
    ])
    func requests(count: Int, head: [UInt8]) {
        let name = [UInt8](repeating: UInt8(ascii: "s"), count: count)
        let bytes = HealthMessages.request(service: String(decoding: name, as: UTF8.self))
        let length = head.count + count
        #expect(bytes == [0, 0, 0, UInt8(length >> 8), UInt8(length & 0xFF)] + head + name)
    }

    /// Bytes of a HealthCheckResponse, and the status; nil if it is none.
    static let messages: [([UInt8], Int32?)] = [
        ([], 0), ([8, 1], 1), ([8, 2], 2), ([8, 0], 0), ([8, 3], 3), ([8, 0x81, 0], 1), ([8, 0xE8, 7], 1000),
        // The last one counts; negative numbers have ten bytes.
        ([8, 2, 8, 1], 1), ([8, 1, 8, 2], 2),
        ([8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1], -1),
        // Unknown fields of every wire type, before and after.
        ([16, 5, 8, 1], 1), ([0x12, 2, 8, 2, 8, 1], 1), ([0x19, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1], 1),
        ([8, 1, 0x25, 1, 2, 3, 4], 1), ([0xF8, 0xFF, 0xFF, 0xFF, 0x0F, 1, 8, 1], 1),
        // Cut off, without an end, too long.
        ([8], nil), ([8, 0x80], nil), ([8, 1, 8], nil), ([0x12, 3, 1, 2], nil), ([0x12], nil), ([0x19, 1, 2], nil),
        ([0x25, 1, 2, 3], nil), ([0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1], nil),
        ([8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0], nil),
        ([8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2], nil),
        // Field 0, groups, wire types that do not exist, a status that is no number.
        ([0, 1], nil), ([0x0B, 0x0C], nil), ([0x0E], nil), ([0x0F], nil), ([0x0A, 1, 1], nil),
        ([0x0D, 1, 0, 0, 0], nil),
        (Array("HTTP/1.1".utf8), nil),
    ]

    @Test(arguments: messages) func readMessages(bytes: [UInt8], status: Int32?) {
        #expect(bytes.withUnsafeBytes { HealthMessages.status(ByteView($0)) }?.rawValue == status)
    }

    static let edges: [UInt8] = [0, 1, 8, 10, 0x7F, 0x80, 0xFF]

    /// Whatever comes, reading ends, inside the bytes.
    @Test func anyBytesAreRead() {
        for seed in UInt64(0)..<20_000 {
            var random = SeededRandom(seed: seed)
            let bytes = (0..<Int.random(in: 0...24, using: &random)).map { _ in
                Bool.random(using: &random)
                    ? UInt8.random(in: 0 ... .max, using: &random)
                    : Self.edges[Int.random(in: 0..<Self.edges.count, using: &random)]
            }
            _ = bytes.withUnsafeBytes { HealthMessages.status(ByteView($0)) }
            var answer = HealthAnswer()
            answer.takeHead(status: 200, .init(contentType: "application/grpc"), isWhole: false)
            _ = bytes.withUnsafeBytes { answer.takeData(ByteView($0)) }
            answer.takeTrailers(.init(grpcStatus: "0"))
            let isServing = bytes.count >= 5 && bytes[0] == 0 && bytes[5...].elementsEqual([8, 1])
            if isServing { continue }
            #expect(answer.outcome != .refused && answer.outcome != .timedOut, "seed \(seed)")
        }
    }

    struct Row: Sendable {
        var status = 200
        var type: String? = "application/grpc"
        var body: [[UInt8]] = [[0, 0, 0, 0, 2, 8, 1]]
        var code: String? = "0"
        var message: String?
        var isWhole = false
        /// The reason; nil if it passes.
        var reason: String?
    }

    static let notRegistered =
        "gRPC status 12 UNIMPLEMENTED: the health service grpc.health.v1.Health is not registered"
    static let notFound = "gRPC status 5 NOT_FOUND: the health service does not know the service asked for"

    static let rows: [Row] = [
        Row(), Row(type: "application/grpc+proto"), Row(type: "Application/GRPC; charset=x"),
        Row(body: [0, 0, 0, 0, 2, 8, 1].map { [$0] }), Row(body: [[], [0, 0, 0], [], [0, 2, 8, 1], []]),
        // Statuses of health.
        Row(body: [[0, 0, 0, 0, 2, 8, 2]], reason: "gRPC: health status NOT_SERVING"),
        Row(body: [[0, 0, 0, 0, 2, 8, 3]], reason: "gRPC: health status SERVICE_UNKNOWN"),
        Row(body: [[0, 0, 0, 0, 2, 8, 9]], reason: "gRPC: health status 9"),
        Row(body: [[0, 0, 0, 0, 0]], reason: "gRPC: health status UNKNOWN"),
        // The message.
        Row(body: [], reason: "gRPC: the answer has no message"),
        Row(body: [[0, 0, 0]], reason: "gRPC: the answer's message is cut off"),
        Row(body: [[0, 0, 0, 0, 3, 8, 1]], reason: "gRPC: the answer's message is cut off"),
        Row(body: [[0, 255, 255, 255, 255, 8, 1]], reason: "gRPC: the answer's message is cut off"),
        Row(body: [[0, 0, 0, 0, 1, 8, 1]], reason: "gRPC: the answer has more than one message"),
        Row(body: [[1, 0, 0, 0, 2, 8, 1]], reason: "gRPC: the answer is compressed, which was not asked for"),
        Row(body: [[0, 0, 0, 0, 2, 10, 1]], reason: "gRPC: the answer is no HealthCheckResponse"),
        // Statuses of gRPC.
        Row(
            body: [], code: "12", message: "Method not found!", isWhole: true,
            reason: notRegistered + ": Method not found!"),
        Row(body: [], code: "5", message: "caf%C3%A9 %2525%zz%4", isWhole: true, reason: notFound + ": café %25%zz%4"),
        Row(code: "14", reason: "gRPC status 14 UNAVAILABLE"), Row(code: "99", reason: "gRPC status 99"),
        Row(code: "13", message: "a%0D%0Ab\u{1B}", reason: "gRPC status 13 INTERNAL: a  b "),
        Row(
            code: "2", message: String(repeating: "é", count: 300),
            reason: "gRPC status 2 UNKNOWN: " + String(repeating: "é", count: 99) + "…"),
        Row(code: "", reason: "gRPC: malformed grpc-status \"\""),
        Row(code: "-1", reason: "gRPC: malformed grpc-status \"-1\""),
        Row(code: "+0", reason: "gRPC: malformed grpc-status \"+0\""),
        Row(code: "0x", reason: "gRPC: malformed grpc-status \"0x\""),
        Row(code: "99999999999999999999", reason: "gRPC: malformed grpc-status \"99999999999999999999\""),
        // No gRPC at all.
        Row(code: nil, reason: "gRPC: the answer ends without grpc-status"),
        Row(code: nil, isWhole: true, reason: "gRPC: the answer ends without grpc-status"),
        Row(status: 404, type: "text/html", code: nil, reason: "HTTP status 404 instead of a gRPC answer"),
        Row(status: 503, body: [], code: nil, isWhole: true, reason: "HTTP status 503 instead of a gRPC answer"),
        Row(
            type: "text/html", code: nil,
            reason: "not a gRPC answer: Content-Type \"text/html\" instead of application/grpc"),
        Row(
            type: "application/grpc-web", code: nil,
            reason: "not a gRPC answer: Content-Type \"application/grpc-web\" instead of application/grpc"),
        Row(type: nil, code: nil, reason: "not a gRPC answer: no Content-Type instead of application/grpc"),
    ]

    @Test(arguments: rows) func judgeAnswers(row: Row) {
        var answer = HealthAnswer()
        let trailers = HealthAnswer.Fields(contentType: nil, grpcStatus: row.code, grpcMessage: row.message)
        var head = row.isWhole ? trailers : HealthAnswer.Fields()
        head.contentType = row.type
        answer.takeHead(status: row.status, head, isWhole: row.isWhole)
        if !row.isWhole {
            for piece in row.body { #expect(piece.withUnsafeBytes { answer.takeData(ByteView($0)) }) }
            answer.takeTrailers(trailers)
        }
        #expect(answer.outcome == row.reason.map(ProbeOutcome.failed) ?? .passed)
    }

    /// A status in a head that something follows is not the status: only the end says how it went.
    @Test func statusBeforeTheEndDoesNotCount() {
        var answer = HealthAnswer()
        answer.takeHead(status: 200, .init(contentType: "application/grpc", grpcStatus: "0"), isWhole: false)
        #expect(answer.outcome == .failed("gRPC: the answer ends without grpc-status"))
    }

    @Test func bodiesHaveALimit() {
        let limit = HealthMessages.prefixBytes + HealthAnswer.messageBytes
        for (pieces, fits) in [([limit], true), ([limit + 1], false), ([limit, 1], false), ([limit - 1, 1], true)] {
            var answer = HealthAnswer()
            let results = pieces.map { count in
                [UInt8](repeating: 0, count: count).withUnsafeBytes { answer.takeData(ByteView($0)) }
            }
            #expect(results.allSatisfy { $0 } == fits, "\(pieces)")
        }
    }
}
