import Admission
import Balancing
import DataPlane
import EventLoop
import Knative
import Primitives
import Telemetry

/// One revision at this activator: who may enter and who waits (the gate), which of its pods take requests (the
/// finder), and which of those are this activator's (the slice). Owned by the control thread.
///
/// It exists as long as the revision does, so that no request meets an unknown one. Source: spec/dataplane 3.5.
final class RevisionThrottler {
    /// The port of queue-proxies for TLS, and that of services (spec/dataplane 0.2).
    static let tlsPort: UInt16 = 8112
    static let tlsServicePort: UInt16 = 443

    let revision: ClusterRevision
    let gate: RevisionGate
    private(set) var target: RevisionTarget
    /// The average concurrency of the last window, for the metrics.
    var lastAverage = 0.0
    private let context: ThrottlerContext
    private var finder: PodFinder
    private var slice = PodSlice.whole
    private var probes: [PodFinder.Question: PodProbe] = [:]
    private var timer = TimerHandle.none
    private var timerInstant = Instant.distantFuture
    /// Where requests for a pod go that is asked at another port.
    private var servingAddresses: [EndpointAddress: EndpointAddress] = [:]
    /// What the gate knows, by where requests go: listed, or finishing.
    private var endpoints: [EndpointAddress: Endpoint] = [:]
    private var isClosed = false

    init(_ revision: ClusterRevision, _ context: ThrottlerContext) {
        self.revision = revision
        self.context = context
        gate = RevisionGate(
            concurrency: revision.containerConcurrency, queueLimit: context.configuration.queueLimit,
            budget: context.budget)
        target = Self.makeTarget(revision, gate, id: context.makeTargetNumber(), context)
        var settings = context.configuration.finder
        settings.allowsEarlyPods = revision.allowsEarlyPods
        finder = PodFinder(settings)
    }

    private static func makeTarget(
        _ revision: ClusterRevision, _ gate: RevisionGate, id: UInt64, _ context: ThrottlerContext
    ) -> RevisionTarget {
        var timeouts = RevisionTimeouts()
        timeouts.total = nanoseconds(revision.timeoutSeconds)
        timeouts.responseStart = nanoseconds(revision.responseStartTimeoutSeconds)
        timeouts.idle = nanoseconds(revision.idleTimeoutSeconds)
        let name = revision.name
        let labels =
            context.labelsRevisions
            ? RevisionLabels(
                number: id, namespace: name.namespace, service: revision.service,
                configuration: revision.configuration, name: name.name) : nil
        return RevisionTarget(
            id: id, name: name.name, namespace: name.namespace, gate: gate, timeouts: timeouts,
            upstreamProtocol: .asInbound, upstreamSecurity: context.security(name.namespace), labels: labels,
            workerCount: context.workers.count, now: context.loop.now)
    }

    /// Of a number of seconds that may be anything; 0 is off.
    private static func nanoseconds(_ seconds: Int) -> UInt64 {
        UInt64(min(max(0, seconds), 1_000_000_000)) * 1_000_000_000
    }

    /// Trust has changed: requests from now on, and connections made from now on, go by the new one. Only after that
    /// the workers are given the new target.
    func renewTarget() {
        let known = target.arrivals.mark & 1 == 1
        target = Self.makeTarget(revision, gate, id: target.id, context)
        if known { target.arrivals.seen() }
    }

    // MARK: What the cluster says

    /// The revision's private endpoints, and its private service.
    func list(_ pods: ClusterEndpoints?, service: ClusterService?) {
        guard !isClosed else { return }
        let portName = revision.containerProtocol == .h2c ? "http2" : "http"
        var listed: [(address: EndpointAddress, isReady: Bool)] = []
        servingAddresses = [:]
        for pod in pods?.addresses ?? [] {
            guard let port = pod.ports[portName] else { continue }
            let address = EndpointAddress(ipv4: pod.ip, port: port)
            if target.upstreamSecurity != nil {
                let port = pod.ports["https"] ?? Self.tlsPort
                servingAddresses[address] = EndpointAddress(ipv4: pod.ip, port: port)
            }
            listed.append((address, pod.isReady))
        }
        var cluster: EndpointAddress?
        if let service, let ip = service.clusterIP, let port = service.ports[portName] {
            let address = EndpointAddress(ipv4: ip, port: port)
            cluster = address
            if target.upstreamSecurity != nil {
                servingAddresses[address] = EndpointAddress(ipv4: ip, port: Self.tlsServicePort)
            }
        }
        perform(finder.list(listed, cluster: cluster, now: MonotonicClock.now()))
    }

    /// The revision's public endpoints: the activators before it, if this one is among them.
    func setActivators(_ addresses: [UInt32], own: UInt32) {
        guard let new = PodSlice(of: own, among: addresses), new != slice else { return }
        slice = new
        if revision.containerConcurrency > 0 { finder.slice = new }
        apply(finder.backends)
    }

    /// A worker could not connect to an endpoint, and suspended it.
    func suspected(_ endpoint: Endpoint) {
        let asked = servingAddresses.first { $0.value == endpoint.address }?.key ?? endpoint.address
        perform(finder.suspect(asked, now: MonotonicClock.now()))
    }

    /// Answers of an endpoint raise a doubt.
    func doubted(_ endpoint: Endpoint) {
        let asked = servingAddresses.first { $0.value == endpoint.address }?.key ?? endpoint.address
        perform(finder.doubt(asked, now: MonotonicClock.now()))
    }

    /// A retired endpoint has answered its last request.
    func becameIdle(_ endpoint: Endpoint) {
        guard endpoint.state == .retired, endpoint.inFlight == 0 else { return }
        if endpoints[endpoint.address] === endpoint { endpoints[endpoint.address] = nil }
        context.forget(endpoint)
    }

    /// The revision was deleted: requests under way finish, waiting ones are refused.
    func close() {
        isClosed = true
        for probe in probes.values { probe.cancel() }
        probes = [:]
        context.loop.cancel(timer)
        for endpoint in gate.setEndpoints([]).idle { becameIdle(endpoint) }
        for waiter in gate.close() { context.workers.post(.refuse(waiter), to: waiter.worker) }
    }

    // MARK: What the finder wants

    private func perform(_ actions: [PodFinder.Action]) {
        for action in actions {
            switch action {
            case .ask(let question): ask(question)
            case .cancel(let question): probes.removeValue(forKey: question)?.cancel()
            case .update(let backends): apply(backends)
            case .resume(let address):
                guard let endpoint = serving(address) else { continue }
                context.deliver(gate.resume(endpoint), of: target)
            case .suspend(let address): setAside(address)
            case .trust(let address, let until, let isSpared):
                serving(address)?.health.keepQuiet(until: until.nanoseconds)
                if isSpared { context.counts.spared += 1 }
            }
        }
        armTimer()
    }

    /// The endpoint that serves what was asked at `address`.
    private func serving(_ address: EndpointAddress) -> Endpoint? { endpoints[servingAddresses[address] ?? address] }

    /// A pod in doubt did not answer well: no requests until it does.
    private func setAside(_ address: EndpointAddress) {
        guard let endpoint = serving(address), gate.suspend(endpoint) else { return }
        context.counts.setAside += 1
        context.logger.info(
            "pod set aside: it does not say that it is ready",
            metadata: ["revision": "\(revision.name.namespace)/\(revision.name.name)", "pod": "\(address)"])
    }

    private func ask(_ question: PodFinder.Question) {
        let configuration = context.configuration
        let probe = PodProbe(
            loop: context.loop, connectMilliseconds: configuration.probeConnectMilliseconds,
            holdMilliseconds: configuration.probeHoldMilliseconds)
        probes[question] = probe
        probe.begin(question.address) { [unowned self] outcome in
            probes[question] = nil
            perform(finder.probed(question, outcome, now: MonotonicClock.now()))
        }
    }

    private func armTimer() {
        let next = finder.deadline
        guard next != timerInstant else { return }
        context.loop.cancel(timer)
        timerInstant = next
        guard next != .distantFuture else { return }
        timer = context.loop.at(next) { [unowned self] in
            timerInstant = .distantFuture
            perform(finder.timeout(now: MonotonicClock.now()))
        }
    }

    /// Tells the gate who is there. Waiting requests get the new slots.
    private func apply(_ backends: RevisionBackends) {
        guard !isClosed else { return }
        let wanted: [Endpoint]
        let limit = revision.containerConcurrency
        switch backends {
        case .pods(let pods):
            let own = limit == 0 ? pods : slice.part(of: pods)
            wanted = own.map { endpoint(at: servingAddresses[$0] ?? $0, concurrency: limit) }
        case .cluster(let address, let readyPods):
            let share = limit == 0 ? 0 : max(1, limit * readyPods / max(1, slice.count))
            wanted = [endpoint(at: servingAddresses[address] ?? address, concurrency: share)]
        }
        let change = gate.setEndpoints(wanted)
        context.deliver(change.grants, of: target)
        for endpoint in change.idle { becameIdle(endpoint) }
    }

    /// The endpoint at `address`; one that finishes its requests is the same one, so that it never gets too many.
    private func endpoint(at address: EndpointAddress, concurrency: Int) -> Endpoint {
        if let known = endpoints[address], known.concurrency == concurrency { return known }
        let made = context.makeEndpoint(address, concurrency: concurrency, owner: self)
        endpoints[address] = made
        return made
    }
}
