import EventLoop
import Primitives

/// One end of a link: lines in, lines out. Owned by the control thread.
///
/// What is sent is written at once; only what the kernel does not take waits. Its callbacks come from the loop, never
/// from inside a call.
final class LinkConnection {
    /// Bytes read at once, and how often in one wake-up: one busy peer must not starve the rest.
    private static let readBytes = 64 << 10
    private static let readsPerWakeup = 16

    /// A line has come.
    var onLine: ([UInt8]) -> Void = { _ in }
    /// Everything has been written that had to wait.
    var onDrained: () -> Void = {}
    /// The connection has ended by itself, for this reason. Not after `close`.
    var onEnd: (String) -> Void = { _ in }

    private var socket: Socket?
    private let loop: Loop
    private let limits: ClusterLimits
    private var watch: Loop.WatchToken = .none
    private var input: LineBuffer
    private var output: [UInt8] = []
    private var written = 0
    private var progress: UInt64 = 0
    private var stall: TimerHandle = .none

    init(_ socket: consuming Socket, loop: Loop, limits: ClusterLimits) throws(SystemError) {
        let fd = socket.fd
        self.socket = consume socket
        self.loop = loop
        self.limits = limits
        input = LineBuffer(limit: limits.lineBytes)
        watch = try loop.watch(fd, .readable) { [weak self] ready in self?.handle(ready) }
    }

    /// Whether it is neither closed nor ended.
    var isOpen: Bool { socket != nil }

    /// Bytes that wait for the peer to read.
    var waitingBytes: Int { output.count - written }

    /// Writes a line, or lets it wait behind others.
    func send(_ line: [UInt8]) {
        guard isOpen else { return }
        if waitingBytes > 0 {
            output += line
            return
        }
        output = line
        written = 0
        flush()
        if waitingBytes > 0 { wait() }
    }

    /// Ends the connection without a word.
    func close() {
        loop.unwatch(watch)
        loop.cancel(stall)
        socket = nil
    }

    // MARK: - Readiness

    private func handle(_ ready: Readiness) {
        if ready.contains(.writable) {
            flush()
            if isOpen, waitingBytes == 0 {
                loop.cancel(stall)
                loop.rewatch(watch, .readable)
                onDrained()
            }
        }
        if isOpen, ready.contains(.readable) || !ready.isDisjoint(with: .broken) { read() }
    }

    private func read() {
        for _ in 0..<Self.readsPerWakeup {
            let result = withUnsafeTemporaryAllocation(byteCount: Self.readBytes, alignment: 16) { place in
                let result = socket?.receive(into: place) ?? .endOfStream
                if case .bytes(let count) = result { input.append(UnsafeRawBufferPointer(rebasing: place[..<count])) }
                return result
            }
            switch result {
            case .bytes(let count):
                takeLines()
                if !isOpen || count < Self.readBytes { return }
            case .wouldBlock: return
            case .endOfStream: return fail("closed by the other side")
            case .failed(let code): return fail(SystemError(call: "read", code: code).reason)
            }
        }
    }

    private func takeLines() {
        while isOpen {
            switch input.next() {
            case .line(let line): onLine(line)
            case .incomplete: return
            case .tooLong: return fail("a line of more than \(limits.lineBytes) bytes")
            }
        }
    }

    private func flush() {
        while waitingBytes > 0 {
            let result = output.withUnsafeBytes { place -> TransferResult in
                let rest = ByteView(UnsafeRawBufferPointer(rebasing: place[written...]))
                return socket?.send(rest) ?? .wouldBlock
            }
            switch result {
            case .bytes(let count):
                written += count
                progress &+= 1
            case .wouldBlock: return
            case .endOfStream: return
            case .failed(let code): return fail(SystemError(call: "write", code: code).reason)
            }
        }
        output.removeAll(keepingCapacity: output.capacity <= Self.readBytes)
        written = 0
    }

    // MARK: - A peer that does not read

    private func wait() {
        guard isOpen else { return }
        loop.rewatch(watch, [.readable, .writable])
        watchProgress()
    }

    private func watchProgress() {
        let seen = progress
        stall = loop.after(milliseconds: limits.stallMilliseconds) { [weak self] in
            guard let self, isOpen, waitingBytes > 0 else { return }
            if progress == seen {
                fail("it has read nothing for \(limits.stallMilliseconds) ms")
            } else {
                watchProgress()
            }
        }
    }

    func fail(_ reason: String) {
        guard isOpen else { return }
        close()
        loop.after(milliseconds: 0) { [self] in onEnd(reason) }
    }
}
