/// Addresses behind a service (v1 `Endpoints`), all subsets together.
public struct ClusterEndpoints: Sendable, Equatable {
    /// One address with its subset's ports.
    public struct Address: Sendable, Equatable, Hashable {
        /// IPv4, in host order.
        public var ip: UInt32
        /// False: listed under `notReadyAddresses`.
        public var isReady: Bool
        /// `targetRef.name`; empty: none.
        public var podName: String
        /// Ports by name, as `http`, `http2`, `https`.
        public var ports: [String: UInt16]

        /// A value with these parts.
        public init(ip: UInt32, isReady: Bool, podName: String = "", ports: [String: UInt16]) {
            self.ip = ip
            self.isReady = isReady
            self.podName = podName
            self.ports = ports
        }
    }

    /// Its name: that of the service.
    public var name: ObjectName
    /// In the order of the object.
    public var addresses: [Address]

    /// A value with these parts.
    public init(name: ObjectName, addresses: [Address] = []) {
        self.name = name
        self.addresses = addresses
    }
}

/// A service with a virtual address (v1 `Service`): what a data plane falls back to when it cannot reach pods.
public struct ClusterService: Sendable, Equatable {
    /// Its name.
    public var name: ObjectName
    /// `spec.clusterIP`, host order; nil: none (`None`).
    public var clusterIP: UInt32?
    /// Ports by name.
    public var ports: [String: UInt16]

    /// A value with these parts.
    public init(name: ObjectName, clusterIP: UInt32? = nil, ports: [String: UInt16] = [:]) {
        self.name = name
        self.clusterIP = clusterIP
        self.ports = ports
    }
}

/// A pod of a revision (v1 `Pod`): what the autoscaler counts and asks.
public struct ClusterPod: Sendable, Equatable {
    /// Its name.
    public var name: ObjectName
    /// Label `serving.knative.dev/revision`.
    public var revision: String
    /// `status.podIP`, host order; nil: none yet.
    public var ip: UInt32?
    /// Condition `Ready`.
    public var isReady = false
    /// `status.phase` is `Running`.
    public var isRunning = false
    /// `metadata.deletionTimestamp` is set.
    public var isTerminating = false
    /// `status.startTime` in unix seconds; nil: not started.
    public var startedAt: Int64?

    /// A value with these parts.
    public init(name: ObjectName, revision: String) {
        self.name = name
        self.revision = revision
    }
}
