import Knative
import Primitives
import Scaling

/// What the platform and Knative's controllers do for one revision: its pods, its lists of endpoints, the way of its
/// requests.
final class SimulatedRevision {
    let number: Int
    let name: ObjectName
    let plan: SystemPlan.Revision
    /// What an autoscaler may have counted of it.
    var counted: CountShadow
    /// Pods that shall be.
    private(set) var replicas = 0
    private(set) var pods: [SimulatedPod] = []
    /// When the lists of its endpoints changed last.
    private var changedAt = EventClock.start
    private var serverless: ServerlessService
    private unowned let world: SystemSimulation

    init(_ number: Int, _ plan: SystemPlan.Revision, in world: SystemSimulation) {
        self.number = number
        self.plan = plan
        self.world = world
        name = ObjectName(namespace: SystemSimulation.namespace, name: "rev-\(number)")
        serverless = ServerlessService(name: name)
        counted = CountShadow(maxScale: plan.maxScale, sampleSize: scrapeSampleSize(ready:))
    }

    /// Whether requests go through activators.
    var isProxied: Bool { serverless.proxySince != nil }
    /// Pods that are there to stay.
    var staying: [SimulatedPod] { pods.filter(\.isStaying) }

    func begin() {
        var autoscaler = PodAutoscaler(name: name)
        autoscaler.annotations = plan.annotations
        autoscaler.containerConcurrency = plan.concurrency
        world.objects.publish(.podAutoscaler(autoscaler), as: number(.autoscaler))
        publishEndpoints()
    }

    func number(_ kind: ObjectNumber.Kind) -> ObjectNumber { ObjectNumber(kind: kind, number: number) }

    // MARK: Pods

    /// The autoscaler's wish has come.
    func scale(to count: Int) {
        replicas = count
        world.tell("\(name.name) is scaled to \(count)")
        settle()
    }

    private func settle() {
        let staying = staying
        for _ in staying.count..<max(staying.count, replicas) {
            let pod = SimulatedPod(world.nextPodNumber(), ip: world.takeIP(), of: self, in: world)
            pods.append(pod)
            world.objects.publish(.pod(pod.object), as: ObjectNumber(kind: .pod, number: pod.number))
        }
        // Pods that are not ready go first.
        let leaving = staying.filter { $0.readySince == nil } + staying.filter { $0.readySince != nil }
        for pod in leaving.prefix(max(0, staying.count - replicas)) { pod.drain() }
    }

    func podChanged(_ pod: SimulatedPod) {
        world.objects.publish(.pod(pod.object), as: ObjectNumber(kind: .pod, number: pod.number))
        publishEndpoints()
    }

    func podGone(_ pod: SimulatedPod) {
        pods.removeAll { $0 === pod }
        world.objects.remove(ObjectNumber(kind: .pod, number: pod.number))
        world.freeIP(pod.ip)
        publishEndpoints()
        world.clock.after(world.delay(500)) { [weak self] in self?.settle() }
    }

    /// When nothing has changed for long, each ready pod is used by an activator before it.
    func checkSlices() {
        guard isProxied, plan.concurrency > 0, case .endpoints(let path)? = world.objects[number(.path)],
            world.clock.now.seconds(since: changedAt) > world.knowledgeSeconds
        else { return }
        let chosen = world.activators.filter { activator in path.addresses.contains { $0.ip == activator.ip } }
        guard chosen.count == path.addresses.count else { return }  // one has died, and nobody knows yet
        // Activators that do not agree on who answers have slices that do not fit: a pod may be in none meanwhile.
        let settled = pods.allSatisfy { pod in
            let since = max(pod.acceptsSince ?? EventClock.start, pod.refusesUntil)
            return world.clock.now.seconds(since: since) > world.knowledgeSeconds
        }
        guard settled else { return }
        for pod in pods where pod.readySince != nil && pod.state == .ready {
            world.note(.sliceChecked)
            world.expect(
                chosen.contains { $0.throttlers[number].uses(pod.ip) },
                "\(name.name): pod \(pod.number) is ready, and none of \(chosen.count) activators uses it")
        }
    }

    // MARK: Objects

    /// The autoscaler says which way requests shall go.
    func take(_ written: ServerlessService) {
        (serverless.isProxy, serverless.activatorCount) = (written.isProxy, written.activatorCount)
        publishEndpoints()
    }

    func publishEndpoints() {
        let listed = pods.filter(\.isListed)
        let addresses = listed.map { address($0.ip, isReady: $0.readySince != nil) }
        let pods = ClusterEndpoints(name: name.with(suffix: "-private"), addresses: addresses)
        let podsChanged = world.objects.publish(.endpoints(pods), as: number(.pods))
        let ready = addresses.filter(\.isReady)
        let count = serverless.activatorCount
        let activators = world.activators.filter(\.isListed).prefix(count == 0 ? .max : count)
        let isProxied = activators.isEmpty ? false : serverless.isProxy || ready.isEmpty
        if isProxied != self.isProxied { serverless.proxySince = isProxied ? world.clock.unixSeconds : nil }
        let chosen = isProxied ? activators.map { address($0.ip, isReady: true) } : ready
        let path = ClusterEndpoints(name: name, addresses: chosen)
        let pathChanged = world.objects.publish(.endpoints(path), as: number(.path))
        if podsChanged || pathChanged { changedAt = world.clock.now }
        world.objects.publish(.serverlessService(serverless), as: number(.service))
    }

    private func address(_ ip: UInt32, isReady: Bool) -> ClusterEndpoints.Address {
        ClusterEndpoints.Address(ip: ip, isReady: isReady, ports: ["http": SystemSimulation.port])
    }
}
