/// Names an armed timer; stale names are recognised.
public typealias TimerHandle = SlabToken

/// Deadlines of one thread: arm, cancel and expire in O(1), with a resolution of one tick (default one millisecond).
///
/// A hierarchical wheel (Varghese and Lauck): six levels of 64 slots, 64 times coarser each, so up to 2^36 ticks. A
/// timer never fires early; it fires at most one tick late plus the caller's own delay. Payloads are 64 opaque bits.
public struct TimerWheel: ~Copyable {
    private static let levels = 6
    private static let none = UInt32.max

    private struct Node {
        var deadlineTick: UInt64 = 0
        var payload: UInt64 = 0
        var next = TimerWheel.none
        var previous = TimerWheel.none
        var generation: UInt32 = 0
        var slot: UInt16 = 0
    }

    private var nodes = UnsafeMutableBufferPointer<Node>(start: nil, count: 0)
    private let heads: UnsafeMutablePointer<UInt32>
    private let occupancy: UnsafeMutablePointer<UInt64>
    private var freeList = TimerWheel.none
    private let tickNanoseconds: UInt64
    private var tick: UInt64
    /// How many timers are armed.
    public private(set) var count = 0

    /// An empty wheel that starts at `now`, with ticks of `tickNanoseconds`.
    public init(now: Instant, tickNanoseconds: UInt64 = 1_000_000) {
        precondition(tickNanoseconds > 0)
        self.tickNanoseconds = tickNanoseconds
        tick = now.nanoseconds / tickNanoseconds
        heads = .allocate(capacity: Self.levels * 64)
        heads.initialize(repeating: Self.none, count: Self.levels * 64)
        occupancy = .allocate(capacity: Self.levels)
        occupancy.initialize(repeating: 0, count: Self.levels)
    }

    /// Arms a timer for `deadline` that will hand back `payload`.
    public mutating func arm(_ deadline: Instant, payload: UInt64) -> TimerHandle {
        if freeList == Self.none { grow() }
        let index = freeList
        let node = nodes.baseAddress.unsafelyUnwrapped + Int(index)
        freeList = node.pointee.next
        node.pointee.generation |= 1
        node.pointee.payload = payload
        // Rounded up, so that it never fires early; at least one tick ahead, so that it lies in the wheel's future.
        let rounded = deadline.nanoseconds / tickNanoseconds + (deadline.nanoseconds % tickNanoseconds == 0 ? 0 : 1)
        node.pointee.deadlineTick = max(rounded, tick + 1)
        link(index)
        count += 1
        return TimerHandle(index: index, generation: node.pointee.generation)
    }

    /// Disarms a timer. Does nothing if it has fired or was cancelled.
    public mutating func cancel(_ handle: TimerHandle) {
        guard Int(handle.index) < nodes.count,
            nodes[Int(handle.index)].generation == handle.generation
        else { return }
        unlink(handle.index)
        release(handle.index)
    }

    /// When `expire` has something to do next: the earliest deadline, or earlier when a coarse level must be refined.
    public var nextDeadline: Instant? {
        guard count > 0 else { return nil }
        var best = UInt64.max
        for level in 0..<Self.levels where occupancy[level] != 0 {
            let shift = UInt64(6 * level)
            let position = tick >> shift
            let rotated = rotate(occupancy[level], by: Int(position & 63))
            // Bit 0 is the slot of now, which at coarse levels was refined already: it means a full turn ahead.
            let ahead = rotated & ~1 != 0 ? UInt64((rotated & ~1).trailingZeroBitCount) : 64
            best = min(best, (position + ahead) << shift)
        }
        return Instant(nanoseconds: best == .max ? best : best * tickNanoseconds)
    }

    /// Takes one timer that is due at `now`, and returns its payload; nil when none is left. Call until nil.
    public mutating func expire(now: Instant) -> UInt64? {
        let target = now.nanoseconds / tickNanoseconds
        while true {
            let head = heads[Int(tick & 63)]
            if head != Self.none, nodes[Int(head)].deadlineTick <= tick {
                let payload = nodes[Int(head)].payload
                unlink(head)
                release(head)
                return payload
            }
            guard tick < target else { return nil }
            guard count > 0, let next = nextDeadline else {
                tick = target
                return nil
            }
            tick = min(target, max(tick + 1, next.nanoseconds / tickNanoseconds))
            refine()
        }
    }

    /// Moves the timers of every coarse slot that begins at the present tick down to finer levels.
    private mutating func refine() {
        var level = Self.levels - 1
        while level > 0 {
            let shift = UInt64(6 * level)
            if tick & ((1 << shift) - 1) == 0 {
                let slot = level * 64 + Int((tick >> shift) & 63)
                var index = heads[slot]
                heads[slot] = Self.none
                occupancy[level] &= ~(1 << UInt64(slot & 63))
                while index != Self.none {
                    let next = nodes[Int(index)].next
                    link(index)
                    index = next
                }
            }
            level -= 1
        }
    }

    private mutating func link(_ index: UInt32) {
        let node = nodes.baseAddress.unsafelyUnwrapped + Int(index)
        let deadline = node.pointee.deadlineTick
        // The level is where now and the deadline first differ, in groups of six bits.
        let difference = deadline ^ tick
        let level = difference == 0 ? 0 : min((63 - difference.leadingZeroBitCount) / 6, Self.levels - 1)
        let slot = level * 64 + Int((deadline >> UInt64(6 * level)) & 63)
        node.pointee.slot = UInt16(slot)
        node.pointee.previous = Self.none
        node.pointee.next = heads[slot]
        if heads[slot] != Self.none { nodes[Int(heads[slot])].previous = index }
        heads[slot] = index
        occupancy[level] |= 1 << UInt64(slot & 63)
    }

    private mutating func unlink(_ index: UInt32) {
        let node = nodes.baseAddress.unsafelyUnwrapped + Int(index)
        let slot = Int(node.pointee.slot)
        if node.pointee.previous == Self.none {
            heads[slot] = node.pointee.next
            if heads[slot] == Self.none { occupancy[slot / 64] &= ~(1 << UInt64(slot & 63)) }
        } else {
            nodes[Int(node.pointee.previous)].next = node.pointee.next
        }
        if node.pointee.next != Self.none { nodes[Int(node.pointee.next)].previous = node.pointee.previous }
    }

    private mutating func release(_ index: UInt32) {
        let node = nodes.baseAddress.unsafelyUnwrapped + Int(index)
        node.pointee.generation &+= 1
        node.pointee.next = freeList
        freeList = index
        count -= 1
    }

    private mutating func grow() {
        let old = nodes
        let larger = UnsafeMutableBufferPointer<Node>.allocate(capacity: max(64, old.count * 2))
        larger.initialize(repeating: Node())
        for index in old.indices { larger[index] = old[index] }
        for index in stride(from: larger.count - 1, through: old.count, by: -1) {
            larger[index].next = freeList
            freeList = UInt32(index)
        }
        old.deallocate()
        nodes = larger
    }

    private func rotate(_ bits: UInt64, by places: Int) -> UInt64 {
        places == 0 ? bits : bits >> UInt64(places) | bits << UInt64(64 - places)
    }

    deinit {
        nodes.deallocate()
        heads.deallocate()
        occupancy.deallocate()
    }
}
