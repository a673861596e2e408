import EventLoop
import Primitives
import Scaling
import Telemetry

/// Asks queue-proxies for their statistics as Knative's autoscaler does: `GET /metrics` on port 9090, 3 s, protobuf of
/// at most 336 bytes, connections kept.
///
/// Source: Knative Serving, `pkg/autoscaler/metrics/http_scrape_client.go`; spec/autoscaling 4.1.
public final class QueueProxyReader: PodReader {
    /// The port of a queue-proxy's statistics.
    public static let port: UInt16 = 9090

    private let client: FetchClient
    private let port: UInt16

    /// A reader on `loop`. `port` is another one than Knative's in tests only.
    public init(loop: Loop, port: UInt16 = QueueProxyReader.port) {
        client = FetchClient(loop: loop)
        self.port = port
    }

    /// Asks the queue-proxy at `ip`.
    public func read(_ ip: UInt32, _ report: @escaping (Result<RequestStat, ScrapeFailure>) -> Void) {
        let address = SocketAddress(ipv4: ip, port: port)
        let head =
            "GET /metrics HTTP/1.1\r\nHost: \(address)\r\nUser-Agent: martlet-autoscaler\r\n"
            + "Accept: application/protobuf\r\n\r\n"
        client.get(Array(head.utf8), at: address, keeps: true) { report(Self.stat(of: $0)) }
    }

    /// Closes all connections; nothing under way is reported.
    public func close() { client.close() }

    /// What an answer says.
    static func stat(of result: Result<FetchReply, FetchFailure>) -> Result<RequestStat, ScrapeFailure> {
        switch result {
        case .failure(.timedOut): return .failure(.timedOut)
        case .failure(.tooBusy): return .failure(.tooBusy)
        case .failure(.unreachable(let problem)): return .failure(.unreachable(problem))
        case .failure(.malformed(let problem)): return .failure(.malformed(problem))
        case .success(let reply):
            guard (200..<300).contains(reply.status) else { return .failure(.status(reply.status)) }
            guard reply.contentType == "\(StatMessage.contentType)" else {
                return .failure(.contentType(String(reply.contentType.prefix(80))))
            }
            return reply.body.withUnsafeBytes { bytes -> Result<RequestStat, ScrapeFailure> in
                do throws(ProtobufFailure) {
                    return .success(RequestStat(try StatMessage(reading: ByteView(bytes)).report))
                } catch {
                    return .failure(.malformed("\(error)"))
                }
            }
        }
    }
}
