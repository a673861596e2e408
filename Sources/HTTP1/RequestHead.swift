import HTTP
import Primitives

/// Parses the head of a request (RFC 9112 §2 to §6) in place: results are offsets into the view that was parsed.
///
/// Allocates once, in `init`. One value may serve many connections of a worker in turn: nothing is carried from one
/// `parse` to the next, what a connection must remember is its `scanned`. After a `parse` that returned false or threw,
/// only `start` of the results may be read.
public struct RequestHead: ~Copyable {
    /// The limits that `parse` applies.
    public let limits: HTTPLimits

    /// The method; its bytes, which matter for `.other`, are at `methodBytes`.
    public internal(set) var method = Method.other
    /// Where the method stands.
    public internal(set) var methodBytes = 0..<0
    /// The version of the request.
    public internal(set) var version = HTTPVersion.http11
    /// Where the request target stands, as received.
    public internal(set) var target = 0..<0
    /// What is forwarded of the target, after `targetPrefix`: path and query as received, or `*`. May be empty.
    public internal(set) var pathAndQuery = 0..<0
    /// What an absolute-form target leaves unsaid and stands before `pathAndQuery`: `/` if its path is empty, `*` if
    /// moreover the method is OPTIONS and there is no query (RFC 9112 §3.2.4); else empty.
    public internal(set) var targetPrefix: StaticString = ""
    /// Where the deciding host and port stand, in the target or in `Host`. Empty only in HTTP/1.0 without both.
    public internal(set) var authority = 0..<0
    /// The authority without its port. IPv6 addresses keep their brackets.
    public internal(set) var host = 0..<0
    /// The field lines.
    public internal(set) var fields: FieldTable
    /// How the body is framed. A request without length has none.
    public internal(set) var framing = BodyFraming.none
    /// Whether the connection may serve another request afterwards (RFC 9112 §9.3).
    public internal(set) var keepsAlive = false
    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    public internal(set) var expectsContinue = false
    /// Whether the client asks to switch protocols: `Connection: upgrade` with an `Upgrade` that does not offer HTTP/2.
    public internal(set) var wantsUpgrade = false
    /// Whether the client reads trailer fields (`TE: trailers`, RFC 9110 §10.1.4).
    public internal(set) var acceptsTrailers = false
    /// Bytes of the head with skipped empty lines before it and its own empty line: where the body begins.
    public internal(set) var length = 0
    /// Where the request line begins, after at most two empty lines.
    public internal(set) var start = 0

    /// A parser with memory for `limits.fieldCount` fields.
    public init(limits: HTTPLimits) {
        self.limits = limits
        self.fields = FieldTable(capacity: limits.fieldCount)
    }

    /// Parses the head that begins at the first of `bytes`.
    ///
    /// - Parameters:
    ///   - bytes: All bytes of the connection since the last message ended. They may go on beyond the head.
    ///   - scanned: 0 for a new head. The caller keeps it and hands it in again with the same bytes and more after
    ///     them, so that each byte is searched once however small the pieces are.
    /// - Returns: True if the head is complete; false if more bytes are needed.
    /// - Throws: The broken rule. First lines, control bytes and sizes are refused as soon as they can be seen, what is
    ///   wrong with a field that came in a later piece when the head is whole. With `headBytes` bytes in `bytes` the
    ///   answer is never false, so a buffer of that size is enough.
    public mutating func parse(_ bytes: ByteView, scanned: inout Int) throws(ParseFailure) -> Bool {
        if scanned > 0, try LineScan.endOfBlock(bytes, scanned: &scanned) == nil {
            return try HeadSize.mayGrow(bytes.count, limits)
        }
        fields.removeAll()
        guard let lineEnd = try parseLine(bytes) else { return try HeadSize.mayGrow(bytes.count, limits) }
        var resume = lineEnd
        guard let end = try FieldParser.parse(bytes, from: lineEnd, limits: limits, into: &fields, resume: &resume)
        else {
            scanned = resume &- 2  // the line end before the line that is not whole: it may be half of the end
            return try HeadSize.mayGrow(bytes.count, limits)
        }
        guard end <= limits.headBytes else { throw ParseFailure(.headTooLarge, offset: limits.headBytes) }
        length = end
        try interpret(bytes)
        return true
    }

    /// Reads what the fields mean for target, host, framing and connection.
    private mutating func interpret(_ bytes: ByteView) throws(ParseFailure) {
        try resolveTarget(bytes)
        try resolveHost(bytes)
        framing = try Framing.of(bytes, fields: fields, version: version) ?? .none
        let options =
            fields.present.contains(.connection)
            ? try ConnectionOptions(bytes, fields: &fields, limit: limits.connectionOptions) : []
        keepsAlive = !options.contains(.close) && (version == .http11 || options.contains(.keepAlive))
        wantsUpgrade =
            options.contains(.upgrade) && version == .http11 && fields.present.contains(.upgrade)
            && Upgrade.isForwardable(bytes, fields: fields)
        expectsContinue = fields.present.contains(.expect) ? try readExpectation(bytes) : false
        acceptsTrailers = fields.present.contains(.te) && readsTrailers(bytes)
        assert(length <= bytes.count && pathAndQuery.upperBound <= target.upperBound)
    }

    /// `Expect` may hold nothing but `100-continue`; HTTP/1.0 does not know it (RFC 9110 §10.1.1).
    private func readExpectation(_ bytes: ByteView) throws(ParseFailure) -> Bool {
        guard version == .http11 else { return false }
        var next = fields.firstIndex(of: .expect)
        while let index = next {
            guard fields.value(index, in: bytes).equalsIgnoringCase("100-continue") else {
                throw ParseFailure(.unknownExpectation, offset: Int(fields[index].nameStart))
            }
            next = fields.nextIndex(of: .expect, from: index + 1)
        }
        return true
    }

    private func readsTrailers(_ bytes: ByteView) -> Bool {
        var next = fields.firstIndex(of: .te)
        while let index = next {
            var elements = ListElements(fields.value(index, in: bytes))
            while let element = elements.next() {
                if element.equalsIgnoringCase("trailers") { return true }
            }
            next = fields.nextIndex(of: .te, from: index + 1)
        }
        return false
    }
}

/// The limit on heads whose end is not in sight.
enum HeadSize {
    /// False, "more bytes are needed", if `count` bytes without an end can still become a head within the limit.
    static func mayGrow(_ count: Int, _ limits: borrowing HTTPLimits) throws(ParseFailure) -> Bool {
        guard count < limits.headBytes else { throw ParseFailure(.headTooLarge, offset: limits.headBytes) }
        return false
    }
}

/// The `Upgrade` fields of a head (RFC 9110 §7.8).
enum Upgrade {
    /// Whether they name at least one protocol, and none of them is HTTP: a connection switched to HTTP/2 behind this
    /// proxy would carry requests that it never saw.
    static func isForwardable(_ bytes: ByteView, fields: borrowing FieldTable) -> Bool {
        var named = false
        var next = fields.firstIndex(of: .upgrade)
        while let index = next {
            var elements = ListElements(fields.value(index, in: bytes))
            while let element = elements.next() {
                let name = element[0..<(element.firstIndex(of: UInt8(ascii: "/")) ?? element.count)]
                if name.equalsIgnoringCase("h2c") || name.equalsIgnoringCase("h2") || name.equalsIgnoringCase("http") {
                    return false
                }
                named = true
            }
            next = fields.nextIndex(of: .upgrade, from: index + 1)
        }
        return named
    }
}
