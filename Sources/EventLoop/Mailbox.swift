import CLinux
import Glibc
import Synchronization

/// Messages for one thread from any other: a list under a lock and an eventfd that wakes the owner.
///
/// The owner watches `fd` and calls `takeAll`. The eventfd is written only when the list was empty, so a busy owner is
/// woken once for many messages.
public final class Mailbox<Message: Sendable>: Sendable {
    /// Readable while messages wait.
    public let fd: Int32
    private let waiting = Mutex<[Message]>([])

    /// An empty mailbox.
    public init() throws(SystemError) {
        let result = clinux_eventfd()
        guard result >= 0 else { throw SystemError(call: "eventfd", code: -result) }
        fd = result
    }

    /// Leaves a message. Any thread.
    public func post(_ message: Message) {
        let wasEmpty = waiting.withLock { list in
            list.append(message)
            return list.count == 1
        }
        if wasEmpty { wake() }
    }

    /// Leaves several messages, in order. Any thread.
    public func post(_ messages: [Message]) {
        guard !messages.isEmpty else { return }
        let wasEmpty = waiting.withLock { list in
            defer { list.append(contentsOf: messages) }
            return list.isEmpty
        }
        if wasEmpty { wake() }
    }

    /// All messages, oldest first. The owner's thread.
    public func takeAll() -> [Message] {
        var count: UInt64 = 0
        _ = read(fd, &count, 8)  // first: a message left after this wakes the owner again
        return waiting.withLock { list in
            var taken: [Message] = []
            swap(&taken, &list)
            return taken
        }
    }

    private func wake() {
        var one: UInt64 = 1
        _ = write(fd, &one, 8)
    }

    deinit { close(fd) }
}
