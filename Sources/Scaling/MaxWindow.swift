/// The largest value of the last so many slots: it delays a decrease (scale-down delay).
///
/// Keeps only values that may still become the maximum: falling from the oldest to the newest.
struct MaxWindow: Equatable, Sendable {
    private struct Entry: Equatable {
        var slot: Int
        var value: Int
    }

    private let slots: Int
    private var entries: [Entry] = []

    /// A window of `slots`, at least 1.
    init(slots: Int) { self.slots = max(1, slots) }

    /// Adds `value` at `slot`, which must not lie before the slot of an earlier call. The same slot keeps the larger.
    mutating func record(_ value: Int, slot: Int) {
        var value = value
        while let last = entries.last, last.value <= value { entries.removeLast() }
        if let last = entries.last, last.slot == slot {
            value = max(value, last.value)
            entries.removeLast()
        }
        entries.removeAll { slot - $0.slot >= slots }
        entries.append(Entry(slot: slot, value: value))
        assert(entries.count <= slots, "a slot was entered twice")
    }

    /// The largest value in the window that ends with the last recorded slot; nil before the first.
    var largest: Int? { entries.first?.value }
}
