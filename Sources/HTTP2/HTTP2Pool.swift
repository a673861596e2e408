import CNGHTTP2
import Primitives

/// The memory and the constant parts that all sessions of one worker share.
///
/// Heads, stream records and outbound buffers are reused last-in first-out, so sessions allocate nothing of ours per
/// request after warm-up. Owned by the worker's thread; sessions keep a reference. A class because it is shared.
public final class HTTP2Pool {
    /// The memory of a fresh head, in bytes; what a head keeps in the pool.
    static let headBytes = 4096
    /// Heads kept for reuse.
    static let keptHeads = 256

    var streams: Slab<StreamRecord>
    var buffers: BufferPool
    private var heads: [UnsafeMutablePointer<HTTP2Head>] = []
    private let headLimit: Int
    private let fieldCount: Int
    /// Heads lent out now.
    public private(set) var lentHeads = 0
    /// Bytes of the heads lent out now, beyond those that each has from the start.
    private var extraHeadBytes = 0
    /// The heads lent out now, a large one counted as so many of usual size as its memory would make.
    public var weighedHeads: Int { lentHeads + extraHeadBytes / Self.headBytes }
    /// The limits of the sessions that use the pool.
    public var limits: HTTP2Limits { limitsPlace.pointee }
    /// The limits at an address that stays: a session asks for one of them at each frame, and would else copy all.
    let limitsPlace: UnsafeMutablePointer<HTTP2Limits>
    /// Where nghttp2 has its memory from.
    let memory = BlockCache()
    // Scratch for trailers on their way into nghttp2.
    var trailerFields: HTTP2Fields
    let callbacks: OpaquePointer?
    let serverOptions: OpaquePointer?
    let clientOptions: OpaquePointer?

    /// A pool for at most `streams` streams at once, over all sessions, lending at most `outboundBytes` for bodies that
    /// wait for a window, and at most `heads` heads, mostly of 4 KiB; without a head a request is refused with
    /// REFUSED_STREAM.
    public init(
        limits: HTTP2Limits, streams: Int = 1 << 20, outboundBytes: Int = 64 << 20,
        heads: Int = 65_536
    ) {
        self.streams = Slab(limit: streams)
        buffers = BufferPool(limit: outboundBytes)
        limitsPlace = .allocate(capacity: 1)
        limitsPlace.initialize(to: limits)
        headLimit = heads
        trailerFields = HTTP2Fields(capacity: limits.http.fieldCount + 2)
        fieldCount = limits.http.fieldCount
        self.heads.reserveCapacity(Self.keptHeads)
        callbacks = Callbacks.make()
        serverOptions = Self.makeOptions(limits, isServer: true)
        clientOptions = Self.makeOptions(limits, isServer: false)
    }

    deinit {
        nghttp2_session_callbacks_del(callbacks)
        nghttp2_option_del(serverOptions)
        nghttp2_option_del(clientOptions)
        for head in heads {
            head.deinitialize(count: 1)
            head.deallocate()
        }
        limitsPlace.deallocate()
    }

    /// Streams of all sessions whose end has not been told or that are still open.
    public var streamCount: Int { streams.count }

    /// Bytes lent for outbound bodies.
    public var lentBytes: Int { buffers.lentBytes }

    /// Lends a head; nil at the limit.
    func takeHead() -> UnsafeMutablePointer<HTTP2Head>? {
        guard weighedHeads < headLimit else { return nil }
        lentHeads += 1
        if let head = heads.popLast() { return head }
        let head = UnsafeMutablePointer<HTTP2Head>.allocate(capacity: 1)
        head.initialize(to: HTTP2Head(bytes: Self.headBytes, fieldCount: fieldCount))
        return head
    }

    /// Counts what a head has grown by.
    func weigh(_ head: UnsafeMutablePointer<HTTP2Head>) {
        let extra = max(0, head.pointee.textBytes - Self.headBytes)
        extraHeadBytes += extra - head.pointee.weight
        head.pointee.weight = extra
    }

    /// Takes a head back. Also for drivers that took it from its stream with `HTTP2Session.takeHead`.
    public func giveHead(_ head: UnsafeMutablePointer<HTTP2Head>) {
        lentHeads -= 1
        extraHeadBytes -= head.pointee.weight
        head.pointee.weight = 0
        assert(lentHeads >= 0 && extraHeadBytes >= 0)
        guard heads.count < Self.keptHeads else {
            head.deinitialize(count: 1)
            head.deallocate()
            return
        }
        head.pointee.shrink(to: Self.headBytes)
        heads.append(head)
    }

    private static func makeOptions(_ limits: HTTP2Limits, isServer: Bool) -> OpaquePointer? {
        var options: OpaquePointer?
        guard nghttp2_option_new(&options) == 0 else { return nil }
        // Windows are given back by `consume` alone.
        nghttp2_option_set_no_auto_window_update(options, 1)
        // Records of ended streams are ours; nghttp2's would only serve priorities.
        nghttp2_option_set_no_closed_streams(options, 1)
        // The rules for messages are HTTP2Head's and, for the length of bodies, StreamRecord's: all that nghttp2 would
        // check a second time, for a twelfth of a request's instructions.
        nghttp2_option_set_no_http_messaging(options, 1)
        // These limits are FloodGuard's: nghttp2's own end the session without a GOAWAY, or read the clock.
        nghttp2_option_set_max_continuations(options, limits.continuationFrames + 2)
        nghttp2_option_set_max_outbound_ack(options, limits.outboundFrames * 2)
        nghttp2_option_set_stream_reset_rate_limit(options, 1 << 40, 1 << 20)
        // Heads that were taken in must be able to go out; names and values grow by a few bytes each.
        nghttp2_option_set_max_send_header_block_length(options, 2 * limits.http.headBytes)
        // What a peer allows at least before its SETTINGS are known (RFC 9113 §6.5.2 recommends no less).
        if !isServer { nghttp2_option_set_peer_max_concurrent_streams(options, 100) }
        return options
    }
}
