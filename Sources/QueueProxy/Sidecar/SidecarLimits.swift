import DataPlane
import EventLoop
import HTTP
import HTTP2

extension DataPlaneLimits {
    /// Longer than a sidecar lives, in milliseconds (a year): for limits that Go's server does not have.
    static let never: UInt64 = 1 << 35
    /// Descriptors that listeners, probes and logs need besides connections.
    static let reservedFiles = 64

    /// The limits of the sidecar: those that peers know of Knative's, which are Go's (spec/dataplane 1.3, 1.8), and
    /// ours where Go has none and memory is at stake.
    ///
    /// - Parameter files: how many files this process may have open.
    init(sidecar configuration: QueueConfiguration, files: Int) {
        self.init()
        http = .sidecar
        http2 = .sidecar
        headTimeoutMilliseconds = 60_000
        firstRequestMilliseconds = 60_000
        let idle = UInt64(configuration.keepAliveIdleMilliseconds)
        keepAliveIdleMilliseconds = idle == 0 ? Self.never : idle
        // The three limits in time of the revision are enough.
        bodyIdleTimeoutMilliseconds = Self.never
        upstreamConnectMilliseconds = 50
        upstreamConnectTries = 15
        upstreamIdleConnections = configuration.concurrency == 0 ? 1_000 : configuration.concurrency
        // A connection needs two descriptors, its own and its container's.
        connections = max(16, min(connections, (files - Self.reservedFiles) / 2))
        // A few activators and gateways bring all requests: addresses tell nobody from anybody here.
        connectionsPerAddress = connections
    }
}
