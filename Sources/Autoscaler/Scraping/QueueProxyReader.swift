import EventLoop
import Fetching
import Primitives
import Scaling
import Telemetry

/// Asks queue-proxies for their statistics as Knative's autoscaler does: `GET /metrics` on port 9090, 3 s, protobuf of
/// at most 336 bytes, connections to pods kept.
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

    /// Asks `question` with one request; a connection to a service is not kept, or the mesh would not choose again.
    public func read(_ question: ScrapeQuestion, _ report: @escaping (Result<ScrapeAnswer, ScrapeFailure>) -> Void) {
        let address: SocketAddress, fields: String, keeps: Bool
        switch question {
        case .pod(let ip):
            address = SocketAddress(ipv4: ip, port: port)
            (fields, keeps) = ("Host: \(address)\r\n", true)
        case .podOfMesh(let ip, let service):
            address = SocketAddress(ipv4: ip, port: port)
            (fields, keeps) = ("Host: \(service.name).\(service.namespace)\r\nKnative-Direct-Lb: true\r\n", true)
        case .service(let service, let ip):
            address = SocketAddress(ipv4: ip, port: port)
            fields = "Host: \(service.name).\(service.namespace):\(port)\r\nConnection: close\r\n"
            keeps = false
        }
        let head =
            "GET /metrics HTTP/1.1\r\n\(fields)User-Agent: martlet-autoscaler\r\nAccept: application/protobuf\r\n\r\n"
        client.send(Array(head.utf8), at: address, keeps: keeps) { report(Self.answer(of: $0)) }
    }

    /// Closes all connections; nothing under way is reported.
    public func close() { client.close() }

    /// What an answer says.
    static func answer(of result: Result<FetchReply, FetchFailure>) -> Result<ScrapeAnswer, ScrapeFailure> {
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
            return reply.body.withUnsafeBytes { bytes -> Result<ScrapeAnswer, ScrapeFailure> in
                do throws(ProtobufFailure) {
                    let message = try StatMessage(reading: ByteView(bytes))
                    return .success(
                        ScrapeAnswer(
                            podName: message.podName.string, uptimeSeconds: message.processUptime,
                            stat: RequestStat(message.report)))
                } catch {
                    return .failure(.malformed("\(error)"))
                }
            }
        }
    }
}
