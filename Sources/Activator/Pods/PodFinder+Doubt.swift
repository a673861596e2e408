import Balancing
import Primitives

/// Passive health: what answers say of a pod raises a doubt, and the pod's own answer to a probe decides.
///
/// Why not by the answers alone, as Envoy's outlier detection does it: behind a queue-proxy a 503 is as a rule the
/// application's own, for the one user who asked, and taking the pod away for it would take it from all others. A probe
/// tells the two apart: a queue-proxy that is ending answers it with 503 (spec/dataplane 1.10), one whose container
/// does not serve does not say `queue`, and one whose application means its 503 does. So answers cost a pod one
/// question, with a pause that doubles while the doubts go on and the answers are good.
///
/// At most `setAsidePercent` of this activator's pods are set aside, never all: from there on they are worth more with
/// doubts than not at all (Envoy's panic threshold). A pod that refuses connections is not spared, since nothing can be
/// sent there, but counts.
extension PodFinder {
    /// Answers of a pod raise a doubt. It is used until it has answered, or its time is over.
    public mutating func doubt(_ address: EndpointAddress, now: Instant) -> [Action] {
        guard var pod = pods[address], pod.state == .healthy, pod.suspicion == .none else { return [] }
        let calm = settings.longestDoubtPauseMilliseconds
        if pod.doubtPause == 0 || now >= pod.trustedUntil.adding(milliseconds: calm) {
            pod.doubtPause = settings.doubtPauseMilliseconds
        }
        let question = makeQuestion(address)
        pod.state = .doubted(question.number, until: now.adding(milliseconds: settings.doubtAnswerMilliseconds))
        pods[address] = pod
        return [.ask(question)]
    }

    /// The outcome of a question that a doubt has raised; of any other this knows nothing.
    mutating func doubtAnswered(_ question: Question, _ outcome: Outcome, _ now: Instant, _ actions: inout [Action]) {
        guard var pod = pods[question.address], case .doubted(question.number, _) = pod.state else { return }
        pod.lastOutcome = outcome
        if outcome != .ready, maySetAside() {
            setAside(&pod, question.address, .pausing(until: nextQuestion(now)), &actions)
        } else {
            trust(&pod, question.address, now, &actions, isSpared: outcome != .ready)
            pod.state = .healthy
        }
        pods[question.address] = pod
    }

    /// Sets aside those who have not answered in time; the question goes on, and a good answer ends it.
    mutating func doubtsEnd(_ now: Instant, _ actions: inout [Action]) {
        let late = pods.filter { if case .doubted(_, let until) = $0.value.state { until <= now } else { false } }
        for address in PodSlice.sorted(late.keys) {
            guard var pod = pods[address], case .doubted(let number, _) = pod.state else { continue }
            if maySetAside() {
                setAside(&pod, address, .asking(number), &actions)
            } else {
                pod.state = .doubted(number, until: .distantFuture)
            }
            pods[address] = pod
        }
    }

    /// Uses pods again when too many are set aside: others have gone, or refuse connections.
    mutating func relieve(_ now: Instant, _ actions: inout [Action]) {
        guard pods.values.contains(where: { $0.suspicion == .answered }) else { return }
        let own = ownPods()
        var aside = own.count { pods[$0]?.suspicion != Suspicion.none }
        for address in own where !fits(aside, of: own.count) {
            guard var pod = pods[address], pod.suspicion == .answered else { continue }
            aside -= 1
            pod.suspicion = .none
            if case .asking(let number) = pod.state {
                pod.state = .doubted(number, until: .distantFuture)
            } else {
                pod.state = .healthy
            }
            actions.append(.resume(address))
            trust(&pod, address, now, &actions, isSpared: true)
            pods[address] = pod
        }
    }

    /// Nobody doubts a pod for a while, and for twice as long the next time.
    func trust(
        _ pod: inout Pod, _ address: EndpointAddress, _ now: Instant, _ actions: inout [Action], isSpared: Bool = false
    ) {
        let pause = max(1, pod.doubtPause)
        pod.trustedUntil = now.adding(milliseconds: pause)
        pod.doubtPause = min(pause * 2, settings.longestDoubtPauseMilliseconds)
        actions.append(.trust(address, until: pod.trustedUntil, isSpared: isSpared))
    }

    private func setAside(
        _ pod: inout Pod, _ address: EndpointAddress, _ state: State, _ actions: inout [Action]
    ) {
        pod.suspicion = .answered
        pod.state = state
        // One that ends is asked at leisure: it will be delisted.
        pod.pause = settings.slowPauseMilliseconds
        actions.append(.suspend(address))
    }

    private func nextQuestion(_ now: Instant) -> Instant { now.adding(milliseconds: settings.slowPauseMilliseconds) }

    /// Whether one more pod may be set aside.
    private func maySetAside() -> Bool {
        let own = ownPods()
        return fits(own.count { pods[$0]?.suspicion != Suspicion.none } + 1, of: own.count)
    }

    private func fits(_ aside: Int, of count: Int) -> Bool { aside * 100 <= count * min(99, settings.setAsidePercent) }

    /// The pods to which this activator sends requests, suspected ones included.
    private func ownPods() -> [EndpointAddress] {
        slice.part(of: PodSlice.sorted(pods.lazy.filter { $0.value.isUsed }.map(\.key)))
    }
}
