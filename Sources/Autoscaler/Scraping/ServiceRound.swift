import Scaling

/// One round of asking the private Service of a revision, behind which a mesh chooses a pod for each question. Pure.
///
/// As many ask at once as `scrapeSampleSize` says (*askers*, numbered from 0). Each asks until it has met an old pod
/// that nobody else in this round has met; young ones that it meets on the way are kept, and stand in for old ones that
/// were not found. A pod that answers again counts as a failure; after `triesLimit` questions a failure ends the asker.
/// Source: Knative Serving, `pkg/autoscaler/metrics/stats_scraper.go` (`scrapeService`); spec/autoscaling 4.1.
struct ServiceRound {
    /// What a report leads to.
    enum Outcome: Equatable {
        /// The asker has done its part; others have not.
        case waiting
        /// The asker asks once more.
        case askAgain
        /// The statistics of the whole revision.
        case complete(RequestStat)
        /// Too few different pods were met, or one could not be asked: no sample for this second.
        case failed(ScrapeFailure)
        /// The round was over already, or the asker is.
        case over
    }

    /// Questions of one asker.
    static let triesLimit = 10

    /// Ready pods behind the service.
    let podCount: Int
    /// How many pods must be met, and how many ask.
    let sampleSize: Int
    /// Seconds from which a pod is old: the stable window.
    let window: Int
    /// Questions by asker; nil: it has done its part.
    private var tries: [Int?]
    private var asking: Int
    private var met: Set<String> = []
    private var old: [RequestStat] = []
    private var young: [RequestStat] = []
    /// What ended an asker first.
    private var problem: ScrapeFailure?
    private var isOver: Bool

    /// A round for a revision with so many ready pods. With none it is over.
    init(podCount: Int, window: Int) {
        self.podCount = podCount
        self.window = window
        sampleSize = scrapeSampleSize(ready: podCount)
        tries = Array(repeating: 1, count: sampleSize)
        asking = sampleSize
        isOver = podCount == 0
    }

    /// A pod answered an asker.
    mutating func answered(_ answer: ScrapeAnswer, asker: Int) -> Outcome {
        guard !isOver, let count = tries[asker] else { return .over }
        guard met.insert(answer.podName).inserted else { return failed(.repeated, asker: asker) }
        if answer.uptimeSeconds >= Double(window) {
            old.append(answer.stat)
            return finish(asker)
        }
        guard young.count < sampleSize else { return finish(asker) }
        young.append(answer.stat)
        // To have met only young ones is no failure, but it must end.
        guard count < Self.triesLimit else { return finish(asker) }
        tries[asker] = count + 1
        return .askAgain
    }

    /// An asker got no statistics.
    mutating func failed(_ failure: ScrapeFailure, asker: Int) -> Outcome {
        guard !isOver, let count = tries[asker] else { return .over }
        guard count >= Self.triesLimit else {
            tries[asker] = count + 1
            return .askAgain
        }
        problem = problem ?? failure
        return finish(asker)
    }

    private mutating func finish(_ asker: Int) -> Outcome {
        tries[asker] = nil
        asking -= 1
        guard asking == 0 else { return .waiting }
        isOver = true
        // That a pod answered twice is no matter if enough others did.
        if let problem, problem != .repeated { return .failed(problem) }
        guard old.count + young.count >= sampleSize else { return .failed(problem ?? .repeated) }
        var sum = RequestStat()
        for stat in (old + young).prefix(sampleSize) { sum.add(stat) }
        return .complete(sum.scaled(by: Double(podCount) / Double(sampleSize)))
    }
}
