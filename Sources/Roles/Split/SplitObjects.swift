import Knative

/// Objects made from what runs. No state.
enum SplitObjects {
    /// Where the activators register (spec/dataplane 0.2).
    static let activatorService = ObjectName(namespace: "knative-serving", name: "activator-service")

    static func revision(_ object: RevisionObject) -> ClusterRevision {
        let template = object.template
        var revision = ClusterRevision(name: ObjectName(namespace: object.namespace, name: object.name))
        revision.uid = "\(object.uid)"
        revision.service = object.service
        revision.configuration = object.configuration
        revision.annotations = template.annotations
        revision.containerConcurrency = template.containerConcurrency
        revision.timeoutSeconds = template.timeoutSeconds
        revision.responseStartTimeoutSeconds = template.responseStartTimeoutSeconds ?? 0
        revision.idleTimeoutSeconds = template.idleTimeoutSeconds ?? 0
        revision.containerProtocol = template.container.port.isH2C ? .h2c : .http1
        let isExec = if case .exec = template.container.readinessProbe.handler { true } else { false }
        revision.allowsEarlyPods = !isExec && template.container.startupProbe == nil
        return revision
    }

    static func pod(_ pod: SplitPod) -> ClusterPod {
        var object = ClusterPod(
            name: ObjectName(namespace: pod.revision.namespace, name: pod.name), revision: pod.revision.name)
        object.ip = pod.address
        object.isReady = pod.isReady
        object.isRunning = pod.isRunning
        object.isTerminating = pod.isLeaving
        object.startedAt = pod.startedAt
        return object
    }

    /// The port of requests by the name that Knative gives it, and those of statistics.
    static func addresses(of pods: [SplitPod]) -> [ClusterEndpoints.Address] {
        let addresses = pods.map { pod in
            let isH2C = pod.revision.template.container.port.isH2C
            var ports: [String: UInt16] = ["http-autometric": 9090, "http-usermetric": 9091]
            ports[isH2C ? "http2" : "http"] = isH2C ? 8013 : 8012
            return ClusterEndpoints.Address(ip: pod.address, isReady: pod.isReady, podName: pod.name, ports: ports)
        }
        return addresses.filter(\.isReady) + addresses.filter { !$0.isReady }
    }

    /// `count` of the activators, the same ones for the same name as long as they are there (Knative: ChooseSubset;
    /// here by rendezvous hashing); all if `count` is 0 or there are no more. Only the port of the protocol stays.
    static func choose(
        _ count: Int, of activators: [ClusterEndpoints.Address], for name: ObjectName,
        containerProtocol: ContainerProtocol
    ) -> [ClusterEndpoints.Address] {
        let port = containerProtocol == .h2c ? "http2" : "http"
        let able = activators.filter { $0.isReady && $0.ports[port] != nil }
        let chosen =
            count == 0 || count >= able.count
            ? able : Array(able.sorted { weight($0, name) > weight($1, name) }.prefix(count))
        return chosen.sorted { $0.ip < $1.ip }.map { address in
            var address = address
            address.ports = address.ports.filter { $0.key == port }
            return address
        }
    }

    /// FNV-1a, mixed: the same in every process, which Swift's own hash is not.
    private static func weight(_ address: ClusterEndpoints.Address, _ name: ObjectName) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in "\(name)|\(address.ip)|\(address.ports["http"] ?? 0)".utf8 {
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
        }
        hash = (hash ^ hash >> 33) &* 0xFF51_AFD7_ED55_8CCD
        return hash ^ hash >> 33
    }

    /// The Ingress of a service, as Knative's Route controller makes it (spec/dataplane 5.5).
    static func ingress(
        _ service: ServiceObject, _ resolution: TrafficResolution, domain: String, isH2C: (String) -> Bool
    ) -> ClusterIngress {
        let namespace = service.metadata.namespace
        var ingress = ClusterIngress(name: ObjectName(namespace: namespace, name: service.metadata.name))
        let hosts = service.hosts(domain: domain)
        for tag in [nil] + Set(hosts.compactMap(\.tag)).sorted().map(Optional.some) {
            let shares = tag.map { resolution.tags[$0] ?? [] } ?? resolution.main
            let splits = shares.map { share in
                ClusterIngress.Split(
                    service: ObjectName(namespace: namespace, name: share.revision),
                    port: isH2C(share.revision) ? 81 : 80, percent: share.percent,
                    appendHeaders: [
                        "Knative-Serving-Revision": share.revision, "Knative-Serving-Namespace": namespace,
                    ])
            }
            guard !splits.isEmpty else { continue }
            for isLocal in [true, false] {
                let names = hosts.filter { $0.tag == tag && $0.isClusterLocal == isLocal }.map(\.host)
                let rules = isLocal ? (names.isEmpty ? [] : [names]) : names.map { [$0] }
                for names in rules {
                    ingress.rules.append(
                        .init(hosts: names, isClusterLocal: isLocal, paths: [.init(splits: splits)]))
                }
            }
        }
        return ingress
    }
}
