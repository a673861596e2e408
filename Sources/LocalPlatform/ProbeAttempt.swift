import EventLoop
import Glibc
import Primitives

/// One probe under way: it asks, waits at most its timeout, and says the outcome exactly once. Owned by the loop's
/// thread.
///
/// The loop holds it while it waits for something, so its owner may let go of it after the report.
final class ProbeAttempt {
    /// What an attempt needs to know of the pod.
    struct Target {
        var port: UInt16
        var environment: [String]
        var searchPath: String
        var workingDirectory: String?
    }

    /// Most bytes of an answer that are read, so that the application can finish writing it.
    static let answerBytes = 16 * 1024
    /// Longest status line that is waited for, in bytes.
    static let statusLineBytes = 1_024

    private enum Stage { case connecting, sending, reading, draining, executing, over }

    private let loop: Loop
    private var stage = Stage.over
    private var socket: Socket?
    private var command: ChildProcess?
    private var watch: Loop.WatchToken?
    private var timer: TimerHandle?
    private var request: [UInt8] = []
    private var sent = 0
    private var answer: [UInt8] = []
    private var received = 0
    private var report: ((ProbeOutcome) -> Void)?
    private let commands: CommandHooks

    /// Whom to tell of the process groups of commands, so that these do not outlive martlet either.
    struct CommandHooks {
        var started: (Int32) -> Void
        var ended: (Int32) -> Void
    }

    /// An attempt that has not begun.
    init(loop: Loop, commands: CommandHooks) {
        self.loop = loop
        self.commands = commands
    }

    /// Begins. `report` is called once, perhaps before this returns, unless `cancel` comes first.
    func begin(
        _ handler: ProbeSpec.Handler, _ target: Target, timeoutMilliseconds: UInt64,
        report: @escaping (ProbeOutcome) -> Void
    ) {
        assert(stage == .over && self.report == nil)
        self.report = report
        switch handler {
        case .tcp(let port): connect(to: port ?? target.port)
        case .http(let path, let port, let headers, _):
            request = Self.request(path: path, port: port ?? target.port, headers: headers)
            connect(to: port ?? target.port)
        case .exec(let arguments): execute(arguments, target)
        case .grpc: finish(.failed("gRPC probes are not supported"))
        }
        if stage != .over {
            timer = loop.after(milliseconds: timeoutMilliseconds) { self.timeOut() }
        }
    }

    /// Ends without a report.
    func cancel() {
        report = nil
        close()
    }

    // MARK: Connections

    private func connect(to port: UInt16) {
        switch Socket.connect(to: .loopback(port: port)) {
        case .connected(let opened):
            socket = consume opened
            connected()
        case .pending(let opened):
            let isDecided = PortCheck.isDecided(opened)
            socket = consume opened
            stage = .connecting
            if isDecided { proceed() } else { observe(.writable) }
        case .failed(let code): finish(Self.outcome(of: code))
        }
    }

    private func observe(_ interest: Readiness) {
        guard let fd = socket?.fd else { return }
        if let watch {
            loop.rewatch(watch, interest)
        } else {
            watch = try? loop.watch(fd, interest) { _ in self.proceed() }
            if watch == nil { finish(.failed("cannot watch the connection")) }
        }
    }

    private func proceed() {
        switch stage {
        case .connecting:
            let code = socket?.pendingError ?? EBADF
            if code == 0 { connected() } else { finish(Self.outcome(of: code)) }
        case .sending: send()
        case .reading, .draining: receive()
        case .executing: collect()
        case .over: break
        }
    }

    private func connected() {
        // A TCP probe closes at once: an application that serves one connection at a time must not wait for ours.
        if request.isEmpty { finish(.passed) } else { send() }
    }

    private func send() {
        let result = request.withUnsafeBytes { bytes in
            socket?.send(ByteView(bytes).dropping(first: sent)) ?? .failed(EBADF)
        }
        switch result {
        case .bytes(let count):
            sent += count
            stage = sent < request.count ? .sending : .reading
            observe(sent < request.count ? .writable : .readable)
        case .wouldBlock:
            stage = .sending
            observe(.writable)
        case .endOfStream: finish(.failed("connection closed"))
        case .failed(let code): finish(Self.outcome(of: code))
        }
    }

    private func receive() {
        let result = withUnsafeTemporaryAllocation(byteCount: 4_096, alignment: 1) { memory in
            let result = socket?.receive(into: memory) ?? .failed(EBADF)
            if case .bytes(let count) = result, stage == .reading { answer.append(contentsOf: memory.prefix(count)) }
            return result
        }
        switch result {
        case .bytes(let count):
            received += count
            if stage == .reading { judge(isComplete: false) }
            if stage == .draining, received >= Self.answerBytes { close() }
        case .wouldBlock: break
        case .endOfStream:
            if stage == .reading { judge(isComplete: true) }
            close()
        case .failed(let code):
            if stage == .reading { finish(Self.outcome(of: code)) } else { close() }
        }
    }

    /// Looks whether the status line has come. The rest of the answer is read but not looked at.
    private func judge(isComplete: Bool) {
        guard answer.contains(ASCII.lf) else {
            if isComplete || answer.count >= Self.statusLineBytes { finish(.failed("not an HTTP/1.1 answer")) }
            return
        }
        guard let status = answer.withUnsafeBytes({ Self.status(of: ByteView($0)) }) else {
            finish(.failed("not an HTTP/1.1 answer"))
            return
        }
        stage = .draining
        tell((200..<400).contains(status) ? .passed : .failed("HTTP status \(status)"))
    }

    /// The status of `HTTP/1.x NNN …`; nil if the line is something else (RFC 9112 §4).
    static func status(of line: ByteView) -> Int? {
        guard line.count >= 12, line.hasPrefix("HTTP/1."), line[8] == ASCII.space else { return nil }
        guard line.count == 12 || !ASCII.isDigit(line[12]) else { return nil }
        var status = 0
        for index in 9..<12 {
            guard ASCII.isDigit(line[index]) else { return nil }
            status = status * 10 + Int(line[index] - 0x30)
        }
        return status
    }

    /// The bytes of the question. Host and User-Agent can be replaced by the spec's headers, as kubelet allows.
    static func request(path: String, port: UInt16, headers: [ProbeSpec.Header]) -> [UInt8] {
        var fields = [("Host", "127.0.0.1:\(port)"), ("User-Agent", "kube-probe/"), ("Accept", "*/*")]
        let given = Set(headers.map { $0.name.lowercased() })
        fields.removeAll { given.contains($0.0.lowercased()) }
        fields += headers.filter { $0.name.lowercased() != "connection" }.map { ($0.name, $0.value) }
        let target = path.utf8.first == UInt8(ascii: "/") ? path : "/\(path)"
        let lines = ["GET \(target) HTTP/1.1"] + fields.map { "\($0.0): \($0.1)" } + ["Connection: close", "", ""]
        return Array(lines.joined(separator: "\r\n").utf8)
    }

    private static func outcome(of code: Int32) -> ProbeOutcome {
        code == ECONNREFUSED ? .refused : .failed(ChildProcess.text(of: code))
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
            stage = .executing
            watch = try? loop.watch(pidfd, .readable) { _ in self.proceed() }
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
        tell(outcome)
    }

    private func tell(_ outcome: ProbeOutcome) {
        guard let report else { return }
        self.report = nil
        report(outcome)
    }

    private func close() {
        stage = .over
        if let timer { loop.cancel(timer) }
        timer = nil
        if let watch { loop.unwatch(watch) }
        watch = nil
        socket = nil
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
