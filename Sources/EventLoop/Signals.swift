import CLinux
import Glibc

/// Signals as events of a loop: signalfd(2).
///
/// Make it on the main thread before any other thread starts, so that every thread inherits the blocked signals.
public final class Signals {
    private let fd: Int32

    /// Blocks `signals` for this thread and takes them from now on.
    public init(_ signals: [Int32]) throws(SystemError) {
        let result = clinux_signalfd(signals, Int32(signals.count))
        guard result >= 0 else { throw SystemError(call: "signalfd", code: -result) }
        fd = result
        signal(SIGPIPE, SIG_IGN)
    }

    /// Calls `handler` with each signal that arrives.
    public func attach(to loop: Loop, _ handler: @escaping (Int32) -> Void) throws(SystemError) {
        let descriptor = fd
        _ = try loop.watch(descriptor, .readable) { _ in
            while true {
                let number = clinux_read_signal(descriptor)
                guard number != 0 else { return }
                handler(number)
            }
        }
    }

    deinit { close(fd) }
}
