import EventLoop
import Knative
import Primitives

/// One question to a hub, for programs that end with its answer. Owned by the loop's thread.
public final class LinkQuestion {
    private let connection: LinkConnection
    private let loop: Loop
    private var answer: [String]?
    private var hasEnded = false

    /// Takes over a connection to a hub; nil if it cannot be watched.
    public init?(_ socket: consuming Socket, loop: Loop) {
        self.loop = loop
        guard let connection = try? LinkConnection(socket, loop: loop, limits: ClusterLimits()) else { return nil }
        self.connection = connection
        connection.onLine = { [unowned self] line in
            if case .text(let lines)? = try? LinkMessage(line: line) { answer = lines }
        }
        connection.onEnd = { [unowned self] _ in hasEnded = true }
    }

    /// The hub's explanation of `name`; nil if none came in time. Turns the loop.
    public func ask(_ name: String, withinMilliseconds limit: Int) -> [String]? {
        let deadline = MonotonicClock.now().adding(milliseconds: UInt64(limit))
        connection.send(LinkMessage.explain(name).line)
        while answer == nil, !hasEnded, MonotonicClock.now() < deadline { loop.runOnce(atMostMilliseconds: 50) }
        connection.close()
        return answer
    }
}
