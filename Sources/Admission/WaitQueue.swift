/// The FIFO of waiting requests: a doubly linked list inside one array, so leaving from the middle is O(1) and a
/// waiting request costs one entry and no allocation of its own.
///
/// Owned by the gate, under its mutex. It has no limit of its own; the gate keeps it.
struct WaitQueue: Sendable {
    private struct Entry {
        var waiter: Waiter
        /// 0 while the entry is free.
        var sequence: UInt64
        var previous: UInt32
        /// Towards the youngest; in a free entry the next free one.
        var next: UInt32
    }

    /// Storage for so many entries outlives an empty queue (10 KiB); a longer queue's is given back.
    static let retainedEntries = 256
    private static let nowhere = UInt32.max

    private var entries: [Entry] = []
    private var oldest = nowhere
    private var youngest = nowhere
    private var free = nowhere
    private var sequences: UInt64 = 0
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    /// Puts `waiter` behind all others.
    mutating func append(_ waiter: Waiter) -> WaitTicket {
        let (index, ticket) = makeEntry(waiter, previous: youngest, next: Self.nowhere)
        if youngest == Self.nowhere { oldest = index } else { entries[Int(youngest)].next = index }
        youngest = index
        return ticket
    }

    /// Puts `waiter` before all others.
    mutating func prepend(_ waiter: Waiter) -> WaitTicket {
        let (index, ticket) = makeEntry(waiter, previous: Self.nowhere, next: oldest)
        if oldest == Self.nowhere { youngest = index } else { entries[Int(oldest)].previous = index }
        oldest = index
        return ticket
    }

    /// Takes the oldest out.
    mutating func popOldest() -> Waiter? {
        guard oldest != Self.nowhere else { return nil }
        let waiter = entries[Int(oldest)].waiter
        unlink(oldest)
        return waiter
    }

    /// Takes out the one `ticket` names; false if it has left already.
    mutating func remove(_ ticket: WaitTicket) -> Bool {
        guard ticket.index < entries.count, entries[Int(ticket.index)].sequence == ticket.sequence else { return false }
        unlink(ticket.index)
        return true
    }

    /// Takes all out, oldest first.
    mutating func removeAll() -> [Waiter] {
        var all: [Waiter] = []
        all.reserveCapacity(count)
        while let waiter = popOldest() { all.append(waiter) }
        return all
    }

    private mutating func makeEntry(_ waiter: Waiter, previous: UInt32, next: UInt32) -> (UInt32, WaitTicket) {
        sequences += 1
        count += 1
        let entry = Entry(waiter: waiter, sequence: sequences, previous: previous, next: next)
        var index = free
        if index != Self.nowhere {
            free = entries[Int(index)].next
            entries[Int(index)] = entry
        } else {
            index = UInt32(entries.count)
            entries.append(entry)
        }
        return (index, WaitTicket(index: index, sequence: sequences))
    }

    private mutating func unlink(_ index: UInt32) {
        let entry = entries[Int(index)]
        assert(entry.sequence != 0 && count > 0, "WaitQueue: unlinked a free entry")
        if entry.previous == Self.nowhere {
            oldest = entry.next
        } else {
            entries[Int(entry.previous)].next = entry.next
        }
        if entry.next == Self.nowhere {
            youngest = entry.previous
        } else {
            entries[Int(entry.next)].previous = entry.previous
        }
        entries[Int(index)].sequence = 0
        entries[Int(index)].next = free
        free = index
        count -= 1
        if count == 0, entries.count > Self.retainedEntries {
            entries = []  // sequences go on, so old tickets stay stale
            free = Self.nowhere
        }
        assert((count == 0) == (oldest == Self.nowhere) && (count == 0) == (youngest == Self.nowhere))
    }
}
