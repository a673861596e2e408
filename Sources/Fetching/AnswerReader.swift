import HTTP
import HTTP1
import Primitives

/// The answer to an HTTP/1.1 request (not HEAD) in the making: bytes in; status, a few fields and the body out. Pure.
///
/// All framings of RFC 9112 §6.3: `Content-Length`, chunks with trailers, the end of the connection, none.
public struct AnswerReader: ~Copyable {
    /// What more bytes lead to.
    public enum Step: Equatable, Sendable {
        /// The answer goes on.
        case needMore
        /// It is whole.
        case complete
        /// It is against the rules or a limit, for this reason: the connection cannot be used any more.
        case broken(String)
    }

    /// Most bytes that `take` may be given at once.
    public static let pieceBytes = 16 << 10

    /// Whether the connection may serve another request after this answer.
    public private(set) var keepsAlive = false
    /// Whether a byte of it has come.
    public private(set) var hasBegun = false
    /// What has been read of it: all, once it is complete.
    public private(set) var reply = FetchReply(status: 0)

    private let limits: AnswerLimits
    private var head: ResponseHead
    private var scanned = 0
    private var unread: [UInt8] = []
    private var decoder: BodyDecoder?
    private var bodyCount = 0
    private var interims = 0

    /// An answer of which nothing has come.
    public init(limits: AnswerLimits) {
        self.limits = limits
        var heads = HTTPLimits()
        heads.headBytes = limits.headBytes
        heads.fieldCount = limits.fieldCount
        head = ResponseHead(limits: heads)
    }

    /// Makes it ready for the next answer of a connection.
    public mutating func reset() {
        (keepsAlive, hasBegun, scanned, bodyCount, interims) = (false, false, 0, 0, 0)
        reply = FetchReply(status: 0)
        unread.removeAll(keepingCapacity: true)
        decoder = nil
    }

    /// Takes in what came, at most `pieceBytes`.
    public mutating func take(_ bytes: ByteView) -> Step {
        assert(bytes.count <= Self.pieceBytes)
        hasBegun = true
        // An unfinished head or trailer section is all that stays between two calls.
        guard unread.count + bytes.count <= limits.headBytes + 2 * Self.pieceBytes else {
            return .broken("it is too long")
        }
        unread += UnsafeBufferPointer(start: bytes.base, count: bytes.count)
        while decoder == nil {
            switch takeHead() {
            case .complete: continue
            case let step: return step
            }
        }
        return takeBody()
    }

    /// The peer sends no more. Whether the answer is whole.
    public mutating func end() -> Bool {
        keepsAlive = false
        return decoder?.finish() ?? false
    }

    /// `complete`: a head was taken, perhaps one of 1xx.
    private mutating func takeHead() -> Step {
        do throws(ParseFailure) {
            guard try unread.parse(into: &head, scanned: &scanned) else { return .needMore }
        } catch {
            return .broken("\(error.reason)")
        }
        scanned = 0
        guard !head.isSwitching else { return .broken("it switches protocols") }
        if head.isInterim {
            interims += 1
            guard interims <= limits.interims else { return .broken("it has too many interim answers") }
        } else {
            keepsAlive = head.keepsAlive
            reply.status = head.status
            reply.contentType = field(.contentType) ?? ""
            reply.retryAfterSeconds = field(.retryAfter).flatMap { UInt32($0) }.map { Int($0) }
            decoder = BodyDecoder(head.framing, limits: head.limits)
        }
        unread.removeFirst(head.length)
        return .complete
    }

    private func field(_ name: KnownField) -> String? {
        guard let index = head.fields.firstIndex(of: name) else { return nil }
        return String(decoding: unread[head.fields[index].valueRange], as: UTF8.self)
    }

    private mutating func takeBody() -> Step {
        var cursor = 0
        defer { unread.removeFirst(cursor) }
        while true {
            do throws(ParseFailure) {
                guard let step = try unread.step(of: &decoder, &cursor) else { return .needMore }
                switch step {
                case .body(let range):
                    bodyCount += range.count
                    guard bodyCount <= limits.bodyBytes else {
                        return .broken("it is longer than \(limits.bodyBytes) bytes")
                    }
                    if limits.keepsBody { reply.body += unread[range] }
                case .trailers: continue
                case .needMore: return .needMore
                case .end:
                    // What is behind it would be read as the next answer.
                    if cursor < unread.count { keepsAlive = false }
                    return .complete
                }
            } catch {
                return .broken("\(error.reason)")
            }
        }
    }
}

// `withUnsafeBytes` of an array does not say what it throws, so failures come as results.
extension [UInt8] {
    fileprivate func parse(into head: inout ResponseHead, scanned: inout Int) throws(ParseFailure) -> Bool {
        try withUnsafeBytes { bytes -> Result<Bool, ParseFailure> in
            do throws(ParseFailure) {
                return .success(try head.parse(ByteView(bytes), scanned: &scanned, requestMethod: .get))
            } catch {
                return .failure(error)
            }
        }.get()
    }

    fileprivate func step(of decoder: inout BodyDecoder?, _ cursor: inout Int) throws(ParseFailure) -> BodyStep? {
        try withUnsafeBytes { bytes -> Result<BodyStep?, ParseFailure> in
            do throws(ParseFailure) {
                return .success(try decoder?.next(ByteView(bytes), &cursor))
            } catch {
                return .failure(error)
            }
        }.get()
    }
}
