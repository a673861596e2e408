import CLinux
import Glibc

/// A thread of our own: a plain pthread with a name, joinable.
public final class WorkerThread: Sendable {
    private let handle: pthread_t

    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Starts `body` on a new thread called `name` (15 bytes at most are kept).
    public init(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        var thread = pthread_t()
        let start = Unmanaged.passRetained(Start(name: String(name.prefix(15)), body: body))
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                clinux_name_thread(start.name)
                start.body()
                return nil
            }, start.toOpaque())
        guard code == 0 else {
            start.release()
            throw SystemError(call: "pthread_create", code: code)
        }
        handle = thread
    }

    /// Waits until the thread has ended.
    public func join() { pthread_join(handle, nil) }
}

/// Facts about the machine and the process.
public enum Machine {
    /// Processors this process may run on.
    public static var coreCount: Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

    /// Lets all threads share one heap, and gives freed memory back early. Before the second thread starts.
    public static func keepHeapSmall() { clinux_keep_heap_small() }

    /// Gives back the memory of code and constants; what is used comes again from the page cache. For programs of which
    /// most is needed at their start only. Any time.
    public static func releaseCode() { clinux_release_code() }

    /// Raises the limit of open files as far as allowed; returns the limit now in force.
    public static func raiseFileLimit() -> Int { Int(clamping: clinux_raise_file_limit()) }
}
