import DataPlane
import EventLoop
import Primitives
import Telemetry

/// What an activator keeps of its stats between two windows.
struct ActivatorStats {
    /// The length of a window, in milliseconds.
    static let periodMilliseconds: UInt64 = 1_000

    var book = StatBook()
    let frame: StatFrame
    /// Whether a window will be closed.
    var clockRuns = false
    /// When the present window began, and the one that workers are asked about.
    var windowBegan = Instant(nanoseconds: 0)
    var windowNanoseconds: UInt64 = 0
    /// How often workers were asked for their part, how often each has answered, and whether some have not yet.
    var rounds = 0
    var answers: [Int]
    var isAwaiting = false
    /// What `ArrivalMark` said when they were asked.
    var marks: [UInt64: UInt64] = [:]
    /// Messages that could not be sent.
    var dropped: UInt64 = 0
    /// Requests that waited and were sent, and how long, in nanoseconds.
    private(set) var waited: UInt64 = 0
    private(set) var waitedNanoseconds: UInt64 = 0
    /// From the slot to the request on its socket.
    private(set) var sendNanoseconds: UInt64 = 0

    init(podName: String, workers: Int) {
        frame = StatFrame(podName: podName)
        answers = Array(repeating: 0, count: workers)
    }

    mutating func noteWait(nanoseconds: UInt64, toSend: UInt64) {
        waited &+= 1
        waitedNanoseconds &+= nanoseconds
        sendNanoseconds &+= toSend
    }
}

/// Requests become stats: the first one at once, all of them each second (spec/dataplane 3.8).
extension Activator {
    /// The connection to the autoscaler came or went.
    public func connectionChanged(reason: String) {
        if desk.health != .terminated { desk.health = sink.isConnected ? .good : .notConnected }
        if sink.isConnected {
            logger.info("the autoscaler is connected")
            for id in stats.book.reconnected() { announce(id) }
        } else {
            logger.warning("the autoscaler is not connected", metadata: ["reason": "\(reason)"])
        }
    }

    /// A revision that is not known has a request.
    func arrived(_ target: RevisionTarget) {
        guard throttlersByNumber[target.id] != nil else { return }
        target.arrivals.seen()
        if stats.book.arrived(target.id) { announce(target.id) }
        runClock()
    }

    private func announce(_ id: UInt64) {
        guard let name = throttlersByNumber[id]?.revision.name else { return }
        let entry = (name.namespace, name.name, FirstRequestRule.announcement)
        stats.book.announced(id, wasSent: send([entry]))
    }

    /// False if anything was dropped.
    private func send(_ entries: [(namespace: String, name: String, report: WindowReport)]) -> Bool {
        var isSent = true
        for message in stats.frame.messages(entries) {
            guard sink.isConnected, sink.send(message) else {
                stats.dropped += 1
                isSent = false
                continue
            }
        }
        return isSent
    }

    // MARK: Windows

    /// Only while a revision is known: at rest nothing wakes.
    private func runClock() {
        guard !stats.clockRuns else { return }
        stats.clockRuns = true
        stats.windowBegan = MonotonicClock.now()
        armClock()
    }

    private func armClock() {
        let next = stats.windowBegan.adding(milliseconds: ActivatorStats.periodMilliseconds)
        loop.at(next) { [unowned self] in windowEnds() }
    }

    private func windowEnds() {
        // A worker so busy that it did not answer for a second must not hold the others up.
        if stats.isAwaiting { closeWindow(isComplete: false) }
        guard stats.book.count > 0 else {
            stats.clockRuns = false
            return
        }
        let now = MonotonicClock.now()
        stats.windowNanoseconds = now.nanoseconds(since: stats.windowBegan)
        stats.windowBegan = now
        stats.rounds += 1
        stats.isAwaiting = true
        stats.marks = throttlersByNumber.mapValues { $0.target.arrivals.mark }
        workers.post(.report)
        armClock()
    }

    /// A worker tells its part. Parts that come late are in the next window.
    func take(_ reports: [RevisionReport], of worker: Int) {
        for report in reports {
            let id = report.target.id
            if !stats.book.knows(id) { arrived(report.target) }
            stats.book.take(id, report.sums)
        }
        stats.answers[worker] += 1
        guard stats.isAwaiting, stats.answers.allSatisfy({ $0 >= stats.rounds }) else { return }
        closeWindow(isComplete: true)
    }

    private func closeWindow(isComplete: Bool) {
        stats.isAwaiting = false
        // Read before the book is written to.
        let (marks, length) = (stats.marks, stats.windowNanoseconds)
        let lines = stats.book.close(windowNanoseconds: length, isHeard: sink.isConnected) { id in
            guard isComplete, let throttler = throttlersByNumber[id], let mark = marks[id] else { return false }
            return throttler.target.arrivals.forget(since: mark)
        }
        var entries: [(namespace: String, name: String, report: WindowReport)] = []
        for line in lines {
            guard let throttler = throttlersByNumber[line.id] else { continue }
            throttler.lastAverage = line.report.averageConcurrency
            entries.append((throttler.revision.name.namespace, throttler.revision.name.name, line.report))
        }
        if !entries.isEmpty { _ = send(entries) }
    }
}
