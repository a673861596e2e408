import Balancing
import Knative
import Primitives

/// Where the requests of a revision can go.
public enum RevisionBackends: Equatable, Sendable {
    /// To these pods, sorted by the text of their addresses; to none if it is empty.
    case pods([EndpointAddress])
    /// To the private service's address, behind which so many pods are ready.
    case cluster(EndpointAddress, readyPods: Int)
}

/// Finds out which pods of one revision take requests: who is listed, who answers, who is suspected. Pure.
///
/// A pod is asked the moment it is listed, and the question is held open until it is ready; a pod that answers "not
/// yet" or refuses is asked again after 1 ms, then after twice that, up to 50 ms. What answered well is not asked again
/// while it is listed, unless a worker met a refused connection. Source: spec/dataplane 3.6; instead of Knative's
/// period of 200 ms and its fall-back without return.
public struct PodFinder: Sendable {
    /// The times and rules.
    public struct Settings: Equatable, Sendable {
        /// Whether a pod that is listed as not ready may be used when it says that it is.
        public var allowsEarlyPods = true
        /// Whether there may be a mesh.
        public var mesh = MeshMode.auto
        /// The first pause after a bad answer, in milliseconds. Default 1.
        public var firstPauseMilliseconds: UInt64 = 1
        /// The longest pause while a pod is young, in milliseconds. Default 50.
        public var longestPauseMilliseconds: UInt64 = 50
        /// How long a pod is young, in milliseconds. Default 10,000.
        public var youthMilliseconds: UInt64 = 10_000
        /// The pause from then on, and between questions to the service's address, in milliseconds. Default 200
        /// (Knative's PROBE_FREQUENCY).
        public var slowPauseMilliseconds: UInt64 = 200
        /// The pause between questions to a pod while the service's address serves, in milliseconds. Default 5,000.
        public var returnPauseMilliseconds: UInt64 = 5_000

        /// The defaults.
        public init() {}
    }

    /// What became of a question.
    public enum Outcome: CaseIterable, Sendable {
        /// 200 and `queue`.
        case ready
        /// No connection, no answer, 502 or 503: a mesh may have done it.
        case unreachable
        /// Another answer: it came from the pod.
        case unready
    }

    /// Whom a question is for, and which one it is; only the last one's outcome counts.
    public struct Question: Hashable, Sendable {
        /// Who is asked.
        public let address: EndpointAddress
        /// Never used twice.
        public let number: UInt64
    }

    /// What is to be done.
    public enum Action: Equatable, Sendable {
        /// Ask; `probed` gets the outcome.
        case ask(Question)
        /// Nobody wants to know any more.
        case cancel(Question)
        /// Requests go there from now on.
        case update(RevisionBackends)
        /// A pod that was suspected answers well.
        case resume(EndpointAddress)
    }

    enum State: Equatable, Sendable {
        /// Not ready, and must not be used early.
        case idle
        case asking(UInt64)
        case pausing(until: Instant)
        case healthy
    }

    private struct Pod: Sendable {
        var isReady: Bool
        var state = State.idle
        /// Was healthy, and a worker could not connect: it stays listed and is asked again.
        var isSuspected = false
        var pause: UInt64
        var youngUntil: Instant
        var lastOutcome: Outcome?

        var isUsed: Bool { state == .healthy || isSuspected }
    }

    /// The rules.
    public let settings: Settings
    private var pods: [EndpointAddress: Pod] = [:]
    private var cluster: EndpointAddress?
    private var clusterState = State.idle
    private var told = RevisionBackends.pods([])
    /// The pods of `told`: sorting them for each outcome would cost too much.
    private var toldPods: Set<EndpointAddress> = []
    private var lastNumber: UInt64 = 0

    /// Nothing is listed.
    public init(_ settings: Settings = Settings()) { self.settings = settings }

    /// When `timeout` is to be called next.
    public var deadline: Instant {
        var next = Instant.distantFuture
        for pod in pods.values { if case .pausing(let until) = pod.state { next = min(next, until) } }
        if case .pausing(let until) = clusterState { next = min(next, until) }
        return next
    }

    /// Where requests go now.
    public var backends: RevisionBackends { told }

    /// How many pods are listed as ready.
    public var readyCount: Int { pods.values.count(where: \.isReady) }

    // MARK: Events

    /// The pods that are listed now, and the private service's address.
    ///
    /// - Parameter listed: every address once; of a repeated one the last counts.
    public mutating func list(
        _ listed: [(address: EndpointAddress, isReady: Bool)], cluster: EndpointAddress?, now: Instant
    ) -> [Action] {
        var actions: [Action] = []
        let next = Dictionary(listed.map { ($0.address, $0.isReady) }) { $1 }
        for address in PodSlice.sorted(pods.keys.filter { next[$0] == nil }) { drop(address, &actions) }
        for (address, isReady) in listed where next[address] == isReady { place(address, isReady, now, &actions) }
        if cluster != self.cluster || pods.isEmpty {
            cancelCluster(&actions)
            self.cluster = cluster
        }
        settle(now, &actions)
        return actions
    }

    /// The outcome of a question. One that was cancelled, or replaced by another, is ignored.
    public mutating func probed(_ question: Question, _ outcome: Outcome, now: Instant) -> [Action] {
        var actions: [Action] = []
        if question.address == cluster, clusterState == .asking(question.number) {
            clusterState =
                outcome == .ready
                ? .healthy : .pausing(until: now.adding(milliseconds: settings.slowPauseMilliseconds))
        } else if var pod = pods[question.address], pod.state == .asking(question.number) {
            pod.lastOutcome = outcome
            if outcome == .ready {
                if pod.isSuspected { actions.append(.resume(question.address)) }
                pod.isSuspected = false
                pod.state = .healthy
                pod.pause = settings.firstPauseMilliseconds
            } else {
                pod.state = .pausing(until: now.adding(milliseconds: pause(of: pod, now)))
                pod.pause = min(pod.pause * 2, settings.longestPauseMilliseconds)
            }
            pods[question.address] = pod
        }
        settle(now, &actions)
        return actions
    }

    /// A worker could not connect to a pod, or to the service's address.
    public mutating func suspect(_ address: EndpointAddress, now: Instant) -> [Action] {
        var actions: [Action] = []
        if address == cluster, clusterState == .healthy {
            clusterState = .pausing(until: now)
            settle(now, &actions)
            // It goes out of use with the update above; what comes next is a question.
            actions += timeout(now: now)
        } else if var pod = pods[address], pod.state == .healthy {
            pod.isSuspected = true
            pod.pause = settings.firstPauseMilliseconds
            pod.youngUntil = now.adding(milliseconds: settings.youthMilliseconds)
            pods[address] = pod
            ask(address, &actions)
        }
        return actions
    }

    /// Asks whoever's pause is over.
    public mutating func timeout(now: Instant) -> [Action] {
        var actions: [Action] = []
        let due = pods.compactMap { address, pod -> EndpointAddress? in
            guard case .pausing(let until) = pod.state, until <= now else { return nil }
            return address
        }
        for address in PodSlice.sorted(due) { ask(address, &actions) }
        if case .pausing(let until) = clusterState, until <= now {
            clusterState = .idle
            askClusterIfNeeded(now, &actions)
        }
        return actions
    }

    // MARK: Steps

    private func pause(of pod: Pod, _ now: Instant) -> UInt64 {
        if clusterState == .healthy { return settings.returnPauseMilliseconds }
        return now < pod.youngUntil ? pod.pause : max(pod.pause, settings.slowPauseMilliseconds)
    }

    private mutating func drop(_ address: EndpointAddress, _ actions: inout [Action]) {
        guard let pod = pods.removeValue(forKey: address) else { return }
        if case .asking(let number) = pod.state { actions.append(.cancel(Question(address: address, number: number))) }
    }

    private mutating func place(
        _ address: EndpointAddress, _ isReady: Bool, _ now: Instant, _ actions: inout [Action]
    ) {
        let old = pods[address]
        var pod =
            old
            ?? Pod(
                isReady: isReady, pause: settings.firstPauseMilliseconds,
                youngUntil: now.adding(milliseconds: settings.youthMilliseconds))
        pod.isReady = isReady
        let hasFallen = old?.isReady == true && !isReady
        let hasRisen = old?.isReady == false && isReady
        if hasFallen {
            // Kubernetes has seen it fail: it must prove itself again, if it may be used at all.
            pod.isSuspected = false
            if pod.state == .healthy { pod.state = .idle }
            if !settings.allowsEarlyPods { retract(&pod, address, &actions) }
        }
        if hasRisen, case .pausing = pod.state { pod.state = .idle }
        if hasRisen, settings.mesh == .disabled { retract(&pod, address, &actions) }
        pods[address] = pod
        guard pod.state == .idle, mayBeUsed(pod), settings.mesh != .enabled else { return }
        if settings.mesh == .disabled, isReady {
            pods[address]?.state = .healthy
        } else {
            ask(address, &actions)
        }
    }

    private func mayBeUsed(_ pod: Pod) -> Bool { pod.isReady || settings.allowsEarlyPods }

    private func retract(_ pod: inout Pod, _ address: EndpointAddress, _ actions: inout [Action]) {
        if case .asking(let number) = pod.state { actions.append(.cancel(Question(address: address, number: number))) }
        pod.state = .idle
    }

    private mutating func ask(_ address: EndpointAddress, _ actions: inout [Action]) {
        lastNumber += 1
        pods[address]?.state = .asking(lastNumber)
        actions.append(.ask(Question(address: address, number: lastNumber)))
    }

    private mutating func cancelCluster(_ actions: inout [Action]) {
        if case .asking(let number) = clusterState, let cluster {
            actions.append(.cancel(Question(address: cluster, number: number)))
        }
        clusterState = .idle
    }

    /// Tells what has changed. Pods that answer go before the service's address.
    private mutating func settle(_ now: Instant, _ actions: inout [Action]) {
        let used = Set(pods.lazy.filter { $0.value.isUsed }.map(\.key))
        if !used.isEmpty, clusterState != .idle { cancelCluster(&actions) }
        askClusterIfNeeded(now, &actions)
        if used.isEmpty, clusterState == .healthy, let cluster, readyCount > 0 {
            let next = RevisionBackends.cluster(cluster, readyPods: readyCount)
            guard next != told else { return }
            told = next
        } else {
            if case .pods = told, used == toldPods { return }
            told = .pods(PodSlice.sorted(used))
        }
        toldPods = used
        actions.append(.update(told))
    }

    /// The service's address is asked when every pod has failed for a reason that a mesh may have. It leads to ready
    /// pods only.
    private mutating func askClusterIfNeeded(_ now: Instant, _ actions: inout [Action]) {
        guard let cluster, clusterState == .idle, readyCount > 0 else { return }
        switch settings.mesh {
        case .disabled: return
        case .enabled: break
        case .auto:
            let asked = pods.values.filter(mayBeUsed)
            guard asked.allSatisfy({ $0.lastOutcome == .unreachable && !$0.isUsed }) else { return }
        }
        lastNumber += 1
        clusterState = .asking(lastNumber)
        actions.append(.ask(Question(address: cluster, number: lastNumber)))
    }
}
