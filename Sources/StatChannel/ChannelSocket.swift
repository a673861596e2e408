import EventLoop
import Glibc
import Primitives

/// A connected socket on the loop: reads, writes, and ends so that the peer gets our last bytes. It decides nothing.
///
/// Owned by the loop's thread. Its closures may call it.
final class ChannelSocket {
    private enum Stage: Equatable {
        case open
        /// Nothing is said any more; what comes is dropped until the peer ends too, so that no reset overtakes our
        /// bytes.
        case lingering
        case closed
    }

    static let readBytes = 16 << 10

    private let loop: Loop
    private var socket: Socket?
    private var watch: Loop.WatchToken?
    private var interest = Readiness.readable
    private var stage = Stage.open
    /// Bytes for the socket, and how many of them have left.
    private var waiting: [UInt8] = []
    private var sent = 0
    private var hasShutDown = false
    private var deadline: TimerHandle?

    /// Bytes have come.
    var onBytes: (ByteView) -> Void = { _ in }
    /// All that was waiting has left.
    var onRoom: () -> Void = {}
    /// The connection has ended by itself, once. Not after `close`.
    var onEnd: (String) -> Void = { _ in }

    /// Takes over a connected socket. Nothing happens before `start`.
    init(_ socket: consuming Socket, loop: Loop) {
        self.loop = loop
        self.socket = consume socket
    }

    deinit { release() }

    /// Begins to read. False if the socket cannot be watched.
    func start() -> Bool {
        guard let fd = socket?.fd else { return false }
        watch = try? loop.watch(fd, .readable) { [weak self] in self?.ready($0) }
        return watch != nil
    }

    var isOpen: Bool { stage == .open }

    /// Whether bytes wait for the socket. Produce no more then: `onRoom` follows.
    var isBusy: Bool { sent < waiting.count }

    /// Sends as soon as it can.
    func send(_ bytes: ByteView) {
        guard stage == .open else { return }
        waiting.append(contentsOf: UnsafeBufferPointer(start: bytes.base, count: bytes.count))
        flush()
    }

    /// Sends what waits, then the end, and closes when the peer has ended too or after so long.
    func linger(milliseconds: UInt64) {
        guard stage == .open else { return }
        stage = .lingering
        // Strong: it is its own owner from here on.
        deadline = loop.after(milliseconds: milliseconds) { self.ended("the peer does not end the connection") }
        flush()
    }

    /// Closes at once.
    func close() {
        stage = .closed
        release()
    }

    private func release() {
        if let watch { loop.unwatch(watch) }
        if let deadline { loop.cancel(deadline) }
        (watch, deadline) = (nil, nil)
        socket = nil
        waiting = []
        sent = 0
    }

    private func ended(_ reason: String) {
        guard stage != .closed else { return }
        close()
        onEnd(reason)
    }

    private func ready(_ readiness: Readiness) {
        if readiness.contains(.writable), isBusy {
            flush()
            if stage == .open, !isBusy { onRoom() }
        }
        guard stage != .closed, !readiness.subtracting(.writable).isEmpty else { return }
        read()
    }

    private func read() {
        let result = withUnsafeTemporaryAllocation(byteCount: Self.readBytes, alignment: 16) { place in
            let result = socket?.receive(into: place) ?? .failed(EBADF)
            if case .bytes(let count) = result, stage == .open {
                onBytes(ByteView(UnsafeRawBufferPointer(rebasing: place[..<count])))
            }
            return result
        }
        switch result {
        case .bytes, .wouldBlock: break
        case .endOfStream: ended("the peer has ended the connection")
        case .failed(let code): ended("\(SystemError(call: "recv", code: code))")
        }
    }

    private func flush() {
        while sent < waiting.count {
            let result = waiting.withUnsafeBytes { bytes -> TransferResult in
                socket?.send(ByteView(UnsafeRawBufferPointer(rebasing: bytes[sent...]))) ?? .failed(EBADF)
            }
            switch result {
            case .bytes(let count): sent += count
            case .wouldBlock: return observe([.readable, .writable])
            case .endOfStream: return ended("the peer has ended the connection")
            case .failed(let code): return ended("\(SystemError(call: "send", code: code))")
            }
        }
        waiting.removeAll(keepingCapacity: waiting.capacity <= Self.readBytes)
        sent = 0
        observe(.readable)
        guard stage == .lingering, !hasShutDown else { return }
        hasShutDown = true
        socket?.shutdownWrite()
    }

    private func observe(_ wanted: Readiness) {
        guard let watch, wanted != interest else { return }
        interest = wanted
        loop.rewatch(watch, wanted)
    }
}
