import Autoscaler
import Primitives

/// Virtual time with timers: actions run one by one in the order of their deadlines, each at its own instant, those of
/// one instant in the order in which they were set.
public final class EventClock: AutoscalerClock {
    private struct Entry {
        let deadline: Instant
        let number: UInt32
        static func < (left: Entry, right: Entry) -> Bool {
            left.deadline == right.deadline ? left.number < right.number : left.deadline < right.deadline
        }
    }

    /// When a simulation begins: an hour after zero, so that subtracting a timeout does not underflow.
    public static let start = Instant(nanoseconds: 3_600_000_000_000)

    /// The present.
    public private(set) var now = EventClock.start
    /// A binary heap: the earliest is at 0. Cancelled ones stay in it until their time.
    private var heap: [Entry] = []
    private var actions: [UInt32: () -> Void] = [:]
    private var number: UInt32 = 0
    /// What the wall clock is ahead of the monotonic one, in seconds. Default 1,800,000,000.
    public var wallOffset: Int64 = 1_800_000_000

    /// A clock at `start` on which nothing is due.
    public init() {}

    /// The wall clock, in seconds since 1970.
    public var unixSeconds: Int64 { Int64(now.nanoseconds / 1_000_000_000) + wallOffset }
    /// Seconds since the start.
    public var seconds: Double { now.seconds(since: EventClock.start) }
    /// How many timers are set.
    public var pending: Int { actions.count }

    /// Calls `action` at `deadline`, or at once after what is due already.
    @discardableResult
    public func at(_ deadline: Instant, _ action: @escaping () -> Void) -> TimerHandle {
        number += 1
        actions[number] = action
        heap.append(Entry(deadline: max(deadline, now), number: number))
        var place = heap.count - 1
        while place > 0, heap[place] < heap[(place - 1) / 2] {
            heap.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
        return SlabToken(index: number, generation: 1)
    }

    /// Calls `action` in `nanoseconds`.
    @discardableResult
    func after(_ nanoseconds: UInt64, _ action: @escaping () -> Void) -> TimerHandle {
        at(now.adding(nanoseconds: nanoseconds), action)
    }

    /// Forgets a timer; stale handles are ignored.
    public func cancel(_ timer: TimerHandle) { if timer.generation == 1 { actions[timer.index] = nil } }

    /// Runs the next action if it is due by `end`. False, and time stands at `end`, if none is.
    func step(until end: Instant) -> Bool {
        while let next = heap.first, next.deadline <= end {
            removeFirst()
            guard let action = actions.removeValue(forKey: next.number) else { continue }
            now = max(now, next.deadline)
            action()
            return true
        }
        now = max(now, end)
        return false
    }

    /// Runs all that is due up to `seconds` after the start, and stands there.
    public func advance(to seconds: Double) {
        let end = EventClock.start.adding(seconds: seconds)
        while step(until: end) {}
    }

    /// Forgets all timers.
    func clear() {
        heap = []
        actions = [:]
    }

    private func removeFirst() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2] where child < heap.count && heap[child] < heap[least] {
                least = child
            }
            guard least != place else { return }
            heap.swapAt(place, least)
            place = least
        }
    }
}
