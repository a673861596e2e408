import EventLoop
import Primitives

/// What a request was answered with.
public struct FetchReply: Equatable, Sendable {
    /// The final status, 100...999.
    public var status: Int
    /// The value of `Content-Type`; empty if there is none.
    public var contentType: String
    /// `Retry-After` in seconds; nil if there is none, or a date.
    public var retryAfterSeconds: Int?
    /// The body, if it is kept.
    public var body: [UInt8]

    /// An answer.
    public init(status: Int, contentType: String = "", retryAfterSeconds: Int? = nil, body: [UInt8] = []) {
        self.status = status
        self.contentType = contentType
        self.retryAfterSeconds = retryAfterSeconds
        self.body = body
    }
}

/// Why a request came to nothing.
public enum FetchFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// No connection or no answer in time.
    case timedOut
    /// Too many are under way and waiting.
    case tooBusy
    /// There is no connection, or it broke, for this reason.
    case unreachable(String)
    /// The answer is not what HTTP or our limits allow, for this reason.
    case malformed(String)

    /// For a person.
    public var description: String {
        switch self {
        case .timedOut: "no answer in time"
        case .tooBusy: "too many requests are under way"
        case .unreachable(let problem): problem
        case .malformed(let problem): "the answer is refused: \(problem)"
        }
    }
}

/// Bounds of one answer. At each of them the answer is refused (`FetchFailure.malformed`) and its connection closed.
public struct AnswerLimits: Equatable, Sendable {
    /// Bytes of a head. Default 8 KiB.
    public var headBytes = 8 << 10
    /// Fields of a head. Default 50.
    public var fieldCount = 50
    /// Heads of 1xx before the answer. Default 4.
    public var interims = 4
    /// Bytes of a body, without its chunks' framing. Default 64 KiB.
    public var bodyBytes = 64 << 10
    /// Whether the body is kept; else it is read within the limit and thrown away. Default yes.
    public var keepsBody = true

    /// The defaults.
    public init() {}
}

/// Who is asked.
public struct FetchTarget: Equatable, Sendable {
    /// A name, or an address without brackets.
    public let host: String
    /// Where it listens.
    public let port: UInt16
    /// What needs no lookup.
    let address: SocketAddress?

    /// An address.
    public init(_ address: SocketAddress) {
        host = address.host
        port = address.port
        self.address = address
    }

    /// A name, looked up anew for each connection, or an address.
    public init(host: String, port: UInt16) {
        self.host = host
        self.port = port
        address = SocketAddress(host.utf8.contains(ASCII.colon) ? "[\(host)]:\(port)" : "\(host):\(port)")
    }
}
