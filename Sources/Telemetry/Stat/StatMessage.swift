import Primitives

/// Knative's `Stat`: what a pod, or an activator for a revision, says about the last second.
///
/// Trivial: the name is a window on bytes of somebody else. Source: Knative
/// `serving/pkg/autoscaler/metrics/stat.proto`.
public struct StatMessage {
    /// Most bytes of one body: the autoscaler reads no further (`http_scrape_client.go`).
    public static let bodyLimit = 336
    /// Most bytes of a pod's name, as in Kubernetes (RFC 1123 subdomain). With it the body is 318 bytes at most.
    public static let podNameLimit = 253
    /// What `Content-Type` must say, exactly.
    public static let contentType: StaticString = "application/protobuf"

    /// Name of the pod that counted, at most `podNameLimit` bytes of UTF-8.
    public var podName: ByteView
    /// The four numbers of the window.
    public var report: WindowReport
    /// Seconds since the process started.
    public var processUptime: Double
    /// Seconds since 1970; senders leave it 0, and the autoscaler puts the time of receipt.
    public var timestamp: Int64

    /// A message of the given values; without any, that of a pod before its first second.
    public init(
        podName: ByteView, report: WindowReport = WindowReport(), processUptime: Double = 0, timestamp: Int64 = 0
    ) {
        self.podName = podName
        self.report = report
        self.processUptime = processUptime
        self.timestamp = timestamp
    }

    /// Appends the body byte for byte as gogo/protobuf marshals it. Allocates nothing.
    ///
    /// - Returns: false, and nothing is written, if there is no room or the body would be longer than `bodyLimit`.
    @discardableResult
    public func write(to writer: inout ByteWriter) -> Bool {
        let mark = writer.count
        guard !writer.overflowed else { return false }
        writer.append(field: 1, bytes: podName)
        writer.append(field: 2, double: report.averageConcurrency)
        writer.append(field: 3, double: report.averageProxiedConcurrency)
        writer.append(field: 4, double: report.requestCount)
        writer.append(field: 5, double: report.proxiedRequestCount)
        writer.append(field: 6, double: processUptime)
        writer.append(field: 7, varint: UInt64(bitPattern: timestamp))
        guard writer.overflowed || writer.count - mark > StatMessage.bodyLimit else { return true }
        writer.rewind(to: mark)
        return false
    }

    /// Reads a body that came from a pod. The name stays a window on it.
    ///
    /// Unknown fields are skipped, and of a field that comes twice the last counts, as everywhere in Protocol Buffers.
    /// - Throws: what is wrong; nothing of such a message is to be used.
    public init(reading body: ByteView) throws(ProtobufFailure) {
        guard body.count <= StatMessage.bodyLimit else { throw .tooLarge }
        self.init(podName: .empty)
        var reader = ProtobufReader(body)
        while let field = try reader.next() {
            switch field.number {
            case 1: podName = try field.text(limit: StatMessage.podNameLimit)
            case 2: report.averageConcurrency = try field.amount()
            case 3: report.averageProxiedConcurrency = try field.amount()
            case 4: report.requestCount = try field.amount()
            case 5: report.proxiedRequestCount = try field.amount()
            case 6: processUptime = try field.amount()
            case 7:
                guard field.type == .varint else { throw .wrongType(field: 7) }
                timestamp = Int64(bitPattern: field.bits)
            case _: continue
            }
        }
    }
}
