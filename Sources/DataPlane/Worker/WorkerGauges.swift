import EventLoop

/// How much one worker has under way at one moment: all zero but `pooledUpstreams`, `timers` and
/// `failedHandshakes` when it is at rest.
public struct WorkerGauges: Equatable, Sendable {
    /// Which worker.
    public var worker = 0
    /// Client connections, idle ones included.
    public var downstreams = 0
    /// Connections to pods that serve a request or are being made.
    public var upstreams = 0
    /// Connections to pods that wait for a request.
    public var pooledUpstreams = 0
    /// TLS handshakes of clients.
    public var handshakes = 0
    /// TLS handshakes of clients that failed since the start.
    public var failedHandshakes = 0
    /// Requests.
    public var exchanges = 0
    /// Those of them that have become tunnels (WebSocket), or ask for one over HTTP/2.
    public var tunnels = 0
    /// Those of them that are streams of HTTP/2 and no tunnels.
    public var streams = 0
    /// Requests that wait for an answer of the control thread's.
    public var questions = 0
    /// Memory lent to connections and requests, in bytes. Limit: `DataPlaneLimits.bufferedBytes`.
    public var lentBytes = 0
    /// Timers of connections; the worker's own, and those of the places of requests, are not counted.
    public var timers = 0

    /// Nothing under way.
    public init() {}
}

extension Worker {
    /// Counts what is under way. Walks all requests and connections to pods: for reports.
    var gauges: WorkerGauges {
        var gauges = WorkerGauges()
        gauges.worker = options.index
        gauges.downstreams = downstreams.count - closedDownstreams.count
        gauges.exchanges = exchanges.count - endedExchanges.count
        for token in exchanges.tokens() {
            guard let exchange = exchanges[token], exchange.pointee.stage != .ended else { continue }
            if exchange.pointee.stage == .tunnel || exchange.pointee.asksForTunnel {
                gauges.tunnels += 1
            } else if exchange.pointee.isStream {
                gauges.streams += 1
            }
        }
        for token in upstreams.tokens() {
            guard let upstream = upstreams[token] else { continue }
            switch upstream.pointee.phase {
            case .connecting, .handshaking, .awaitingHead, .body, .tunnel: gauges.upstreams += 1
            case .pooled: gauges.pooledUpstreams += 1
            case .shared where upstream.pointee.session?.streamCount == 0: gauges.pooledUpstreams += 1
            case .shared: gauges.upstreams += 1
            case .closed: break
            }
        }
        gauges.handshakes = handshakes
        gauges.failedHandshakes = failedHandshakes
        gauges.questions = questions.count
        gauges.lentBytes = buffers.lentBytes + sessionPool.lentBytes
        let own = (sweepIsArmed ? 1 : 0) + (telemetry?.isTimerArmed == true ? 1 : 0)
        gauges.timers = timers.count - armedExchangeTimers - own
        return gauges
    }
}
