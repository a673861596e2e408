import EventLoop
import Knative
import Scaling

/// Who is asked for statistics. Addresses are IPv4, in host order.
public enum ScrapeQuestion: Equatable, Sendable {
    /// The queue-proxy of the pod at this address.
    case pod(UInt32)
    /// The same through a mesh that wants to know the private service of the pod.
    case podOfMesh(UInt32, service: ObjectName)
    /// The queue-proxy of any pod behind a private service, at the service's cluster IP: who answers is for the mesh to
    /// choose, anew for each question.
    case service(ObjectName, clusterIP: UInt32)
}

/// What a queue-proxy tells of itself.
public struct ScrapeAnswer: Equatable, Sendable {
    /// Its pod.
    public var podName: String
    /// How long it has been up, in seconds.
    public var uptimeSeconds: Double
    /// What it saw in its last whole second.
    public var stat: RequestStat

    /// A value with these parts.
    public init(podName: String = "", uptimeSeconds: Double = 0, stat: RequestStat) {
        self.podName = podName
        self.uptimeSeconds = uptimeSeconds
        self.stat = stat
    }
}

/// Asks pods for their statistics. Owned by the control thread, which gets all calls back.
public protocol PodReader: AnyObject {
    /// Asks once. `report` is called once, perhaps before this returns, at the latest after Knative's 3 s.
    func read(_ question: ScrapeQuestion, _ report: @escaping (Result<ScrapeAnswer, ScrapeFailure>) -> Void)
}

/// Asks whether requests of a revision reach an activator. Owned by the control thread, which gets all calls back.
public protocol ActivatorPathProbe: AnyObject {
    /// Asks who answers for `revision` at `addresses`, its public endpoints. `report` is called once, perhaps before
    /// this returns: whether an activator did, and nobody else.
    func ask(_ revision: ObjectName, at addresses: [SocketAddress], _ report: @escaping (Bool) -> Void)
}
