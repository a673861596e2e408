import Glibc
import HTTP
import Primitives

/// A decoded head or trailer section in one piece of memory, written as HTTP/1.1 would be, with a `FieldTable` over it.
///
/// Every forwardable field stands there as `name: value` CR LF, so the HTTP/1.1 writer copies whole runs. A request has
/// exactly one `host` line, whatever it was sent with, and at most one `cookie` line (RFC 9113 §8.2.3); pseudo-fields
/// are ranges before the lines. All offsets are into `bytes`.
///
/// Pooled by `HTTP2Pool`: it grows to what heads need and is filled again without allocation.
public struct HTTP2Head: ~Copyable {
    /// Which rules a block follows.
    enum Kind: UInt8, Sendable { case request, response, trailers }

    /// What has been found wrong. Ordered: the worse one stays.
    enum Verdict: Equatable, Sendable {
        case fine
        /// Well-formed, but not served: the request is answered with this reason's status.
        case refused(ParseFailure.Reason)
        /// Not a message (RFC 9113 §8.1.1): the stream is reset with PROTOCOL_ERROR and nothing is delivered.
        case malformed
        /// Its decoded size is out of all proportion: the connection is given up.
        case bomb
    }

    /// The limits of one block in bytes, kept with it because they are asked for at each field.
    struct Bounds: Sendable {
        /// Names, values and 32 bytes for each field (RFC 9113 §6.5.2).
        var list = Int.max
        /// The same at which the connection is given up.
        var bomb = Int.max
        var name = Int.max
        var value = Int.max
        var path = Int.max
    }

    private(set) var memory: UnsafeMutablePointer<UInt8>
    private(set) var capacity: Int
    private(set) var used = 0
    // Cookie crumbs joined so far; they may come with other fields between them, so they wait here for the end.
    private var cookie: UnsafeMutablePointer<UInt8>?
    private var cookieCapacity = 0
    private var cookieBytes = 0

    var kind = Kind.request
    var verdict = Verdict.fine
    var seen = PseudoFields()
    var listBytes = 0
    var hasRegularField = false
    /// The number of stored lines may not exceed this.
    var fieldLimit = 0
    /// What else the block may not exceed.
    var bounds = Bounds()

    /// The lines. Pseudo-fields are not among them.
    public internal(set) var fields: FieldTable
    /// The method; its bytes are at `methodBytes`. Extended CONNECT is `.connect` with a non-empty `protocolName`.
    public internal(set) var method = Method.other
    /// Where the method stands. Empty in a response.
    public internal(set) var methodBytes = 0..<0
    /// Where path and query stand, as received; `*` only with OPTIONS.
    public internal(set) var path = 0..<0
    /// Where the scheme stands, `http` or `https` in any case. What the client claims; only the listener knows.
    public internal(set) var scheme = 0..<0
    /// Where the deciding host and port stand: `:authority`, or `Host` without one.
    public internal(set) var authority = 0..<0
    /// The authority without its port. IPv6 addresses keep their brackets.
    public internal(set) var host = 0..<0
    /// Where `:protocol` stands (RFC 8441). Empty except in extended CONNECT.
    public internal(set) var protocolName = 0..<0
    /// The status of a response, 100...999; 0 in a request.
    public internal(set) var status = 0
    /// What `Content-Length` says; nil without one.
    public internal(set) var contentLength: UInt64?
    /// Whether the stream ended with this head: there is no body.
    public internal(set) var endsStream = false
    /// Whether the client waits for `100 Continue` before it sends the body.
    public internal(set) var expectsContinue = false
    /// Whether the client reads trailer fields (`TE: trailers`).
    public internal(set) var acceptsTrailers = false

    /// Whether another head follows for the same request: any 1xx. HTTP/2 knows no 101 (RFC 9113 §8.6).
    public var isInterim: Bool { kind == .response && status < 200 }

    /// Whether this opens a WebSocket over one stream (RFC 8441).
    public var isWebSocket: Bool { !protocolName.isEmpty }

    /// The body as HTTP/1.1 would have to frame it: chunked if its length was not said.
    public var framing: BodyFraming {
        if endsStream { return contentLength == 0 && kind == .request ? .length(0) : .none }
        return contentLength.map { .length($0) } ?? .chunked
    }

    /// All bytes of the head; what the ranges and the table refer to.
    public var bytes: ByteView { ByteView(base: memory, count: used) }

    /// What the pool has counted of `footprint`.
    var weight = 0

    /// Bytes of memory it holds for names and values.
    var textBytes: Int { capacity + cookieCapacity }

    /// Bytes of memory it holds.
    public var footprint: Int { capacity + cookieCapacity + fields.capacity * MemoryLayout<FieldLine>.stride }

    /// An empty head with room for `bytes` bytes and `fieldCount` lines.
    init(bytes: Int, fieldCount: Int) {
        capacity = max(64, bytes)
        memory = .allocate(capacity: capacity)
        // A place each for the host line and the joined cookie.
        fields = FieldTable(capacity: fieldCount + 2)
    }

    deinit {
        memory.deallocate()
        cookie?.deallocate()
    }

    /// Starts over for a block of the peer's.
    mutating func begin(_ kind: Kind, _ limits: borrowing HTTP2Limits) {
        begin(kind, fieldLimit: limits.http.fieldCount)
        bounds.list = kind == .trailers ? limits.http.trailerBytes : limits.http.headBytes
        bounds.bomb = limits.http.headBytes * limits.headBombFactor
        (bounds.name, bounds.value) = (limits.http.fieldNameBytes, limits.http.fieldValueBytes)
        bounds.path = limits.http.requestLineBytes
    }

    /// Starts over for a block of `kind` of our own, which may have up to `fieldLimit` lines.
    mutating func begin(_ kind: Kind, fieldLimit: Int) {
        self.kind = kind
        self.fieldLimit = min(fieldLimit, fields.capacity - 2)
        (used, cookieBytes, listBytes) = (0, 0, 0)
        (verdict, seen, hasRegularField) = (.fine, PseudoFields(), false)
        fields.removeAll()
        (method, status, contentLength) = (.other, 0, nil)
        (methodBytes, path, scheme, authority, host, protocolName) = (0..<0, 0..<0, 0..<0, 0..<0, 0..<0, 0..<0)
        (endsStream, expectsContinue, acceptsTrailers) = (false, false, false)
    }

    // MARK: Memory

    /// Appends a copy of `view` and returns where it stands. Grows by doubling; what is taken in is bounded by the
    /// header list limit, which the caller has checked.
    mutating func store(_ view: ByteView) -> Range<Int> {
        provide(view.count)
        memcpy(memory + used, view.base, view.count)
        defer { used += view.count }
        return used..<used + view.count
    }

    /// Appends the line of a field and lists it. False if the table is full.
    mutating func storeLine(_ name: ByteView, _ value: ByteView, _ known: KnownField, isHopByHop: Bool) -> Bool {
        guard fields.count < fields.capacity else { return false }
        let start = used
        let valueStart = start &+ name.count &+ 2
        let bytes = name.count &+ value.count &+ 4
        provide(bytes)
        let line = UnsafeMutableRawPointer(memory + start)
        memcpy(line, name.base, name.count)
        line.storeBytes(of: UInt16(littleEndian: 0x203A), toByteOffset: name.count, as: UInt16.self)  // ": "
        memcpy(memory + valueStart, value.base, value.count)
        line.storeBytes(of: UInt16(littleEndian: 0x0A0D), toByteOffset: bytes &- 2, as: UInt16.self)  // CR LF
        used = start &+ bytes
        return fields.append(
            FieldLine(
                nameStart: UInt32(truncatingIfNeeded: start), valueStart: UInt32(truncatingIfNeeded: valueStart),
                valueLength: UInt32(truncatingIfNeeded: value.count),
                nameLength: UInt16(truncatingIfNeeded: name.count),
                known: known, isHopByHop: isHopByHop, isPlain: true))
    }

    /// Writes the one `host` line of a request from the authority, which stands in the head already.
    mutating func storeHostLine(_ authority: Range<Int>) {
        provide(authority.count + 8)  // before the view is taken: growing moves the bytes
        let isListed = storeLine(ByteView("host"), bytes[authority], .host, isHopByHop: false)
        assert(isListed, "a place is kept for it")
    }

    /// Joins a crumb to the cookie.
    mutating func storeCrumb(_ crumb: ByteView) {
        let added = crumb.count + (cookieBytes > 0 ? 2 : 0)
        if cookieBytes + added > cookieCapacity {
            let larger = max(256, 2 * cookieCapacity, cookieBytes + added)
            let moved = UnsafeMutablePointer<UInt8>.allocate(capacity: larger)
            if let cookie { memcpy(moved, cookie, cookieBytes) }
            cookie?.deallocate()
            (cookie, cookieCapacity) = (moved, larger)
        }
        guard let cookie else { return }
        if cookieBytes > 0 {
            cookie[cookieBytes] = UInt8(ascii: ";")
            cookie[cookieBytes + 1] = Byte.space
            cookieBytes += 2
        }
        memcpy(cookie + cookieBytes, crumb.base, crumb.count)
        cookieBytes += crumb.count
    }

    /// Bytes of the joined cookie so far.
    var joinedCookieBytes: Int { cookieBytes }

    /// Writes the one `cookie` line.
    mutating func storeCookieLine() {
        guard let cookie, cookieBytes > 0 else { return }
        let joined = ByteView(base: cookie, count: cookieBytes)
        let isListed = storeLine(ByteView("cookie"), joined, .cookie, isHopByHop: false)
        assert(isListed, "a place is kept for it")
        // A large one would be held twice as long as the request waits.
        if cookieCapacity > 1024 { dropCrumbs() }
    }

    private mutating func dropCrumbs() {
        cookie?.deallocate()
        (cookie, cookieCapacity, cookieBytes) = (nil, 0, 0)
    }

    /// Gives memory back that an unusually large head has taken.
    mutating func shrink(to bytes: Int) {
        if capacity > bytes {
            memory.deallocate()
            memory = .allocate(capacity: bytes)
            (capacity, used) = (bytes, 0)
        }
        if cookieCapacity > bytes { dropCrumbs() }
    }

    @inline(__always)
    private mutating func provide(_ count: Int) { if count > capacity &- used { grow(count) } }

    @inline(never)
    private mutating func grow(_ count: Int) {
        let larger = max(2 * capacity, used + count)
        let moved = UnsafeMutablePointer<UInt8>.allocate(capacity: larger)
        memcpy(moved, memory, used)
        memory.deallocate()
        (memory, capacity) = (moved, larger)
    }
}

/// Which pseudo-fields have come (RFC 9113 §8.3).
struct PseudoFields: OptionSet, Sendable {
    let rawValue: UInt8
    static var method: PseudoFields { .init(rawValue: 1) }
    static var scheme: PseudoFields { .init(rawValue: 2) }
    static var authority: PseudoFields { .init(rawValue: 4) }
    static var path: PseudoFields { .init(rawValue: 8) }
    static var protocolName: PseudoFields { .init(rawValue: 16) }
    static var status: PseudoFields { .init(rawValue: 32) }
}
