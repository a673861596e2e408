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
    /// A pod answered for the service that had answered in this round already.
    case repeated
    /// The private service has no address.
    case noService

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
        /// No pod is left to ask. `isMesh`: none answered, and all failures were those of a service mesh.
        case exhausted(isMesh: Bool)
        /// The round was over already.
        case over
    }

    /// All pods, in the order in which they are asked.
    let pods: [ScrapedPod]
    /// How many must answer.
    let sampleSize: Int
    private var nextPod = 0
    /// Pods that have been asked and have not answered.
    private var underWay = 0
    /// A pod failed and nobody was left to ask in its place.
    private var isShort = false
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
        underWay = sampleSize
        return pods[..<sampleSize]
    }

    /// A pod answered.
    mutating func succeeded(_ stat: RequestStat) -> Outcome {
        guard !isOver else { return .over }
        sawAnswer = true
        underWay -= 1
        if isShort { return exhausted(isMesh: false) }
        sum.add(stat)
        answers += 1
        guard answers == sampleSize else { return .waiting }
        isOver = true
        return .complete(sum.scaled(by: Double(pods.count) / Double(sampleSize)))
    }

    /// A pod did not.
    mutating func failed(_ failure: ScrapeFailure) -> Outcome {
        guard !isOver else { return .over }
        if !failure.looksLikeMesh { sawOtherFailure = true }
        underWay -= 1
        guard nextPod == pods.count else {
            defer { nextPod += 1 }
            underWay += 1
            return .ask(pods[nextPod])
        }
        isShort = true
        if sawAnswer || sawOtherFailure { return exhausted(isMesh: false) }
        // Whether it is a mesh only the last one tells.
        return underWay == 0 ? exhausted(isMesh: true) : .waiting
    }

    private mutating func exhausted(isMesh: Bool) -> Outcome {
        isOver = true
        return .exhausted(isMesh: isMesh)
    }
}

extension RequestStat {
    /// Adds each number of `other`.
    mutating func add(_ other: RequestStat) {
        averageConcurrency += other.averageConcurrency
        averageProxiedConcurrency += other.averageProxiedConcurrency
        requestCount += other.requestCount
        proxiedRequestCount += other.proxiedRequestCount
    }

    /// Each number times `factor`.
    func scaled(by factor: Double) -> RequestStat {
        RequestStat(
            averageConcurrency: averageConcurrency * factor,
            averageProxiedConcurrency: averageProxiedConcurrency * factor, requestCount: requestCount * factor,
            proxiedRequestCount: proxiedRequestCount * factor)
    }
}
