import HTTP
import Primitives

/// Parses the head of a response (RFC 9112 §4 to §6) in place, as strictly as `RequestHead` does requests.
///
/// Any failure means 502 for the client, whatever status it carries, and the connection is not used again.
/// Allocates once, in `init`; one value may serve many connections of a worker in turn.
public struct ResponseHead: ~Copyable {
    /// The limits that `parse` applies. `requestLineBytes` limits the status line.
    public let limits: HTTPLimits

    /// The status, 100...999.
    public private(set) var status = 0
    /// Where the reason phrase stands; may be empty.
    public private(set) var reason = 0..<0
    /// The version of the response.
    public private(set) var version = HTTPVersion.http11
    /// The field lines.
    public private(set) var fields: FieldTable
    /// How the body is framed (RFC 9112 §6.3). A response to HEAD, a 1xx, a 204 and a 304 have none.
    public private(set) var framing = BodyFraming.none
    /// Whether the connection may be used for another request once the body has ended. Never with `.untilClose`, nor
    /// after 101.
    public private(set) var keepsAlive = false
    /// Bytes of the head with its empty line: where the body begins.
    public private(set) var length = 0

    /// Whether another response follows for the same request: 1xx except 101.
    public var isInterim: Bool { status < 200 && status != 101 }

    /// Whether the connection changes its protocol after this head: 101.
    public var isSwitching: Bool { status == 101 }

    /// A parser with memory for `limits.fieldCount` fields.
    public init(limits: HTTPLimits) {
        self.limits = limits
        self.fields = FieldTable(capacity: limits.fieldCount)
    }

    /// Parses the head that begins at the first of `bytes`. See `RequestHead.parse` for `scanned` and the result.
    ///
    /// - Parameter requestMethod: The method of the request that this answers: it decides whether a body follows.
    public mutating func parse(
        _ bytes: ByteView, scanned: inout Int, requestMethod: Method
    ) throws(ParseFailure) -> Bool {
        if scanned > 0, try LineScan.endOfBlock(bytes, scanned: &scanned) == nil {
            return try HeadSize.mayGrow(bytes.count, limits)
        }
        fields.removeAll()
        guard let lineEnd = try parseLine(bytes) else { return try HeadSize.mayGrow(bytes.count, limits) }
        var resume = lineEnd
        guard let end = try FieldParser.parse(bytes, from: lineEnd, limits: limits, into: &fields, resume: &resume)
        else {
            scanned = resume &- 2
            return try HeadSize.mayGrow(bytes.count, limits)
        }
        guard end <= limits.headBytes else { throw ParseFailure(.headTooLarge, offset: limits.headBytes) }
        length = end
        try interpret(bytes, requestMethod: requestMethod)
        return true
    }

    private mutating func interpret(_ bytes: ByteView, requestMethod: Method) throws(ParseFailure) {
        let said = try Framing.of(bytes, fields: fields, version: version)
        let options =
            fields.present.contains(.connection)
            ? try ConnectionOptions(bytes, fields: &fields, limit: limits.connectionOptions) : []
        if status < 200 || status == 204 {
            framing = .none
            dropContentLength()
        } else if status == 304 || requestMethod == .head {
            framing = .none
        } else {
            framing = said ?? .untilClose
        }
        keepsAlive =
            !options.contains(.close) && (version == .http11 || options.contains(.keepAlive))
            && framing != .untilClose && !isSwitching
        assert(length <= bytes.count && reason.upperBound <= length)
    }

    /// A length on a response that cannot have a body says nothing (RFC 9110 §8.6) and must not reach a client that
    /// believes it.
    private mutating func dropContentLength() {
        if let index = fields.firstIndex(of: .contentLength) { fields.markHopByHop(index) }
    }

    /// Reads the status line. Returns the offset after it; nil if the view ends before that.
    private mutating func parseLine(_ bytes: ByteView) throws(ParseFailure) -> Int? {
        let longest = limits.requestLineBytes &+ 2
        let isCut = bytes.count >= longest
        guard let end = try parseParts(isCut ? bytes[0..<longest] : bytes) else {
            if isCut { throw ParseFailure(.requestLineTooLong, offset: limits.requestLineBytes) }
            return nil
        }
        return end
    }

    private mutating func parseParts(_ line: ByteView) throws(ParseFailure) -> Int? {
        guard let parsed = try StartLine.version(line, at: 0) else { return nil }
        guard let known = parsed.known else { throw ParseFailure(.unsupportedVersion, offset: 0) }
        var index = parsed.end
        guard index < line.count else { return nil }
        guard line.base[index] == Byte.space else { throw ParseFailure(.invalidVersion, offset: index) }
        index &+= 1
        var code = 0
        for _ in 0..<3 {
            guard index < line.count else { return nil }
            guard ASCII.isDigit(line.base[index]) else { throw ParseFailure(.invalidStatus, offset: index) }
            code = code &* 10 &+ Int(line.base[index] & 15)
            index &+= 1
        }
        guard code >= 100 else { throw ParseFailure(.invalidStatus, offset: index &- 3) }
        guard index < line.count else { return nil }
        // The space before an empty phrase is required, but many leave it out.
        let hasPhrase = line.base[index] == Byte.space
        if hasPhrase { index &+= 1 }
        let phraseEnd = hasPhrase ? LineScan.endOfText(line, from: index) : index
        guard
            let end = try StartLine.end(
                line, at: phraseEnd, otherwise: hasPhrase ? .invalidReasonPhrase : .invalidStatus)
        else { return nil }
        (status, version, reason) = (code, known, index..<phraseEnd)
        return end
    }
}
