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
    /// Of both: rounds that asked a private service.
    public var overService: UInt64 = 0
    /// Questions, to pods or services, that gave no statistics.
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
    /// Asks a revision's pods, each second, at their addresses or through their private service.
    func beginRound(_ revision: Revision) {
        guard revision.core.scrapes, let known = view.pods[revision.name] else { return }
        guard revision.round == nil, revision.serviceRound == nil else {
            scrapes.skipped &+= 1
            return
        }
        let pods = known.scraped
        guard !pods.isEmpty else { return }
        revision.roundNumber &+= 1
        revision.roundBegan = clock.now
        let asksPods =
            switch options.meshMode {
            case .auto: revision.arePodsReached || options.isPodAddressable
            case .enabled: false
            case .disabled: true
            }
        guard asksPods else { return beginServiceRound(revision) }
        var round = ScrapeRound(
            pods, window: revision.core.scaler.spec.stableWindowSeconds, unixSeconds: clock.unixSeconds,
            random: &random)
        let first = round.begin()
        revision.round = round
        for pod in first { ask(pod, of: revision) }
    }

    private func ask(_ pod: ScrapedPod, of revision: Revision) {
        let service = revision.name.with(suffix: ClusterView.privateSuffix)
        let question = options.isPodAddressable ? ScrapeQuestion.podOfMesh(pod.ip, service: service) : .pod(pod.ip)
        read(question, of: revision) { [self] in take($0, of: revision) }
    }

    /// Asks, and hands the answer on if the revision is still in the same round.
    private func read(
        _ question: ScrapeQuestion, of revision: Revision,
        _ take: @escaping (Result<ScrapeAnswer, ScrapeFailure>) -> Void
    ) {
        let number = revision.roundNumber
        pods.read(question) { [weak self, weak revision] answer in
            guard let self, let revision, revision.roundNumber == number else { return }
            switch answer {
            case .success(let answer) where !answer.stat.isPlausible:
                failed(.malformed("it has impossible numbers"), revision, take)
            case .success: take(answer)
            case .failure(let failure): failed(failure, revision, take)
            }
        }
    }

    private func failed(
        _ failure: ScrapeFailure, _ revision: Revision, _ take: (Result<ScrapeAnswer, ScrapeFailure>) -> Void
    ) {
        scrapes.podFailures &+= 1
        revision.lastFailure = failure
        take(.failure(failure))
    }

    private func take(_ answer: Result<ScrapeAnswer, ScrapeFailure>, of revision: Revision) {
        let outcome: ScrapeRound.Outcome?
        switch answer {
        case .success(let answer): outcome = revision.round?.succeeded(answer.stat)
        case .failure(let failure): outcome = revision.round?.failed(failure)
        }
        switch outcome {
        case .ask(let pod): ask(pod, of: revision)
        case .complete(let stat): complete(stat, of: revision)
        case .exhausted(let isMesh):
            guard isMesh, options.meshMode == .auto, !options.isPodAddressable else { return fail(revision) }
            revision.round = nil
            beginServiceRound(revision)
        case .waiting, .over, nil: break
        }
    }

    // MARK: Through the private service

    private func beginServiceRound(_ revision: Revision) {
        scrapes.overService &+= 1
        let count = view.pods[revision.name]?.scraped.count ?? 0
        guard count > 0 else { return fail(revision) }  // they have gone since pods were asked
        let round = ServiceRound(podCount: count, window: revision.core.scaler.spec.stableWindowSeconds)
        revision.serviceRound = round
        for asker in 0..<round.sampleSize { askService(asker, of: revision) }
    }

    private func askService(_ asker: Int, of revision: Revision) {
        guard let ip = view.clusterIPs[revision.name] else {
            revision.lastFailure = .noService
            return fail(revision)
        }
        let service = revision.name.with(suffix: ClusterView.privateSuffix)
        read(.service(service, clusterIP: ip), of: revision) { [self] in take($0, asker: asker, of: revision) }
    }

    private func take(_ answer: Result<ScrapeAnswer, ScrapeFailure>, asker: Int, of revision: Revision) {
        let outcome: ServiceRound.Outcome?
        switch answer {
        case .success(let answer): outcome = revision.serviceRound?.answered(answer, asker: asker)
        case .failure(let failure): outcome = revision.serviceRound?.failed(failure, asker: asker)
        }
        switch outcome {
        case .askAgain: askService(asker, of: revision)
        case .complete(let stat):
            if revision.arePodsReached, options.meshMode == .auto {
                revision.arePodsReached = false
                logger.info(
                    "a mesh answers for pods: statistics come through the private service from now on",
                    metadata: ["revision": "\(revision.name)"])
            }
            complete(stat, of: revision)
        case .failed(let failure):
            revision.lastFailure = failure
            fail(revision)
        case .waiting, .over, nil: break
        }
    }

    // MARK: Ends

    private func complete(_ stat: RequestStat, of revision: Revision) {
        end(revision)
        scrapes.complete &+= 1
        revision.knownFailure = nil
        // No poke: it is the activator that wakes.
        _ = revision.core.record(stat, at: clock.now)
    }

    private func fail(_ revision: Revision) {
        end(revision)
        scrapes.failed &+= 1
        complain(of: revision)
    }

    private func end(_ revision: Revision) {
        scrapes.ended(after: clock.now.nanoseconds(since: revision.roundBegan))
        (revision.round, revision.serviceRound) = (nil, nil)
        // Answers that are still under way belong to no round.
        revision.roundNumber &+= 1
    }

    /// Once until it goes well again or something else is wrong.
    private func complain(of revision: Revision) {
        let text = "\(revision.lastFailure.map(String.init(describing:)) ?? "no answer")"
        guard revision.knownFailure != text else { return }
        revision.knownFailure = text
        logger.warning(
            "pods give no statistics; scale stays as it is",
            metadata: ["revision": "\(revision.name)", "error": "\(text)"])
    }
}
