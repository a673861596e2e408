import Admission
import Balancing
import EventLoop
import Primitives
import TLS
import Telemetry

/// What the control thread tells a worker, through the worker's mailbox.
public enum WorkerCommand: Sendable {
    /// Use these routes from the next event on. Requests under way keep the revision they chose.
    case publish(RoutingSnapshot)
    /// A waiting request got a slot.
    case grant(RevisionTarget, Grant)
    /// A waiting request will get none: its revision has gone.
    case refuse(Waiter)
    /// Send a `WorkerEvent.report`.
    case report
    /// Serve these to TLS clients from the next handshake on; open connections keep what they have.
    case certificates(CertificateSet)
    /// Say how much is under way, to whoever asks.
    case gauges(Mailbox<WorkerGauges>)
    /// Close unused connections to an endpoint that has been retired.
    case forget(Endpoint)
    /// What a `WorkerEvent.question` asked.
    case answer(Asker, Answer)
    /// Answer what comes, with `Connection: close`.
    case drain
    /// Stop accepting, close unused connections, finish what is under way; then say `drained`.
    case stopAccepting
    /// End now.
    case stop
}

/// What workers tell the control thread.
public enum WorkerEvent: Sendable {
    /// Requests wait and there is no capacity. Said once until `RevisionTarget.demandSeen`.
    case demand(RevisionTarget)
    /// Requests of a revision have come of which `RevisionTarget.arrivalSeen` has not been said: an activator's only.
    case arrived(RevisionTarget)
    /// An endpoint refused a connection and was suspended: look at it.
    case suspect(RevisionTarget, Endpoint)
    /// A retired endpoint has finished its last request.
    case idle(Endpoint)
    /// Statistics since the last report, for revisions that had requests.
    case report(worker: Int, [RevisionReport])
    /// Requests from now on use the snapshot of this generation.
    case published(worker: Int, generation: Int)
    /// What an endpoint of an activator's answers makes one doubt that it goes on: it is to be asked.
    case doubt(RevisionTarget, Endpoint, DoubtReason)
    /// The first request after a wait was handed to a pod.
    case dispatched(RevisionTarget, arrived: Instant, granted: Instant, sent: Instant)
    /// A request that the control thread answers.
    case question(Question)
    /// Nothing is under way any more after `stopAccepting`.
    case drained(worker: Int)
    /// The worker could not start.
    case failed(worker: Int, SystemError)
    /// Descriptors ran out; accepting goes on by itself when some are free.
    case descriptorsExhausted(worker: Int)
}

/// What made a worker doubt an endpoint.
public enum DoubtReason: Sendable, Equatable, CaseIterable {
    /// It said that it is ending (`X-Envoy-Immediate-Health-Check-Fail`).
    case draining
    /// Failures in a row (`DataPlaneLimits.gatewayFailures`).
    case failures
}

/// One revision's requests as one worker saw them since the last report.
public struct RevisionReport: Sendable {
    /// The revision.
    public let target: RevisionTarget
    /// Time-weighted sums and counts of the window.
    public let sums: WindowSums
}
