/// Why a response is what it is, in one to three letters of the access log.
///
/// Letters are Envoy's where the meaning is; `QT`, `QF` and `CS` are our own.
public enum ResponseFlag: UInt8, CaseIterable, Sendable {
    /// `UH`: no healthy upstream.
    case noHealthyUpstream
    /// `UF`: the connection to the upstream failed.
    case upstreamConnectionFailure
    /// `UO`: a limit of the upstream was reached.
    case upstreamOverflow
    /// `NR`: no route for the request.
    case noRoute
    /// `UT`: the upstream did not answer in time.
    case upstreamTimeout
    /// `UC`: the upstream ended the connection.
    case upstreamConnectionTermination
    /// `UR`: the upstream reset the stream.
    case upstreamRemoteReset
    /// `DC`: the downstream went away.
    case downstreamConnectionTermination
    /// `DPE`: the downstream broke the protocol.
    case downstreamProtocolError
    /// `UPE`: the upstream broke the protocol.
    case upstreamProtocolError
    /// `QT`: waited too long in the queue.
    case queueTimeout
    /// `QF`: the queue was full.
    case queueFull
    /// `CS`: met no pod and waited for one to start. Not a failure by itself.
    case coldStart

    /// The letters.
    public var letters: StaticString {
        switch self {
        case .noHealthyUpstream: "UH"
        case .upstreamConnectionFailure: "UF"
        case .upstreamOverflow: "UO"
        case .noRoute: "NR"
        case .upstreamTimeout: "UT"
        case .upstreamConnectionTermination: "UC"
        case .upstreamRemoteReset: "UR"
        case .downstreamConnectionTermination: "DC"
        case .downstreamProtocolError: "DPE"
        case .upstreamProtocolError: "UPE"
        case .queueTimeout: "QT"
        case .queueFull: "QF"
        case .coldStart: "CS"
        }
    }
}

/// The flags of one request. Several may hold: a cold start that ran into a timeout is `UT,CS`.
public struct ResponseFlags: OptionSet, Hashable, Sendable {
    /// One bit a flag, at the place of its raw value.
    public let rawValue: UInt16

    /// Flags by their bits.
    @inlinable
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// One flag.
    @inlinable
    public init(_ flag: ResponseFlag) { rawValue = 1 << UInt16(flag.rawValue) }

    /// Whether `flag` holds.
    @inlinable
    public func contains(_ flag: ResponseFlag) -> Bool { contains(ResponseFlags(flag)) }
}
