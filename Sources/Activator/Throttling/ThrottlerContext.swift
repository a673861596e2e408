import Admission
import Balancing
import DataPlane
import EventLoop
import Logging

/// How often answers of pods raised a doubt, and what came of it, since the start.
struct DoubtCounts {
    /// By the mark of a queue-proxy that is ending, and by failures in a row.
    var marked: UInt64 = 0
    var failed: UInt64 = 0
    /// Pods that took no requests for it, and those that would have, were there enough others.
    var setAside: UInt64 = 0
    var spared: UInt64 = 0
}

/// What the throttlers of all revisions share. Owned by the control thread.
final class ThrottlerContext {
    let loop: Loop
    let workers: WorkerGroup
    let configuration: ActivatorConfiguration
    let budget: WaitBudget
    let logger: Logger
    /// TLS to the pods of a namespace; nil: plain TCP.
    var security: (String) -> UpstreamSecurity? = { _ in nil }
    /// Whether targets have names for telemetry.
    var labelsRevisions = false
    /// Whose an endpoint is, from its making until it has gone.
    var owners: [ObjectIdentifier: RevisionThrottler] = [:]
    /// What became of pods whose answers raised a doubt.
    var counts = DoubtCounts()
    private var numbers = EndpointNumbers()
    private var lastTarget: UInt64 = 0

    init(loop: Loop, workers: WorkerGroup, configuration: ActivatorConfiguration, logger: Logger) {
        self.loop = loop
        self.workers = workers
        self.configuration = configuration
        self.logger = logger
        budget = WaitBudget(limit: configuration.queueLimitOverall)
    }

    /// A number for a revision, never used twice.
    func makeTargetNumber() -> UInt64 {
        lastTarget += 1
        return lastTarget
    }

    func makeEndpoint(_ address: EndpointAddress, concurrency: Int, owner: RevisionThrottler) -> Endpoint {
        let endpoint = Endpoint(id: numbers.take(), address: address, concurrency: concurrency)
        owners[ObjectIdentifier(endpoint)] = owner
        return endpoint
    }

    /// An endpoint serves nothing any more and will get nothing.
    func forget(_ endpoint: Endpoint) {
        guard owners.removeValue(forKey: ObjectIdentifier(endpoint)) != nil else { return }
        workers.post(.forget(endpoint))
        numbers.give(endpoint.id)
    }

    /// Sends slots to the workers whose requests got them.
    func deliver(_ grants: [Grant], of target: RevisionTarget) {
        for grant in grants { workers.post(.grant(target, grant), to: grant.waiter.worker) }
    }
}
