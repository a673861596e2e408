import Balancing

/// Whom to tell when capacity is found: a worker, and the request among its own.
public struct Waiter: Hashable, Sendable {
    /// The worker whose mailbox gets the grant.
    public var worker: Int
    /// The worker's name for the request, such as a packed slab token; it must recognise a stale one.
    public var token: UInt64

    /// Request `token` of worker `worker`.
    @inlinable
    public init(worker: Int, token: UInt64) {
        self.worker = worker
        self.token = token
    }
}

/// A request's place in a gate's queue. Good until the request is granted, abandoned or refused; harmless afterwards.
public struct WaitTicket: Hashable, Sendable {
    /// Place in the queue's storage.
    let index: UInt32
    /// Which of all places this gate ever gave out; never used twice.
    let sequence: UInt64
}

/// Why a request may not even wait.
public enum RefusalReason: Hashable, Sendable, CaseIterable {
    /// The revision's own queue is full: 503.
    case queueFull
    /// The queues of all revisions together are full: 503.
    case queueFullOverall
    /// The revision was deleted.
    case closed
}

/// What became of a request that asked to be admitted.
public enum AdmissionOutcome: Sendable {
    /// One slot of this endpoint is reserved for it: send it, then `release` exactly once.
    case admitted(Endpoint)
    /// It waits; a `Grant` will reach the worker's mailbox unless it is abandoned or the gate closes.
    case queued(WaitTicket)
    /// It must be answered now.
    case refused(RefusalReason)
}

/// A slot reserved for a request that waited. Whoever holds it delivers it to the waiter's worker.
public struct Grant: Sendable {
    /// The request that is served next.
    public let waiter: Waiter
    /// Where: one slot is reserved and must be released exactly once, also when the request has gone meanwhile.
    public let endpoint: Endpoint

    /// The slot on `endpoint` for `waiter`.
    public init(waiter: Waiter, endpoint: Endpoint) {
        self.waiter = waiter
        self.endpoint = endpoint
    }
}

/// What a release led to.
public enum ReleaseOutcome: Sendable {
    /// Nothing to do.
    case done
    /// The slot went to the oldest waiter: deliver the grant.
    case granted(Grant)
    /// The endpoint had been retired and this was its last request: it may be stopped.
    ///
    /// Reported once for each retirement. If the endpoint may have been listed again meanwhile, look at its state.
    case drained
}

/// What a new list of endpoints led to.
public struct EndpointChange: Sendable {
    /// Waiters that found room, oldest first: deliver them.
    public var grants: [Grant] = []
    /// Endpoints retired by this change that serve nothing: they may be stopped now. The others report `drained`.
    public var idle: [Endpoint] = []

    /// Nothing happened.
    public init() {}
}
