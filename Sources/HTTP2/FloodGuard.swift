import Primitives

/// Which limit on odd behaviour a peer exceeded: a label for counters. The answer is GOAWAY ENHANCE_YOUR_CALM.
public enum HTTP2Flood: UInt8, CaseIterable, Sendable {
    /// `HTTP2Limits.resets`.
    case resets
    /// `HTTP2Limits.idleFrames`.
    case idleFrames
    /// `HTTP2Limits.emptyData`.
    case emptyData
    /// `HTTP2Limits.continuationFrames`.
    case continuations
    /// `HTTP2Limits.headBombFactor`.
    case headBomb
    /// `HTTP2Limits.headMilliseconds`.
    case slowHead
    /// `HTTP2Limits.outboundFrames`.
    case outboundFrames

    /// A word for logs and metrics.
    public var name: StaticString {
        switch self {
        case .resets: "resets"
        case .idleFrames: "idle_frames"
        case .emptyData: "empty_data"
        case .continuations: "continuations"
        case .headBomb: "head_bomb"
        case .slowHead: "slow_head"
        case .outboundFrames: "outbound_frames"
        }
    }
}

/// All counters of one connection that tell a flood from traffic (reliability: attack classes). Pure.
///
/// Fed with what each frame's first nine bytes say, before the frame is handed on, and with what came of it.
struct FloodGuard: Sendable {
    /// Bytes of body sent that count as progress: window by single bytes must not pass for it (CVE-2019-9511).
    static let sentProgressBytes = 1024

    private var resets: FloodMeter
    private var idleFrames: FloodMeter
    private var emptyData: FloodMeter
    private var continuations = 0
    private var sentBytes = 0

    init(_ limits: borrowing HTTP2Limits, now: Instant) {
        resets = FloodMeter(limits.resets, now: now)
        idleFrames = FloodMeter(limits.idleFrames, now: now)
        emptyData = FloodMeter(limits.emptyData, now: now)
    }

    /// A frame of the peer begins. Returns what it is too much of.
    mutating func frameBegins(
        _ frame: FrameHeader, isServer: Bool, _ limits: borrowing HTTP2Limits, now: Instant
    ) -> HTTP2Flood? {
        guard idleFrames.take(limits.idleFrames, now: now) else { return .idleFrames }
        switch frame.type {
        case FrameType.data:
            guard frame.isEmptyData else { return nil }
            return takeEmptyData(limits, now: now) ? nil : .emptyData
        case FrameType.headers:
            continuations = 0
            return nil
        case FrameType.continuation:
            continuations += 1
            return continuations > limits.continuationFrames ? .continuations : nil
        case FrameType.reset:
            guard isServer else { return nil }
            return takeReset(limits, now: now) ? nil : .resets
        default: return nil
        }
    }

    /// A stream had to be reset for the peer's fault.
    mutating func takeReset(_ limits: borrowing HTTP2Limits, now: Instant) -> Bool {
        resets.take(limits.resets, now: now)
    }

    /// DATA without data, the end of the stream apart.
    mutating func takeEmptyData(_ limits: borrowing HTTP2Limits, now: Instant) -> Bool {
        emptyData.take(limits.emptyData, now: now)
    }

    /// A request came further: a head, data, an end.
    mutating func progress(_ limits: borrowing HTTP2Limits) { idleFrames.reset(limits.idleFrames) }

    /// Bytes of a body went out.
    mutating func sent(_ bytes: Int, _ limits: borrowing HTTP2Limits) {
        sentBytes += bytes
        guard sentBytes >= Self.sentProgressBytes else { return }
        sentBytes = 0
        progress(limits)
    }
}
