import CLinux
import Glibc
import Primitives
import Synchronization

/// Carries log lines from workers to a descriptor by a thread of its own, so that a slow terminal or disk never holds
/// up a request.
///
/// Lines wait in one bounded buffer (default 1 MiB). When it is full the newest are dropped and counted.
/// `@unchecked Sendable`: the two halves are touched only under the lock or, once swapped out, by the thread alone.
public final class LogSink: @unchecked Sendable {
    private struct Half {
        var used = 0
        var dropped: UInt64 = 0
        var isEnding = false
        var front: UnsafeMutableRawBufferPointer
    }

    private let state: Mutex<UncheckedBox<Half>>
    private let event: Int32
    private let target: Int32
    private let back: UnsafeMutableRawBufferPointer
    private var thread: WorkerThread?

    private struct UncheckedBox<Value>: @unchecked Sendable {
        var value: Value
    }

    /// Writes to `descriptor`, holding at most `capacity` bytes of lines.
    public init(descriptor: Int32, capacity: Int = 1 << 20) throws(SystemError) {
        let result = clinux_eventfd()
        guard result >= 0 else { throw SystemError(call: "eventfd", code: -result) }
        event = result
        target = descriptor
        back = .allocate(byteCount: capacity, alignment: 16)
        state = Mutex(UncheckedBox(value: Half(front: .allocate(byteCount: capacity, alignment: 16))))
        // The thread holds it: without `close` it lives on, rather than being read after its end.
        thread = try WorkerThread(name: "log") { [self] in run() }
    }

    /// Leaves `lines`. Any thread. Drops them if there is no room.
    public func append(_ lines: ByteView) {
        let wakes = state.withLock { box -> Bool in
            guard lines.count <= box.value.front.count - box.value.used, let start = box.value.front.baseAddress else {
                box.value.dropped += 1
                return false
            }
            memcpy(start + box.value.used, lines.base, lines.count)
            defer { box.value.used += lines.count }
            return box.value.used == 0
        }
        if wakes { wake() }
    }

    /// How many appends were dropped because the buffer was full.
    public var dropped: UInt64 { state.withLock { $0.value.dropped } }

    /// Writes what is left and ends the thread.
    public func close() {
        state.withLock { $0.value.isEnding = true }
        wake()
        thread?.join()
        thread = nil
    }

    private func wake() {
        var one: UInt64 = 1
        _ = write(event, &one, 8)
    }

    private func run() {
        var spare = back
        while true {
            var ready = pollfd(fd: event, events: Int16(POLLIN), revents: 0)
            _ = poll(&ready, 1, -1)
            var count: UInt64 = 0
            _ = read(event, &count, 8)
            let (full, used, isEnding) = state.withLock { box -> (UnsafeMutableRawBufferPointer, Int, Bool) in
                let taken = (box.value.front, box.value.used, box.value.isEnding)
                box.value.front = spare
                box.value.used = 0
                return taken
            }
            spare = full
            writeAll(UnsafeRawBufferPointer(rebasing: full[..<used]))
            if isEnding { return }
        }
    }

    private func writeAll(_ bytes: UnsafeRawBufferPointer) {
        var offset = 0
        while offset < bytes.count, let start = bytes.baseAddress {
            let written = write(target, start + offset, bytes.count - offset)
            if written > 0 {
                offset += written
            } else if clinux_errno() == EAGAIN {
                var ready = pollfd(fd: target, events: Int16(POLLOUT), revents: 0)
                _ = poll(&ready, 1, 1_000)
            } else if clinux_errno() != EINTR {
                return  // nobody reads any more
            }
        }
    }
}
