import HTTP
import Primitives

/// What a session knows of one stream beside nghttp2. Lives in the pool's slab at a stable address, which nghttp2
/// keeps.
struct StreamRecord: ~Copyable {
    /// Links of the lists a record can be in; an index of 0 generation ends a list.
    struct Link {
        var next = SlabToken.none
        var isQueued = false
    }

    let token: SlabToken
    /// The session it belongs to, by address: tokens of other sessions of the worker are refused.
    let owner: UnsafeRawPointer
    /// Its number on the wire; 0 until a request has one.
    var number: Int32

    /// The driver's own 64 bits, an exchange's token for example.
    var context: UInt64 = 0
    var head: UnsafeMutablePointer<HTTP2Head>?
    var trailers: UnsafeMutablePointer<HTTP2Head>?

    // The peer's side.
    /// Whether the driver has heard of the stream: only then it is told of the end.
    var isDelivered = false
    var hasFinalHead = false
    /// Whether nobody wants what the peer still sends: it is dropped, and the stream reset once our side is complete.
    var dropsRest = false
    /// Whether the peer's side is complete.
    var hasReceivedEnd = false
    /// How long the peer's body must be by its head (RFC 9113 §8.1.1); nil if the head did not say.
    var promisedBytes: UInt64?
    /// Bytes of body that have come, whether delivered or not.
    var receivedBytes: UInt64 = 0
    /// The method of our request: it decides about the body of the response.
    var method = Method.other
    /// Bytes delivered and not yet consumed.
    var unconsumed = 0

    // Our side.
    var outbound = Buffer.none
    /// Whether nothing more will be written after what is in `outbound`.
    var writeEnded = false
    /// The trailers that follow the body.
    var outboundTrailers: UnsafeMutablePointer<HTTP2Head>?
    /// Whether nghttp2 waits for `resume`.
    var isDeferred = false
    var hasSubmittedHead = false
    /// Whether END_STREAM has left.
    var hasSentEnd = false
    /// Whether a write was cut and `.writable` is owed.
    var owesWritable = false
    /// When the last byte of the body left or, before, when there was first something to send.
    var progressAt: Instant

    // The end.
    /// The driver does not want to hear of it any more: it has reset it or was told of its end.
    var isForgotten = false
    /// nghttp2 has closed the stream.
    var isClosed = false
    var closeCode = HTTP2ErrorCode.noError
    /// Why we reset it for the peer's fault; the driver is told this.
    var resetCode: HTTP2ErrorCode?
    /// Whether our RST_STREAM was asked for by the driver.
    var resetByDriver = false

    // All streams of the session, doubly linked; streams with an event owed, singly.
    var previous = SlabToken.none
    var next = SlabToken.none
    var owed = Link()

    /// Whether the peer's body is as long as its head has said.
    var isBodyWhole: Bool { promisedBytes.map { $0 == receivedBytes } ?? true }

    init(token: SlabToken, owner: UnsafeRawPointer, number: Int32, now: Instant) {
        self.token = token
        self.owner = owner
        self.number = number
        progressAt = now
    }
}
