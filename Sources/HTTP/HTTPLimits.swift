/// How much of a message's head and framing is read before the message is refused.
///
/// The names and defaults are those of the documentation's table of limits; body sizes and times are limited elsewhere.
public struct HTTPLimits: Equatable, Sendable {
    /// Bytes of the first line of a request or response, without its line end. Beyond: 414.
    ///
    /// Default 8192. Range 64...1048576.
    public var requestLineBytes = 8 << 10

    /// Bytes of a whole head, first line, fields and empty line. Beyond: 431.
    ///
    /// A buffer of this size always suffices: the refusal comes as soon as it is full without the end in sight.
    /// Default 65536. Range 256...16777216.
    public var headBytes = 64 << 10

    /// Field lines of a head. Beyond: 431. Default 100. Range 1...10000.
    public var fieldCount = 100

    /// Bytes of one field name. Beyond: 431. Default 256. Range 1...65535.
    public var fieldNameBytes = 256

    /// Bytes of one field value without the space around it. Beyond: 431. Default 32768. Range 1...16777216.
    public var fieldValueBytes = 32 << 10

    /// Bytes of the extensions of one chunk, from the first semicolon to the line end. Beyond: 400.
    ///
    /// Default 256. Range 0...65536.
    public var chunkExtensionBytes = 256

    /// Bytes of a trailer section with its final empty line. Beyond: 400. Default 8192. Range 2...1048576.
    public var trailerBytes = 8 << 10

    /// Options that the `Connection` fields of a head may list together. Beyond: 400.
    ///
    /// Each option is looked up among the fields, so their number must not be the sender's choice.
    /// Default 64. Range 1...1000.
    public var connectionOptions = 64

    /// The largest `Content-Length` and chunk size, in bytes: far beyond any body, far from overflow.
    public static let maximumBodyBytes: UInt64 = 1 << 62

    /// The limits of a public listener.
    public init() {}

    /// The limits of the sidecar in front of one application, where Knative's users rely on Go's 1 MiB heads.
    public static var sidecar: HTTPLimits {
        var limits = HTTPLimits()
        limits.headBytes = 1 << 20
        limits.requestLineBytes = 1 << 20
        limits.fieldValueBytes = 1 << 20
        limits.fieldCount = 1000
        return limits
    }
}

/// How the length of a message's body is found (RFC 9112 §6.3).
public enum BodyFraming: Equatable, Sendable {
    /// There is no body.
    case none
    /// Exactly so many bytes, by `Content-Length`. May be 0: unlike `none` the length was said.
    case length(UInt64)
    /// Chunks, by `Transfer-Encoding: chunked`.
    case chunked
    /// Everything until the connection ends. Only in responses.
    case untilClose
}
