import CTestProcess
import Foundation
import Synchronization

/// A program that a test has started. It inherits nothing of the test process but the streams it is given: no other
/// descriptor, or a port that a test beside it had bound would stay taken; and no blocked signal, or SIGTERM would not
/// end it (threads of Dispatch, on which tests run, block all of them).
///
/// Any thread may call it. A program that nobody refers to any more is killed.
public final class TestProcess: Sendable {
    /// What could not be started, and why.
    public struct Failure: Error, CustomStringConvertible {
        /// In words.
        public let description: String
    }

    /// Its number, which is another's once its end has been waited for.
    public let pid: pid_t
    /// Nil until its end has been waited for.
    private let status = Mutex<Int32?>(nil)

    /// Starts it and returns at once.
    ///
    /// - Parameters:
    ///   - words: the program, looked for in PATH, and its arguments.
    ///   - environment: all of its variables; nil: those of the test process.
    ///   - input, output, errors: descriptors of the caller, which remain the caller's; nil: /dev/null.
    public init(
        _ words: [String], environment: [String: String]? = nil, input: Int32? = nil, output: Int32? = nil,
        errors: Int32? = nil
    ) throws {
        let arguments = words.map { strdup($0) } + [nil]
        let variables = (environment ?? Self.own).map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in arguments + variables { free(text) } }
        let pid = ctest_process_start(arguments, variables, [input ?? -1, output ?? -1, errors ?? -1])
        guard pid > 0 else { throw Failure(description: "\(words[0]): \(String(cString: strerror(-pid)))") }
        self.pid = pid
    }

    private static var own: [String: String] { ProcessInfo.processInfo.environment }

    deinit {
        signal(SIGKILL)
        _ = waitForEnd()
    }

    /// Does nothing once its end has been waited for: the number may be another's by then.
    public func signal(_ number: Int32) {
        status.withLock { if $0 == nil { kill(pid, number) } }
    }

    /// Whether it has ended, waited for or not.
    public var hasEnded: Bool {
        status.withLock { known in
            var info = siginfo_t()
            return known != nil
                || waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_signo != 0
        }
    }

    /// Its exit status, or less than 0: the signal that killed it. Blocks until it has ended; may be called again.
    public func waitForEnd() -> Int32 {
        if let known = status.withLock({ $0 }) { return known }
        var info = siginfo_t()
        // It stays a zombie until the lock is held, so that `signal` never reaches another process.
        while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) < 0, errno == EINTR {}
        return status.withLock { known in
            if let known { return known }
            var raw: Int32 = 0
            waitpid(pid, &raw, 0)
            let end = raw & 0x7F == 0 ? raw >> 8 & 0xFF : -(raw & 0x7F)
            known = end
            return end
        }
    }
}
