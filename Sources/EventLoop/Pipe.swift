import CLinux
import Glibc

/// The two ends of a pipe from a child to this process. The read end does not block; both close on exec.
public struct Pipe: ~Copyable {
    /// The end to watch and read. -1 once closed.
    public private(set) var readEnd: Int32
    /// The end to hand to the child. -1 once closed.
    public private(set) var writeEnd: Int32

    /// Opens a pipe; nil, with nothing open, if there are no descriptors left.
    public static func open() -> Pipe? {
        var readEnd: Int32 = -1
        var writeEnd: Int32 = -1
        guard clinux_pipe(&readEnd, &writeEnd) == 0 else { return nil }
        return Pipe(readEnd: readEnd, writeEnd: writeEnd)
    }

    private init(readEnd: Int32, writeEnd: Int32) {
        self.readEnd = readEnd
        self.writeEnd = writeEnd
    }

    /// Closes this process's copy of the write end, so that the end of the child is the end of the stream.
    public mutating func closeWriteEnd() {
        if writeEnd >= 0 { close(writeEnd) }
        writeEnd = -1
    }

    /// Reads what is there, at most the size of `memory`.
    public func read(into memory: UnsafeMutableRawBufferPointer) -> TransferResult {
        while true {
            let count = Glibc.read(readEnd, memory.baseAddress, memory.count)
            if count > 0 { return .bytes(count) }
            if count == 0 { return .endOfStream }
            let code = clinux_errno()
            if code == EINTR { continue }
            return code == EAGAIN ? .wouldBlock : .failed(code)
        }
    }

    deinit {
        if readEnd >= 0 { close(readEnd) }
        if writeEnd >= 0 { close(writeEnd) }
    }
}

/// The channel to the guardian, a process that kills the groups it was told of when this process has gone.
///
/// The guardian is a fork that runs a few lines of C and executes nothing, so it starts in a millisecond, needs no file
/// and shares its memory with us. Owned by the thread that started it.
public struct GuardianChannel: ~Copyable {
    /// The most groups one guardian remembers.
    public static let groupLimit = Int(CLINUX_GUARDIAN_GROUPS)

    /// How long the end of a channel waits for the guardian's, in milliseconds. It takes less than one.
    static let endMilliseconds: Int32 = 1_000

    /// Its process id.
    public let pid: Int32
    /// Becomes readable when the guardian has ended. Watch it; do not close it.
    public let pidfd: Int32
    private let socket: Int32

    /// Starts a guardian.
    /// - Throws: the error number of the call that failed.
    public static func start() throws(SpawnFailure) -> GuardianChannel {
        var ends: (Int32, Int32) = (-1, -1)
        let opened = withUnsafeMutablePointer(to: &ends) { pair in
            pair.withMemoryRebound(to: Int32.self, capacity: 2) { clinux_guardian_channel($0) }
        }
        guard opened == 0 else {
            throw SpawnFailure(step: .create, code: clinux_errno(), subject: "the pod guardian")
        }
        var pidfd: Int32 = -1
        let pid = clinux_guardian_start(ends.1, &pidfd)
        let code = clinux_errno()
        close(ends.1)
        guard pid > 0 else {
            close(ends.0)
            throw SpawnFailure(step: .create, code: code, subject: "the pod guardian")
        }
        return GuardianChannel(pid: pid, pidfd: pidfd, socket: ends.0)
    }

    private init(pid: Int32, pidfd: Int32, socket: Int32) {
        self.pid = pid
        self.pidfd = pidfd
        self.socket = socket
    }

    /// Tells the guardian to watch a group, or to forget it. False if it does not listen any more.
    public func send(group: Int32, watched: Bool) -> Bool {
        var record = clinux_guardian_record(group: group, watched: watched ? 1 : 0)
        let size = MemoryLayout<clinux_guardian_record>.size
        while true {
            let count = Glibc.send(socket, &record, size, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            if count == size { return true }
            if count < 0, clinux_errno() == EINTR { continue }
            return false
        }
    }

    /// Ends a guardian that does not listen. It kills nothing.
    public func abandon() { _ = kill(pid, SIGKILL) }

    /// Collects the status of a guardian that has ended.
    public func reap() {
        var how = clinux_exit()
        _ = clinux_reap(pidfd, &how)
    }

    deinit {
        // The guardian sees the end of its channel, kills what it still watches and ends by itself.
        close(socket)
        _ = clinux_reap_within(pidfd, Self.endMilliseconds)
        close(pidfd)
    }
}
