/// A worker's mailbox as other threads see it: what is posted arrives in order, but only when the simulation lets it.
public struct SimulatedMailbox<Message: Sendable>: Sendable {
    private var messages: [Message] = []
    /// Messages before this place have arrived; removed now and then, so that taking one is O(1).
    private var taken = 0

    /// An empty mailbox.
    public init() {}

    /// How many messages are under way.
    public var count: Int { messages.count - taken }

    /// Whether none is under way.
    public var isEmpty: Bool { count == 0 }

    /// Sends a message: it will arrive after all sent before.
    public mutating func post(_ message: Message) { messages.append(message) }

    /// Lets the oldest message arrive.
    public mutating func deliver() -> Message? {
        guard taken < messages.count else { return nil }
        taken += 1
        let message = messages[taken - 1]
        if taken == messages.count {
            messages.removeAll(keepingCapacity: true)
            taken = 0
        }
        return message
    }
}
