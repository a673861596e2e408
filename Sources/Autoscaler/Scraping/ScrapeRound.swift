import Primitives
import Scaling

/// Why a pod gave no statistics.
public enum ScrapeFailure: Error, Equatable, Sendable {
    /// It answered with this status.
    case status(Int)
    /// It answered with another `Content-Type` than `application/protobuf`, exactly.
    case contentType(String)
    /// Its answer is no stat, for this reason.
    case malformed(String)
    /// There is no connection, or it broke, for this reason.
    case unreachable(String)
    /// No answer in time.
    case timedOut
    /// Too many pods are being asked and waiting to be.
    case tooBusy

    /// Whether a service mesh answers this way for a pod that only it may reach.
    var looksLikeMesh: Bool { self == .status(502) || self == .status(503) }
}

/// One round of asking the pods of one revision: whom, whom else after a failure, and what it comes to. Pure.
///
/// As many as `scrapeSampleSize` says are asked at once; each that fails is replaced by the next of the list. When the
/// list is exhausted the round has failed, even if some answered: their mean would not be one of the revision.
/// Source: Knative Serving, `pkg/autoscaler/metrics/stats_scraper.go`.
struct ScrapeRound {
    /// What a report leads to.
    enum Outcome: Equatable {
        /// Others are still being asked.
        case waiting
        /// Ask this one too.
        case ask(ScrapedPod)
        /// All answered: the statistics of the whole revision.
        case complete(RequestStat)
        /// No pod is left to ask. `isMesh`: all failures were those of a service mesh.
        case exhausted(isMesh: Bool)
        /// The round was over already.
        case over
    }

    /// All pods, in the order in which they are asked.
    let pods: [ScrapedPod]
    /// How many must answer.
    let sampleSize: Int
    private var nextPod = 0
    private var answers = 0
    private var sum = RequestStat()
    private var sawAnswer = false
    private var sawOtherFailure = false
    private(set) var isOver = false

    /// A round over `pods`: old ones first, then young ones. Chance decides among the old if there are enough of them,
    /// else among the young.
    ///
    /// - Parameters:
    ///   - window: age in seconds from which a pod is old: the stable window. A young one knows little of it.
    ///   - unixSeconds: the wall clock now.
    init(_ pods: [ScrapedPod], window: Int, unixSeconds: Int64, random: inout SeededRandom) {
        var old: [ScrapedPod] = [], young: [ScrapedPod] = []
        for pod in pods {
            let age = pod.startedAt.map { unixSeconds.subtractingReportingOverflow($0).partialValue }
            if age.map({ $0 >= Int64(window) }) ?? true { old.append(pod) } else { young.append(pod) }
        }
        sampleSize = scrapeSampleSize(ready: pods.count)
        if old.count < sampleSize { young.shuffle(using: &random) } else { old.shuffle(using: &random) }
        self.pods = old + young
        isOver = pods.isEmpty
    }

    /// Whom to ask first.
    mutating func begin() -> ArraySlice<ScrapedPod> {
        assert(nextPod == 0)
        nextPod = sampleSize
        return pods[..<sampleSize]
    }

    /// A pod answered.
    mutating func succeeded(_ stat: RequestStat) -> Outcome {
        guard !isOver else { return .over }
        sawAnswer = true
        sum.averageConcurrency += stat.averageConcurrency
        sum.averageProxiedConcurrency += stat.averageProxiedConcurrency
        sum.requestCount += stat.requestCount
        sum.proxiedRequestCount += stat.proxiedRequestCount
        answers += 1
        guard answers == sampleSize else { return .waiting }
        isOver = true
        return .complete(scaled(by: Double(pods.count) / Double(sampleSize)))
    }

    /// A pod did not.
    mutating func failed(_ failure: ScrapeFailure) -> Outcome {
        guard !isOver else { return .over }
        if !failure.looksLikeMesh { sawOtherFailure = true }
        guard nextPod < pods.count else {
            isOver = true
            return .exhausted(isMesh: !sawOtherFailure && !sawAnswer)
        }
        defer { nextPod += 1 }
        return .ask(pods[nextPod])
    }

    private func scaled(by factor: Double) -> RequestStat {
        RequestStat(
            averageConcurrency: sum.averageConcurrency * factor,
            averageProxiedConcurrency: sum.averageProxiedConcurrency * factor,
            requestCount: sum.requestCount * factor, proxiedRequestCount: sum.proxiedRequestCount * factor)
    }
}
