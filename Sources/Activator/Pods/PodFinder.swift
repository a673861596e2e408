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
/// while it is listed, unless a worker met a refused connection or answers that raise a doubt (`PodFinder+Doubt`).
/// Source: spec/dataplane 3.6; instead of Knative's period of 200 ms and its fall-back without return.
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
        /// How long a pod in doubt may take to answer before it is set aside, in milliseconds. Default 1,000: what
        /// Kubernetes gives a probe (`timeoutSeconds`).
        public var doubtAnswerMilliseconds: UInt64 = 1_000
        /// How long a pod that answered well is not doubted again, in milliseconds; twice as long each time, as long
        /// as the doubts go on. Default 1,000.
        public var doubtPauseMilliseconds: UInt64 = 1_000
        /// The longest such time, in milliseconds. Default 30,000 (Envoy's `base_ejection_time`).
        public var longestDoubtPauseMilliseconds: UInt64 = 30_000
        /// Which part of this activator's pods may be set aside for what they answer, in percent; those that refuse
        /// connections count as set aside too. Default 50 (Envoy's panic threshold). Below 100, so that one is left.
        public var setAsidePercent = 50

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
        /// A pod that was suspected answers well, or cannot be spared.
        case resume(EndpointAddress)
        /// No requests there, until `resume`: a pod in doubt did not answer well, or not in time.
        case suspend(EndpointAddress)
        /// Not to be doubted again before that time: it answers well, or cannot be spared.
        case trust(EndpointAddress, until: Instant, isSpared: Bool)
    }

    enum State: Equatable, Sendable {
        /// Not ready, and must not be used early.
        case idle
        case asking(UInt64)
        case pausing(until: Instant)
        case healthy
        /// Asked because of its answers, and used meanwhile; at `until` it is set aside.
        case doubted(UInt64, until: Instant)
    }

    /// Why a pod that was healthy takes no requests. It stays listed and is asked again.
    enum Suspicion: Equatable, Sendable {
        case none
        /// A worker could not connect.
        case refused
        /// It did not answer well when it was in doubt.
        case answered
    }

    struct Pod: Sendable {
        var isReady: Bool
        var state = State.idle
        var suspicion = Suspicion.none
        var pause: UInt64
        var youngUntil: Instant
        var lastOutcome: Outcome?
        /// How long it will be trusted after the next good answer, and when the last such time ended.
        var doubtPause: UInt64 = 0
        var trustedUntil = Instant(nanoseconds: 0)

        var isUsed: Bool {
            switch state {
            case .healthy, .doubted: true
            case .idle, .asking, .pausing: suspicion != .none
            }
        }
    }

    /// The rules.
    public let settings: Settings
    /// Which of the pods are this activator's, if not all are. Set by whoever asks `backends`.
    public var slice = PodSlice.whole
    var pods: [EndpointAddress: Pod] = [:]
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
        for pod in pods.values {
            switch pod.state {
            case .pausing(let until), .doubted(_, let until): next = min(next, until)
            case .idle, .asking, .healthy: break
            }
        }
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
                if pod.suspicion != .none { actions.append(.resume(question.address)) }
                if pod.suspicion == .answered { trust(&pod, question.address, now, &actions) }
                pod.suspicion = .none
                pod.state = .healthy
                pod.pause = settings.firstPauseMilliseconds
            } else {
                pod.state = .pausing(until: now.adding(milliseconds: pause(of: pod, now)))
                pod.pause = min(pod.pause * 2, settings.longestPauseMilliseconds)
            }
            pods[question.address] = pod
        } else {
            doubtAnswered(question, outcome, now, &actions)
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
        } else if var pod = pods[address], pod.state != .idle, pod.isUsed, pod.suspicion != .refused {
            pod.suspicion = .refused
            pod.pause = settings.firstPauseMilliseconds
            pod.youngUntil = now.adding(milliseconds: settings.youthMilliseconds)
            if case .doubted(let number, _) = pod.state { pod.state = .asking(number) }
            pods[address] = pod
            if pod.state == .healthy { ask(address, &actions) }
            relieve(now, &actions)
        }
        return actions
    }

    /// Asks whoever's pause is over.
    public mutating func timeout(now: Instant) -> [Action] {
        var actions: [Action] = []
        doubtsEnd(now, &actions)
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
        guard var pod = pods.removeValue(forKey: address) else { return }
        retract(&pod, address, &actions)
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
            pod.suspicion = .none
            if case .doubted = pod.state { retract(&pod, address, &actions) }
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
        switch pod.state {
        case .asking(let number), .doubted(let number, _):
            actions.append(.cancel(Question(address: address, number: number)))
        case .idle, .pausing, .healthy: break
        }
        pod.state = .idle
    }

    private mutating func ask(_ address: EndpointAddress, _ actions: inout [Action]) {
        let question = makeQuestion(address)
        pods[address]?.state = .asking(question.number)
        actions.append(.ask(question))
    }

    mutating func makeQuestion(_ address: EndpointAddress) -> Question {
        lastNumber += 1
        return Question(address: address, number: lastNumber)
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
        relieve(now, &actions)
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
        let question = makeQuestion(cluster)
        clusterState = .asking(question.number)
        actions.append(.ask(question))
    }
}
