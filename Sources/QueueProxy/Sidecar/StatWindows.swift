import DataPlane
import EventLoop
import Primitives
import Telemetry

/// The figures for the autoscaler: a window of all workers each second, and the body that tells the last one.
///
/// A window is closed where it is counted: each worker ends its own when it is asked, so nothing falls between two.
/// Owner: the control thread. Source: spec/dataplane 2.2, 2.3.
final class StatWindows {
    private let loop: Loop
    private let workers: WorkerGroup
    private var reporter: StatReporter
    private var sums = WindowSums()
    /// How many workers have not told theirs yet.
    private var awaited = 0
    private var askedAt: Instant

    /// Nil if the pod's name is longer than one can be.
    init?(podName: String, loop: Loop, workers: WorkerGroup, start: Instant) {
        guard let reporter = StatReporter(podName: podName, start: start) else { return nil }
        self.reporter = reporter
        self.loop = loop
        self.workers = workers
        askedAt = start
    }

    /// Closes a window each second from now on.
    func begin() {
        loop.at(reporter.deadline) { [weak self] in self?.ask() }
    }

    private func ask() {
        (sums, awaited, askedAt) = (WindowSums(), workers.count, loop.now)
        workers.post(.report)
    }

    /// A worker tells its part.
    func take(_ reports: [RevisionReport]) {
        guard awaited > 0 else { return assertionFailure("nobody was asked") }
        for report in reports { sums.add(report.sums) }
        awaited -= 1
        guard awaited == 0 else { return }
        reporter.report(sums, now: askedAt)
        begin()
    }

    /// What `/metrics` answers on the autoscaler's port, from the start of the process on.
    var answer: Answer {
        let body = reporter.body
        return Answer(status: 200, contentType: .protobuf, body: (0..<body.count).map { body[$0] })
    }
}
