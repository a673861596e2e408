import Primitives

/// Reads the answer to `grpc.health.v1.Health/Check` (gRPC over HTTP/2) and judges it: only SERVING passes, everything
/// else is a failure with its reason. Pure.
struct HealthAnswer {
    /// Most bytes of the answer's message; the health service's has two.
    static let messageBytes = 1_024
    /// Most bytes of the server's own words that are repeated in a reason.
    static let wordBytes = 200

    /// The fields that matter, of a head or of trailers.
    struct Fields: Equatable, Sendable {
        var contentType: String?
        var grpcStatus: String?
        var grpcMessage: String?
    }

    private var httpStatus = 0
    private var contentType = ""
    private var trailers = Fields()
    private var body: [UInt8] = []

    init() {}

    /// The head of the response. `isWhole`: nothing follows, so it is head and trailers in one ("Trailers-Only").
    mutating func takeHead(status: Int, _ fields: Fields, isWhole: Bool) {
        httpStatus = status
        contentType = fields.contentType ?? ""
        if isWhole { trailers = fields }
    }

    /// Bytes of the body. False if they are too many: nothing more need be read.
    mutating func takeData(_ bytes: ByteView) -> Bool {
        guard bytes.count <= HealthMessages.prefixBytes + Self.messageBytes - body.count else { return false }
        for index in 0..<bytes.count { body.append(bytes[index]) }
        return true
    }

    mutating func takeTrailers(_ fields: Fields) { trailers = fields }

    /// What it comes to, at its end.
    var outcome: ProbeOutcome {
        guard let status = trailers.grpcStatus else { return .failed(missingStatus) }
        guard let code = Int(status), (0...999).contains(code), status.utf8.allSatisfy(ASCII.isDigit) else {
            return .failed("gRPC: malformed grpc-status \"\(Self.safe(status))\"")
        }
        return code == 0
            ? body.withUnsafeBytes { judge(ByteView($0)) } : .failed(Self.reason(code, trailers.grpcMessage))
    }

    /// Why a body beyond the limit fails.
    static var tooLarge: ProbeOutcome { .failed("gRPC: answer of more than \(messageBytes) bytes") }

    private var missingStatus: String {
        if httpStatus != 200 { return "HTTP status \(httpStatus) instead of a gRPC answer" }
        guard Self.isGRPC(contentType) else {
            let found = contentType.isEmpty ? "no Content-Type" : "Content-Type \"\(Self.safe(contentType))\""
            return "not a gRPC answer: \(found) instead of application/grpc"
        }
        return "gRPC: the answer ends without grpc-status"
    }

    private func judge(_ body: ByteView) -> ProbeOutcome {
        guard body.count >= HealthMessages.prefixBytes else {
            return .failed(body.isEmpty ? "gRPC: the answer has no message" : "gRPC: the answer's message is cut off")
        }
        guard body[0] == 0 else { return .failed("gRPC: the answer is compressed, which was not asked for") }
        let length = (1...4).reduce(0) { $0 << 8 | Int(body[$1]) }
        let message = body.dropping(first: HealthMessages.prefixBytes)
        guard message.count >= length else { return .failed("gRPC: the answer's message is cut off") }
        guard message.count == length else { return .failed("gRPC: the answer has more than one message") }
        guard let status = HealthMessages.status(message) else {
            return .failed("gRPC: the answer is no HealthCheckResponse")
        }
        return status == .serving ? .passed : .failed("gRPC: health status \(status)")
    }

    private static func isGRPC(_ type: String) -> Bool {
        let type = type.lowercased()
        return type == "application/grpc" || ["+", ";", " "].contains { type.hasPrefix("application/grpc\($0)") }
    }

    // MARK: Statuses

    private static let names = [
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    ]

    /// The two statuses that say what to do get the words for it.
    private static func reason(_ code: Int, _ message: String?) -> String {
        var text = "gRPC status \(code)"
        if code < names.count { text += " \(names[code])" }
        if code == 12 { text += ": the health service grpc.health.v1.Health is not registered" }
        if code == 5 { text += ": the health service does not know the service asked for" }
        let words = safe(decoded(message ?? ""))
        return words.isEmpty ? text : "\(text): \(words)"
    }

    /// `%XX` decoded; what is no such triple stays (gRPC: Percent-Encoded).
    private static func decoded(_ text: String) -> String {
        let bytes = Array(text.utf8.prefix(3 * wordBytes))
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count,
                let high = ASCII.hexValue(bytes[index + 1]), let low = ASCII.hexValue(bytes[index + 2])
            {
                result.append(high << 4 | low)
                index += 3
            } else {
                result.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// Words of the application for one line of a log: no control characters, not long.
    private static func safe(_ text: String) -> String {
        let clean = text.unicodeScalars.map { $0.value < 0x20 || (0x7F...0x9F).contains($0.value) ? " " : $0 }
        var result = ""
        for scalar in clean {
            guard result.utf8.count + 4 <= wordBytes else { return result + "…" }
            result.unicodeScalars.append(scalar)
        }
        return result
    }
}
