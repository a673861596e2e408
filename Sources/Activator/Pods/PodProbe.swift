import Balancing
import EventLoop
import Glibc
import HTTP
import HTTP1
import Primitives

/// One question to a queue-proxy whether its pod is ready: `GET /healthz`, as Knative's activator asks it, always over
/// plain HTTP/1.1. Owned by the control thread.
///
/// The connection must come about within `connectMilliseconds`; the answer may then take `holdMilliseconds`, so that a
/// queue-proxy that waits for its container answers the moment it is ready. Source: spec/dataplane 3.6.
final class PodProbe {
    /// Longest answer that is read, in bytes.
    static let answerBytes = 8 << 10

    private let loop: Loop
    private let connectMilliseconds: UInt64
    private let holdMilliseconds: UInt64
    private var socket: Socket?
    private var watch: Loop.WatchToken?
    private var timer = TimerHandle.none
    private var isConnected = false
    private var unsent: [UInt8] = []
    private var answer: [UInt8] = []
    private var report: ((PodFinder.Outcome) -> Void)?

    /// A question that has not been asked. Times in milliseconds.
    init(loop: Loop, connectMilliseconds: UInt64, holdMilliseconds: UInt64) {
        self.loop = loop
        self.connectMilliseconds = connectMilliseconds
        self.holdMilliseconds = holdMilliseconds
    }

    /// Asks. `report` is called once, never from inside this call, unless `cancel` comes first.
    func begin(_ address: EndpointAddress, report: @escaping (PodFinder.Outcome) -> Void) {
        self.report = report
        let text =
            "GET /healthz HTTP/1.1\r\nHost: \(address)\r\nUser-Agent: Knative-Activator-Probe\r\n"
            + "K-Network-Probe: queue\r\nConnection: close\r\n\r\n"
        unsent = Array(text.utf8)
        switch Socket.connect(to: SocketAddress(ipv4: address.ipv4, port: address.port)) {
        case .connected(let opened): socket = consume opened
        case .pending(let opened): socket = consume opened
        case .failed:
            timer = loop.at(loop.now) { self.finish(.unreachable) }
            return
        }
        timer = loop.after(milliseconds: connectMilliseconds) { self.finish(.unreachable) }
        guard let fd = socket?.fd else { return }
        watch = try? loop.watch(fd, .writable) { _ in self.proceed() }
        if watch == nil {
            loop.cancel(timer)
            timer = loop.at(loop.now) { self.finish(.unreachable) }
        }
    }

    /// Ends without a report.
    func cancel() {
        report = nil
        close()
    }

    private func proceed() {
        guard isConnected else { return connected() }
        receive()
    }

    private func connected() {
        guard socket?.pendingError == 0 else { return finish(.unreachable) }
        let result = unsent.withUnsafeBytes { socket?.send(ByteView($0)) ?? .failed(EBADF) }
        switch result {
        case .bytes(let count): unsent.removeFirst(count)
        case .wouldBlock: return
        case .endOfStream, .failed: return finish(.unreachable)
        }
        guard unsent.isEmpty else { return }
        isConnected = true
        loop.cancel(timer)
        timer = loop.after(milliseconds: holdMilliseconds) { self.finish(.unreachable) }
        if let watch { loop.rewatch(watch, .readable) }
    }

    private func receive() {
        let result = withUnsafeTemporaryAllocation(byteCount: 4 << 10, alignment: 1) { memory in
            let result = socket?.receive(into: memory) ?? .failed(EBADF)
            if case .bytes(let count) = result { answer.append(contentsOf: memory[..<count]) }
            return result
        }
        switch result {
        case .bytes:
            guard answer.count <= Self.answerBytes else { return finish(.unready) }
            if let outcome = Self.outcome(of: answer, hasEnded: false) { finish(outcome) }
        case .wouldBlock: break
        case .endOfStream: finish(Self.outcome(of: answer, hasEnded: true) ?? .unreachable)
        case .failed: finish(.unreachable)
        }
    }

    /// What an answer means; nil if it is not whole. One that cannot be read did not come from a queue-proxy.
    static func outcome(of answer: [UInt8], hasEnded: Bool) -> PodFinder.Outcome? {
        let limits = HTTPLimits()
        return answer.withUnsafeBytes { memory in
            let bytes = ByteView(memory)
            var head = ResponseHead(limits: limits)
            var cursor = 0, scanned = 0
            var body: [UInt8] = []
            do throws(ParseFailure) {
                repeat {
                    scanned = 0
                    guard
                        try head.parse(bytes.dropping(first: cursor), scanned: &scanned, requestMethod: .get)
                    else { return nil }
                    cursor += head.length
                } while head.isInterim
                guard head.status == 200 else {
                    return head.status == 502 || head.status == 503 ? .unreachable : .unready
                }
                var decoder = BodyDecoder(head.framing, limits: limits)
                while true {
                    switch try decoder.next(bytes, &cursor) {
                    case .body(let range): body += memory[range]
                    case .trailers: continue
                    case .needMore:
                        guard hasEnded else { return nil }
                        guard decoder.finish() else { return .unreachable }
                        return body.elementsEqual("queue".utf8) ? .ready : .unready
                    case .end: return body.elementsEqual("queue".utf8) ? .ready : .unready
                    }
                }
            } catch {
                return .unready
            }
        }
    }

    private func finish(_ outcome: PodFinder.Outcome) {
        close()
        guard let report else { return }
        self.report = nil
        report(outcome)
    }

    private func close() {
        loop.cancel(timer)
        if let watch { loop.unwatch(watch) }
        watch = nil
        socket = nil
    }
}
