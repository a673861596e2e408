import EventLoop
import Knative
import Primitives

/// What a hub says to a question.
public enum LinkAnswer: Sendable, Equatable {
    /// The answer, in lines.
    case lines([String])
    /// There is none: why, for a person; may be several lines.
    case refused(String)

    /// As it goes to the one who asked.
    var message: LinkMessage {
        switch self {
        case .lines(let lines): .text(lines)
        case .refused(let reason): .error(reason)
        }
    }
}

/// One question to a hub, for programs that end with its answer. Owned by the loop's thread.
public final class LinkQuestion {
    private let connection: LinkConnection
    private let loop: Loop
    private var answer: LinkAnswer?
    private var hasEnded = false

    /// Takes over a connection to a hub; nil if it cannot be watched.
    public init?(_ socket: consuming Socket, loop: Loop) {
        self.loop = loop
        guard let connection = try? LinkConnection(socket, loop: loop, limits: ClusterLimits()) else { return nil }
        self.connection = connection
        connection.onLine = { [unowned self] line in
            switch try? LinkMessage(line: line) {
            case .text(let lines): answer = .lines(lines)
            case .error(let reason): answer = .refused(reason)
            case nil, .watch, .apply, .explain, .added, .modified, .deleted, .slice, .sliceDeleted, .bookmark: break
            }
        }
        connection.onEnd = { [unowned self] _ in hasEnded = true }
    }

    /// The hub's explanation of `name`; nil if none came in time. Turns the loop.
    public func ask(_ name: String, withinMilliseconds limit: Int) -> LinkAnswer? {
        let deadline = MonotonicClock.now().adding(milliseconds: UInt64(limit))
        connection.send(LinkMessage.explain(name).line)
        while answer == nil, !hasEnded, MonotonicClock.now() < deadline { loop.runOnce(atMostMilliseconds: 50) }
        connection.close()
        return answer
    }
}
