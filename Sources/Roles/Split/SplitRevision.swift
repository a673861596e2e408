import ClusterLink
import EventLoop
import Knative
import Logging
import Primitives
import Scaling

/// One revision of a split run: its pods, and the objects that tell of it. Owned by the control thread.
///
/// What Kubernetes' Deployment, Endpoints and Knative's ServerlessService controllers do: it carries out `Scale`, and
/// publishes pods and endpoints the moment they change.
final class SplitRevision {
    /// Pods one revision may have, whatever the autoscaler says. Default 1,000.
    static let podLimit = 1_000
    /// Pause before an address is looked for again when there was none, in milliseconds. Default 1,000.
    static let retryMilliseconds: UInt64 = 1_000
    /// Failures in a row, none of the pods ever ready, after which the revision counts as failed.
    static let failuresBeforeFailed = 3

    let object: RevisionObject
    let name: ObjectName
    /// Whether it has been able to serve once.
    private(set) var isRoutable: Bool
    private(set) var isFailed = false
    /// It has become routable or failed.
    var onRoutable: () -> Void = {}
    /// It was retired, and nothing of it is left.
    var onGone: () -> Void = {}

    private let hub: ClusterHub
    private let context: SplitPodContext
    private var pods: [SplitPod] = []
    private var desired = 0
    private let initialScale: Int
    private var autoscaler: PodAutoscaler
    private var serverless: ServerlessService
    private var activators: [ClusterEndpoints.Address] = []
    private var retry: TimerHandle = .none
    private var isRetired = false
    private var isEnding = false
    private var log: Logger

    init(_ object: RevisionObject, hub: ClusterHub, context: SplitPodContext, scaling: ScalingConfig) {
        self.object = object
        self.hub = hub
        self.context = context
        name = ObjectName(namespace: object.namespace, name: object.name)
        log = context.logger
        log[metadataKey: "revision"] = "\(object.name)"
        var problems: [ScalingProblem] = []
        let annotations = ScalingAnnotations(
            parsing: object.template.annotations, config: scaling, problems: &problems)
        initialScale = annotations.initialScale ?? scaling.initialScale
        isRoutable = initialScale == 0
        autoscaler = PodAutoscaler(name: name)
        autoscaler.annotations = object.template.annotations
        autoscaler.containerConcurrency = object.template.containerConcurrency
        autoscaler.containerProtocol = object.template.container.port.isH2C ? .h2c : .http1
        serverless = ServerlessService(name: name)
    }

    /// Tells of it, and starts its first pods as a Deployment would: `initial-scale`.
    func begin(activators: [ClusterEndpoints.Address]) {
        self.activators = activators
        hub.publish(.applied(.revision(SplitObjects.revision(object))))
        hub.publish(.applied(.podAutoscaler(autoscaler)))
        var scale = ClusterScale(name: name, replicas: max(initialScale, minScale))
        scale.explanation = "initial scale"
        carryOut(scale)
        publishPublic()
    }

    private var minScale: Int { object.template.annotation(.minScale).flatMap { Int($0) } ?? 0 }

    // MARK: What the autoscaler writes

    /// Makes it so many pods.
    func carryOut(_ scale: ClusterScale) {
        guard !isRetired, !isEnding else { return }
        let changed = scale.replicas != desired
        desired = min(scale.replicas, Self.podLimit)
        adjust()
        hub.publish(.applied(.scale(scale)))
        guard changed else { return }
        let ready = pods.filter(\.isReady).count
        log.debug("scale", metadata: ["desired": "\(desired)", "ready": "\(ready)", "why": "\(scale.explanation)"])
    }

    /// Mode and number of activators; the status is ours.
    func take(_ written: ServerlessService) {
        guard !isRetired else { return }
        (serverless.isProxy, serverless.activatorCount) = (written.isProxy, written.activatorCount)
        publishPublic()
    }

    /// The autoscaler's status; the spec is ours.
    func take(_ written: PodAutoscaler) {
        guard !isRetired else { return }
        autoscaler.status = written.status
        hub.publish(.applied(.podAutoscaler(autoscaler)))
        if written.status.isInitialized { becomeRoutable() }
    }

    func setReachable(_ isReachable: Bool) {
        guard !isRetired, autoscaler.isReachable != isReachable else { return }
        autoscaler.isReachable = isReachable
        hub.publish(.applied(.podAutoscaler(autoscaler)))
    }

    func setActivators(_ addresses: [ClusterEndpoints.Address]) {
        activators = addresses
        publishPublic()
    }

    // MARK: Pods

    /// Pods that are there to stay.
    private var staying: [SplitPod] { pods.filter { !$0.isLeaving } }

    private func adjust() {
        while staying.count < desired, startPod() {}
        let excess = staying.count - desired
        guard excess > 0 else { return }
        // Those that are not ready go first, then the youngest.
        let sorted = staying.enumerated().sorted { first, second in
            first.element.isReady != second.element.isReady ? !first.element.isReady : first.offset > second.offset
        }
        leave(sorted.prefix(excess).map(\.element), by: .distantFuture)
    }

    private func startPod() -> Bool {
        let pod: SplitPod
        do throws(SystemError) { pod = try SplitPod(object, context: context) } catch {
            log.error("no address for a pod", metadata: ["reason": "\(error)"])
            context.loop.cancel(retry)
            retry = context.loop.after(milliseconds: Self.retryMilliseconds) { [weak self] in
                if let self, !isRetired, !isEnding { adjust() }
            }
            return false
        }
        pods.append(pod)
        pod.onChange = { [weak self, weak pod] in
            if let self, let pod { changed(pod) }
        }
        pod.onGone = { [weak self, weak pod] in
            if let self, let pod { gone(pod) }
        }
        // Told before it runs: the activator asks it from now on, and sees the first moment at which it answers.
        publishPrivate()
        pod.start()
        publish(pod)
        return true
    }

    /// Delists pods, then stops them.
    private func leave(_ leaving: [SplitPod], by deadline: Instant) {
        for pod in leaving { departing.insert(ObjectIdentifier(pod)) }
        publishEndpoints()
        for pod in leaving {
            pod.stop(deadline: deadline)
            publish(pod)
        }
    }

    /// Pods that are listed no more.
    private var departing: Set<ObjectIdentifier> = []

    private func changed(_ pod: SplitPod) {
        publishEndpoints()
        publish(pod)
        if pod.isReady {
            if isFailed { isFailed = false }
            if pods.filter(\.isReady).count >= max(1, initialScale) { becomeRoutable() }
        } else if !isRoutable, !isFailed, pods.allSatisfy({ $0.failures >= Self.failuresBeforeFailed }) {
            isFailed = true
            log.error("revision failed: its process ends before it is ready")
            onRoutable()
        }
    }

    private func becomeRoutable() {
        guard !isRoutable else { return }
        isRoutable = true
        log.info("revision is ready")
        onRoutable()
    }

    private func gone(_ pod: SplitPod) {
        pods.removeAll { $0 === pod }
        departing.remove(ObjectIdentifier(pod))
        hub.publish(.removed(.pod, ObjectName(namespace: name.namespace, name: pod.name)))
        if !isRetired, !isEnding { adjust() }
        finishRetiring()
    }

    // MARK: Objects

    private func publish(_ pod: SplitPod) {
        guard pods.contains(where: { $0 === pod }) else { return }
        hub.publish(.applied(.pod(SplitObjects.pod(pod))))
    }

    private func publishEndpoints() {
        publishPrivate()
        publishPublic()
    }

    private var listed: [SplitPod] { pods.filter { !departing.contains(ObjectIdentifier($0)) && !$0.isLeaving } }

    private func publishPrivate() {
        guard !isRetired else { return }
        let addresses = SplitObjects.addresses(of: listed)
        hub.publish(.applied(.endpoints(ClusterEndpoints(name: name.with(suffix: "-private"), addresses: addresses))))
    }

    /// Whom the ingress sends to: the pods, or a subset of the activators (spec/dataplane 4.3).
    private func publishPublic() {
        guard !isRetired else { return }
        let ready = SplitObjects.addresses(of: listed.filter(\.isReady))
        let chosen = SplitObjects.choose(
            serverless.activatorCount, of: activators, for: name,
            containerProtocol: autoscaler.containerProtocol)
        let isProxy = chosen.isEmpty ? false : serverless.isProxy || ready.isEmpty
        if isProxy != (serverless.proxySince != nil) {
            serverless.proxySince = isProxy ? MonotonicClock.wallSeconds() : nil
        }
        hub.publish(.applied(.endpoints(ClusterEndpoints(name: name, addresses: isProxy ? chosen : ready))))
        hub.publish(.applied(.serverlessService(serverless)))
    }

    // MARK: End

    /// It is not wanted any more: its pods drain, then it is forgotten.
    func retire() {
        guard !isRetired else { return }
        leave(staying, by: .distantFuture)
        isRetired = true
        for kind in [ObjectKind.podAutoscaler, .serverlessService, .scale] { hub.publish(.removed(kind, name)) }
        finishRetiring()
    }

    private func finishRetiring() {
        guard isRetired, pods.isEmpty else { return }
        hub.publish(.removed(.endpoints, name))
        hub.publish(.removed(.endpoints, name.with(suffix: "-private")))
        hub.publish(.removed(.revision, name))
        onGone()
    }

    /// The run ends: every pod stops by `deadline`, and none is started any more.
    func end(deadline: Instant) {
        isEnding = true
        leave(staying, by: deadline)
        for pod in pods { pod.stop(deadline: deadline) }
    }
}
