import HTTP
import HTTP1
import Primitives

/// The answer to a GET in the making: bytes in, status, type and body out. Pure.
struct FetchAnswer: ~Copyable {
    enum Step: Equatable { case needMore, complete, broken(String) }

    /// Limits of heads: those of a small answer.
    static let limits: HTTPLimits = {
        var limits = HTTPLimits()
        limits.headBytes = 8 << 10
        limits.fieldCount = 50
        return limits
    }()

    private(set) var status = 0
    private(set) var contentType = ""
    private(set) var body: [UInt8] = []
    private(set) var keepsAlive = false
    /// Whether a byte of it has come.
    private(set) var hasBegun = false
    private let bodyLimit: Int
    private var head = ResponseHead(limits: FetchAnswer.limits)
    private var scanned = 0
    private var unread: [UInt8] = []
    private var decoder: BodyDecoder?
    /// Heads of 1xx before the answer.
    private var interims = 0

    /// Most heads of 1xx before an answer.
    static let interimLimit = 4

    /// An answer with a body of at most `bodyLimit` bytes.
    init(bodyLimit: Int) { self.bodyLimit = bodyLimit }

    /// Makes it ready for the next answer of a connection.
    mutating func reset() {
        (status, contentType, keepsAlive, hasBegun) = (0, "", false, false)
        body.removeAll(keepingCapacity: true)
        unread.removeAll(keepingCapacity: true)
        (scanned, interims) = (0, 0)
        decoder = nil
    }

    /// Takes in what came.
    mutating func take(_ bytes: ByteView) -> Step {
        hasBegun = true
        guard unread.count + bytes.count <= Self.limits.headBytes + bodyLimit + (4 << 10) else {
            return .broken("it is longer than \(bodyLimit) bytes")
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
    mutating func end() -> Bool {
        keepsAlive = false
        return decoder?.finish() ?? false
    }

    /// `complete`: a head was taken, perhaps one of 1xx.
    private mutating func takeHead() -> Step {
        do throws(ParseFailure) {
            let isWhole = try unread.parseResponse(into: &head, scanned: &scanned)
            guard isWhole else { return .needMore }
        } catch {
            return .broken("\(error.reason)")
        }
        scanned = 0
        guard head.status != 101 else { return .broken("it switches protocols") }
        if head.isInterim {
            interims += 1
            guard interims <= Self.interimLimit else { return .broken("it has too many interim answers") }
        } else {
            status = head.status
            keepsAlive = head.keepsAlive
            if let index = head.fields.firstIndex(of: .contentType) {
                contentType = String(decoding: unread[head.fields[index].valueRange], as: UTF8.self)
            }
            decoder = BodyDecoder(head.framing, limits: head.limits)
        }
        unread.removeFirst(head.length)
        return .complete
    }

    private mutating func takeBody() -> Step {
        var cursor = 0
        defer { unread.removeFirst(cursor) }
        while true {
            do throws(ParseFailure) {
                guard let step = try unread.nextStep(&decoder, &cursor) else { return .needMore }
                switch step {
                case .body(let range):
                    guard body.count + range.count <= bodyLimit else {
                        return .broken("it is longer than \(bodyLimit) bytes")
                    }
                    body += unread[range]
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
    fileprivate func parseResponse(into head: inout ResponseHead, scanned: inout Int) throws(ParseFailure) -> Bool {
        try withUnsafeBytes { bytes -> Result<Bool, ParseFailure> in
            do throws(ParseFailure) {
                return .success(try head.parse(ByteView(bytes), scanned: &scanned, requestMethod: .get))
            } catch {
                return .failure(error)
            }
        }.get()
    }

    fileprivate func nextStep(_ decoder: inout BodyDecoder?, _ cursor: inout Int) throws(ParseFailure) -> BodyStep? {
        try withUnsafeBytes { bytes -> Result<BodyStep?, ParseFailure> in
            do throws(ParseFailure) {
                return .success(try decoder?.next(ByteView(bytes), &cursor))
            } catch {
                return .failure(error)
            }
        }.get()
    }
}
