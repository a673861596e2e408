import HTTP
import HTTP1
import Primitives

/// The answer of a collector in the making: its status counts, its body is read and thrown away.
struct CollectorAnswer: ~Copyable {
    enum Step: Equatable { case needMore, complete, broken(String) }

    private(set) var status = 0
    private(set) var retryAfterSeconds: Int?
    private(set) var keepsAlive = false
    /// Whether a byte of it has come.
    private(set) var hasBegun = false
    private var head = ResponseHead(limits: HTTPLimits())
    private var scanned = 0
    private var unread: [UInt8] = []
    private var decoder: BodyDecoder?
    private var count = 0

    /// Takes in what came.
    mutating func take(_ bytes: ByteView) -> Step {
        hasBegun = true
        count += bytes.count
        guard count <= CollectorConnection.answerLimit else { return .broken("it is too long") }
        unread += UnsafeBufferPointer(start: bytes.base, count: bytes.count)
        while decoder == nil {
            switch takeHead() {
            case .complete: continue
            case let step: return step
            }
        }
        return takeBody()
    }

    /// The collector sends no more. Whether the answer is whole.
    mutating func end() -> Bool {
        keepsAlive = false
        return decoder?.finish() ?? false
    }

    /// `complete`: a head was taken, perhaps one of 1xx.
    private mutating func takeHead() -> Step {
        var place = scanned
        do throws(ParseFailure) {
            let isWhole = try unread.parse(into: &head, scanned: &place)
            scanned = place
            guard isWhole else { return .needMore }
        } catch {
            return .broken("\(error.reason)")
        }
        return finishHead()
    }

    private mutating func finishHead() -> Step {
        scanned = 0
        status = head.status
        keepsAlive = head.keepsAlive
        retryAfterSeconds = readRetryAfter()
        unread.removeFirst(head.length)
        guard status != 101 else { return .broken("it switches protocols") }
        if !head.isInterim { decoder = BodyDecoder(head.framing, limits: head.limits) }
        return .complete
    }

    /// `Retry-After` in seconds; a date is passed over.
    private func readRetryAfter() -> Int? {
        guard let index = head.fields.firstIndex(of: .retryAfter) else { return nil }
        let place = head.fields[index].valueRange
        guard place.count <= 9 else { return nil }
        return UInt32(String(decoding: unread[place], as: UTF8.self)).map { Int($0) }
    }

    private mutating func takeBody() -> Step {
        var cursor = 0
        defer { unread.removeFirst(cursor) }
        while true {
            do throws(ParseFailure) {
                guard let step = try unread.step(&decoder, &cursor) else { return .needMore }
                switch step {
                case .body, .trailers: continue
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
                return .success(
                    try head.parse(ByteView(bytes), scanned: &scanned, requestMethod: .post))
            } catch {
                return .failure(error)
            }
        }.get()
    }

    fileprivate func step(_ decoder: inout BodyDecoder?, _ cursor: inout Int) throws(ParseFailure) -> BodyStep? {
        try withUnsafeBytes { bytes -> Result<BodyStep?, ParseFailure> in
            do throws(ParseFailure) {
                return .success(try decoder?.next(ByteView(bytes), &cursor))
            } catch {
                return .failure(error)
            }
        }.get()
    }
}
