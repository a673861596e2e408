import Knative
import Primitives
import Scaling

/// What became of rounds of asking pods.
public struct ScrapeCounts: Equatable, Sendable {
    /// Rounds whose sample was taken.
    public var complete: UInt64 = 0
    /// Rounds that ran out of pods to ask: no sample for that second.
    public var failed: UInt64 = 0
    /// Seconds without a round, because the one before was still under way.
    public var skipped: UInt64 = 0
    /// Pods that gave no statistics.
    public var podFailures: UInt64 = 0
    /// Rounds by how long they took; the ends of buckets are those of `durationBounds`, the last one has none.
    public var durations = [UInt64](repeating: 0, count: ScrapeCounts.durationBounds.count + 1)
    /// What all rounds took, in nanoseconds.
    public var durationNanoseconds: UInt64 = 0

    /// Ends of the buckets of `durations`, in nanoseconds: Knative's, 5 ms to 10 s.
    public static let durationBounds: [UInt64] = [
        5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000,
    ].map { $0 * 1_000_000 }

    /// None.
    public init() {}

    mutating func ended(after nanoseconds: UInt64) {
        durations[Self.durationBounds.firstIndex { nanoseconds <= $0 } ?? Self.durationBounds.count] += 1
        durationNanoseconds &+= nanoseconds
    }
}

extension AutoscalerEngine {
    /// Asks a revision's pods, each second.
    func beginRound(_ revision: Revision) {
        guard revision.core.scrapes, let known = view.pods[revision.name] else { return }
        guard revision.round == nil else {
            scrapes.skipped &+= 1
            return
        }
        var round = ScrapeRound(
            known.scraped, window: revision.core.scaler.spec.stableWindowSeconds, unixSeconds: clock.unixSeconds,
            random: &random)
        guard !round.isOver else { return }
        let first = round.begin()
        revision.round = round
        revision.roundNumber &+= 1
        revision.roundBegan = clock.now
        for pod in first { ask(pod, of: revision) }
    }

    private func ask(_ pod: ScrapedPod, of revision: Revision) {
        let number = revision.roundNumber
        pods.read(pod.ip) { [weak self, weak revision] answer in
            guard let self, let revision, revision.roundNumber == number, revision.round != nil else { return }
            take(answer, of: revision)
        }
    }

    private func take(_ answer: Result<RequestStat, ScrapeFailure>, of revision: Revision) {
        let outcome: ScrapeRound.Outcome?
        switch answer {
        case .success(let stat) where stat.isPlausible: outcome = revision.round?.succeeded(stat)
        case .success: outcome = failed(.malformed("it has impossible numbers"), revision)
        case .failure(let failure): outcome = failed(failure, revision)
        }
        switch outcome {
        case .ask(let pod): ask(pod, of: revision)
        case .complete(let stat):
            end(revision)
            scrapes.complete &+= 1
            revision.knownFailure = nil
            // No poke: it is the activator that wakes.
            _ = revision.core.record(stat, at: clock.now)
        case .exhausted(let isMesh):
            end(revision)
            scrapes.failed &+= 1
            complain(isMesh: isMesh, of: revision)
        case .waiting, .over, nil: break
        }
    }

    private func failed(_ failure: ScrapeFailure, _ revision: Revision) -> ScrapeRound.Outcome? {
        scrapes.podFailures &+= 1
        revision.lastFailure = failure
        return revision.round?.failed(failure)
    }

    private func end(_ revision: Revision) {
        scrapes.ended(after: clock.now.nanoseconds(since: revision.roundBegan))
        revision.round = nil
    }

    /// Once until it goes well again or something else is wrong.
    private func complain(isMesh: Bool, of revision: Revision) {
        let text =
            isMesh && options.meshMode == .auto
            ? "all pods answer 502 or 503: a service mesh stands between, and asking through it is not supported"
            : "\(revision.lastFailure.map(String.init(describing:)) ?? "no answer")"
        guard revision.knownFailure != text else { return }
        revision.knownFailure = text
        logger.warning(
            "pods give no statistics; scale stays as it is",
            metadata: ["revision": "\(revision.name)", "error": "\(text)"])
    }
}
