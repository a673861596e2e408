import Synchronization

/// One replica of a revision as all workers see it: its address and the count of requests it is serving.
///
/// Count and state share one atomic word, so a reservation is one compare-and-swap that can neither pass the limit nor
/// land on an endpoint that was suspended or retired a moment before. Any thread may reserve and unreserve; only the
/// gate that lists the endpoint changes its state, under its mutex. An endpoint belongs to one gate.
public final class Endpoint: Sendable {
    /// Whether requests may be sent to it.
    public enum State: UInt8, Sendable {
        /// It takes requests up to its concurrency.
        case available
        /// It stays listed but takes no requests: the last connection to it was refused, or it said of itself that it
        /// is not ready, and no probe has succeeded since.
        case suspended
        /// It is no longer listed: it finishes what it has.
        case retired
    }

    /// The platform's number for the replica.
    public let id: Int
    /// Where it listens.
    public let address: EndpointAddress
    /// How many requests it may serve at a time; 0 means unlimited.
    ///
    /// Knative: `spec.containerConcurrency`. Range 0...2³²-2; other values are moved to the nearest end.
    public let concurrency: Int

    /// The state's place in the word: above the count, so an endpoint that is not available compares as fuller than any
    /// that is.
    @usableFromInline static var stateShift: UInt64 { 32 }
    @usableFromInline static var countMask: UInt64 { 0xFFFF_FFFF }

    @usableFromInline let limit: UInt64
    @usableFromInline let word = Atomic<UInt64>(0)
    /// Its place in the gate's list if that is long enough for `FreeHints`; else -1.
    @usableFromInline let place = Atomic<Int>(-1)
    /// What its answers say of it.
    public let health = PassiveHealth()

    /// An available endpoint that serves nothing yet.
    public init(id: Int, address: EndpointAddress, concurrency: Int) {
        self.id = id
        self.address = address
        self.concurrency = min(max(0, concurrency), Int(UInt32.max) - 1)
        self.limit = self.concurrency == 0 ? UInt64(UInt32.max) - 1 : UInt64(self.concurrency)
    }

    /// Requests it is serving now, reserved slots included.
    @inlinable
    public var inFlight: Int { Int(word.load(ordering: .sequentiallyConsistent) & Self.countMask) }

    /// Whether requests may be sent to it at this moment.
    @inlinable
    public var state: State {
        let bits = word.load(ordering: .sequentiallyConsistent) >> Self.stateShift
        return State(rawValue: UInt8(truncatingIfNeeded: bits)) ?? .retired
    }

    /// How full it is, for comparison only: an endpoint that is not available is fuller than any that is.
    @inlinable
    var fullness: UInt64 { word.load(ordering: .relaxed) }

    /// Whether `tryReserve` would succeed at this moment.
    var hasFreeSlot: Bool { word.load(ordering: .sequentiallyConsistent) < limit }

    /// Takes one slot. False if there is none or the endpoint is not available. Lock-free.
    ///
    /// Sequentially consistent, load included: the gate's promise that no wake-up is lost rests on the order of this
    /// load and the gate's count of waiters.
    @inlinable
    public func tryReserve() -> Bool {
        var current = word.load(ordering: .sequentiallyConsistent)
        while current < limit {  // a state other than available lifts the word above every limit
            let (exchanged, original) = word.weakCompareExchange(
                expected: current, desired: current &+ 1, ordering: .sequentiallyConsistent)
            if exchanged { return true }
            current = original
        }
        return false
    }

    /// Gives one slot back and returns how many are still taken. Wait-free.
    ///
    /// Giving back more than was reserved is our bug: it fails in debug builds and changes nothing in release builds.
    @inlinable
    @discardableResult
    public func unreserve() -> Int {
        let old = word.wrappingSubtract(1, ordering: .sequentiallyConsistent).oldValue
        guard old & Self.countMask > 0 else {
            word.wrappingAdd(1, ordering: .sequentiallyConsistent)  // in between it read as unavailable: harmless
            assertionFailure("Endpoint: released more often than reserved")
            return 0
        }
        return Int(old & Self.countMask) - 1
    }

    /// Changes the state and returns how many requests are in flight at that very moment.
    ///
    /// For the gate that lists the endpoint, under its mutex.
    @discardableResult
    public func enter(_ state: State) -> Int {
        var current = word.load(ordering: .relaxed)
        while true {
            let desired = UInt64(state.rawValue) << Self.stateShift | current & Self.countMask
            let (exchanged, original) = word.compareExchange(
                expected: current, desired: desired, ordering: .sequentiallyConsistent)
            if exchanged { return Int(current & Self.countMask) }
            current = original
        }
    }
}
