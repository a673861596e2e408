import Knative
import Logging

/// What the log says of the traffic of services, each thing once: problems, and rollouts from their begin to their end.
///
/// Owned by the control thread.
public struct TrafficLog {
    private let logger: Logger
    private var problems: [ServiceName: [String]] = [:]
    /// The shares of rollouts under way.
    private var shares: [ServiceName: String] = [:]

    /// Nothing has been said yet.
    public init(logger: Logger) { self.logger = logger }

    /// Says what is new about the traffic of a service.
    public mutating func tell(_ resolution: TrafficResolution, _ rollout: Rollout, of service: ServiceObject) {
        let name = service.serviceName
        tell(resolution.problems.map(\.message), of: name)
        let known = shares[name]
        guard resolution.isRollingOut || known != nil else { return }
        let text = Self.text(rollout)
        shares[name] = resolution.isRollingOut ? text : nil
        guard text != known else { return }
        var metadata: Logger.Metadata = ["service": "\(name)", "traffic": "\(text)"]
        if !resolution.isRollingOut {
            logger.info("rollout is done", metadata: metadata)
        } else if known == nil {
            // Knative's reason for the condition `IngressReady` of a Route.
            metadata["reason"] = "RolloutInProgress"
            metadata["seconds"] = "\(service.rolloutSeconds)"
            logger.info("a gradual rollout of the latest revision is in progress", metadata: metadata)
        } else {
            logger.debug("rollout step", metadata: metadata)
        }
    }

    /// A service has gone.
    public mutating func forget(_ service: ServiceName) {
        problems[service] = nil
        shares[service] = nil
    }

    private mutating func tell(_ new: [String], of service: ServiceName) {
        guard new != problems[service] ?? [] else { return }
        for problem in new {
            logger.notice("traffic stays as it was", metadata: ["service": "\(service)", "problem": "\(problem)"])
        }
        problems[service] = new
    }

    /// `app-00001:99,app-00002:1`; behind it, after semicolons, tags as `new/app-00002:100`.
    static func text(_ rollout: Rollout) -> String {
        let hosts = rollout.configurations.map { host in
            (host.tag.isEmpty ? "" : host.tag + "/")
                + host.revisions.map { "\($0.revision):\($0.percent)" }.joined(separator: ",")
        }
        return hosts.joined(separator: ";")
    }
}
