import CLinux
import Glibc
import Primitives

/// Tells when files or folders may have changed: inotify(7) on the folders that hold them.
///
/// Watching the folder sees writes in place, renames over the file (editors) and swaps of symbolic links (Kubernetes).
/// Changes come in bursts, so the handler is called once, `quietMilliseconds` after the last event; but not later than
/// `latestMilliseconds` after the first, in a folder that is never quiet.
public final class FileWatch {
    /// How long it must be quiet before a change is told, in milliseconds.
    public static let quietMilliseconds: UInt64 = 50

    /// How long a change may stay untold, in milliseconds.
    public static let latestMilliseconds: UInt64 = 1_000

    private let fd: Int32
    private let loop: Loop
    private var watch: Loop.WatchToken = .none
    private var pending: TimerHandle = .none
    /// When what changed first must be told.
    private var latest: Instant?

    /// Watches nothing yet; `onChange` is called on `loop`.
    public init(loop: Loop, onChange: @escaping () -> Void) throws(SystemError) {
        let result = clinux_inotify()
        guard result >= 0 else { throw SystemError(call: "inotify_init1", code: -result) }
        fd = result
        self.loop = loop
        watch = try loop.watch(result, .readable) { [weak self] _ in self?.drain(then: onChange) }
    }

    /// Watches a folder as well.
    public func add(folder: String) throws(SystemError) {
        let mask = UInt32(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB)
        let result = clinux_inotify_add(fd, folder, mask)
        guard result >= 0 else { throw SystemError(call: "inotify_add_watch \(folder)", code: -result) }
    }

    private func drain(then onChange: @escaping () -> Void) {
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { place in
            while read(fd, place.baseAddress, place.count) > 0 {}
        }
        loop.cancel(pending)
        let limit = latest ?? loop.now.adding(milliseconds: Self.latestMilliseconds)
        latest = limit
        pending = loop.at(min(limit, loop.now.adding(milliseconds: Self.quietMilliseconds))) { [weak self] in
            self?.latest = nil
            onChange()
        }
    }

    deinit {
        loop.cancel(pending)
        loop.unwatch(watch)
        close(fd)
    }
}
