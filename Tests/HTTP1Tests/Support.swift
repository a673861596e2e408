import Glibc
import HTTP
import Primitives

@testable import HTTP1

/// Memory that ends at a page which must not be touched: a parser that reads one byte too far crashes the test.
final class GuardedMemory {
    private let base: UnsafeMutableRawPointer
    private let room: Int
    private let page = 4096

    init(room: Int = 256 << 10) {
        self.room = room
        let flags = MAP_PRIVATE | MAP_ANONYMOUS
        guard let mapped = mmap(nil, room + page, PROT_READ | PROT_WRITE, flags, -1, 0), mapped != MAP_FAILED,
            mprotect(mapped + room, page, PROT_NONE) == 0
        else { preconditionFailure("no memory for the test") }
        base = mapped
    }

    deinit { munmap(base, room + page) }

    /// A view of a copy of `bytes` whose end is the end of the memory.
    func view(_ bytes: ArraySlice<UInt8>) -> ByteView {
        precondition(bytes.count <= room)
        let start = base + (room - bytes.count)
        bytes.withUnsafeBytes { source in
            if let address = source.baseAddress { memcpy(start, address, source.count) }
        }
        return ByteView(UnsafeRawBufferPointer(start: start, count: bytes.count))
    }
}

/// One field as a test sees it.
struct Field: Equatable, CustomStringConvertible {
    var name: String
    var value: String
    var isHopByHop: Bool
    var description: String { "\(name)=\(value)\(isHopByHop ? " (hop)" : "")" }
}

/// Everything a parsed request head says, copied out.
struct ParsedRequest: Equatable {
    var method = Method.other
    var methodText = ""
    var version = HTTPVersion.http11
    var target = ""
    var path = ""
    var authority = ""
    var host = ""
    var fields: [Field] = []
    var framing = BodyFraming.none
    var keepsAlive = false
    var expectsContinue = false
    var wantsUpgrade = false
    var acceptsTrailers = false
    var length = 0
    var start = 0

    init(_ head: borrowing RequestHead, _ bytes: ByteView) {
        method = head.method
        methodText = bytes[head.methodBytes].latin
        version = head.version
        target = bytes[head.target].latin
        path = head.targetPrefix.description + bytes[head.pathAndQuery].latin
        authority = bytes[head.authority].latin
        host = bytes[head.host].latin
        fields = copyFields(head.fields, bytes)
        framing = head.framing
        keepsAlive = head.keepsAlive
        expectsContinue = head.expectsContinue
        wantsUpgrade = head.wantsUpgrade
        acceptsTrailers = head.acceptsTrailers
        length = head.length
        start = head.start
    }
}

/// Everything a parsed response head says, copied out.
struct ParsedResponse: Equatable {
    var status = 0
    var reason = ""
    var version = HTTPVersion.http11
    var fields: [Field] = []
    var framing = BodyFraming.none
    var keepsAlive = false
    var isInterim = false
    var isSwitching = false
    var length = 0

    init(_ head: borrowing ResponseHead, _ bytes: ByteView) {
        status = head.status
        reason = bytes[head.reason].latin
        version = head.version
        fields = copyFields(head.fields, bytes)
        framing = head.framing
        keepsAlive = head.keepsAlive
        isInterim = head.isInterim
        isSwitching = head.isSwitching
        length = head.length
    }
}

func copyFields(_ table: borrowing FieldTable, _ bytes: ByteView) -> [Field] {
    var fields: [Field] = []
    for index in 0..<table.count {
        let (name, value) = (table.name(index, in: bytes).latin, table.value(index, in: bytes).latin)
        fields.append(Field(name: name, value: value, isHopByHop: table[index].isHopByHop))
    }
    return fields
}

/// What became of a message or a piece of one.
enum Outcome<Head: Equatable>: Equatable {
    case head(Head)
    case needMore
    case failure(ParseFailure)

    var head: Head? {
        if case .head(let head) = self { head } else { nil }
    }
    var reason: ParseFailure.Reason? {
        if case .failure(let failure) = self { failure.reason } else { nil }
    }
    var status: Int? {
        if case .failure(let failure) = self { failure.status } else { nil }
    }
}

/// What became of a whole body.
struct BodyOutcome: Equatable {
    var body: [UInt8] = []
    var trailers: [UInt8]?
    /// Bytes consumed up to the end; nil if the end did not come.
    var end: Int?
    var failure: ParseFailure?
}

/// The parsers under test over guarded memory. One head of each kind serves all messages, as in a worker.
final class Bench {
    private let memory = GuardedMemory()
    let limits: HTTPLimits
    var request: RequestHead
    var response: ResponseHead

    init(limits: HTTPLimits = HTTPLimits()) {
        self.limits = limits
        request = RequestHead(limits: limits)
        response = ResponseHead(limits: limits)
    }

    /// Feeds `bytes` up to each of `cuts`, then whole. Between the pieces the same parser reads another request.
    func request(_ bytes: [UInt8], cuts: [Int] = []) -> Outcome<ParsedRequest> {
        var scanned = 0
        for end in cuts + [bytes.count] {
            let view = memory.view(bytes[..<end])
            do throws(ParseFailure) {
                if try request.parse(view, scanned: &scanned) { return .head(ParsedRequest(request, view)) }
            } catch {
                return .failure(error)
            }
            if end < bytes.count { interfere() }
        }
        return .needMore
    }

    func response(_ bytes: [UInt8], cuts: [Int] = [], to method: Method = .get) -> Outcome<ParsedResponse> {
        var scanned = 0
        for end in cuts + [bytes.count] {
            let view = memory.view(bytes[..<end])
            do throws(ParseFailure) {
                if try response.parse(view, scanned: &scanned, requestMethod: method) {
                    return .head(ParsedResponse(response, view))
                }
            } catch {
                return .failure(error)
            }
        }
        return .needMore
    }

    func request(_ text: String, cuts: [Int] = []) -> Outcome<ParsedRequest> { request(text.latinBytes, cuts: cuts) }
    func response(_ text: String, cuts: [Int] = [], to method: Method = .get) -> Outcome<ParsedResponse> {
        response(text.latinBytes, cuts: cuts, to: method)
    }

    private func interfere() {
        var scanned = 0
        _ = try? request.parse(ByteView("PUT /x HTTP/1.0\r\nHost: y\r\nContent-Length: 7\r\n\r\n"), scanned: &scanned)
    }

    /// Decodes a body whose bytes arrive up to each of `cuts`, then whole; consumed bytes are dropped as a driver does.
    func body(_ bytes: [UInt8], _ framing: BodyFraming, cuts: [Int] = [], closes: Bool = false) -> BodyOutcome {
        var decoder = BodyDecoder(framing, limits: limits)
        var outcome = BodyOutcome()
        var consumed = 0
        for end in cuts + [bytes.count] {
            let view = memory.view(bytes[consumed..<max(consumed, end)])
            var cursor = 0
            reading: while true {
                do throws(ParseFailure) {
                    switch try decoder.next(view, &cursor) {
                    case .body(let range):
                        precondition(!range.isEmpty && range.upperBound == cursor)
                        outcome.body += copy(view[range])
                    case .trailers(let range): outcome.trailers = copy(view[range])
                    case .needMore: break reading
                    case .end:
                        outcome.end = consumed + cursor
                        precondition(decoder.isComplete)
                        return outcome
                    }
                } catch {
                    outcome.failure = ParseFailure(error.reason, offset: consumed + error.offset)
                    return outcome
                }
            }
            consumed += cursor
        }
        if closes, decoder.finish() { outcome.end = consumed }
        return outcome
    }

    private func copy(_ view: ByteView) -> [UInt8] { [UInt8](UnsafeBufferPointer(start: view.base, count: view.count)) }
}

/// Hands out a writer over fresh memory and returns what was written.
func written(_ capacity: Int = 4096, _ write: (inout ByteWriter) -> Void) -> String {
    withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 1) { memory in
        var writer = ByteWriter(memory)
        write(&writer)
        return writer.overflowed ? "overflowed" : writer.written.latin
    }
}

extension ByteView {
    /// The bytes as text, one character a byte, so that nothing is lost.
    var latin: String { String(String.UnicodeScalarView((0..<count).map { Unicode.Scalar(base[$0]) })) }
}

extension String {
    /// One byte a character; the inverse of `ByteView.latin`.
    var latinBytes: [UInt8] { unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) } }
}
