import Balancing
import Synchronization

/// Decides when and where each request of one revision is served: at once, after waiting its turn, or not at all.
///
/// One implementation serves the activator (many endpoints, one gate a revision) and the queue-proxy (one endpoint). It
/// keeps these promises over all workers:
/// * an endpoint never has more requests than its `concurrency`;
/// * waiting requests are served strictly first come, first served: a newcomer that finds somebody waiting stands
///   behind;
/// * no request waits beside an available endpoint with a free slot, and no wake-up is lost;
/// * every queued request ends in exactly one of: a grant, a successful `abandon`, the list that `close` returns.
///
/// Any thread may call anything. With a free slot `admit` and `release` are one atomic read-modify-write each and take
/// no lock; the mutex is taken when nothing is free, when somebody waits, and when endpoints change. Among more than
/// `FreeHints.shortList` endpoints *first available* keeps hints: one write more for who passes several full endpoints
/// that nobody has passed since they became full, and one for the release that frees such an endpoint.
///
/// **Why no wake-up is lost.** The dangerous pair is a request that begins to wait and a request that ends:
///
///     waiter (under the mutex)              release (no mutex yet)
///     W1  waiters += 1                      R1  endpoint.word -= 1
///     W2  look for a free slot, all         R2  look whether waiters > 0
///         endpoints: load, then CAS
///
/// All four are sequentially consistent, so they have one order all threads agree on. If R2 does not see the waiter, R2
/// comes before W1, hence R1 before W2, and W2 sees the free slot. If R2 sees it, the releaser takes the mutex, and as
/// the waiter holds the mutex from W1 until it stands in the queue, the releaser finds it there and hands a slot
/// over. So while the mutex is free and the queue is not empty, every free slot of an available endpoint belongs to a
/// releaser between R1 and the mutex: it will look again. All other sources of slots (new and resumed endpoints)
/// appear under the mutex and are handed out before it is left. W2 trusts no hint: where they show nothing it looks at
/// all endpoints, so the hints are no part of this.
///
/// **Why nobody overtakes.** A newcomer looks at `waiters` before it reserves. If it finds zero, its look comes before
/// the W1 of anybody who waits later, and it counts as the earlier arrival even if its reservation lands afterwards. A
/// releaser that sees a waiter keeps its slot reserved until it stands under the mutex and passes it on (`settle`), so
/// there is no gap in which a newcomer could take it.
///
/// `Lifecycle.md` beside this file shows the states of waiters and endpoints.
public final class RevisionGate: Sendable {
    /// The default of `queueLimit`: 1,000 requests.
    public static let defaultQueueLimit = 1_000

    /// Requests one endpoint may serve at a time; 0 means unlimited. Chooses the pick policy.
    public let concurrency: Int
    /// How many requests may wait. Default 1,000. At the limit the newest is refused (503, `queueFull`).
    ///
    /// Requests put back by `readmit` are counted but never refused: they were accepted before.
    public let queueLimit: Int
    /// How an endpoint is chosen.
    public let policy: PickPolicy

    private let budget: WaitBudget
    /// The name of the current list of endpoints; a view with another one is behind.
    private let edition: Atomic<UInt>
    /// Requests in the queue, plus one while a request under the mutex makes sure that it has to wait.
    private let waiters = Atomic<Int>(0)
    private let state: Mutex<GateState>
    /// Which endpoints of a long list may have a free slot; nil if the policy has no use for it.
    private let hints: FreeHints?

    /// An open gate without endpoints: every request waits.
    ///
    /// - Parameters:
    ///   - concurrency: Knative's `containerConcurrency`; 0 means unlimited.
    ///   - queueLimit: how many requests may wait; 0 means none.
    ///   - budget: the limit over all revisions, shared by their gates.
    public init(concurrency: Int, queueLimit: Int = RevisionGate.defaultQueueLimit, budget: WaitBudget) {
        let list = EndpointList([])
        self.concurrency = max(0, concurrency)
        self.queueLimit = max(0, queueLimit)
        self.budget = budget
        policy = PickPolicy(concurrency: concurrency)
        edition = Atomic(list.edition)
        hints = policy == .firstAvailable ? FreeHints() : nil
        state = Mutex(GateState(list: list, hints: hints))
    }

    deinit { budget.give(waiters.load(ordering: .relaxed)) }

    // MARK: Requests

    /// Admits a new request, lets it wait, or refuses it.
    ///
    /// - Parameters:
    ///   - waiter: whom to tell if it has to wait.
    ///   - view: the calling worker's view on this gate.
    ///   - random: 64 fresh random bits.
    public func admit(_ waiter: Waiter, view: inout EndpointView, random: UInt64) -> AdmissionOutcome {
        if mayTryAtOnce(view),
            let endpoint = policy.reserve(
                from: view.endpoints, hints: view.hints, cursor: &view.cursor, random: random)
        {
            return .admitted(endpoint)
        }
        return enter(waiter, view: &view, random: random) { _ in }
    }

    /// Admits again a request whose connection was refused before anything was sent; it keeps its age.
    ///
    /// It goes before all who wait, and neither the queue limit nor the budget refuses it. The caller has released its
    /// slot and, as a rule, suspended the endpoint before. How often a request may come back is the caller's limit.
    ///
    /// - Parameters:
    ///   - waiter: whom to tell if it has to wait.
    ///   - view: the calling worker's view on this gate.
    ///   - random: 64 fresh random bits.
    ///   - avoiding: taken only if no other endpoint has a free slot; and never while it is suspended.
    public func readmit(
        _ waiter: Waiter, view: inout EndpointView, random: UInt64, avoiding: Endpoint? = nil
    ) -> AdmissionOutcome {
        state.withLock { state in
            view.show(state.list, random: random)
            guard !state.isClosed else { return .refused(.closed) }
            waiters.wrappingAdd(1, ordering: .sequentiallyConsistent)  // W1, then W2
            if let endpoint = state.reserve(avoiding: avoiding, policy: policy, random: random) {
                waiters.wrappingSubtract(1, ordering: .sequentiallyConsistent)
                return .admitted(endpoint)
            }
            budget.take()
            return .queued(state.queue.prepend(waiter))
        }
    }

    /// Ends a request: its slot goes to the oldest waiter, or becomes free.
    ///
    /// Call it exactly once for each admission and each grant.
    public func release(_ endpoint: Endpoint) -> ReleaseOutcome { release(endpoint) { _ in } }

    /// Takes a request out of the queue: the client has gone, or its time is over.
    ///
    /// - Returns: true if it was still waiting. False if it has left the queue: a grant is on its way to the worker's
    ///   mailbox, which must release it, or the gate was closed and names it in `close`'s answer.
    public func abandon(_ ticket: WaitTicket) -> Bool {
        state.withLock { state in
            guard state.queue.remove(ticket) else { return false }
            left(1)
            return true
        }
    }

    // MARK: Endpoints

    /// Replaces the list of endpoints. Missing ones are retired: they finish what they have and get nothing new.
    ///
    /// An endpoint whose `id` and `address` equal those of one the gate still knows, listed or finishing, stands for
    /// that one: the gate keeps its own object, so that a replica that leaves and comes back never exceeds its
    /// concurrency. A retired one that comes back is available again; a suspended one that stays listed stays
    /// suspended. Repeated ones count once. After `close` this does nothing.
    ///
    /// - Parameter endpoints: in the order in which `firstAvailable` tries them.
    public func setEndpoints(_ endpoints: [Endpoint]) -> EndpointChange {
        state.withLock { state in
            var change = EndpointChange()
            guard !state.isClosed else { return change }
            let added = state.replaceList(by: endpoints, idle: &change.idle)
            edition.store(state.list.edition, ordering: .releasing)
            change.grants = state.grant(on: added, policy: policy)
            left(change.grants.count)
            return change
        }
    }

    /// Stops sending requests to an endpoint that refused a connection; those in flight go on.
    ///
    /// - Returns: true if it was available. So of many workers that meet the same failure one gets true: it starts the
    ///   probe that will `resume`.
    public func suspend(_ endpoint: Endpoint) -> Bool {
        state.withLock { state in
            guard let known = state.listed(endpoint), known.state == .available else { return false }
            known.enter(.suspended)
            return true
        }
    }

    /// Sends requests to a suspended endpoint again. Does nothing to any other.
    ///
    /// - Returns: waiters that found room, oldest first: deliver them.
    public func resume(_ endpoint: Endpoint) -> [Grant] {
        state.withLock { state in
            guard let known = state.listed(endpoint), known.state == .suspended else { return [] }
            known.enter(.available)
            hints?.slotFreed(known)
            let grants = state.grant(on: [known], policy: policy)
            left(grants.count)
            return grants
        }
    }

    /// Closes the gate for good: the revision was deleted. Requests in flight finish; new ones are refused.
    ///
    /// Endpoints still listed are retired; to learn which of them are idle, `setEndpoints([])` before.
    ///
    /// - Returns: those who waited, oldest first: each is refused.
    public func close() -> [Waiter] {
        state.withLock { state in
            var idle: [Endpoint] = []
            state.isClosed = true
            _ = state.replaceList(by: [], idle: &idle)
            edition.store(state.list.edition, ordering: .releasing)
            let refused = state.queue.removeAll()
            left(refused.count)
            return refused
        }
    }

    // MARK: Figures

    /// Requests waiting now. May count one that is about to be admitted.
    public var waiting: Int { waiters.load(ordering: .relaxed) }

    /// Requests in flight on all endpoints, retired ones included. Takes the mutex: for reports.
    public var inFlight: Int {
        state.withLock { state in
            state.list.endpoints.reduce(0) { $0 + $1.inFlight } + state.draining.reduce(0) { $0 + $1.inFlight }
        }
    }

    /// Requests the available endpoints may serve at a time; `Int.max` if there is one and concurrency is unlimited.
    /// Takes the mutex: for reports.
    public var capacity: Int {
        state.withLock { state in
            let available = state.list.endpoints.count { $0.state == .available }
            return concurrency > 0 ? available * concurrency : available > 0 ? .max : 0
        }
    }

    /// How many endpoints are listed, suspended ones included. Takes the mutex: for reports.
    public var endpointCount: Int { endpoints.count }

    /// The listed endpoints, suspended ones included. Takes the mutex: for reports.
    public var endpoints: [Endpoint] { state.withLock { $0.list.endpoints } }

    /// Available endpoints with a free slot that the hints call full: none, unless a call is just on its way.
    ///
    /// Takes the mutex: for tests.
    package var misleadingHints: Int {
        state.withLock { $0.list.hints.misleading($0.list.endpoints) }
    }

    // MARK: Steps

    /// Where another thread may come between the steps of a call; tests let it.
    package enum Cut: CaseIterable {
        /// In `release`: nobody was seen waiting; the slot is still held.
        case slotHeld
        /// In `release`, between R1 and R2.
        case slotFreed
        /// In `enter` under the mutex, between W1 and W2.
        case waiterCounted
        /// In `enter` under the mutex: no slot was found, the queue does not know the waiter yet.
        case slotsLooked
    }

    /// `release` with its cuts shown.
    @inline(__always)
    package func release(_ endpoint: Endpoint, at cut: (Cut) -> Void) -> ReleaseOutcome {
        if somebodyWaits { return settle(endpoint, holdsSlot: true) }
        cut(.slotHeld)
        let left = endpoint.unreserve()  // R1
        cut(.slotFreed)
        hints?.slotFreed(endpoint)
        if somebodyWaits || (left == 0 && endpoint.state == .retired) {  // R2
            return settle(endpoint, holdsSlot: false)
        }
        return .done
    }

    /// Whether a newcomer may reserve without the mutex: its view is current and nobody waits.
    func mayTryAtOnce(_ view: EndpointView) -> Bool {
        edition.load(ordering: .acquiring) == view.edition && !somebodyWaits
    }

    /// R2 of the argument above.
    var somebodyWaits: Bool { waiters.load(ordering: .sequentiallyConsistent) > 0 }

    /// The second half of `admit`, under the mutex: look again, then wait.
    func enter(
        _ waiter: Waiter, view: inout EndpointView, random: UInt64, at cut: (Cut) -> Void
    ) -> AdmissionOutcome {
        // Sheds a flood without the mutex. From 2 on the count cannot be one who only makes sure that it has to wait.
        if waiters.load(ordering: .relaxed) >= max(queueLimit, 2) { return .refused(.queueFull) }
        return state.withLock { state in
            view.show(state.list, random: random)
            guard !state.isClosed else { return .refused(.closed) }
            waiters.wrappingAdd(1, ordering: .sequentiallyConsistent)  // W1
            cut(.waiterCounted)
            if state.queue.isEmpty,
                let endpoint = policy.reserve(  // W2
                    from: view.endpoints, hints: view.hints, cursor: &view.cursor, random: random)
            {
                waiters.wrappingSubtract(1, ordering: .sequentiallyConsistent)
                return .admitted(endpoint)
            }
            cut(.slotsLooked)
            if let reason = refusal(queued: state.queue.count) {
                waiters.wrappingSubtract(1, ordering: .sequentiallyConsistent)
                return .refused(reason)
            }
            return .queued(state.queue.append(waiter))
        }
    }

    /// The second half of `release`, under the mutex: hand the slot to the oldest waiter, or let it go.
    func settle(_ endpoint: Endpoint, holdsSlot: Bool) -> ReleaseOutcome {
        state.withLock { state in
            if !state.queue.isEmpty, endpoint.state == .available, holdsSlot || endpoint.tryReserve(),
                let waiter = state.queue.popOldest()
            {
                left(1)
                return .granted(Grant(waiter: waiter, endpoint: endpoint))
            }
            if holdsSlot {
                endpoint.unreserve()
                hints?.slotFreed(endpoint)
            }
            return state.finishDraining(endpoint) ? .drained : .done
        }
    }

    /// Takes a place in the queue, or tells why not.
    private func refusal(queued: Int) -> RefusalReason? {
        guard queued < queueLimit else { return .queueFull }
        return budget.tryTake() ? nil : .queueFullOverall
    }

    /// Counts `count` waiters that left the queue. Under the mutex.
    private func left(_ count: Int) {
        guard count > 0 else { return }
        waiters.wrappingSubtract(count, ordering: .sequentiallyConsistent)
        budget.give(count)
    }
}
