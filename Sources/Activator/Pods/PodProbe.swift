import Balancing
import EventLoop
import Fetching
import Primitives

/// One question to a queue-proxy whether its pod is ready: `GET /healthz`, as Knative's activator asks it, always over
/// plain HTTP/1.1. Owned by the control thread.
///
/// The connection must come about within `connectMilliseconds`; the answer may then take `holdMilliseconds`, so that a
/// queue-proxy that waits for its container answers the moment it is ready. Source: spec/dataplane 3.6.
final class PodProbe {
    /// Of its answer: 8 KiB of head, 8 KiB of body.
    static var limits: AnswerLimits {
        var limits = AnswerLimits()
        limits.fieldCount = 100
        limits.bodyBytes = 8 << 10
        return limits
    }

    private let loop: Loop
    private let connectMilliseconds: UInt64
    private let holdMilliseconds: UInt64
    private var connection: FetchConnection?

    /// A question that has not been asked. Times in milliseconds.
    init(loop: Loop, connectMilliseconds: UInt64, holdMilliseconds: UInt64) {
        self.loop = loop
        self.connectMilliseconds = connectMilliseconds
        self.holdMilliseconds = holdMilliseconds
    }

    /// Asks. `report` is called once, never from inside this call, unless `cancel` comes first.
    func begin(_ address: EndpointAddress, report: @escaping (PodFinder.Outcome) -> Void) {
        let request =
            "GET /healthz HTTP/1.1\r\nHost: \(address)\r\nUser-Agent: Knative-Activator-Probe\r\n"
            + "K-Network-Probe: queue\r\nConnection: close\r\n\r\n"
        let target = FetchTarget(SocketAddress(ipv4: address.ipv4, port: address.port))
        let connection = FetchConnection(to: target, loop: loop, limits: Self.limits)
        self.connection = connection
        connection.send(
            Array(request.utf8), connectMilliseconds: connectMilliseconds,
            deadline: loop.now.adding(milliseconds: connectMilliseconds + holdMilliseconds)
        ) { [weak self] result in
            self?.cancel()
            report(Self.outcome(of: result))
        }
    }

    /// Ends without a report.
    func cancel() {
        connection?.close()
        connection = nil
    }

    /// What an answer means. One that cannot be read did not come from a queue-proxy.
    static func outcome(of result: Result<FetchReply, FetchFailure>) -> PodFinder.Outcome {
        switch result {
        case .success(let reply) where reply.status == 200:
            reply.body.elementsEqual("queue".utf8) ? .ready : .unready
        case .success(let reply): reply.status == 502 || reply.status == 503 ? .unreachable : .unready
        case .failure(.malformed): .unready
        case .failure(.timedOut), .failure(.tooBusy), .failure(.unreachable): .unreachable
        }
    }
}
