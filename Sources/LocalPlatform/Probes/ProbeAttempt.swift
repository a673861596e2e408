import EventLoop
import Glibc
import Primitives
import Probing

/// One probe of a pod under way: a question to its port, or a command. It waits at most its timeout and says the
/// outcome exactly once. Owned by the loop's thread.
///
/// The loop holds it while it waits for something, so its owner may let go of it after the report.
final class ProbeAttempt {
    /// What an attempt needs to know of the pod.
    struct Target {
        var port: UInt16
        /// Whether that port is said to speak HTTP/2.
        var speaksHTTP2 = false
        var environment: [String]
        var searchPath: String
        var workingDirectory: String?
    }

    /// Whom to tell of the process groups of commands, so that these do not outlive martlet either.
    struct CommandHooks {
        var started: (Int32) -> Void
        var ended: (Int32) -> Void
    }

    private let loop: Loop
    private let commands: CommandHooks
    private let connection: ProbeConnection
    private var command: ChildProcess?
    private var watch: Loop.WatchToken?
    private var timer: TimerHandle?
    private var report: ((ProbeOutcome) -> Void)?

    /// An attempt that has not begun.
    init(loop: Loop, commands: CommandHooks, context: ProbeContext) {
        self.loop = loop
        self.commands = commands
        connection = ProbeConnection(context)
    }

    /// Begins. `report` is called once, perhaps before this returns, unless `cancel` comes first.
    func begin(
        _ handler: ProbeSpec.Handler, _ target: Target, timeoutMilliseconds: UInt64,
        report: @escaping (ProbeOutcome) -> Void
    ) {
        assert(self.report == nil)
        let question: ProbeQuestion, asked: UInt16?
        switch handler {
        case .tcp(let port): (question, asked) = (.connect, port)
        case .http(let path, let port, let headers, _):
            let mayBeHTTP2 = port == nil && target.speaksHTTP2
            let (both, old) = (ProbeQuestion.http2OrHTTP1, ProbeQuestion.http1)
            (question, asked) = (mayBeHTTP2 ? both(path, headers) : old(path, headers), port)
        case .grpc(let port, let service): (question, asked) = (.health(service: service ?? ""), port)
        case .exec(let arguments):
            self.report = report
            execute(arguments, target)
            guard self.report != nil else { return }
            timer = loop.after(milliseconds: timeoutMilliseconds) { self.timeOut() }
            return
        }
        connection.begin(
            question, port: asked ?? target.port, timeoutMilliseconds: timeoutMilliseconds, report: report)
    }

    /// Ends without a report.
    func cancel() {
        report = nil
        connection.cancel()
        close()
    }

    // MARK: Commands

    private func execute(_ arguments: [String], _ target: Target) {
        do throws(SpawnFailure) {
            let path = try ChildProcess.resolve(
                arguments.first ?? "", searchPath: target.searchPath, workingDirectory: target.workingDirectory)
            let request = SpawnRequest(
                path: path, arguments: arguments, environment: target.environment,
                workingDirectory: target.workingDirectory)
            let child = try ChildProcess.spawn(request)
            let (pid, pidfd) = (child.pid, child.pidfd)
            command = consume child
            commands.started(pid)
            watch = try? loop.watch(pidfd, .readable) { _ in self.collect() }
            if watch == nil { finish(.failed("cannot watch the command")) }
        } catch {
            finish(.failed(error.description))
        }
    }

    private func collect() {
        // What it left running is ended with it.
        command?.signalGroup(SIGKILL)
        guard let status = endCommand() else { return }
        finish(status == .code(0) ? .passed : .failed("command: \(status)"))
    }

    private func endCommand() -> ExitStatus? {
        guard let pid = command?.pid else { return nil }
        commands.ended(pid)
        let status = command?.reap()
        command = nil
        return status
    }

    // MARK: The end

    private func timeOut() {
        timer = nil
        finish(.timedOut)
    }

    private func finish(_ outcome: ProbeOutcome) {
        close()
        guard let report else { return }
        self.report = nil
        report(outcome)
    }

    private func close() {
        if let timer { loop.cancel(timer) }
        timer = nil
        if let watch { loop.unwatch(watch) }
        watch = nil
        abandonCommand()
    }

    /// Kills a command that is still running. The loop reaps it when it has gone.
    private func abandonCommand() {
        command?.signalGroup(SIGKILL)
        guard let child = command.take() else { return }
        Grave(child, commands: commands).open(on: loop)
    }
}

/// Keeps a killed child until it can be reaped. The loop holds it till then.
private final class Grave {
    private let child: ChildProcess
    private let commands: ProbeAttempt.CommandHooks
    private var watch: Loop.WatchToken?

    init(_ child: consuming ChildProcess, commands: ProbeAttempt.CommandHooks) {
        self.child = child
        self.commands = commands
    }

    func open(on loop: Loop) {
        watch = try? loop.watch(child.pidfd, .readable) { [unowned loop] _ in self.close(on: loop) }
        // Without a watch it stays a zombie until martlet ends; it has been killed anyway.
        if watch == nil { commands.ended(child.pid) }
    }

    private func close(on loop: Loop) {
        commands.ended(child.pid)
        _ = child.reap()
        if let watch { loop.unwatch(watch) }
    }
}
