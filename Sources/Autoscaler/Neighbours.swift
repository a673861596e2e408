import EventLoop
import Knative
import Scaling

/// Asks pods for their statistics. Owned by the control thread, which gets all calls back.
public protocol PodReader: AnyObject {
    /// Asks the queue-proxy at `ip` (IPv4, host order) for its stat. `report` is called once, perhaps before this
    /// returns, at the latest after Knative's 3 s.
    func read(_ ip: UInt32, _ report: @escaping (Result<RequestStat, ScrapeFailure>) -> Void)
}

/// Asks whether requests of a revision reach an activator. Owned by the control thread, which gets all calls back.
public protocol ActivatorPathProbe: AnyObject {
    /// Asks who answers for `revision` at `addresses`, its public endpoints. `report` is called once, perhaps before
    /// this returns: whether an activator did, and nobody else.
    func ask(_ revision: ObjectName, at addresses: [SocketAddress], _ report: @escaping (Bool) -> Void)
}
