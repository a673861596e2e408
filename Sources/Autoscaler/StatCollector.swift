import Knative
import Primitives
import Scaling
import Telemetry

/// What became of the stats that activators pushed.
public struct StatCounts: Equatable, Sendable {
    /// Messages received.
    public var messages: UInt64 = 0
    /// Messages that are no `WireStatMessages`, or stop being one on the way; what stood before that was taken.
    public var garbage: UInt64 = 0
    /// Stats taken.
    public var taken: UInt64 = 0
    /// Stats of revisions that this autoscaler does not scale.
    public var unknown: UInt64 = 0
    /// Stats with impossible numbers.
    public var implausible: UInt64 = 0
    /// Stats of a second that has left the window.
    public var late: UInt64 = 0

    /// None.
    public init() {}
}

/// Reads what activators push and says which revision each stat is for. Pure.
///
/// Source: Knative Serving, `pkg/autoscaler/statserver/server.go` and `cmd/autoscaler/main.go`; spec/autoscaling 1.6.
struct StatCollector {
    private(set) var counts = StatCounts()

    /// One stat, with the age of its second.
    struct Entry {
        let revision: ObjectName
        let stat: RequestStat
        /// Seconds between its second and now. 0 unless the sender stamped it: senders do not, but an autoscaler that
        /// forwards for another does.
        let ageSeconds: Int64
    }

    /// What an entry was used for.
    enum Use { case taken, unknown, late }

    /// Hands each stat of `message` to `take`, in order.
    mutating func receive(_ message: ByteView, unixSeconds: Int64, _ take: (Entry) -> Use) {
        counts.messages += 1
        do throws(ProtobufFailure) {
            var reader = try WireStatReader(message)
            while let wire = try reader.next() { receive(wire, unixSeconds: unixSeconds, take) }
        } catch {
            counts.garbage += 1
        }
    }

    private mutating func receive(_ wire: WireStatMessage, unixSeconds: Int64, _ take: (Entry) -> Use) {
        let stat = RequestStat(wire.stat.report)
        guard stat.isPlausible else {
            counts.implausible += 1
            return
        }
        let entry = Entry(
            revision: ObjectName(namespace: wire.namespace.string, name: wire.name.string), stat: stat,
            ageSeconds: Self.age(of: wire.stat.timestamp, unixSeconds: unixSeconds))
        switch take(entry) {
        case .taken: counts.taken += 1
        case .unknown: counts.unknown += 1
        case .late: counts.late += 1
        }
    }

    /// A stamp of the future is one of a clock that is ahead: it counts as now.
    private static func age(of timestamp: Int64, unixSeconds: Int64) -> Int64 {
        guard timestamp != 0 else { return 0 }
        let (age, overflow) = unixSeconds.subtractingReportingOverflow(timestamp)
        return overflow ? (timestamp < 0 ? .max : 0) : max(0, age)
    }
}

extension RequestStat {
    /// The four numbers of a stat from the wire.
    init(_ report: WindowReport) {
        self.init(
            averageConcurrency: report.averageConcurrency,
            averageProxiedConcurrency: report.averageProxiedConcurrency, requestCount: report.requestCount,
            proxiedRequestCount: report.proxiedRequestCount)
    }
}
