import CLinux
import Glibc

/// Why a process could not be started: at which step, and the system's error number.
public struct SpawnFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was being done.
    public enum Step: Equatable, Sendable {
        /// The command's file was looked for.
        case resolve
        /// The process was being created.
        case create
        /// Its group, descriptors or death signal were being set.
        case setUp
        /// It was changing to its working directory.
        case changeDirectory
        /// It was executing the command.
        case execute
    }

    /// The step that failed.
    public let step: Step
    /// The error number, as `ENOENT`.
    public let code: Int32
    /// What the step was about: the command or the directory.
    public let subject: String

    /// A failure of `step` with the error number `code` about `subject`.
    public init(step: Step, code: Int32, subject: String) {
        self.step = step
        self.code = code
        self.subject = subject
    }

    /// One line for a person, naming the command or directory.
    public var description: String {
        switch (step, code) {
        case (.resolve, ENOENT), (.execute, ENOENT):
            "command not found: \(subject)" + (step == .execute ? " (or its interpreter, the #! line)" : "")
        case (.resolve, EACCES), (.execute, EACCES): "permission denied: \(subject) is not an executable file"
        case (.resolve, EINVAL): "not a command: \(subject)"
        case (.execute, ENOEXEC): "cannot execute \(subject): exec format error (a script without #! line?)"
        case (.changeDirectory, ENOENT): "no such working directory: \(subject)"
        case (.changeDirectory, ENOTDIR): "not a directory: \(subject)"
        case (.changeDirectory, _): "cannot enter working directory \(subject): \(ChildProcess.text(of: code))"
        case (.create, _), (.setUp, _): "cannot create a process for \(subject): \(ChildProcess.text(of: code))"
        case (.execute, _), (.resolve, _): "cannot execute \(subject): \(ChildProcess.text(of: code))"
        }
    }
}

/// How a process ended.
public enum ExitStatus: Equatable, Sendable, CustomStringConvertible {
    /// It returned or called exit with this code, 0 to 255.
    case code(Int32)
    /// This signal killed it.
    case signal(Int32)

    /// As `exit code 3` or `killed by SIGSEGV`.
    public var description: String {
        switch self {
        case .code(let code): "exit code \(code)"
        case .signal(let number): "killed by \(ChildProcess.signalName(number))"
        }
    }
}

/// What to execute. The path has been searched for already: see `ChildProcess.resolve`.
public struct SpawnRequest: Equatable, Sendable {
    /// The file to execute; relative to `workingDirectory` if it has no leading slash.
    public var path: String
    /// The argument vector, `argv[0]` first.
    public var arguments: [String]
    /// The whole environment, as `NAME=value`.
    public var environment: [String]
    /// Where it runs; nil: where its parent does.
    public var workingDirectory: String?

    /// A request with every part given.
    public init(path: String, arguments: [String], environment: [String], workingDirectory: String?) {
        self.path = path
        self.arguments = arguments
        self.environment = environment
        self.workingDirectory = workingDirectory
    }
}

/// A child that leads its own process group, and the pidfd that tells the loop when it ends.
///
/// The kernel kills it when the thread that spawned it ends (PR_SET_PDEATHSIG): spawn only from threads that live as
/// long as the program. Closing this value neither ends nor reaps the process.
public struct ChildProcess: ~Copyable {
    /// Process id, and id of its group.
    public let pid: Int32
    /// Becomes readable when the process has ended. Watch it; do not close it.
    public let pidfd: Int32

    private init(pid: Int32, pidfd: Int32) {
        self.pid = pid
        self.pidfd = pidfd
    }

    deinit { close(pidfd) }

    /// Starts a process: own group, default signals, descriptors 0 to 2 only, input from /dev/null.
    ///
    /// Returns when the new program runs. Time from call to the process's creation: about ten microseconds.
    /// - Parameters:
    ///   - output: Descriptor that becomes its standard output; nil means /dev/null. Stays open here.
    ///   - error: Descriptor that becomes its standard error; nil means /dev/null. Stays open here.
    /// - Throws: the step that failed. No process is left behind then.
    public static func spawn(
        _ request: SpawnRequest, output: Int32? = nil, error: Int32? = nil
    ) throws(SpawnFailure) -> ChildProcess {
        var result = clinux_spawn_result()
        let done = withCStrings(request.arguments) { arguments in
            withCStrings(request.environment) { environment in
                request.path.withCString { path in
                    withOptionalCString(request.workingDirectory) { directory in
                        var call = clinux_spawn_request(
                            path: path, argv: arguments, environment: environment, directory: directory,
                            output: output ?? -1, error: error ?? -1)
                        return clinux_spawn(&call, &result)
                    }
                }
            }
        }
        guard done == 0 else { throw failure(of: result, request: request) }
        return ChildProcess(pid: result.pid, pidfd: result.pidfd)
    }

    /// Sends a signal to every process of the group. Only before `reap` has returned a status: the id is ours till
    /// then.
    public func signalGroup(_ number: Int32) { _ = kill(-pid, number) }

    /// Collects the status of a process that has ended; nil while it runs.
    public func reap() -> ExitStatus? {
        var how = clinux_exit()
        guard clinux_reap(pidfd, &how) == 1 else { return nil }
        return how.by_signal != 0 ? .signal(how.status) : .code(how.status)
    }

    /// Whether the group still has members after its leader was reaped.
    public static func groupExists(_ group: Int32) -> Bool {
        group > 1 && (kill(-group, 0) == 0 || clinux_errno() == EPERM)
    }

    /// Sends a signal to a group whose leader is no longer our child. The caller has made sure it is still the same
    /// one.
    public static func signalGroup(_ group: Int32, _ number: Int32) {
        if group > 1 { _ = kill(-group, number) }
    }

    private static func failure(of result: clinux_spawn_result, request: SpawnRequest) -> SpawnFailure {
        let step: SpawnFailure.Step =
            switch result.step {
            case Int32(CLINUX_SPAWN_CHDIR.rawValue): .changeDirectory
            case Int32(CLINUX_SPAWN_EXEC.rawValue): .execute
            case Int32(CLINUX_SPAWN_SETUP.rawValue): .setUp
            default: .create
            }
        let subject = step == .changeDirectory ? request.workingDirectory ?? "." : request.path
        return SpawnFailure(step: step, code: result.code, subject: subject)
    }
}

extension ChildProcess {
    /// Finds the file of `command`, as a shell does: in the directories of `searchPath` unless it contains a slash.
    ///
    /// A command with a slash is taken relative to `workingDirectory`, where it will be executed; so are relative
    /// entries of `searchPath`.
    /// - Throws: `ENOENT` if there is none, `EACCES` if what there is cannot be executed, `EINVAL` for an empty
    /// command.
    public static func resolve(
        _ command: String, searchPath: String, workingDirectory: String?
    ) throws(SpawnFailure) -> String {
        guard !command.isEmpty, !command.utf8.contains(0) else {
            throw SpawnFailure(step: .resolve, code: EINVAL, subject: "\"\(command)\"")
        }
        if command.utf8.contains(UInt8(ascii: "/")) {
            let code = executability(of: command, in: workingDirectory)
            guard code == 0 else { throw SpawnFailure(step: .resolve, code: code, subject: command) }
            return command
        }
        var worst = ENOENT
        for entry in searchPath.split(separator: ":", omittingEmptySubsequences: false) {
            let candidate = entry.isEmpty ? "./\(command)" : "\(entry)/\(command)"
            let code = executability(of: candidate, in: workingDirectory)
            if code == 0 { return candidate }
            if code == EACCES { worst = EACCES }
        }
        throw SpawnFailure(step: .resolve, code: worst, subject: command)
    }

    /// 0 if the file may be executed, else the error number. A missing working directory is left for `spawn` to report.
    private static func executability(of path: String, in directory: String?) -> Int32 {
        let isAbsolute = path.utf8.first == UInt8(ascii: "/")
        let full = isAbsolute || directory == nil ? path : "\(directory ?? ".")/\(path)"
        var status = stat()
        guard stat(full, &status) == 0 else {
            let code = clinux_errno()
            return code == ENOTDIR ? ENOENT : code
        }
        guard status.st_mode & S_IFMT == S_IFREG else { return EACCES }
        return access(full, X_OK) == 0 ? 0 : clinux_errno()
    }

    /// The system's words for an error number.
    public static func text(of code: Int32) -> String {
        guard let words = strerror(code) else { return "error \(code)" }
        return String(cString: words)
    }

    /// The name of a signal, as `SIGTERM`.
    public static func signalName(_ number: Int32) -> String {
        let names: [Int32: String] = [
            SIGHUP: "SIGHUP", SIGINT: "SIGINT", SIGQUIT: "SIGQUIT", SIGILL: "SIGILL", SIGTRAP: "SIGTRAP",
            SIGABRT: "SIGABRT", SIGBUS: "SIGBUS", SIGFPE: "SIGFPE", SIGKILL: "SIGKILL", SIGUSR1: "SIGUSR1",
            SIGSEGV: "SIGSEGV", SIGUSR2: "SIGUSR2", SIGPIPE: "SIGPIPE", SIGALRM: "SIGALRM", SIGTERM: "SIGTERM",
            SIGXCPU: "SIGXCPU", SIGXFSZ: "SIGXFSZ", SIGSYS: "SIGSYS",
        ]
        return names[number] ?? "signal \(number)"
    }
}

/// Calls `body` with a NULL-terminated array of C strings that lives as long as the call.
///
/// One block holds all bytes, so it costs two allocations whatever the number of strings.
private func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    var bytes: [CChar] = []
    var offsets: [Int] = []
    offsets.reserveCapacity(strings.count)
    bytes.reserveCapacity(strings.reduce(0) { $0 + $1.utf8.count + 1 })
    for string in strings {
        offsets.append(bytes.count)
        for byte in string.utf8 { bytes.append(CChar(bitPattern: byte)) }
        bytes.append(0)
    }
    return bytes.withUnsafeMutableBufferPointer { block in
        var pointers: [UnsafeMutablePointer<CChar>?] = offsets.map { offset in block.baseAddress.map { $0 + offset } }
        pointers.append(nil)
        return pointers.withUnsafeBufferPointer { array in
            // The array holds at least the terminating nil, so it has memory.
            body(array.baseAddress.unsafelyUnwrapped)
        }
    }
}

private func withOptionalCString<Result>(_ text: String?, _ body: (UnsafePointer<CChar>?) -> Result) -> Result {
    guard let text else { return body(nil) }
    return text.withCString { body($0) }
}
