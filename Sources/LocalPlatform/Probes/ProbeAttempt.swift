import EventLoop
import Glibc
import HTTP2
import Primitives

/// One probe under way: it asks, waits at most its timeout, and says the outcome exactly once. Owned by the loop's
/// thread.
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

    /// Most bytes of an answer that are read, so that the application can finish writing it.
    static let answerBytes = 16 * 1024
    /// Most bytes that wait to be sent, besides what the dialogue keeps.
    private static let outboundBytes = 4 * 1024

    private enum Stage { case connecting, talking, executing, over }

    private let loop: Loop
    private var stage = Stage.over
    private var socket: Socket?
    private var command: ChildProcess?
    private var watch: Loop.WatchToken?
    private var timer: TimerHandle?
    private var dialogue: (any ProbeDialogue)?
    /// What is asked over HTTP/2, with its port. Its session is made when there is a connection: most eager probes are
    /// refused, and must stay cheap.
    private var question: (text: HTTP2Dialogue.Question, port: UInt16)?
    /// What is said instead, should the port not speak HTTP/2; with its port.
    private var fallback: (dialogue: HTTP1Dialogue, port: UInt16)?
    private var halfway: TimerHandle?
    private var unsent: [UInt8] = []
    private var received = 0
    private var report: ((ProbeOutcome) -> Void)?
    private let commands: CommandHooks
    private let pool: HTTP2Pool

    /// Whom to tell of the process groups of commands, so that these do not outlive martlet either.
    struct CommandHooks {
        var started: (Int32) -> Void
        var ended: (Int32) -> Void
    }

    /// An attempt that has not begun.
    init(loop: Loop, commands: CommandHooks, pool: HTTP2Pool) {
        self.loop = loop
        self.commands = commands
        self.pool = pool
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
            let own = HTTP1Dialogue(path: path, port: port ?? target.port, headers: headers)
            if port == nil, target.speaksHTTP2 {
                fallback = (own, target.port)
                ask(.get(path: path, headers: headers), at: target.port)
            } else {
                dialogue = own
                connect(to: port ?? target.port)
            }
        case .exec(let arguments): execute(arguments, target)
        case .grpc(let port, let service):
            let question = HTTP2Dialogue.Question.health(
                service: service ?? "", timeoutMilliseconds: timeoutMilliseconds)
            ask(question, at: port ?? target.port)
        }
        guard stage != .over else { return }
        timer = loop.after(milliseconds: timeoutMilliseconds) { self.timeOut() }
        guard fallback != nil else { return }
        halfway = loop.after(milliseconds: max(1, timeoutMilliseconds / 2)) { self.halfTimePassed() }
    }

    /// Ends without a report.
    func cancel() {
        report = nil
        close()
    }

    // MARK: Connections

    private func ask(_ question: HTTP2Dialogue.Question, at port: UInt16) {
        self.question = (question, port)
        connect(to: port)
    }

    /// The port does not speak HTTP/2, though its name says so: its HTTP/1.1 answer counts, on another connection.
    private func fallBack() {
        guard let next = fallback else { return }
        fallback = nil
        closeConnection()
        dialogue = next.dialogue
        unsent = []
        received = 0
        connect(to: next.port)
    }

    /// A server of HTTP/2 speaks at once. One that says nothing may be waiting for the rest of an HTTP/1.1 request.
    private func halfTimePassed() {
        halfway = nil
        if fallback != nil, stage == .talking, received == 0 { fallBack() }
    }

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
        case .talking: receive()
        case .executing: collect()
        case .over: break
        }
    }

    private func connected() {
        if let asked = question {
            question = nil
            dialogue = HTTP2Dialogue(asked.text, port: asked.port, pool: pool, now: MonotonicClock.now())
            if dialogue == nil { return finish(.failed("no memory for an HTTP/2 session")) }
        }
        // A TCP probe closes at once: an application that serves one connection at a time must not wait for ours.
        guard dialogue != nil else { return finish(.passed) }
        stage = .talking
        goOn()
    }

    private func receive() {
        let result = withUnsafeTemporaryAllocation(byteCount: 4_096, alignment: 1) { memory in
            let result = socket?.receive(into: memory) ?? .failed(EBADF)
            if case .bytes(let count) = result {
                let bytes = ByteView(UnsafeRawBufferPointer(rebasing: memory[..<count]))
                dialogue?.receive(bytes, now: MonotonicClock.now())
            }
            return result
        }
        switch result {
        case .bytes(let count): received += count
        case .wouldBlock: break
        case .endOfStream: dialogue?.closed(nil, now: MonotonicClock.now())
        case .failed(let code): dialogue?.closed(Self.outcome(of: code), now: MonotonicClock.now())
        }
        goOn()
    }

    /// Reports what is known, says what is to be said, and ends when the dialogue does.
    private func goOn() {
        var isSent = send()
        if let verdict = dialogue?.verdict {
            if case .notHTTP2 = verdict, fallback != nil { return fallBack() }
            fallback = nil
            tell(verdict)
            guard stage == .talking else { return }  // who was told has cancelled it
            isSent = isSent && send()
        }
        if received >= Self.answerBytes, report != nil { return finish(.failed("the answer is too long")) }
        if dialogue?.isOver ?? true || received >= Self.answerBytes { return close() }
        observe(isSent ? .readable : [.readable, .writable])
    }

    /// Sends what the dialogue has to say. False if the socket takes no more now.
    private func send() -> Bool {
        while true {
            if unsent.isEmpty { fill() }
            guard !unsent.isEmpty else { return true }
            let result = unsent.withUnsafeBytes { socket?.send(ByteView($0)) ?? .failed(EBADF) }
            switch result {
            case .bytes(let count): unsent.removeFirst(count)
            case .wouldBlock: return false
            case .endOfStream, .failed:
                // It may have answered before it closed: what it said is still to be read, and then the end.
                unsent = []
                return true
            }
        }
    }

    private func fill() {
        let now = MonotonicClock.now()
        withUnsafeTemporaryAllocation(byteCount: Self.outboundBytes, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            dialogue?.transmit(into: &writer, now: now)
            for index in 0..<writer.count { unsent.append(writer.written[index]) }
        }
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
        if let halfway { loop.cancel(halfway) }
        (timer, halfway, fallback, question, dialogue) = (nil, nil, nil, nil, nil)
        closeConnection()
        abandonCommand()
    }

    private func closeConnection() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        socket = nil
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
